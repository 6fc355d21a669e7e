/**
 * What a Backoff schedule is made of, kept on it so that `Policy` can step it without a Schedule driver.
 */
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { State } from "../BackoffCurve.js"

export interface Plan<in E, out R> {
  readonly start: State
  /** Whether `next` needs a uniform draw; otherwise any number will do. */
  readonly draws: boolean
  /**
   * The delay before the next retry in milliseconds, and the state after it; undefined when there is none. `now` reads the
   * wall clock, in milliseconds since the epoch.
   */
  readonly next: (
    state: State,
    error: E,
    u: number,
    now: () => number
  ) => readonly [delay: number, next: State] | undefined
  /** Publishes the retry, by `name` if the schedule has none of its own. */
  readonly tell: (
    delay: number,
    state: State,
    error: E,
    fiber: Fiber.RuntimeFiber<any, any>,
    name: string | undefined
  ) => void
  /** What the user wants done before each wait. */
  readonly hook: ((delay: number, state: State, error: E) => Effect.Effect<unknown, never, R>) | undefined
}

export const PlanId: unique symbol = Symbol.for("@firebreak/core/Backoff/Plan")

/** The plan of a schedule that `Backoff.make` has made; of any other, and of a transformed one, there is none. */
export const planOf = (schedule: object): Plan<any, any> | undefined =>
  (schedule as { readonly [PlanId]?: Plan<any, any> })[PlanId]
