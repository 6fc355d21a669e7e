/**
 * Stops calling a dependency that keeps failing, and finds out carefully when it is back.
 *
 * A breaker is a service: declare one class per dependency, give it a Layer, and pipe calls through it. The decisions
 * are in `CircuitState`. While closed it costs one suspend and one match frame per call;
 * there is no timer and no fiber, time moves the circuit when somebody looks.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { CircuitOpen } from "./CircuitBreakerError.js"
import type * as CircuitState from "./CircuitState.js"
import * as Events from "./Events.js"
import { Breaker, type Settings } from "./internal/breaker.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import type * as Stage from "./internal/stage.js"
import * as Telemetry from "./Telemetry.js"
import * as TripStrategy from "./TripStrategy.js"

export {
  /**
   * The circuit does not let the call through.
   *
   * @since 0.1.0
   * @category errors
   */
  CircuitOpen
} from "./CircuitBreakerError.js"

export {
  /**
   * Opens at the n-th failure in a row.
   *
   * @since 0.1.0
   * @category trip strategies
   */
  consecutive,
  /**
   * Opens when that many calls have failed within a span of time.
   *
   * @since 0.1.0
   * @category trip strategies
   */
  countInWindow,
  /**
   * Opens when either strategy would.
   *
   * @since 0.1.0
   * @category trip strategies
   */
  either,
  /**
   * Opens when a share of the calls has failed.
   *
   * @since 0.1.0
   * @category trip strategies
   */
  failureRate,
  /**
   * Opens when a share of the calls was slow.
   *
   * @since 0.1.0
   * @category trip strategies
   */
  slowCallRate
} from "./TripStrategy.js"

/**
 * What a finished call says about its dependency: `ignore` counts for nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = CircuitState.Verdict

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** When to open. Default: 5 failures within 120 seconds. */
  readonly trip?: TripStrategy.TripStrategy<any> | undefined
  /**
   * How long to stay open before probing. Default 60 seconds. As a function it gets the number of openings since the
   * circuit was last closed, from 1, and a uniform draw on [0, 1) for jitter; `growing` makes such a function.
   */
  readonly resetAfter?:
    | Duration.DurationInput
    | ((openings: number, draw: number) => Duration.DurationInput)
    | undefined
  /** Successful probes that close the circuit. Default 2. */
  readonly successThreshold?: number | undefined
  /** Probes in flight at once while half-open. Default 1. */
  readonly halfOpenPermits?: number | undefined
  /** When an unsettled probe counts as failed. Default: `resetAfter` of the first opening. */
  readonly halfOpenTimeout?: Duration.DurationInput | undefined
  /**
   * After closing, let a share of the calls through that grows from `from` (0 to 1) to all over the given time, so that
   * a dependency that has just come back is not met by everybody at once. Default: none, all pass at once.
   */
  readonly ramp?: { readonly from: number; readonly over: Duration.DurationInput } | undefined
  /** Never reject: count, change states and tell, but let every call through. Default false. */
  readonly observeOnly?: boolean | undefined
  /**
   * What a typed error says about the dependency. Default: `failure`. Defects are failures, interruptions and
   * `Rejection`s are ignored, whatever it says.
   */
  readonly classify?: ((error: unknown) => Verdict) | undefined
}

/**
 * The chapter's figures: 5 failures within 120 seconds, 60 seconds open, 2 successes to close.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  failures: 5,
  within: "120 seconds",
  resetAfter: "60 seconds",
  successThreshold: 2,
  halfOpenPermits: 1
} as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly state: "closed" | "recovering" | "open" | "half-open" | "forced-open" | "forced-closed"
  /** All calls, the rejected included. */
  readonly calls: number
  readonly successes: number
  readonly failures: number
  /** Calls that were rejected, or would have been where it only observes. */
  readonly rejected: number
  /** Share of successes among completed calls, 0 to 1; 0 while none has completed. */
  readonly successRate: number
  /** Failures that count towards opening now. */
  readonly recentFailures: number
  /** Time until a call may probe; zero unless open. */
  readonly timeUntilRetry: Duration.Duration
}

/**
 * @since 0.1.0
 * @category models
 */
export type Transition = Events.Of<
  "CircuitOpened" | "CircuitHalfOpened" | "CircuitClosed" | "CircuitForced" | "CircuitReleased"
>

/**
 * @since 0.1.0
 * @category models
 */
export interface CircuitBreaker extends Stage.Staged {
  readonly name: string
  /** Runs the effect if the circuit lets it, and learns from how it ended. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitOpen, R>
  readonly stats: Effect.Effect<Stats>
  /** State changes from now on, in order. A slow consumer delays nobody. */
  readonly transitions: Stream.Stream<Transition>
  /** Rejects every call until `reset`. */
  readonly forceOpen: Effect.Effect<void>
  /** Admits every call until `reset`, whatever fails. */
  readonly forceClosed: Effect.Effect<void>
  /** Closes the circuit and forgets its failures. */
  readonly reset: Effect.Effect<void>
  /** Rejects every call until the scope ends, whatever else is done by hand; then goes on in the state it had. */
  readonly isolate: Effect.Effect<void, never, Scope.Scope>
  /** What a successor needs to go on where this one is, by wall-clock time. Counts towards opening are not in it. */
  readonly snapshot: Effect.Effect<Snapshot>
  /** Takes up where a snapshot was taken. */
  readonly restore: (snapshot: Snapshot) => Effect.Effect<void>
  /**
   * Changes the options and keeps the state; what is not given gets its default. The count towards opening stays unless
   * `trip` is another one.
   */
  readonly reconfigure: (options: Options) => Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category models
 */
export const Snapshot = Schema.Struct({
  state: Schema.Literal("closed", "open", "forced-open", "forced-closed"),
  openings: Schema.NonNegativeInt,
  /** When an open circuit may probe, in milliseconds since the epoch; else 0. */
  retryAt: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = typeof Snapshot.Type

/**
 * Makes a breaker.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const breaker = yield* CircuitBreaker.make({ name: "payments", trip: CircuitBreaker.consecutive(3) })
 *   return yield* Effect.succeed("paid").pipe(breaker.protect)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<CircuitBreaker> => {
  const name = Check.name("CircuitBreaker", "name", options.name)
  const settings = resolve(options)
  const made = Effect.flatMap(
    Events.Events,
    (events) => Effect.map(Random.next, (draw) => new Breaker(name, settings, events, resolve, draw))
  )
  return Telemetry.observed(made, Breaker.measures)
}

/**
 * An open duration that grows from one opening to the next: `base * factor^(openings - 1)`, at most `cap`, and with
 * `jitter` (0 to 1, default 0.1) up to that share longer, so that the breakers of many clients do not probe together.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 *
 * // open for 30 seconds, then 60, 120, 240, 300, 300, ... and up to a tenth longer
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   resetAfter: CircuitBreaker.growing({ base: "30 seconds", cap: "5 minutes" })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const growing = (options: {
  readonly base: Duration.DurationInput
  readonly cap: Duration.DurationInput
  readonly factor?: number | undefined
  readonly jitter?: number | undefined
}): (openings: number, draw: number) => Duration.Duration => {
  Check.known("CircuitBreaker.growing", options, { base: true, cap: true, factor: true, jitter: true })
  const base = Check.millis("CircuitBreaker.growing", "base", options.base, { min: 1 })
  const cap = Check.millis("CircuitBreaker.growing", "cap", options.cap, { min: base })
  const factor = Check.between("CircuitBreaker.growing", "factor", options.factor ?? 2, { min: 1, max: 1e6 })
  const jitter = Check.between("CircuitBreaker.growing", "jitter", options.jitter ?? 0.1, { min: 0, max: 1 })
  return (openings, draw) => Duration.millis(Math.min(cap, base * factor ** (openings - 1)) * (1 + jitter * draw))
}

/**
 * The class of a breaker's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/CircuitBreaker/${Name}`, CircuitBreaker>
{
  /** Builds this breaker. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Runs the effect through this breaker. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitOpen, R | Self>
}

/**
 * Declares the breaker of one dependency.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const DatadogLive = Datadog.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" })
 *
 * const program = Effect.succeed("metrics").pipe(Datadog.protect, Effect.provide(DatadogLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("CircuitBreaker", name, make)
  return Object.assign(tag, { protect: protect(tag) })
}

/**
 * Runs the effect through the breaker of a tag; the same as the tag's own `protect`.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const call = Effect.succeed("metrics").pipe(CircuitBreaker.protect(Datadog))
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect =
  <I>(tag: Context.Tag<I, CircuitBreaker>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitOpen, R | I> =>
    Effect.withFiberRuntime<A, E | CircuitOpen, R | I>((fiber) => {
      const breaker = Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag)
      return breaker instanceof Breaker ? breaker.run(effect, fiber) : breaker.protect(effect)
    })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const resolve = (options: Options & { readonly name?: string }): Settings => {
  Check.known("CircuitBreaker", options, {
    name: true,
    trip: true,
    resetAfter: true,
    successThreshold: true,
    halfOpenPermits: true,
    halfOpenTimeout: true,
    ramp: true,
    observeOnly: true,
    classify: true
  })
  if (options.ramp !== undefined) Check.known("CircuitBreaker.ramp", options.ramp, { from: true, over: true })
  const resetAfter = options.resetAfter ?? defaults.resetAfter
  // a function is asked in the middle of a call, where its faults would be the call's: what is no time is the shortest
  const resetMillis = typeof resetAfter === "function"
    ? (openings: number, draw: number) => Math.max(1, Duration.toMillis(Duration.decode(resetAfter(openings, draw))))
    : always(Check.millis("CircuitBreaker", "resetAfter", resetAfter, { min: 1 }))
  const first = resetMillis(1, 0)
  const whole = (option: "successThreshold" | "halfOpenPermits") =>
    Check.whole("CircuitBreaker", option, options[option] ?? defaults[option], { min: 1 })
  const machine: CircuitState.Config<any> = {
    trip: options.trip ?? defaultTrip,
    resetAfter: resetMillis,
    successThreshold: whole("successThreshold"),
    halfOpenPermits: whole("halfOpenPermits"),
    halfOpenTimeout: options.halfOpenTimeout === undefined
      ? first
      : Check.millis("CircuitBreaker", "halfOpenTimeout", options.halfOpenTimeout, { min: 1 }),
    ramp: options.ramp === undefined ? undefined : {
      from: Check.between("CircuitBreaker", "ramp.from", options.ramp.from, { min: 0, max: 1 }),
      over: Check.millis("CircuitBreaker", "ramp.over", options.ramp.over, { min: 1 })
    }
  }
  return { machine, classify: options.classify, observeOnly: options.observeOnly ?? false }
}

const always = (value: number) => (): number => value

const defaultTrip = TripStrategy.countInWindow({ failures: defaults.failures, within: defaults.within })
