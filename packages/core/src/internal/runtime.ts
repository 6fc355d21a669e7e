/** What Effect's fiber is beside its public face. But for `timer.ts`, nothing else of the library looks behind it. */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as FiberRefs from "effect/FiberRefs"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as Supervisor from "effect/Supervisor"

export interface Internals {
  _children: Set<Fiber.RuntimeFiber<unknown, unknown>> | null
  /** `getFiberRefs` makes a copy. */
  readonly _fiberRefs: FiberRefs.FiberRefs
  readonly unsafeInterruptAsFork: (id: FiberId.FiberId) => void
  /** Called by the fiber itself. */
  readonly setFiberRef: <A>(ref: FiberRef.FiberRef<A>, value: A) => void
  /** Called by the fiber itself. */
  readonly setFiberRefs: (refs: FiberRefs.FiberRefs) => void
}

export const internalsOf = (fiber: Fiber.RuntimeFiber<any, any>): Internals => fiber as unknown as Internals

/** Called by the fiber itself: from here on it has this context. */
export const setContext = (fiber: Fiber.RuntimeFiber<any, any>, context: Context.Context<never>): void =>
  internalsOf(fiber).setFiberRef(FiberRef.currentContext, context)

/** Called by the fiber itself: it has this supervisor, too, and so has what it forks. */
export const addSupervisor = (fiber: Fiber.RuntimeFiber<any, any>, supervisor: Supervisor.Supervisor<any>): void => {
  const outer = fiber.getFiberRef(FiberRef.currentSupervisor)
  internalsOf(fiber).setFiberRef(FiberRef.currentSupervisor, outer.zip(supervisor))
}

/** Starts it on a fiber of its own, as the other fiber would by `Effect.forkDaemon`, but from outside of any. */
export const forkAs = <A, E>(
  fiber: Fiber.RuntimeFiber<any, any>,
  effect: Effect.Effect<A, E>
): Fiber.RuntimeFiber<A, E> => {
  const { currentContext: context } = fiber
  const fiberRefs = fiber.getFiberRefs()
  return Runtime.runFork(Runtime.make({ context, fiberRefs, runtimeFlags: Runtime.defaultRuntimeFlags }), effect)
}

/** The fiber that runs now: with request batching what comes after a request goes on in another. */
export const current = (fiber: Fiber.RuntimeFiber<any, any>): Fiber.RuntimeFiber<any, any> =>
  Option.getOrElse(Fiber.getCurrentFiber(), () => fiber)

/** Gives the fiber a context until `leave`, which whoever goes on with its work calls. */
export class Within {
  private readonly outer: Context.Context<never>
  private readonly before: FiberRefs.FiberRefs
  private readonly inside: FiberRefs.FiberRefs

  constructor(private readonly fiber: Fiber.RuntimeFiber<any, any>, context: Context.Context<never>) {
    this.outer = fiber.currentContext
    this.before = internalsOf(fiber)._fiberRefs
    setContext(fiber, context)
    this.inside = internalsOf(fiber)._fiberRefs
  }

  leave(): void {
    const fiber = current(this.fiber)
    const internals = internalsOf(fiber)
    // most often nothing else was set meanwhile: then all is as before, without copying
    if (internals._fiberRefs === this.inside) internals.setFiberRefs(this.before)
    else setContext(fiber, this.outer)
  }
}
