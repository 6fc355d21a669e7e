/**
 * One allowance of retries for all callers of a dependency, so that retries cannot keep down what they wait for.
 *
 * A retry is paid for before its wait, and not at all where too little is left: the call then ends with its own error.
 * And one layer retries: a retry within a retry of the same budget does not repeat, or three layers of three attempts
 * would make twenty-seven calls of one. The rules are in `RetryAllowance`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as Events from "./Events.js"
import { locally } from "./internal/ambient.js"
import { Budget } from "./internal/budget.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import * as Rejection from "./Rejection.js"
import * as RetryAllowance from "./RetryAllowance.js"
import * as Telemetry from "./Telemetry.js"

export {
  /**
   * Retries are a share of the calls, plus a minimum per second.
   *
   * @since 0.1.0
   * @category allowances
   */
  ratio,
  /**
   * A bucket of tokens that retries empty and successes fill.
   *
   * @since 0.1.0
   * @category allowances
   */
  tokens
} from "./RetryAllowance.js"

/**
 * Why a call is retried.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = RetryAllowance.Kind

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Default: `tokens()`, 500 tokens at 5 a retry. */
  readonly allowance?: RetryAllowance.Allowance | undefined
}

/**
 * When to retry and how long to wait before it.
 *
 * @since 0.1.0
 * @category options
 */
export interface Retry<in E, out R> {
  readonly schedule: Schedule.Schedule<unknown, any, R>
  /** Which errors are worth a retry. Default: all; a `Rejection` never is. */
  readonly while?: ((error: E) => boolean) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Retries that would be granted now, were they for errors. */
  readonly available: number
  readonly granted: number
  readonly refused: number
  /** Retries given back because the dependency never saw them. */
  readonly refunded: number
}

type Running = Fiber.RuntimeFiber<any, any>

/**
 * A budget. What is `unsafe` is for who writes a retry of their own: synchronous, with the fiber of the call, in the
 * order called, then tryRetry before each wait, then refund or succeeded.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryBudget {
  readonly name: string
  readonly stats: Effect.Effect<Stats>
  /** A call begins, its retries not counted. */
  readonly unsafeCalled: (fiber: Running) => void
  /** Takes what a retry costs, or nothing and says false. */
  readonly unsafeTryRetry: (kind: Kind, fiber: Running) => boolean
  /** A retry that was paid for did not reach the dependency: it was rejected, or interrupted while it waited. */
  readonly unsafeRefund: (kind: Kind, fiber: Running) => void
  /** A call succeeded: by its last retry, of that kind, or by its first attempt. */
  readonly unsafeSucceeded: (retried: Kind | undefined, fiber: Running) => void
}

/**
 * Makes a budget.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* RetryBudget.make({ name: "payments", allowance: RetryBudget.ratio({ share: 0.2 }) })
 *   const call = Effect.succeed("paid").pipe(RetryBudget.retryWith(budget, { schedule: Backoff.production }))
 *   return yield* call
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<RetryBudget> => {
  const name = Check.name("RetryBudget", "name", options.name)
  const allowance = options.allowance ?? RetryAllowance.tokens()
  return Telemetry.observed(Effect.map(Events.Events, (events) => new Budget(name, allowance, events)), Budget.measures)
}

/**
 * The class of a budget's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/RetryBudget/${Name}`, RetryBudget>
{
  /** Builds this budget. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Retries the effect within this budget. */
  readonly retry: <E, R2 = never>(
    options: Retry<E, R2>
  ) => <A, E2 extends E, R>(effect: Effect.Effect<A, E2, R>) => Effect.Effect<A, E2, R | R2 | Self>
  /** Ends the schedule where this budget is exhausted. */
  readonly limit: <Out, In, R>(schedule: Schedule.Schedule<Out, In, R>) => Schedule.Schedule<Out, In, R | Self>
}

/**
 * Declares the budget of one dependency.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends RetryBudget.Tag("datadog")<Datadog>() {}
 *
 * const program = Effect.succeed("metrics").pipe(
 *   Datadog.retry({ schedule: Backoff.production }),
 *   Effect.provide(Datadog.layer())
 * )
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("RetryBudget", name, make)
  return Object.assign(tag, {
    retry: <E, R2>(options: Retry<E, R2>) => retry(tag, options),
    limit: limit(tag)
  })
}

/**
 * Retries the effect within the budget of a tag; the same as the tag's own `retry`. A `Rejection` is not retried, and
 * after a retry that met one the last error of the dependency itself is the result.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retry =
  <I, E, R2>(tag: Context.Tag<I, RetryBudget>, options: Retry<E, R2>) =>
  <A, E2 extends E, R>(effect: Effect.Effect<A, E2, R>): Effect.Effect<A, E2, R | R2 | I> =>
    Effect.withFiberRuntime<A, E2, R | R2 | I>((fiber) =>
      retrying(effect, Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag), options, fiber)
    )

/**
 * Retries the effect within a budget that is no service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const retryWith: {
  <E, R2 = never>(
    budget: RetryBudget,
    options: Retry<E, R2>
  ): <A, E2 extends E, R>(effect: Effect.Effect<A, E2, R>) => Effect.Effect<A, E2, R | R2>
  <A, E, R, R2 = never>(
    effect: Effect.Effect<A, E, R>,
    budget: RetryBudget,
    options: Retry<E, R2>
  ): Effect.Effect<A, E, R | R2>
} = dual(
  3,
  <A, E, R, R2>(effect: Effect.Effect<A, E, R>, budget: RetryBudget, options: Retry<E, R2>) =>
    Effect.withFiberRuntime<A, E, R | R2>((fiber) => retrying(effect, budget, options, fiber))
)

/**
 * Ends any schedule where the budget is exhausted, or where an outer retry of the same budget is at work. It takes, and
 * cannot give back: a schedule does not hear of successes. Where `retry` will not do, wrap the call as a whole in
 * `counted`, so that its calls and successes fill the budget.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limit =
  <I>(tag: Context.Tag<I, RetryBudget>) =>
  <Out, In, R>(schedule: Schedule.Schedule<Out, In, R>): Schedule.Schedule<Out, In, R | I> =>
    limited(schedule, (kind) =>
      Effect.withFiberRuntime<boolean, never, I>((fiber) => {
        const budget = Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag)
        return Effect.succeed(!unsafeIsRetrying(fiber, budget.name) && budget.unsafeTryRetry(kind, fiber))
      }))

/**
 * Tells the budget of a call and of its success, for schedules that are made with `limit`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const counted =
  <I>(tag: Context.Tag<I, RetryBudget>) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | I> =>
    Effect.withFiberRuntime<A, E, R | I>((fiber) => {
      const budget = Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag)
      budget.unsafeCalled(fiber)
      return Effect.tap(effect, () => succeeded(budget, undefined))
    })

/**
 * The names of the budgets within whose retries this fiber runs.
 *
 * @since 0.1.0
 * @category nesting
 */
export class Retrying extends Context.Reference<Retrying>()("@firebreak/core/RetryBudget/Retrying", {
  defaultValue: (): ReadonlyArray<string> => []
}) {}

/**
 * Whether a retry of the budget of this name is at work around this effect.
 *
 * @since 0.1.0
 * @category nesting
 */
export const isRetrying = (name: string): Effect.Effect<boolean> =>
  Effect.map(Retrying, (names) => names.includes(name))

/**
 * The same, at once, for the code of a running fiber.
 *
 * @since 0.1.0
 * @category nesting
 */
export const unsafeIsRetrying = (fiber: Running, name: string): boolean =>
  Context.unsafeGet(fiber.currentContext, Retrying).includes(name)

/**
 * Says that a retry of the budget of this name is at work around the effect.
 *
 * @since 0.1.0
 * @category nesting
 */
export const withRetrying: {
  (name: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> =>
    Effect.flatMap(Retrying, (names) => locally(effect, Retrying, names.includes(name) ? names : [...names, name]))
)

/**
 * What a retry after this error costs: `timeout` after a `Policy.AttemptTimeout` or Effect's own `TimeoutException`.
 *
 * @since 0.1.0
 * @category utils
 */
export const kindOf = (error: unknown): Kind =>
  Predicate.isTagged(error, "AttemptTimeout") || Predicate.isTagged(error, "TimeoutException") ? "timeout" : "error"

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const succeeded = (budget: RetryBudget, retried: Kind | undefined): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    budget.unsafeSucceeded(retried, fiber)
    return Effect.void
  })

/** The schedule, asked first, with each of its retries paid for before it waits. */
const limited = <Out, In, R, R2>(
  schedule: Schedule.Schedule<Out, In, R>,
  take: (kind: Kind) => Effect.Effect<boolean, never, R2>
): Schedule.Schedule<Out, In, R | R2> =>
  Schedule.makeWithState<typeof schedule.initial, In, Out, R | R2>(
    schedule.initial,
    (now, input, state) =>
      Effect.flatMap(schedule.step(now, input, state), (step) =>
        ScheduleDecision.isDone(step[2])
          ? Effect.succeed(step)
          : Effect.map(
            take(kindOf(input)),
            (taken) => taken ? step : [step[0], step[1], ScheduleDecision.done] as const
          ))
  )

const retrying = <A, E, R, R2>(
  effect: Effect.Effect<A, E, R>,
  budget: RetryBudget,
  options: Retry<E, R2>,
  fiber: Running
): Effect.Effect<A, E, R | R2> => {
  if (unsafeIsRetrying(fiber, budget.name)) return effect
  budget.unsafeCalled(fiber)
  const attempt = withRetrying(effect, budget.name)
  return Effect.matchEffect(attempt, {
    onSuccess: (value) => Effect.as(succeeded(budget, undefined), value),
    onFailure: (error) =>
      Rejection.isRejection(error) || options.while?.(error) === false
        ? Exit.fail(error)
        : again(attempt, error, budget, options)
  })
}

/** The retries of a call that has failed once. */
const again = <A, E, R, R2>(
  attempt: Effect.Effect<A, E, R>,
  first: E,
  budget: RetryBudget,
  options: Retry<E, R2>
): Effect.Effect<A, E, R | R2> => {
  /** Paid for, and the attempt has not begun. */
  let paid: Kind | undefined
  const schedule = limited(options.schedule, (kind) =>
    Effect.withFiberRuntime<boolean>((fiber) => {
      const taken = budget.unsafeTryRetry(kind, fiber)
      if (taken) paid = kind
      return Effect.succeed(taken)
    }))
  const refund = (kind: Kind | undefined): Effect.Effect<void> =>
    Effect.withFiberRuntime((fiber) => {
      if (kind !== undefined) budget.unsafeRefund(kind, fiber)
      return Effect.void
    })
  return Effect.flatMap(Schedule.driver(schedule), (driver) => {
    const after = (last: E): Effect.Effect<A, E, R | R2> =>
      Effect.matchEffect(Effect.onInterrupt(driver.next(last), () => refund(paid)), {
        onFailure: () => Exit.fail(last),
        onSuccess: () => {
          const kind = paid
          paid = undefined
          return Effect.matchEffect(attempt, {
            onSuccess: (value) => Effect.as(succeeded(budget, kind), value),
            onFailure: (error): Effect.Effect<A, E, R | R2> => {
              if (Rejection.isRejection(error)) return Effect.zipRight(refund(kind), Exit.fail(last))
              return options.while?.(error) === false ? Exit.fail(error) : after(error)
            }
          })
        }
      })
    return after(first)
  })
}
