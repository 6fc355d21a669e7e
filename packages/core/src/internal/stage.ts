/**
 * What every stateful protection is underneath: asked before a call, told after it, without an Effect on the way unless
 * the call has to wait. `Policy` runs several of them in one step; a part used alone runs as one of one, so both behave
 * the same.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Deadline from "../Deadline.js"
import * as Time from "./time.js"

export type Running = Fiber.RuntimeFiber<any, any>

/** The call may not start: `error` says why. */
export class Refused {
  constructor(readonly error: unknown) {}
}

/**
 * The call has to wait. `ticket` succeeds with a ticket or fails with an error. It may run in an uninterruptible region:
 * what may take long goes through the `restore` given to `enter`, in such a way that an interruption either leaves
 * nothing held or comes after the ticket was given.
 */
export class Waiting {
  constructor(readonly ticket: Effect.Effect<unknown, unknown>) {}
}

/** Gives a wait the interruptibility the call was made with: in a finalizer it is not interruptible. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export interface Stage {
  /**
   * Whether a ticket given now must come back even from a call that is interrupted. Where not, an interrupted call is
   * never heard of again.
   */
  readonly holds: boolean
  /** Whether it would turn the next call away, as far as it can tell without being asked. Default: it cannot tell. */
  readonly isShut?: (fiber: Running) => boolean
  /** Asks to start: a ticket (any value that is neither of the two classes above), or `Refused`, or `Waiting`. */
  readonly enter: (fiber: Running, restore: Restore) => unknown
  /** Told once how the call of this ticket ended: `undefined` is success. */
  readonly leave: (ticket: any, cause: Cause.Cause<unknown> | undefined, fiber: Running) => void
}

/** Where a part keeps its stage. */
export const StageId: unique symbol = Symbol.for("@firebreak/core/Stage")

export interface Staged {
  readonly [StageId]: Stage
}

/** Runs the effect behind one stage. */
export const protect = <A, E, R, E2>(stage: Stage, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
  Effect.withFiberRuntime<A, E | E2, R>((fiber) =>
    // a deadline cuts the call by interrupting it, and whether it hung until then must be seen
    stage.holds || Deadline.unsafeIsSet(fiber) ? held<A, E, R, E2>(stage, effect) : loose<A, E, R, E2>(stage, effect)
  )

/**
 * What a stage is told of a call that ended with `cause`: where the deadline around it has cut it short although it had
 * the time it was given for itself (`atLeast` milliseconds), the dependency failed, and not a caller who left.
 */
export const told = (
  cause: Cause.Cause<unknown>,
  fiber: Running,
  attempt?: { readonly startedAt: number; readonly atLeast: number }
): Cause.Cause<unknown> => {
  if (!Deadline.unsafeIsSet(fiber) || !Cause.isInterruptedOnly(cause)) return cause
  const now = Time.monotonicMillis(fiber)
  const hung = now >= Deadline.unsafeDeadline(fiber) &&
    (attempt === undefined || now - attempt.startedAt >= attempt.atLeast)
  return hung ? hungCause : cause
}

const hungCause = Cause.fail("the deadline passed while the call hung")

/** Runs the effect behind the stage of a part that is a service. */
export const protectBy =
  <I, S extends Staged>(tag: Context.Tag<I, S>) =>
  <A, E, R, E2>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R | I> =>
    Effect.withFiberRuntime<A, E | E2, R | I>((fiber) =>
      protect<A, E, R, E2>(Context.unsafeGet(fiber.currentContext as Context.Context<I>, tag)[StageId], effect)
    )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** A ticket that need not come back from an interruption: one frame. */
const loose = <A, E, R, E2>(stage: Stage, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
  Effect.withFiberRuntime<A, E | E2, R>((fiber) => {
    const entered = stage.enter(fiber, identity)
    if (entered instanceof Refused) return Exit.fail(entered.error as E2)
    if (entered instanceof Waiting) {
      return Effect.flatMap(entered.ticket as Effect.Effect<unknown, E2>, (ticket) => settle(stage, ticket, effect))
    }
    return settle(stage, entered, effect)
  })

/** A ticket that must come back exactly once: entered, waited for and given back where no interruption gets between. */
const held = <A, E, R, E2>(stage: Stage, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime<A, E | E2, R>((fiber) => {
      const entered = stage.enter(fiber, restore)
      if (entered instanceof Refused) return Exit.fail(entered.error as E2)
      if (entered instanceof Waiting) {
        return Effect.flatMap(
          entered.ticket as Effect.Effect<unknown, E2>,
          (ticket) => settle(stage, ticket, restore(effect))
        )
      }
      return settle(stage, entered, restore(effect))
    })
  )

const settle = <A, E, R>(stage: Stage, ticket: unknown, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.matchCauseEffect(effect, {
    onSuccess: (value) =>
      Effect.withFiberRuntime<A>((fiber) => {
        stage.leave(ticket, undefined, fiber)
        return Exit.succeed(value)
      }),
    onFailure: (cause) =>
      Effect.withFiberRuntime<never, E>((fiber) => {
        stage.leave(ticket, told(cause, fiber), fiber)
        return Exit.failCause(cause)
      })
  })
