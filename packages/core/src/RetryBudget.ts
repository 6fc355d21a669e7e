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
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Events from "./Events.js"
import { Budget } from "./internal/budget.js"
import { limited, retrying, succeeded, unsafeIsRetrying } from "./internal/budgetedRetry.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
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

export {
  /**
   * Whether a retry of the budget of this name is at work around this effect.
   *
   * @since 0.1.0
   * @category nesting
   */
  isRetrying,
  /**
   * What a retry after this error costs: `timeout` after a `Policy.AttemptTimeout` or Effect's own `TimeoutException`.
   *
   * @since 0.1.0
   * @category utils
   */
  kindOf,
  /**
   * The names of the budgets within whose retries this fiber runs.
   *
   * @since 0.1.0
   * @category nesting
   */
  Retrying,
  /**
   * Whether one is at work around the code of a running fiber, at once.
   *
   * @since 0.1.0
   * @category nesting
   */
  unsafeIsRetrying,
  /**
   * Says that a retry of the budget of this name is at work around the effect.
   *
   * @since 0.1.0
   * @category nesting
   */
  withRetrying
} from "./internal/budgetedRetry.js"

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
  Check.known("RetryBudget", options, { name: true, allowance: true })
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
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends RetryBudget.Tag("datadog")<Datadog>() {}
 *
 * const call = Effect.succeed("metrics").pipe(RetryBudget.retry(Datadog, { schedule: Backoff.production }))
 *
 * @since 0.1.0
 * @category combinators
 */
export const retry = <I, E, R2>(tag: Context.Tag<I, RetryBudget>, options: Retry<E, R2>) => {
  Check.known("RetryBudget.retry", options, { schedule: true, while: true })
  return <A, E2 extends E, R>(effect: Effect.Effect<A, E2, R>): Effect.Effect<A, E2, R | R2 | I> =>
    Effect.withFiberRuntime<A, E2, R | R2 | I>((fiber) =>
      retrying(effect, Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag), options, fiber)
    )
}

/**
 * Retries the effect within a budget that is no service.
 *
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* RetryBudget.make({ name: "datadog" })
 *   return yield* RetryBudget.retryWith(Effect.succeed("metrics"), budget, { schedule: Backoff.production })
 * })
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
  <A, E, R, R2>(effect: Effect.Effect<A, E, R>, budget: RetryBudget, options: Retry<E, R2>) => {
    Check.known("RetryBudget.retryWith", options, { schedule: true, while: true })
    return Effect.withFiberRuntime<A, E, R | R2>((fiber) => retrying(effect, budget, options, fiber))
  }
)

/**
 * Ends any schedule where the budget is exhausted, or where an outer retry of the same budget is at work. It takes, and
 * cannot give back: a schedule does not hear of successes. Where `retry` will not do, wrap the call as a whole in
 * `counted`, so that its calls and successes fill the budget.
 *
 * @example
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * class Datadog extends RetryBudget.Tag("datadog")<Datadog>() {}
 *
 * const schedule = Schedule.spaced("1 second").pipe(RetryBudget.limit(Datadog))
 *
 * const call = Effect.succeed("metrics").pipe(Effect.retry(schedule), RetryBudget.counted(Datadog))
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
 * Tells the budget of a call and of its success, for schedules that are made with `limit`. Within a retry of the same
 * budget it tells nothing: that one counts the call.
 *
 * @example
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * class Datadog extends RetryBudget.Tag("datadog")<Datadog>() {}
 *
 * const call = Effect.succeed("metrics").pipe(
 *   Effect.retry(Schedule.recurs(3).pipe(Datadog.limit)),
 *   RetryBudget.counted(Datadog)
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const counted =
  <I>(tag: Context.Tag<I, RetryBudget>) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | I> =>
    Effect.withFiberRuntime<A, E, R | I>((fiber) => {
      const budget = Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag)
      if (unsafeIsRetrying(fiber, budget.name)) return effect
      budget.unsafeCalled(fiber)
      return Effect.tap(effect, () => succeeded(budget, undefined))
    })
