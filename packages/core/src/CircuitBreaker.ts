/**
 * Stops calling a dependency that keeps failing, and finds out carefully when it is back.
 *
 * A breaker is a service: declare one class per dependency, give it a Layer, and pipe calls through it. The decisions
 * are in `CircuitState`; this is the shell around them. While closed it costs one suspend and one match frame per call;
 * there is no timer and no fiber, time moves the circuit when somebody looks.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CircuitState from "./CircuitState.js"
import * as Events from "./Events.js"
import * as Check from "./internal/options.js"
import { stackless } from "./internal/stackless.js"
import * as Time from "./internal/time.js"
import * as Rejection from "./Rejection.js"
import * as TripStrategy from "./TripStrategy.js"

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
  countInWindow
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
   * circuit was last closed, from 1.
   */
  readonly resetAfter?: Duration.DurationInput | ((openings: number) => Duration.DurationInput) | undefined
  /** Successful probes that close the circuit. Default 2. */
  readonly successThreshold?: number | undefined
  /** Probes in flight at once while half-open. Default 1. */
  readonly halfOpenPermits?: number | undefined
  /** When an unsettled probe counts as failed. Default: `resetAfter` of the first opening. */
  readonly halfOpenTimeout?: Duration.DurationInput | undefined
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
  readonly state: "closed" | "open" | "half-open" | "forced-open" | "forced-closed"
  /** All calls, the rejected included. */
  readonly calls: number
  readonly successes: number
  readonly failures: number
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
export interface CircuitBreaker {
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
}

/**
 * The circuit is open: the call was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircuitOpen extends Data.TaggedError("CircuitOpen")<{
  readonly breaker: string
  /** When a call may probe; infinite while forced open. */
  readonly retryAfter: Duration.Duration
  /** The last failure of the dependency, if one opened the circuit. */
  readonly lastFailure: Option.Option<unknown>
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    const when = Duration.isFinite(this.retryAfter)
      ? `retry in ${Duration.format(Duration.millis(Math.ceil(Duration.toMillis(this.retryAfter))))}`
      : "it is held open by hand"
    return `Circuit breaker "${this.breaker}" is open; the call was not started; ${when}`
  }
}

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
  const config = resolve(options)
  return Effect.map(Events.Events, (events) => new Breaker(name, config, options.classify, events))
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
  Check.name("CircuitBreaker.Tag", "name", name)
  const tag = Context.Tag(`@firebreak/core/CircuitBreaker/${name}`)<Self, CircuitBreaker>()
  return Object.assign(tag, {
    layer: (options?: Options) => Layer.effect(tag, make({ ...options, name })),
    protect: protect(tag)
  })
}

/**
 * Runs the effect through the breaker of a tag; the same as the tag's own `protect`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect =
  <I>(tag: Context.Tag<I, CircuitBreaker>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitOpen, R | I> =>
    Effect.withFiberRuntime<A, E | CircuitOpen, R | I>((fiber) =>
      Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag).protect(effect)
    )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const resolve = (options: Options): CircuitState.Config<any> => {
  const resetAfter = options.resetAfter ?? defaults.resetAfter
  const resetMillis = (openings: number) =>
    Check.millis("CircuitBreaker", "resetAfter", typeof resetAfter === "function" ? resetAfter(openings) : resetAfter)
  const first = resetMillis(1)
  return {
    trip: options.trip ?? TripStrategy.countInWindow(defaults),
    resetAfter: typeof resetAfter === "function" ? resetMillis : () => first,
    successThreshold: Check.whole(
      "CircuitBreaker",
      "successThreshold",
      options.successThreshold ?? defaults.successThreshold,
      { min: 1 }
    ),
    halfOpenPermits: Check.whole(
      "CircuitBreaker",
      "halfOpenPermits",
      options.halfOpenPermits ?? defaults.halfOpenPermits,
      { min: 1 }
    ),
    halfOpenTimeout: options.halfOpenTimeout === undefined
      ? first
      : Check.millis("CircuitBreaker", "halfOpenTimeout", options.halfOpenTimeout, { min: 1 })
  }
}

type Running = Fiber.RuntimeFiber<any, any>

/** How a call admitted while closed is settled: bound once per epoch, so that a call allocates no closure. */
interface Handlers {
  readonly onSuccess: <A>(value: A) => Effect.Effect<A>
  readonly onFailure: <E>(cause: Cause.Cause<E>) => Effect.Effect<never, E>
}

const watch = <A, E, R>(effect: Effect.Effect<A, E, R>, handlers: Handlers): Effect.Effect<A, E, R> => {
  const bound: {
    readonly onSuccess: (value: A) => Effect.Effect<A>
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<never, E>
  } = handlers
  return Effect.matchCauseEffect(effect, bound)
}

class Breaker implements CircuitBreaker {
  private state: CircuitState.State<any>
  private handlers: Handlers
  private calls = 0
  private successes = 0
  private failures = 0
  private rejected = 0
  private lastFailure: Option.Option<unknown> = Option.none()
  private bus: Events.Service | undefined

  constructor(
    readonly name: string,
    private readonly config: CircuitState.Config<any>,
    private readonly classify: ((error: unknown) => Verdict) | undefined,
    private readonly events: Events.Service
  ) {
    this.state = CircuitState.closed(config, 0)
    this.handlers = this.handlersOf({ epoch: 0, probe: undefined })
  }

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitOpen, R> =>
    Effect.suspend(() => {
      if (this.state._tag !== "Closed") return this.guarded(effect)
      this.calls++
      // an interrupted call skips both handlers and so counts for nothing, which is what a closed circuit wants
      return watch(effect, this.handlers)
    })

  get stats(): Effect.Effect<Stats> {
    return Effect.withFiberRuntime((fiber) => Effect.succeed(this.read(fiber)))
  }

  private read(fiber: Running): Stats {
    const now = this.advance(fiber)
    const state = this.state
    const completed = this.successes + this.failures
    return {
      state: labels[state._tag === "Forced" ? state.as : state._tag],
      calls: this.calls,
      successes: this.successes,
      failures: this.failures,
      rejected: this.rejected,
      successRate: completed === 0 ? 0 : this.successes / completed,
      recentFailures: state._tag === "Closed" ? this.config.trip.recentFailures(state.counter, now) : 0,
      timeUntilRetry: state._tag === "Open" ? Duration.millis(Math.max(0, state.retryAt - now)) : Duration.zero
    }
  }

  get transitions(): Stream.Stream<Transition> {
    return Stream.unwrapScoped(Effect.suspend(() => {
      this.bus ??= Events.make()
      return Effect.map(Events.subscribeTo(this.bus), (queue) => Stream.fromQueue(queue) as Stream.Stream<Transition>)
    }))
  }

  get forceOpen(): Effect.Effect<void> {
    return this.become((state) => CircuitState.force(state, "open"))
  }

  get forceClosed(): Effect.Effect<void> {
    return this.become((state) => CircuitState.force(state, "closed"))
  }

  get reset(): Effect.Effect<void> {
    return this.become((state) => CircuitState.closed(this.config, state.epoch + 1))
  }

  /** A call while not closed: it holds a permit, which must come back exactly once, interruption included. */
  private guarded<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitOpen, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, E | CircuitOpen, R>((fiber) => {
        const now = this.advance(fiber)
        const [state, decision] = CircuitState.acquire(this.config, this.state, now)
        this.enter(state, fiber)
        this.calls++
        if (decision._tag === "Admit") {
          return watch(restore(effect), this.handlersOf(decision.permit))
        }
        this.rejected++
        return Effect.fail(this.rejection(decision.retryAfter))
      })
    )
  }

  private handlersOf(permit: CircuitState.Permit): Handlers {
    const untimed = permit.probe === undefined && this.config.trip.timesSuccesses !== true
    return {
      onSuccess: (value) => {
        this.successes++
        if (untimed) {
          this.state = CircuitState.settle(this.config, this.state, permit, "success", NaN)
          return Exit.succeed(value)
        }
        return this.settle(permit, "success", Exit.succeed(value))
      },
      onFailure: (cause) => {
        const verdict = this.verdict(cause)
        if (verdict === "success") this.successes++
        if (verdict === "failure") {
          this.failures++
          this.lastFailure = Option.orElse(Cause.failureOption(cause), () => Option.some(Cause.squash(cause)))
        }
        return this.settle(permit, verdict, Exit.failCause(cause))
      }
    }
  }

  private settle<A, E>(permit: CircuitState.Permit, verdict: Verdict, exit: Exit.Exit<A, E>): Effect.Effect<A, E> {
    return Effect.withFiberRuntime<A, E>((fiber) => {
      const now = this.advance(fiber)
      this.enter(CircuitState.settle(this.config, this.state, permit, verdict, now), fiber)
      return exit
    })
  }

  private verdict(cause: Cause.Cause<unknown>): Verdict {
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) return Cause.isInterruptedOnly(cause) ? "ignore" : "failure"
    if (Rejection.isRejection(failure.value)) return "ignore"
    return this.classify === undefined ? "failure" : this.classify(failure.value)
  }

  private rejection(retryAfter: number): CircuitOpen {
    const { lastFailure, name: breaker } = this
    const error = { breaker, retryAfter: Duration.millis(retryAfter), lastFailure }
    return stackless(() => new CircuitOpen(error))
  }

  private become(next: (state: CircuitState.State<any>) => CircuitState.State<any>): Effect.Effect<void> {
    return Effect.withFiberRuntime((fiber) => {
      this.enter(next(this.state), fiber)
      return Effect.void
    })
  }

  /** Lets time do its part; returns the time. */
  private advance(fiber: Running): number {
    const now = Time.monotonicMillis(fiber)
    this.enter(CircuitState.expire(this.config, this.state, now), fiber)
    return now
  }

  private enter(next: CircuitState.State<any>, fiber: Running): void {
    const previous = this.state
    this.state = next
    if (next.epoch === previous.epoch) return
    if (next._tag === "Closed") {
      this.handlers = this.handlersOf({ epoch: next.epoch, probe: undefined })
      this.lastFailure = Option.none()
    }
    if (this.events.isActive() || this.bus?.isActive() === true) {
      const event = this.event(previous, next, fiber)
      const at = Time.wallMillis(fiber)
      this.events.unsafePublish(event, at)
      this.bus?.unsafePublish(event, at)
    }
  }

  private event(previous: CircuitState.State<any>, next: CircuitState.State<any>, fiber: Running): Events.Event {
    const breaker = this.name
    switch (next._tag) {
      case "Open":
        return {
          _tag: "CircuitOpened",
          breaker,
          failures: previous._tag === "Closed"
            ? this.config.trip.recentFailures(previous.counter, Time.monotonicMillis(fiber)) + 1
            : 1,
          retryAfterMillis: Math.max(0, next.retryAt - Time.monotonicMillis(fiber))
        }
      case "HalfOpen":
        return { _tag: "CircuitHalfOpened", breaker }
      case "Closed":
        return previous._tag === "Forced" ? { _tag: "CircuitReleased", breaker } : { _tag: "CircuitClosed", breaker }
      case "Forced":
        return { _tag: "CircuitForced", breaker, state: next.as }
    }
  }
}

const labels = {
  Closed: "closed",
  Open: "open",
  HalfOpen: "half-open",
  open: "forced-open",
  closed: "forced-closed"
} as const
