/**
 * A retry within a budget, and how one knows of another around it: a budget's name travels with the fiber, and where it
 * is seen again nothing is retried.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as Rejection from "../Rejection.js"
import type { Kind, Retry, RetryBudget } from "../RetryBudget.js"
import { locally } from "./ambient.js"
import type { Running } from "./stage.js"

/** The names of the budgets within whose retries this fiber runs. */
export class Retrying extends Context.Reference<Retrying>()("@firebreak/core/RetryBudget/Retrying", {
  defaultValue: (): ReadonlyArray<string> => []
}) {}

/** Whether a retry of the budget of this name is at work around this effect. */
export const isRetrying = (name: string): Effect.Effect<boolean> =>
  Effect.map(Retrying, (names) => names.includes(name))

/** The same, at once, for the code of a running fiber. */
export const unsafeIsRetrying = (fiber: Running, name: string): boolean =>
  Context.unsafeGet(fiber.currentContext, Retrying).includes(name)

/** Says that a retry of the budget of this name is at work around the effect. */
export const withRetrying: {
  (name: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> =>
    Effect.flatMap(Retrying, (names) => locally(effect, Retrying, names.includes(name) ? names : [...names, name]))
)

/** What a retry after this error costs: `timeout` after a `Policy.AttemptTimeout` or Effect's own `TimeoutException`. */
export const kindOf = (error: unknown): Kind =>
  Predicate.isTagged(error, "AttemptTimeout") || Predicate.isTagged(error, "TimeoutException") ? "timeout" : "error"

export const succeeded = (budget: RetryBudget, retried: Kind | undefined): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    budget.unsafeSucceeded(retried, fiber)
    return Effect.void
  })

/** The schedule, asked first, with each of its retries paid for before it waits. */
export const limited = <Out, In, R, R2>(
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

export const retrying = <A, E, R, R2>(
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
