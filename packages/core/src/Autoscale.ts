/**
 * Keeps a measure at its target by changing how many instances do the work: target tracking, with bounds, cooldowns and a
 * dry run.
 *
 * The wanted number is `ceil(current * measure / target)`, as in Kubernetes' HorizontalPodAutoscaler; within `tolerance`
 * of the target nothing changes. Growing waits for `cooldownOut` since the last growth. Shrinking goes to the most that
 * was wanted in the last `cooldownIn`, so a dip does not cost capacity that is needed again. A measure that cannot be read
 * changes nothing.
 *
 * @see https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Events from "./Events.js"
import { bounded } from "./internal/bounded.js"
import { closeOver } from "./internal/closeOver.js"
import * as Check from "./internal/options.js"
import { named } from "./internal/partTag.js"
import * as Remedy from "./Remedy.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<R = never> {
  /** What one instance should bear, in the unit of `measure`. */
  readonly target: number
  /** What one instance bears now, such as its utilisation or the length of its queue. */
  readonly measure: Effect.Effect<number, unknown, R>
  /** How many instances there are. */
  readonly current: Effect.Effect<number, unknown, R>
  /** Makes it so many; the same number again must be harmless. */
  readonly scaleTo: (instances: number) => Effect.Effect<unknown, unknown, R>
  /** The most instances there may be. */
  readonly max: number
  /** The fewest. Default 1. */
  readonly min?: number | undefined
  /** How far from the target, as a share of it, nothing changes. Default 0.1. */
  readonly tolerance?: number | undefined
  /** The most instances added or removed at once. Default `Infinity`. */
  readonly maxStep?: number | undefined
  /** Least time between two growths. Default 1 minute. */
  readonly cooldownOut?: Duration.DurationInput | undefined
  /** How long fewer instances must have been enough before it shrinks. Default 5 minutes. */
  readonly cooldownIn?: Duration.DurationInput | undefined
  /** When reading or scaling counts as failed. Default 10 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Decides and says what it would do, and does nothing. Default false. */
  readonly dryRun?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface LayerOptions<R = never> extends Options<R> {
  /** Time between the end of a round and the next. Default 15 seconds. */
  readonly every?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  every: "15 seconds",
  min: 1,
  tolerance: 0.1,
  maxStep: Infinity,
  cooldownOut: "1 minute",
  cooldownIn: "5 minutes",
  timeout: "10 seconds",
  dryRun: false
} as const

/**
 * The options that decide, resolved; durations are milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly target: number
  readonly min: number
  readonly max: number
  readonly tolerance: number
  readonly maxStep: number
  readonly cooldownOut: number
  readonly cooldownIn: number
}

/**
 * What is remembered from round to round; times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** When it last grew. */
  readonly grownAt: number
  /** What was wanted in the last `cooldownIn`, falling from the oldest to the newest. */
  readonly wanted: ReadonlyArray<{ readonly instances: number; readonly at: number }>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Reading {
  readonly current: number
  readonly measure: number
}

/**
 * - `Hold`: nothing changes; `wanted` is what the measure alone asks for, within the bounds
 * - `Scale`: to so many instances
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Hold"; readonly wanted: number; readonly reason: "on target" | "cooling down" }
  | { readonly _tag: "Scale"; readonly from: number; readonly to: number }

/**
 * Before the first round.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial: State = { grownAt: -Infinity, wanted: [] }

/**
 * What to do with a reading.
 *
 * @since 0.1.0
 * @category decisions
 */
export const decide = (
  state: State,
  { current, measure }: Reading,
  now: number,
  settings: Settings
): readonly [state: State, decision: Decision] => {
  const ratio = measure / settings.target
  const onTarget = Math.abs(ratio - 1) <= settings.tolerance
  // what a float adds to a whole number is no further instance
  const asked = onTarget ? current : Math.ceil(current * ratio - 1e-9)
  const wanted = Math.max(settings.min, Math.min(settings.max, asked))
  const recent = state.wanted.filter(({ at }) => now - at < settings.cooldownIn)
  // where nothing was read for so long, as before the first reading, what is there counts as wanted until now
  const before = recent.length === 0 ? [{ instances: current, at: now }] : recent
  const next = {
    ...state,
    wanted: [...before.filter(({ instances }) => instances > wanted), { instances: wanted, at: now }]
  }

  if (wanted > current) {
    // below the lower bound there is nothing to wait for
    const waits = current >= settings.min && now - state.grownAt < settings.cooldownOut
    if (waits) return [next, { _tag: "Hold", wanted, reason: "cooling down" }]
    const to = Math.min(wanted, current + settings.maxStep)
    return [{ ...next, grownAt: now }, { _tag: "Scale", from: current, to }]
  }
  const most = Math.max(next.wanted[0]!.instances, current - settings.maxStep)
  // above the upper bound there is nothing to wait for
  const to = Math.min(most, settings.max)
  if (to < current) return [next, { _tag: "Scale", from: current, to }]
  return [next, { _tag: "Hold", wanted, reason: wanted < current ? "cooling down" : "on target" }]
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Autoscaler {
  readonly name: string
  /** Reads, decides and scales, once; one after the other if called at the same time. Never fails. */
  readonly round: Effect.Effect<Outcome>
  /** `round` for `Healing`: asks for the scale that the measure wants. */
  readonly remedy: Remedy.Remedy
}

/**
 * How a round ended.
 *
 * - `Held`, `Scaled`: as decided
 * - `Blind`: the measure or the number of instances could not be read
 * - `Failed`: scaling failed; the next round decides anew
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome =
  | { readonly _tag: "Held"; readonly reason: "on target" | "cooling down" }
  | { readonly _tag: "Scaled"; readonly from: number; readonly to: number; readonly dryRun: boolean }
  | { readonly _tag: "Blind"; readonly error: string }
  | { readonly _tag: "Failed"; readonly from: number; readonly to: number; readonly error: string }

/**
 * Makes an autoscaler, which does nothing by itself; `layer` lets it run.
 *
 * @example
 * import * as Autoscale from "@firebreak/core/Autoscale"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   let workers = 2
 *   const scaler = yield* Autoscale.make({
 *     name: "workers",
 *     target: 100,
 *     measure: Effect.succeed(250),
 *     current: Effect.sync(() => workers),
 *     scaleTo: (instances) => Effect.sync(() => workers = instances),
 *     max: 10
 *   })
 *   yield* scaler.round // from 2 to 5
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R = never>(
  options: Options<R> & { readonly name: string }
): Effect.Effect<Autoscaler, never, R> => {
  Check.known("Autoscale", options, known)
  const name = Check.name("Autoscale", "name", options.name)
  const settings = resolve(options)
  const timeout = Check.millis("Autoscale", "timeout", options.timeout ?? defaults.timeout, { min: 1 })
  const dryRun = options.dryRun ?? defaults.dryRun
  return Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const one = yield* Effect.makeSemaphore(1)
    let state = initial
    let blind = false
    const scaling = bounded(timeout)
    const reads = bounded(timeout)

    const read = Effect.all({ current: options.current, measure: options.measure }, { concurrency: 2 }).pipe(
      Effect.filterOrFail(
        ({ current }) => Number.isSafeInteger(current) && current >= 0,
        ({ current }) => `the number of instances is ${current}`
      ),
      Effect.filterOrFail(
        ({ measure }) => measure >= 0 && measure < Infinity,
        ({ measure }) => `the measure is ${measure}`
      )
    )

    const scale = (from: number, to: number) =>
      Effect.gen(function*() {
        const scaled = dryRun
          ? Either.right(undefined)
          : scaling.running()
          ? Either.left("the last scaling has not ended")
          : yield* scaling.run(Effect.suspend(() => options.scaleTo(to)))
        if (Either.isLeft(scaled)) {
          yield* Events.publish({ _tag: "ScaleFailed", name, from, to, error: scaled.left })
          return { _tag: "Failed", from, to, error: scaled.left } as const
        }
        yield* Events.publish({ _tag: "Scaled", name, from, to, dryRun })
        return { _tag: "Scaled", from, to, dryRun } as const
      })

    const round = Effect.gen(function*() {
      const reading = yield* reads.run(read)
      if (Either.isLeft(reading)) {
        // once for a whole spell
        if (!blind) yield* Events.publish({ _tag: "ScalingBlind", name, error: reading.left })
        blind = true
        return { _tag: "Blind", error: reading.left } as const
      }
      blind = false
      const now = Number(yield* Clock.currentTimeNanos) / 1e6
      const [next, decision] = decide(state, reading.right, now, settings)
      if (decision._tag === "Hold") {
        state = next
        return { _tag: "Held", reason: decision.reason } as const
      }
      const outcome = yield* scale(decision.from, decision.to)
      // a growth that failed has no cooldown
      state = outcome._tag === "Failed" ? { ...next, grownAt: state.grownAt } : next
      return outcome
    }).pipe(one.withPermits(1), closeOver(context))

    return { name, round, remedy: Remedy.make(`scale ${name}`, round, { timeout: 3 * timeout }) }
  })
}

/**
 * Lets an autoscaler run, a round every 15 seconds by default, until its scope ends.
 *
 * @example
 * import * as Autoscale from "@firebreak/core/Autoscale"
 * import * as Effect from "effect/Effect"
 *
 * let replicas = 2
 *
 * const ScalingLive = Autoscale.layer({
 *   name: "api",
 *   target: 0.6,
 *   measure: Effect.succeed(0.9),
 *   current: Effect.sync(() => replicas),
 *   scaleTo: (instances) => Effect.sync(() => replicas = instances),
 *   min: 2,
 *   max: 20
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <R = never>(
  options: LayerOptions<R> & { readonly name: string }
): Layer.Layer<never, never, R> => Layer.scopedDiscard(running(options))

/**
 * The class of an autoscaler's tag: a service that knows how it is built.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/Autoscale/${Name}`, Autoscaler>
{
  /** Lets this autoscaler run, as `Autoscale.layer` does, and provides it. */
  readonly layer: <R = never>(options: LayerOptions<R>) => Layer.Layer<Self, never, R>
}

/**
 * Declares the autoscaler of one fleet, for programs that ask for its `round` or its `remedy`.
 *
 * @example
 * import * as Autoscale from "@firebreak/core/Autoscale"
 * import * as Effect from "effect/Effect"
 *
 * class Workers extends Autoscale.Tag("workers")<Workers>() {}
 *
 * let workers = 2
 *
 * const WorkersLive = Workers.layer({
 *   target: 100,
 *   measure: Effect.succeed(250),
 *   current: Effect.sync(() => workers),
 *   scaleTo: (instances) => Effect.sync(() => workers = instances),
 *   max: 10
 * })
 *
 * // does not wait for the next round
 * const now = Effect.flatMap(Workers, ({ round }) => round).pipe(Effect.provide(WorkersLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  Check.name("Autoscale.Tag", "name", name)
  const tag = Context.Tag(`@firebreak/core/Autoscale/${name}` as const)<Self, Autoscaler>()
  return Object.assign(tag, {
    layer: <R>(options: LayerOptions<R>) => Layer.scoped(tag, running(named("Autoscale", name, options)))
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const known = {
  name: true,
  target: true,
  measure: true,
  current: true,
  scaleTo: true,
  max: true,
  min: true,
  tolerance: true,
  maxStep: true,
  cooldownOut: true,
  cooldownIn: true,
  timeout: true,
  dryRun: true
} as const

/** Makes an autoscaler whose rounds go on until the scope ends. */
const running = <R>(
  given: LayerOptions<R> & { readonly name: string }
): Effect.Effect<Autoscaler, never, R | Scope.Scope> => {
  Check.known("Autoscale", given, { ...known, every: true })
  const { every, ...options } = given
  const pause = Check.millis("Autoscale", "every", every ?? defaults.every, { min: 1 })
  return Effect.tap(
    make<R>(options),
    ({ round }) => Effect.forkScoped(Effect.forever(Effect.zipRight(round, Effect.sleep(pause))))
  )
}

const resolve = (options: Options<any>): Settings => {
  const module = "Autoscale"
  const min = Check.whole(module, "min", options.min ?? defaults.min, { min: 1 })
  return {
    target: Check.between(module, "target", options.target, { min: Number.MIN_VALUE, max: Number.MAX_VALUE }),
    min,
    max: Check.whole(module, "max", options.max, { min }),
    tolerance: Check.between(module, "tolerance", options.tolerance ?? defaults.tolerance, { min: 0, max: 1 }),
    maxStep: Check.whole(module, "maxStep", options.maxStep ?? defaults.maxStep, { min: 1, infinite: true }),
    cooldownOut: Check.millis(module, "cooldownOut", options.cooldownOut ?? defaults.cooldownOut),
    cooldownIn: Check.millis(module, "cooldownIn", options.cooldownIn ?? defaults.cooldownIn)
  }
}
