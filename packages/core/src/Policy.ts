/**
 * Several protections of one call, composed once in the documented order:
 *
 *     deadline > bulkhead > retry with budget > throttle > rate limit > concurrency limit > breaker > attempt timeout
 *
 * So attempts, not calls, count against the dependency's quota and the breaker, each attempt has its own time, and the
 * bulkhead's slot is held through the waits between them. All of it is one step around the call: a successful call forks
 * no fiber, and sets a timer only where it has an attempt timeout.
 *
 * A policy is a function over effects and owns no state: its stateful parts are services it names by their tags, or
 * values. Its type adds exactly the errors and requirements of the parts it was given.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Bulkhead from "./Bulkhead.js"
import type * as CircuitBreaker from "./CircuitBreaker.js"
import type * as ConcurrencyLimit from "./ConcurrencyLimit.js"
import * as Deadline from "./Deadline.js"
import { planOf } from "./internal/backoffPlan.js"
import { durationText } from "./internal/durationText.js"
import * as Check from "./internal/options.js"
import { Call, type Compiled, type Parts } from "./internal/policyCall.js"
import { stackless } from "./internal/stackless.js"
import * as Stage from "./internal/stage.js"
import type * as RateLimit from "./RateLimit.js"
import * as RetryBudget from "./RetryBudget.js"
import type * as Throttle from "./Throttle.js"

/**
 * A stateful part: a service named by its tag, or the part itself.
 *
 * @since 0.1.0
 * @category options
 */
export type Part<I, S> = Context.Tag<I, S> | S

/**
 * When and how long to wait before another attempt. `while` sees only the caller's own errors: about an attempt timeout
 * `whenTimedOut` decides; a rejection is never retried, the call then fails with its own last error if it had one.
 *
 * @since 0.1.0
 * @category options
 */
export interface Retry<in E, out R> {
  readonly schedule: Schedule.Schedule<unknown, any, R>
  readonly while: (error: E) => boolean
  /** Shared by all callers of the dependency; within a retry of the same budget this one does not retry. */
  readonly budget?: Part<any, RetryBudget.RetryBudget> | undefined
  /**
   * What to do when the circuit turns an attempt away: `fail` at once (default), or `wait` as long as it says and try
   * again. One that is probing or recovering is tried every 50 to 100 ms at first, at last every 2.5 to 5 seconds. With
   * `wait` set a `deadline`: an outage is waited out otherwise, however long it is.
   */
  readonly whenOpen?: "fail" | "wait" | undefined
  /**
   * What to do when an attempt took too long, so that nobody knows whether it had its effect: `retry` (default), or `fail`
   * where a second effect would be one too many.
   */
  readonly whenTimedOut?: "retry" | "fail" | undefined
}

/**
 * A part that is told how an attempt ended. To a `rateLimit` it says nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Judge = "throttle" | "rateLimit" | "concurrencyLimit" | "breaker"

/**
 * All parts are optional; what is left out adds nothing.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E, R> {
  /**
   * The longest time of the whole call, waits included; what an outer `Deadline` leaves if that is less. A retry whose
   * wait would end after it is not waited for.
   */
  readonly deadline?: Duration.DurationInput | undefined
  /** Held through all attempts. */
  readonly bulkhead?: Part<any, Bulkhead.Bulkhead> | undefined
  readonly retry?: Retry<E, R> | undefined
  readonly throttle?: Part<any, Throttle.Throttle> | undefined
  readonly rateLimit?: Part<any, RateLimit.RateLimit> | undefined
  readonly concurrencyLimit?: Part<any, ConcurrencyLimit.ConcurrencyLimit> | undefined
  readonly breaker?: Part<any, CircuitBreaker.CircuitBreaker> | undefined
  /** The longest time of one attempt. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /**
   * What an error of the call's own says of the dependency, to each part that asks: `success` (it answered), `ignore` (it
   * was not asked), or `failure`, about which the part's own `classify` still decides. Default: all are failures.
   */
  readonly classify?: ((error: E, part: Judge) => CircuitBreaker.Verdict) | undefined
  /**
   * How an attempt is cut short: by a timer that interrupts the fiber it runs in (default), or by `Effect.timeout`, in a
   * fiber of its own, which costs twelve times as much. They differ in the fibers that an attempt forks and does not wait
   * for: by `timer` they are the caller's, and after an attempt that ended in time go on, also beside the next attempts,
   * until the caller's fiber ends; by `fiber` they end with their attempt. An attempt that is cut ends its own by either.
   */
  readonly timeoutBy?: "timer" | "fiber" | undefined
}

/**
 * Options of any policy. It says no more of the schedule than that it is one: were its type an `any`, one that is made
 * in place (`schedule: Backoff.make({ … })`) would take that for its errors and requirements, and hide those of the call.
 *
 * @since 0.1.0
 * @category options
 */
export interface AnyOptions extends Omit<Options<any, any>, "retry"> {
  readonly retry?:
    | Omit<Retry<any, any>, "schedule"> & {
      readonly schedule: { readonly [K in keyof Schedule.Schedule<any, any, any>]: unknown }
    }
    | undefined
}

/**
 * An attempt took too long and was interrupted: it may or may not have had its effect.
 *
 * @since 0.1.0
 * @category errors
 */
export class AttemptTimeout extends Data.TaggedError("AttemptTimeout")<{ readonly timeout: Duration.Duration }> {
  override get message(): string {
    return `The attempt took longer than ${durationText(this.timeout)} and was interrupted; its outcome is unknown`
  }
}

/**
 * The errors that a policy of these options adds. An option that may be undefined counts as given.
 *
 * @since 0.1.0
 * @category models
 */
export type Added<O> =
  | Where<O, "deadline", Deadline.DeadlineExceeded>
  | Where<O, "bulkhead", Bulkhead.BulkheadFull>
  | Where<O, "throttle", Throttle.Throttled>
  | Where<O, "rateLimit", RateLimit.RateLimited>
  | Where<O, "concurrencyLimit", ConcurrencyLimit.LimitExceeded>
  | Where<O, "breaker", CircuitBreaker.CircuitOpen>
  | Where<O, "attemptTimeout", AttemptTimeout>

/**
 * The services that a policy of these options needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Needed<O> =
  | TagOf<Given<O, "bulkhead" | "throttle" | "rateLimit" | "concurrencyLimit" | "breaker">>
  | TagOf<Given<Given<O, "retry">, "budget">>
  | ScheduleContext<Given<O, "retry">>

/**
 * The errors a policy of these options accepts: those that its `while`, its schedule and its `classify` can judge. With
 * an attempt timeout the schedule must be able to judge `AttemptTimeout` as well; if it cannot, no error is accepted.
 *
 * @since 0.1.0
 * @category models
 */
export type Accepted<O> = AcceptedByRetry<O> & AcceptedByClassify<O>

/**
 * The errors that the `classify` of these options can judge.
 *
 * @since 0.1.0
 * @category models
 */
export type AcceptedByClassify<O> = [Given<O, "classify">] extends [never] ? unknown
  : Given<O, "classify"> extends (error: infer E, part: any) => any ? E
  : unknown

/**
 * The errors that the `retry` of these options can judge.
 *
 * @since 0.1.0
 * @category models
 */
export type AcceptedByRetry<O> = [Given<O, "retry">] extends [never] ? unknown
  : Given<O, "retry"> extends {
    readonly while: (error: infer E) => boolean
    readonly schedule: Schedule.Schedule<any, infer In, any>
  } ? [Where<O, "attemptTimeout", AttemptTimeout>] extends [In] ? E & In : never
  : unknown

/**
 * What an option can be when it is there.
 *
 * @since 0.1.0
 * @category models
 */
export type Given<O, K extends string> = O extends unknown ? K extends keyof O ? Exclude<O[K], undefined> : never
  : never

/**
 * Refuses what is no option, so that a mistyped one does not pass beside a right one.
 *
 * @since 0.1.0
 * @category models
 */
export type Known<O> =
  & { readonly [K in Exclude<keyof O, keyof Options<any, any>>]: never }
  & { readonly retry?: { readonly [K in Exclude<Keys<Given<O, "retry">>, keyof Retry<any, any>>]: never } | undefined }

/**
 * The keys of any member of a union.
 *
 * @since 0.1.0
 * @category models
 */
export type Keys<O> = O extends unknown ? keyof O : never

/**
 * `A` where the option may be given.
 *
 * @since 0.1.0
 * @category models
 */
export type Where<O, K extends string, A> = [Given<O, K>] extends [never] ? never : A

/**
 * The services that a retry's schedule needs.
 *
 * @since 0.1.0
 * @category models
 */
export type ScheduleContext<P> = P extends { readonly schedule: Schedule.Schedule<any, any, infer R> } ? R : never

/**
 * The services behind tags; parts that are values need none.
 *
 * @since 0.1.0
 * @category models
 */
export type TagOf<P> = P extends Context.Tag<infer I, any> ? I : never

/**
 * Makes a policy.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Policy from "@firebreak/core/Policy"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const vendorCall = Policy.make({
 *   retry: { schedule: Backoff.production, while: (error: { readonly status: number }) => error.status >= 500 },
 *   breaker: Datadog,
 *   attemptTimeout: "2 seconds"
 * })
 *
 * const metrics = Effect.fail({ status: 503 }).pipe(vendorCall)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const O extends AnyOptions>(
  given: O & Known<O>
): <A, E extends Accepted<O>, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Added<O>, R | Needed<O>> => {
  const options = given as Options<any, any>
  Check.known("Policy", options, known)
  if (options.retry !== undefined) Check.known("Policy.retry", options.retry, knownOfRetry)
  const compiled = compile(options)
  const partsOf = resolver(options)
  const { budget } = options.retry ?? {}
  const alwaysHolds = options.bulkhead !== undefined || options.attemptTimeout !== undefined
  const caller = (isNested: boolean) =>
    alwaysHolds
      ? (effect: Effect.Effect<any, any, any>) =>
        Effect.uninterruptibleMask((restore) => {
          // the fiber that runs this very function; a frame to ask for it costs as much as the rest of the mask
          const fiber = Option.getOrThrow(Fiber.getCurrentFiber())
          return new Call(compiled, partsOf(fiber), effect, fiber, isNested).startMasked(restore)
        })
      : (effect: Effect.Effect<any, any, any>) =>
        Effect.withFiberRuntime<any, any, any>((fiber) =>
          new Call(compiled, partsOf(fiber), effect, fiber, isNested).start()
        )
  const call = caller(false)
  const nested = caller(true)
  // an inner retry of the same budget must see this one
  const policy = budget === undefined ?
    call :
    (effect: Effect.Effect<any, any, any>) =>
      Effect.withFiberRuntime<any, any, any>((fiber) => {
        const { name } = partsOf(fiber).budget!
        return RetryBudget.unsafeIsRetrying(fiber, name)
          ? nested(effect)
          : call(RetryBudget.withRetrying(effect, name))
      })
  // which errors and services a call gains follows from the options, by the types above and not by inference
  if (options.deadline === undefined) return policy as never
  const deadline = Duration.millis(Check.millis("Policy", "deadline", options.deadline, { min: 1 }))
  return ((effect: Effect.Effect<any, any, any>) => Deadline.within(policy(effect), deadline)) as never
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const known: Check.Shape<Options<any, any>> = {
  deadline: true,
  bulkhead: true,
  retry: true,
  throttle: true,
  rateLimit: true,
  concurrencyLimit: true,
  breaker: true,
  attemptTimeout: true,
  timeoutBy: { timer: true, fiber: true },
  classify: true
}

const knownOfRetry: Check.Shape<Retry<any, any>> = {
  schedule: true,
  while: true,
  budget: true,
  whenOpen: { fail: true, wait: true },
  whenTimedOut: { retry: true, fail: true }
}

const compile = (options: Options<any, any>): Compiled => {
  const { retry } = options
  const millis = options.attemptTimeout === undefined
    ? undefined
    : Check.millis("Policy", "attemptTimeout", options.attemptTimeout, { min: 1 })
  return {
    retry: retry === undefined ? undefined : {
      schedule: retry.schedule,
      plan: planOf(retry.schedule),
      waits: retry.whenOpen === "wait",
      isRetryable: (error) => error instanceof AttemptTimeout ? retry.whenTimedOut !== "fail" : retry.while(error)
    },
    classify: options.classify,
    timeout: millis === undefined ? undefined : {
      millis,
      byTimer: options.timeoutBy !== "fiber",
      error: () => stackless(() => new AttemptTimeout({ timeout: Duration.millis(millis) }))
    }
  }
}

/** Finds the parts in the context of a call; calls of one context in a row find them once. */
const resolver = (
  { breaker, bulkhead, concurrencyLimit, rateLimit, retry, throttle }: Options<any, any>
): (fiber: Stage.Running) => Parts => {
  const given: ReadonlyArray<readonly [Judge, Part<any, any> | undefined]> = [
    ["throttle", throttle],
    ["rateLimit", rateLimit],
    ["concurrencyLimit", concurrencyLimit],
    ["breaker", breaker]
  ]
  const inner = given.flatMap(([kind, part]) => part === undefined ? [] : [[kind, part] as const])
  const kinds = inner.map(([kind]) => kind)
  const find = (context: Context.Context<never>): Parts => {
    const get = <S extends object>(part: Part<any, S>): S =>
      Context.isTag(part) ? Context.unsafeGet(context as Context.Context<any>, part) : part as S
    const stage = (part: Part<any, any>): Stage.Stage => get<Stage.Staged>(part)[Stage.StageId]
    const budget = retry?.budget === undefined ? undefined : get(retry.budget)
    return {
      outer: bulkhead === undefined ? undefined : stage(bulkhead),
      inner: inner.map(([_, part]) => stage(part)),
      kinds,
      name: breaker === undefined ? budget?.name : get(breaker).name,
      budget
    }
  }
  let last: { readonly context: Context.Context<never>; readonly parts: Parts } | undefined
  return (fiber) => {
    const context = fiber.currentContext
    if (last === undefined || last.context !== context) last = { context, parts: find(context) }
    return last.parts
  }
}
