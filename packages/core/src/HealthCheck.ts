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
import type { CircuitBreaker } from "./CircuitBreaker.js"
import { bounded } from "./internal/bounded.js"
import { fullness, percent } from "./internal/fullness.js"
import * as Host from "./internal/host.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"

/**
 * `D` are the names of the checks it depends on.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<D extends string = string> {
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
  /**
   * Checks beside it without which it cannot be well. While one of them fails, this one counts as failing because of it,
   * and `Healing` treats the cause, not this. Default none.
   */
  readonly dependsOn?: ReadonlyArray<D> | undefined
  /** What is checked, for health+json, which knows "component", "datastore" and "system". Default not said. */
  readonly componentType?: string | undefined
}

/**
 * What `make` takes, for `InvalidOption.known` in a constructor that takes more.
 *
 * @since 0.1.0
 * @category options
 */
export const known: Check.Shape<Options> = {
  timeout: true,
  interval: true,
  critical: true,
  fall: true,
  rise: true,
  dependsOn: true,
  componentType: true
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
export interface HealthCheck<out R = never, out D extends string = string> {
  readonly effect: Effect.Effect<unknown, unknown, R>
  readonly timeout: number
  readonly interval: number
  readonly critical: boolean
  readonly fall: number
  readonly rise: number
  readonly dependsOn: ReadonlyArray<D>
  readonly componentType: string | undefined
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
 * What a run has measured.
 *
 * @since 0.1.0
 * @category models
 */
export interface Observed {
  readonly value: number
  readonly unit: string
}

/**
 * How one run ended; `error` says why it failed, `elapsed` is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome =
  | { readonly _tag: "Passed"; readonly elapsed: number; readonly observed?: Observed }
  | { readonly _tag: "Failed"; readonly elapsed: number; readonly error: string; readonly observed?: Observed }

/**
 * The value of a check's effect that tells what it measured; the run has failed if there is a `problem`.
 *
 * @since 0.1.0
 * @category models
 */
export class Observation {
  /**
   * @since 0.1.0
   */
  readonly observed: Observed
  constructor(value: number, unit: string, readonly problem?: string) {
    this.observed = { value, unit }
  }
}

/**
 * Makes a check of an effect. It passes when the effect succeeds, unless the value is `false` or an `Observation` of a
 * problem.
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
export const make = <A, E, R, const D extends string = never>(
  effect: Effect.Effect<A, E, R>,
  options: Options<D> = {}
): HealthCheck<R, D> => {
  Check.known(module, options, known)
  return {
    effect,
    timeout: Check.millis(module, "timeout", options.timeout ?? defaults.timeout, { min: 1 }),
    interval: Check.millis(module, "interval", options.interval ?? defaults.interval),
    critical: options.critical ?? defaults.critical,
    fall: Check.whole(module, "fall", options.fall ?? defaults.fall, { min: 1 }),
    rise: Check.whole(module, "rise", options.rise ?? defaults.rise, { min: 1 }),
    dependsOn: options.dependsOn ?? [],
    componentType: options.componentType
  }
}

/**
 * Passes while the V8 heap in use is less than `below` (default 0.9) of `limit` bytes, by default what it can grow to:
 * V8's own limit, or the memory the process may use where that is less (see `SystemCheck.rss`). Throws at construction
 * where V8's limit cannot be read (before Node 20.16, outside Node) and none is given.
 *
 * @example
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 *
 * export const memory = HealthCheck.heap({ below: 0.8, limit: 512 * 1024 * 1024, critical: true })
 *
 * @since 0.1.0
 * @category constructors
 */
export const heap = <const D extends string = never>(
  options: Options<D> & { readonly below?: number | undefined; readonly limit?: number | undefined } = {}
): HealthCheck<never, D> => {
  Check.known("HealthCheck.heap", options, { ...known, below: true, limit: true })
  const { below: share = defaults.heap, limit, ...rest } = options
  const below = Check.between("HealthCheck.heap", "below", share, { min: 0, max: 1 })
  const { process } = Host
  const v8 = Host.v8()?.getHeapStatistics().heap_size_limit
  if (process === undefined || (limit ?? v8) === undefined) {
    throw new Check.InvalidOption("HealthCheck.heap: limit must be given where V8's heap limit cannot be read")
  }
  const given = limit === undefined ? undefined : Check.whole("HealthCheck.heap", "limit", limit, { min: 1 })
  return make(
    Effect.sync(() => {
      const limit = given ?? Math.min(v8!, Host.memoryLimit() ?? Infinity)
      const share = process.memoryUsage().heapUsed / limit
      return new Observation(percent(share), "percent", fullness("heap is", share, below))
    }),
    { componentType: "system", ...rest }
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
export const eventLoopDelay = <const D extends string = never>(
  options: Options<D> & { readonly below?: Duration.DurationInput | undefined } = {}
): HealthCheck<never, D> => {
  Check.known("HealthCheck.eventLoopDelay", options, { ...known, below: true })
  const { below: limit = defaults.eventLoopDelay, ...rest } = options
  const below = Check.millis("HealthCheck.eventLoopDelay", "below", limit, { min: 1 })
  const late = Effect.map(timed(Effect.sleep(timer)), (elapsed) => elapsed - timer)
  return make(
    Effect.map(
      Effect.all(Array.from({ length: 5 }, () => late)),
      (delays) => atMost("event loop is late by", Math.max(...delays), below)
    ),
    { componentType: "system", ...rest }
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
export const queueDepth = <E, R, const D extends string = never>(
  effect: Effect.Effect<number, E, R>,
  options: Options<D> & { readonly below?: number | undefined } = {}
): HealthCheck<R, D> => {
  Check.known("HealthCheck.queueDepth", options, { ...known, below: true })
  const { below: limit = defaults.queueDepth, ...rest } = options
  const below = Check.between("HealthCheck.queueDepth", "below", limit, { min: 0, max: Infinity })
  return make(
    Effect.map(
      effect,
      (depth) => new Observation(depth, "items", depth < below ? undefined : `queue holds ${depth}, limit ${below}`)
    ),
    rest
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
export const responseTime = <A, E, R, const D extends string = never>(
  effect: Effect.Effect<A, E, R>,
  options: Options<D> & { readonly below?: Duration.DurationInput | undefined } = {}
): HealthCheck<R, D> => {
  Check.known("HealthCheck.responseTime", options, { ...known, below: true })
  const { below: limit = defaults.responseTime, ...rest } = options
  const below = Check.millis("HealthCheck.responseTime", "below", limit, { min: 1 })
  return make(
    Effect.map(timed(effect), (elapsed) => atMost("answered in", elapsed, below)),
    { ...rest, timeout: rest.timeout ?? below * 2 }
  )
}

/**
 * Passes while no breaker is open: of one, of several, or of a `CircuitBreakerRegistry`. One that is half-open has been
 * open and is being tried, and passes.
 *
 * @example
 * import * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * export const program = Effect.map(CircuitBreakerRegistry.make({ name: "webhooks" }), (breakers) => ({
 *   webhooks: HealthCheck.breakers(breakers)
 * }))
 *
 * @since 0.1.0
 * @category constructors
 */
export const breakers = <const D extends string = never>(
  source:
    | Breaker
    | ReadonlyArray<Breaker>
    | { readonly all: Effect.Effect<ReadonlyMap<string, Breaker>> },
  options: Options<D> = {}
): HealthCheck<never, D> => {
  const all = "all" in source
    ? Effect.map(source.all, (byKey) => Array.from(byKey.values()))
    : Effect.succeed("stats" in source ? [source] : source)
  return make(
    Effect.map(
      Effect.flatMap(all, Effect.forEach(({ name, stats }) => Effect.map(stats, ({ state }) => ({ name, state })))),
      (states) => {
        const open = states.filter(({ state }) => state.endsWith("open") && state !== "half-open").map(({ name }) =>
          name
        )
        return new Observation(open.length, "open breakers", open.length === 0 ? undefined : `open: ${listed(open)}`)
      }
    ),
    options
  )
}

/**
 * What `breakers` looks at.
 *
 * @since 0.1.0
 * @category models
 */
export type Breaker = Pick<CircuitBreaker, "name" | "stats">

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
    return Effect.withFiberRuntime((fiber) => {
      if (running()) return Effect.succeed<Outcome>({ _tag: "Failed", elapsed: 0, error: "the last run has not ended" })
      const started = Time.monotonicMillis(fiber)
      return Effect.map(run(check.effect), (answer): Outcome => {
        const elapsed = Time.monotonicMillis(fiber) - started
        const error = Either.isLeft(answer) ? answer.left : problem(answer.right)
        const seen = Either.isRight(answer) && answer.right instanceof Observation
          ? { observed: answer.right.observed }
          : undefined
        return error === undefined ? { _tag: "Passed", elapsed, ...seen } : { _tag: "Failed", elapsed, error, ...seen }
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

const problem = (value: unknown): string | undefined =>
  value === false ? "answered false" : value instanceof Observation ? value.problem : undefined

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.map(Effect.timed(effect), ([elapsed]) => Duration.toMillis(elapsed))

const atMost = (what: string, millis: number, below: number): Observation =>
  new Observation(millis, "ms", millis < below ? undefined : `${what} ${Math.round(millis)} ms, limit ${below} ms`)

const listed = (names: ReadonlyArray<string>): string =>
  names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`
