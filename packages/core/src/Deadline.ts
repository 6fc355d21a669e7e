/**
 * A deadline that travels with the fiber: everything below sees how much time is left, and nothing takes longer.
 *
 * Timeouts of layers that do not know of each other add up, and go on working for a caller who has left. A deadline is
 * set once, where the time is known, and what is inside can only shorten it. Forked fibers inherit it. Between processes
 * it travels as the time that is left, which no difference of clocks disturbs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Events from "./Events.js"
import { locally } from "./internal/ambient.js"
import { durationText } from "./internal/durationText.js"
import * as Check from "./internal/options.js"
import { stackless } from "./internal/stackless.js"
import * as Time from "./internal/time.js"
import * as Timer from "./internal/timer.js"
import * as Rejection from "./Rejection.js"

/**
 * The deadline of the running fiber, in milliseconds of the monotonic clock; `Infinity` for none.
 *
 * @since 0.1.0
 * @category tags
 */
export class Deadline extends Context.Reference<Deadline>()("@firebreak/core/Deadline", {
  defaultValue: (): number => Infinity
}) {}

/**
 * The time is up. It is a `Rejection` only where the call was not started; else it was interrupted, and may have had its
 * effect.
 *
 * @since 0.1.0
 * @category errors
 */
export class DeadlineExceeded extends Data.TaggedError("DeadlineExceeded")<{
  /** The time the call was given; zero where none was left to start it. */
  readonly after: Duration.Duration
  readonly started: boolean
}> {
  /**
   * @since 0.1.0
   */
  get [Rejection.TypeId](): boolean {
    return !this.started
  }
  override get message(): string {
    return this.started
      ? `The deadline passed after ${durationText(this.after)}; the call was interrupted, its outcome is unknown`
      : "The deadline had passed before the call; it was not started"
  }
}

/**
 * Runs the effect for at most `duration`, or for what an outer deadline leaves if that is less. When the time is up the
 * effect is interrupted and waited for; where none is left it is not started. Fails with `DeadlineExceeded`.
 *
 * @example
 * import * as Deadline from "@firebreak/core/Deadline"
 * import * as Effect from "effect/Effect"
 *
 * const call = Effect.succeed("found").pipe(Deadline.within("2 seconds"))
 *
 * const answer = call.pipe(Effect.zipRight(call), Deadline.within("3 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const within: {
  (
    duration: Duration.DurationInput
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DeadlineExceeded, R>
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    duration: Duration.DurationInput
  ): Effect.Effect<A, E | DeadlineExceeded, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, duration: Duration.DurationInput) => {
  const own = Check.millis("Deadline.within", "duration", duration)
  return Effect.withFiberRuntime<A, E | DeadlineExceeded, R>((fiber) => {
    const now = Time.monotonicMillis(fiber)
    const deadline = Math.min(unsafeDeadline(fiber), now + own)
    if (deadline <= now) return Exit.fail(exceeded(fiber, 0, false))
    const millis = deadline - now
    return Timer.within(locally(effect, Deadline, deadline), millis, () => exceeded(fiber, millis, true))
  })
})

/**
 * Does not start the effect where the deadline has passed: it fails with `DeadlineExceeded`. For work that waited in a
 * line, whose caller has left by now.
 *
 * @example
 * import * as Bulkhead from "@firebreak/core/Bulkhead"
 * import * as Deadline from "@firebreak/core/Deadline"
 * import * as Effect from "effect/Effect"
 *
 * class Reports extends Bulkhead.Tag("reports")<Reports>() {}
 *
 * // within the slot: a call whose time has passed in the line is not started
 * const report = Effect.succeed("a report").pipe(Deadline.dropExpired, Reports.protect, Deadline.within("10 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const dropExpired = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | DeadlineExceeded, R> =>
  Effect.withFiberRuntime<A, E | DeadlineExceeded, R>((fiber) =>
    unsafeRemaining(fiber) > 0 ? effect : Exit.fail(exceeded(fiber, 0, false))
  )

/**
 * Runs the effect without the deadline around it: for work that outlives its caller, such as what several callers wait
 * for. It does not keep the effect from being interrupted.
 *
 * @example
 * import * as Deadline from "@firebreak/core/Deadline"
 * import * as Effect from "effect/Effect"
 *
 * const log = Effect.log("answered")
 *
 * // goes on after the answer, and after the caller's time
 * const answer = Effect.succeed("found").pipe(
 *   Effect.tap(() => Effect.forkDaemon(Deadline.without(log))),
 *   Deadline.within("2 seconds")
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const without = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    unsafeDeadline(fiber) === Infinity ? effect : locally(effect, Deadline, Infinity)
  )

/**
 * The time that is left, never negative; none where there is no deadline.
 *
 * @since 0.1.0
 * @category getters
 */
export const remaining: Effect.Effect<Option.Option<Duration.Duration>> = Effect.withFiberRuntime((fiber) => {
  const left = unsafeRemaining(fiber)
  return Effect.succeed(left === Infinity ? Option.none() : Option.some(Duration.millis(left)))
})

/**
 * The deadline of a running fiber in milliseconds of the monotonic clock, `Infinity` for none.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeDeadline = (fiber: Fiber.RuntimeFiber<any, any>): number =>
  // every protected call asks: one look-up, where the default of a reference takes three
  fiber.currentContext.unsafeMap.get(Deadline.key) ?? Infinity

/**
 * The milliseconds that a running fiber has left, never negative, `Infinity` without a deadline.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeRemaining = (fiber: Fiber.RuntimeFiber<any, any>): number => {
  const deadline = unsafeDeadline(fiber)
  return deadline === Infinity ? Infinity : Math.max(0, deadline - Time.monotonicMillis(fiber))
}

/**
 * Whether a running fiber has a deadline, without looking how far away it is.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeIsSet = (fiber: Fiber.RuntimeFiber<any, any>): boolean => unsafeDeadline(fiber) !== Infinity

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const exceeded = (fiber: Fiber.RuntimeFiber<any, any>, millis: number, started: boolean): DeadlineExceeded => {
  Events.unsafePublish(fiber, () => ({ _tag: "DeadlineExceeded", afterMillis: millis, started }))
  return stackless(() => new DeadlineExceeded({ after: Duration.millis(millis), started }))
}
