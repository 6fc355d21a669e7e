/** What Effect's fiber is beside its public face. Nothing else of the library looks behind it. */
import type * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as Supervisor from "effect/Supervisor"

export interface Internals {
  _children: Set<Fiber.RuntimeFiber<unknown, unknown>> | null
  readonly unsafeInterruptAsFork: (id: FiberId.FiberId) => void
  /** Called by the fiber itself. */
  readonly setFiberRef: <A>(ref: FiberRef.FiberRef<A>, value: A) => void
}

export const internalsOf = (fiber: Fiber.RuntimeFiber<any, any>): Internals => fiber as unknown as Internals

/** Called by the fiber itself: from here on it has this context. */
export const setContext = (fiber: Fiber.RuntimeFiber<any, any>, context: Context.Context<never>): void =>
  internalsOf(fiber).setFiberRef(FiberRef.currentContext, context)

/** Called by the fiber itself: it has this supervisor, too, and so has what it forks. */
export const addSupervisor = (fiber: Fiber.RuntimeFiber<any, any>, supervisor: Supervisor.Supervisor<any>): void => {
  const current = fiber.getFiberRef(FiberRef.currentSupervisor)
  internalsOf(fiber).setFiberRef(FiberRef.currentSupervisor, current.zip(supervisor))
}
