/**
 * One question about the state of a program: an effect that passes when it succeeds.
 *
 * However the effect ends, the check ends: a typed failure, a defect and a call that never returns (even an
 * uninterruptible one) are failed checks, and a failed check fails nothing else.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { bounded } from "./internal/bounded.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** When a run that has not ended counts as failed. Default 1 second. */
  readonly timeout?: Duration.DurationInput | undefined
  /** A result younger than this is used again instead of running the check. Default 0: always run. */
  readonly interval?: Duration.DurationInput | undefined
  /** Whether its failure alone makes the whole critical. Default false. */
  readonly critical?: boolean | undefined
  /** Failed runs in a row that turn a passing check into a failing one. Default 1. */
  readonly fall?: number | undefined
  /** Passed runs in a row that turn a failing check into a passing one. Default 1. */
  readonly rise?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  timeout: "1 second",
  interval: 0,
  critical: false,
  fall: 1,
  rise: 1,
  heap: 0.9,
  eventLoopDelay: "100 millis",
  queueDepth: 1000,
  responseTime: "1 second"
} as const

/**
 * A check with its options resolved; its name is the key under which it is used. Durations are milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthCheck<out R = never> {
  readonly effect: Effect.Effect<unknown, unknown, R>
  readonly timeout: number
  readonly interval: number
  readonly critical: boolean
  readonly fall: number
  readonly rise: number
}

/**
 * Checks by their names.
 *
 * @since 0.1.0
 * @category models
 */
export interface Checks {
  readonly [name: string]: HealthCheck<any>
}

/**
 * What the effects of some checks require.
 *
 * @since 0.1.0
 * @category models
 */
export type Context<C extends Checks> = C[keyof C] extends HealthCheck<infer R> ? R : never

/**
 * How one run ended; `error` says why it failed, `elapsed` is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome =
  | { readonly _tag: "Passed"; readonly elapsed: number }
  | { readonly _tag: "Failed"; readonly elapsed: number; readonly error: string }

/**
 * Makes a check of an effect. It passes when the effect succeeds, unless the value is `false`.
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * const ping = Effect.succeed("PONG")
 *
 * const connectivity = HealthCheck.make(ping, { timeout: "1 second", critical: true })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Options = {}): HealthCheck<R> => ({
  effect,
  timeout: Check.millis(module, "timeout", options.timeout ?? defaults.timeout, { min: 1 }),
  interval: Check.millis(module, "interval", options.interval ?? defaults.interval),
  critical: options.critical ?? defaults.critical,
  fall: Check.whole(module, "fall", options.fall ?? defaults.fall, { min: 1 }),
  rise: Check.whole(module, "rise", options.rise ?? defaults.rise, { min: 1 })
})

/**
 * Passes while the V8 heap in use is less than `below` (default 0.9) of `limit` bytes, by default V8's own heap limit.
 * Throws at construction where that limit cannot be read (before Node 20.16, outside Node) and none is given.
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 *
 * export const memory = HealthCheck.heap({ below: 0.8, limit: 512 * 1024 * 1024, critical: true })
 *
 * @since 0.1.0
 * @category constructors
 */
export const heap = (
  options: Options & { readonly below?: number | undefined; readonly limit?: number | undefined } = {}
): HealthCheck => {
  const below = Check.between("HealthCheck.heap", "below", options.below ?? defaults.heap, { min: 0, max: 1 })
  const { process } = globalThis as { readonly process?: Process }
  const limit = options.limit ?? process?.getBuiltinModule?.("node:v8")?.getHeapStatistics().heap_size_limit
  if (process === undefined || limit === undefined) {
    throw new Check.InvalidOption("HealthCheck.heap: limit must be given where V8's heap limit cannot be read")
  }
  const size = Check.whole("HealthCheck.heap", "limit", limit, { min: 1 })
  return make(
    Effect.suspend(() => {
      const share = process.memoryUsage().heapUsed / size
      return share < below ? Effect.void : Effect.fail(`heap is ${percent(share)} full, limit ${percent(below)}`)
    }),
    options
  )
}

/**
 * Passes while the event loop is late by less than `below` (default 100 ms): the worst of five 10 ms timers. It looks
 * at the moment of the check; what happened since the last one it does not see.
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 *
 * export const eventLoop = HealthCheck.eventLoopDelay({ below: "50 millis", interval: "10 seconds" })
 *
 * @since 0.1.0
 * @category constructors
 */
export const eventLoopDelay = (
  options: Options & { readonly below?: Duration.DurationInput | undefined } = {}
): HealthCheck => {
  const below = Check.millis("HealthCheck.eventLoopDelay", "below", options.below ?? defaults.eventLoopDelay, {
    min: 1
  })
  const late = Effect.map(timed(Effect.sleep(timer)), (elapsed) => elapsed - timer)
  return make(
    Effect.flatMap(
      Effect.all(Array.from({ length: 5 }, () => late)),
      (delays) => atMost("event loop is late by", Math.max(...delays), below)
    ),
    options
  )
}

/**
 * Passes while the number an effect reads is less than `below` (default 1000).
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 * import * as Queue from "effect/Queue"
 *
 * export const program = Effect.map(Queue.bounded<string>(1_000), (jobs) => ({
 *   jobs: HealthCheck.queueDepth(Queue.size(jobs), { below: 800 })
 * }))
 *
 * @since 0.1.0
 * @category constructors
 */
export const queueDepth = <E, R>(
  effect: Effect.Effect<number, E, R>,
  options: Options & { readonly below?: number | undefined } = {}
): HealthCheck<R> => {
  const below = Check.between("HealthCheck.queueDepth", "below", options.below ?? defaults.queueDepth, {
    min: 0,
    max: Infinity
  })
  return make(
    Effect.filterOrFail(effect, (depth) => depth < below, (depth) => `queue holds ${depth}, limit ${below}`),
    options
  )
}

/**
 * Passes while an effect succeeds in less than `below` (default 1 second). The check's `timeout` is twice that unless
 * given.
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * const ping = Effect.succeed("PONG")
 *
 * export const database = HealthCheck.responseTime(ping, { below: "200 millis", critical: true })
 *
 * @since 0.1.0
 * @category constructors
 */
export const responseTime = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options & { readonly below?: Duration.DurationInput | undefined } = {}
): HealthCheck<R> => {
  const below = Check.millis("HealthCheck.responseTime", "below", options.below ?? defaults.responseTime, { min: 1 })
  return make(
    Effect.flatMap(timed(effect), (elapsed) => atMost("answered in", elapsed, below)),
    { ...options, timeout: options.timeout ?? below * 2 }
  )
}

/**
 * Makes the effect that runs a check once, within its timeout. A run that does not yield to interruption is left behind,
 * and until it has ended no other is started: the check fails meanwhile.
 *
 * @since 0.1.0
 * @category running
 */
export const runner = <R>(check: HealthCheck<R>): Effect.Effect<Effect.Effect<Outcome, never, R>> =>
  Effect.sync(() => {
    const { run, running } = bounded(check.timeout)
    const question = Effect.filterOrFail(check.effect, (value) => value !== false, () => "answered false")
    return Effect.withFiberRuntime((fiber) => {
      if (running()) return Effect.succeed<Outcome>({ _tag: "Failed", elapsed: 0, error: "the last run has not ended" })
      const started = Time.monotonicMillis(fiber)
      return Effect.map(run(question), (answer): Outcome => {
        const elapsed = Time.monotonicMillis(fiber) - started
        return Either.isRight(answer)
          ? { _tag: "Passed", elapsed }
          : { _tag: "Failed", elapsed, error: answer.left }
      })
    })
  })

/**
 * Where a check stands after some runs. `streak` counts the latest runs that contradict `passing`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Standing {
  readonly passing: boolean
  readonly streak: number
}

/**
 * Moves a standing by one run. The first run counts at once; later ones turn it after `fall` or `rise` in a row.
 *
 * @since 0.1.0
 * @category decisions
 */
export const observe = (
  thresholds: { readonly fall: number; readonly rise: number },
  standing: Standing | undefined,
  passed: boolean
): Standing => {
  if (standing === undefined || standing.passing === passed) return { passing: passed, streak: 0 }
  const streak = standing.streak + 1
  return streak >= (passed ? thresholds.rise : thresholds.fall)
    ? { passing: passed, streak: 0 }
    : { passing: standing.passing, streak }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const module = "HealthCheck"

/** Milliseconds of the timers that measure the event loop. */
const timer = 10

/** What `heap` needs of Node's process; taken from `globalThis`, so that this module loads anywhere. */
interface Process {
  readonly memoryUsage: () => { readonly heapUsed: number }
  readonly getBuiltinModule?: (id: string) => {
    readonly getHeapStatistics: () => { readonly heap_size_limit: number }
  }
}

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.map(Effect.timed(effect), ([elapsed]) => Duration.toMillis(elapsed))

const atMost = (what: string, millis: number, below: number): Effect.Effect<void, string> =>
  millis < below ? Effect.void : Effect.fail(`${what} ${Math.round(millis)} ms, limit ${below} ms`)

const percent = (share: number): string => `${Math.round(share * 100)} %`
