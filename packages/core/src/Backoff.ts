/**
 * How long to wait between retries: exponential delays with jitter, a cap and a budget, as Effect Schedules and as
 * combinators over any Schedule.
 *
 * Effect's own `Schedule.exponential` grows past what a timer can hold and is zero after step 1,014, and
 * `Schedule.jittered` spreads by a fifth only, too little to part a herd of clients. These stay at the cap for ever and
 * spread as far as their formula says. State is per run, so one schedule may serve any number of calls at once.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as BackoffCurve from "./BackoffCurve.js"
import * as Events from "./Events.js"
import { adjust, continueAfter, floorOf } from "./internal/adjust.js"
import { type Plan, PlanId } from "./internal/backoffPlan.js"
import { errorText } from "./internal/errorText.js"
import * as Check from "./internal/options.js"

/**
 * How a delay is spread; the formulas are at `BackoffCurve.Jitter`.
 *
 * @since 0.1.0
 * @category models
 */
export type Jitter = BackoffCurve.Jitter

/**
 * One retry about to happen. `retry` counts from 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retry {
  readonly retry: number
  /** The wait before it. */
  readonly delay: Duration.Duration
  /** All waits of this run, this one included. */
  readonly totalDelay: Duration.Duration
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<E = unknown, R = never> {
  /** Named in events. Default: that of the breaker or the budget of the `Policy` it is in, else "retry". */
  readonly name?: string | undefined
  /** What is retried, in events beside the name. Default: none. */
  readonly operation?: string | undefined
  /** Delay before the first retry, before jitter. Default 1 second. */
  readonly base?: Duration.DurationInput | undefined
  /** Growth from one retry to the next, at least 1. Default 2. */
  readonly factor?: number | undefined
  /** Longest delay. Default 60 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /** Default `full`. */
  readonly jitter?: Jitter | undefined
  /** Default 5; `Infinity` for no limit. */
  readonly maxRetries?: number | undefined
  /** Stops before the sum of all waits would pass this. Default: no limit. */
  readonly maxTotalDelay?: Duration.DurationInput | undefined
  /**
   * What the failed call asked for, such as a Retry-After header: a floor for the delay, itself clamped to the cap. `now`
   * is the wall clock in milliseconds since the epoch, for what asks by a date.
   */
  readonly retryAfter?: ((error: E, now: number) => Option.Option<Duration.Duration>) | undefined
  /**
   * Asked first: an error it refuses ends the schedule, and no hook or event tells of a retry. Put it here rather than
   * beside the schedule in `Effect.retry`, which asks its own `while` only after the schedule has been stepped. Default:
   * every error is retried.
   */
  readonly while?: ((error: E) => boolean) | undefined
  /**
   * Runs before each wait. With a `while` in `Effect.retry` it also runs for an error which that then refuses; see
   * `while` here.
   */
  readonly onRetry?: ((retry: Retry & { readonly error: E }) => Effect.Effect<unknown, never, R>) | undefined
}

/**
 * The chapter's figures.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  base: "1 second",
  factor: 2,
  cap: "60 seconds",
  jitter: "full",
  maxRetries: 5
} as const

/**
 * Makes a backoff schedule. When it ends, `Effect.retry` fails with the last error of the call itself.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Effect from "effect/Effect"
 *
 * const call = Effect.fail("unavailable")
 *
 * const retried = Effect.retry(
 *   call,
 *   Backoff.make({ base: "1 second", cap: "32 seconds", jitter: "full", maxRetries: 3, maxTotalDelay: "2 minutes" })
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E = unknown, R = never>(options: Options<E, R> = {}): Schedule.Schedule<Retry, E, R> => {
  Check.known("Backoff", options, {
    name: true,
    operation: true,
    base: true,
    factor: true,
    cap: true,
    jitter: { none: true, full: true, equal: true, proportional: true, decorrelated: true, "decorrelated-v2": true },
    maxRetries: true,
    maxTotalDelay: true,
    retryAfter: true,
    while: true,
    onRetry: true
  })
  const own = options.name === undefined ? undefined : Check.name("Backoff", "name", options.name)
  const operation = options.operation === undefined
    ? undefined
    : { operation: Check.name("Backoff", "operation", options.operation) }
  const curve: BackoffCurve.Curve = {
    base: Check.millis("Backoff", "base", options.base ?? defaults.base),
    factor: Check.between("Backoff", "factor", options.factor ?? defaults.factor, { min: 1, max: 1e6 }),
    cap: Check.millis("Backoff", "cap", options.cap ?? defaults.cap),
    jitter: options.jitter ?? defaults.jitter
  }
  const maxRetries = Check.whole("Backoff", "maxRetries", options.maxRetries ?? defaults.maxRetries, {
    min: 0,
    infinite: true
  })
  const budget = options.maxTotalDelay === undefined
    ? Infinity
    : Check.millis("Backoff", "maxTotalDelay", options.maxTotalDelay)
  const { onRetry, retryAfter, while: isRetryable } = options
  const plan: Plan<E, R> = {
    start: BackoffCurve.start(curve),
    draws: curve.jitter !== "none" && curve.base > 0,
    next: (state, error, u, now) => {
      if (isRetryable?.(error) === false) return undefined
      if (state.retries >= maxRetries) return undefined
      const floor = retryAfter === undefined ? 0 : floorOf(retryAfter(error, now()), curve.cap)
      const [delay, next] = BackoffCurve.delayAfter(curve, state, u, floor)
      return next.waited > budget ? undefined : [delay, next]
    },
    tell: (delay, state, error, fiber, name = "retry") =>
      Events.unsafePublish(fiber, () => ({
        _tag: "RetryScheduled",
        name: own ?? name,
        ...operation,
        retry: state.retries,
        delayMillis: delay,
        error: errorText(error)
      })),
    hook: onRetry === undefined
      ? undefined
      : (delay, state, error) => onRetry({ ...describe(state, delay), error })
  }
  const schedule = Schedule.makeWithState<BackoffCurve.State, E, Retry, R>(
    plan.start,
    (now, error, state) =>
      Effect.flatMap(plan.draws ? Random.next : zero, (u) => {
        const step = plan.next(state, error, u, () => now)
        if (step === undefined) return Effect.succeed([state, describe(state, 0), ScheduleDecision.done] as const)
        const [delay, next] = step
        const decided = [next, describe(next, delay), continueAfter(now, delay)] as const
        return Effect.withFiberRuntime<typeof decided, never, R>((fiber) => {
          plan.tell(delay, next, error, fiber, undefined)
          return plan.hook === undefined ? Effect.succeed(decided) : Effect.as(plan.hook(delay, next, error), decided)
        })
      })
  )
  return Object.assign(schedule, { [PlanId]: plan })
}

/**
 * For most calls: 1 s to 60 s, full jitter, 3 retries, at most 2 minutes of waiting.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Effect from "effect/Effect"
 *
 * // waits of up to 1, 2 and 4 seconds
 * const call = Effect.fail("unavailable").pipe(Effect.retry(Backoff.production))
 *
 * @since 0.1.0
 * @category presets
 */
export const production: Schedule.Schedule<Retry> = make({ maxRetries: 3, maxTotalDelay: "120 seconds" })

/**
 * For APIs with strict rate limits: 2 s growing threefold to 120 s, full jitter, 5 retries.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Effect from "effect/Effect"
 *
 * // waits of up to 2, 6, 18, 54 and 120 seconds
 * const call = Effect.fail("unavailable").pipe(Effect.retry(Backoff.rateLimited))
 *
 * @since 0.1.0
 * @category presets
 */
export const rateLimited: Schedule.Schedule<Retry> = make({ base: "2 seconds", factor: 3, cap: "120 seconds" })

/**
 * For calls a person waits for: 0.5 s to 5 s, equal jitter, 2 retries, at most 10 seconds of waiting.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Effect from "effect/Effect"
 *
 * // waits of 0.25 to 0.5 and 0.5 to 1 seconds
 * const call = Effect.fail("unavailable").pipe(Effect.retry(Backoff.userFacing))
 *
 * @since 0.1.0
 * @category presets
 */
export const userFacing: Schedule.Schedule<Retry> = make({
  base: "500 millis",
  cap: "5 seconds",
  jitter: "equal",
  maxRetries: 2,
  maxTotalDelay: "10 seconds"
})

/**
 * Spreads the delays of any schedule by a jitter that needs no memory.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Schedule from "effect/Schedule"
 *
 * // waits between 0.5 and 1 seconds, 1 and 2, 2 and 4
 * export const schedule = Schedule.exponential("1 second").pipe(
 *   Backoff.jittered("equal"),
 *   Schedule.intersect(Schedule.recurs(3))
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const jittered: {
  (jitter: "full" | "equal" | "proportional"): <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>
  ) => Schedule.Schedule<Out, In, R>
  <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>,
    jitter: "full" | "equal" | "proportional"
  ): Schedule.Schedule<Out, In, R>
} = dual(
  2,
  <Out, In, R>(self: Schedule.Schedule<Out, In, R>, jitter: "full" | "equal" | "proportional") =>
    adjust(
      self,
      undefined,
      (_, delay) => Effect.map(Random.next, (u) => [undefined, BackoffCurve.spread(jitter, delay, u)] as const)
    )
)

/**
 * Limits every delay of any schedule.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Schedule from "effect/Schedule"
 *
 * // 1, 2, 4, 8, 10, 10, ... seconds
 * export const schedule = Schedule.exponential("1 second").pipe(Backoff.capped("10 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const capped: {
  (cap: Duration.DurationInput): <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>
  ) => Schedule.Schedule<Out, In, R>
  <Out, In, R>(self: Schedule.Schedule<Out, In, R>, cap: Duration.DurationInput): Schedule.Schedule<Out, In, R>
} = dual(2, <Out, In, R>(self: Schedule.Schedule<Out, In, R>, cap: Duration.DurationInput) => {
  const limit = Check.millis("Backoff.capped", "cap", cap)
  return adjust(self, undefined, (_, delay) => Effect.succeed([undefined, Math.min(delay, limit)] as const))
})

/**
 * Ends any schedule before the sum of its delays would pass `budget`.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Schedule from "effect/Schedule"
 *
 * // 1, 2 and 4 seconds: with 8 more it would be 15
 * export const schedule = Schedule.exponential("1 second").pipe(Backoff.withinTotalDelay("10 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const withinTotalDelay: {
  (budget: Duration.DurationInput): <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>
  ) => Schedule.Schedule<Out, In, R>
  <Out, In, R>(self: Schedule.Schedule<Out, In, R>, budget: Duration.DurationInput): Schedule.Schedule<Out, In, R>
} = dual(2, <Out, In, R>(self: Schedule.Schedule<Out, In, R>, budget: Duration.DurationInput) => {
  const limit = Check.millis("Backoff.withinTotalDelay", "budget", budget)
  return adjust(
    self,
    0,
    (waited, delay) => Effect.succeed(waited + delay > limit ? undefined : [waited + delay, delay] as const)
  )
})

/**
 * Ends any schedule before a wait that would end later than `limit` after its first step. Unlike `Schedule.upTo` it asks
 * before sleeping: `Schedule.spaced("10 seconds")` within 15 seconds attempts at 0 and 10, never at 20.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as Schedule from "effect/Schedule"
 *
 * // attempts at 0 and 10 seconds
 * export const schedule = Schedule.spaced("10 seconds").pipe(Backoff.withinElapsed("15 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const withinElapsed: {
  (limit: Duration.DurationInput): <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>
  ) => Schedule.Schedule<Out, In, R>
  <Out, In, R>(self: Schedule.Schedule<Out, In, R>, limit: Duration.DurationInput): Schedule.Schedule<Out, In, R>
} = dual(2, <Out, In, R>(self: Schedule.Schedule<Out, In, R>, limit: Duration.DurationInput) => {
  const millis = Check.millis("Backoff.withinElapsed", "limit", limit)
  return adjust(self, Option.none<number>(), (begun, delay, now) => {
    const start = Option.getOrElse(begun, () => now)
    return Effect.succeed(now + delay - start > millis ? undefined : [Option.some(start), delay] as const)
  })
})

/**
 * Makes what a failed call asked for a floor of the next delay; `now` is the wall clock in milliseconds since the epoch.
 * Negative and infinite times are ignored; longer ones than `cap` (default 60 seconds) are clamped to it.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import type * as Duration from "effect/Duration"
 * import type * as Option from "effect/Option"
 * import * as Schedule from "effect/Schedule"
 *
 * interface Throttled {
 *   readonly retryAfter: Option.Option<Duration.Duration>
 * }
 *
 * export const schedule = Schedule.exponential("100 millis").pipe(
 *   Backoff.respectingRetryAfter((error: Throttled) => error.retryAfter, { cap: "30 seconds" })
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const respectingRetryAfter: {
  <In>(
    retryAfter: (input: In, now: number) => Option.Option<Duration.Duration>,
    options?: { readonly cap?: Duration.DurationInput | undefined }
  ): <Out, R>(self: Schedule.Schedule<Out, In, R>) => Schedule.Schedule<Out, In, R>
  <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>,
    retryAfter: (input: In, now: number) => Option.Option<Duration.Duration>,
    options?: { readonly cap?: Duration.DurationInput | undefined }
  ): Schedule.Schedule<Out, In, R>
} = dual(
  (args) => Schedule.isSchedule(args[0]),
  <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>,
    retryAfter: (input: In, now: number) => Option.Option<Duration.Duration>,
    options?: { readonly cap?: Duration.DurationInput | undefined }
  ) => {
    const cap = Check.millis("Backoff.respectingRetryAfter", "cap", options?.cap ?? defaults.cap)
    return adjust(
      self,
      undefined,
      (_, delay, now, input: In) =>
        Effect.succeed([undefined, Math.max(delay, floorOf(retryAfter(input, now), cap))] as const)
    )
  }
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const describe = (state: BackoffCurve.State, delay: number): Retry => ({
  retry: state.retries,
  delay: Duration.millis(delay),
  totalDelay: Duration.millis(state.waited)
})

const zero = Effect.succeed(0)
