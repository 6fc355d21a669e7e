/**
 * A timeout without a fork: the timer interrupts the fiber that runs the effect, under an id nobody else knows, and the
 * boundary takes exactly that interruption back. `Effect.timeout` races two fibers for the same, at 12 times the cost.
 *
 * This is the one place that touches internals of Effect's runtime (the interrupted cause and the children of a fiber).
 * Where the Clock is not the live one there is no timer to set, and callers use `Effect.timeout`; both run through one
 * suite (`test/timeout.test.ts`).
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type { Running } from "./stage.js"

/** Whether the fiber's Clock is the live one. */
export const isLive = (fiber: Running): boolean =>
  Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock) === liveClock

/** The longest delay a timer holds, in milliseconds; a longer one would fire at once. */
export const longest = 2 ** 31 - 1

/** What Effect's fiber is beside its public face. */
interface Internals {
  _children: Set<Fiber.RuntimeFiber<unknown, unknown>> | null
  readonly unsafeInterruptAsFork: (id: FiberId.FiberId) => void
  readonly setFiberRef: <A>(ref: FiberRef.FiberRef<A>, value: A) => void
}

/**
 * Armed by the fiber before the timed effect, settled by it after. Between the two the effect must be interruptible, and
 * what is around it not.
 */
export class Timer {
  private readonly handle: ReturnType<typeof setTimeout>
  private readonly children: Internals["_children"]
  private firedAs: FiberId.FiberId | undefined

  constructor(private readonly fiber: Running, millis: number) {
    const internals = fiber as unknown as Internals
    // an interrupted fiber interrupts its children: those it had before are none of this effect's
    this.children = internals._children
    internals._children = null
    this.handle = setTimeout(fire, millis, this)
  }

  /** Interrupts the fiber; called by the timer. */
  strike(): void {
    this.firedAs = FiberId.unsafeMake()
    ;(this.fiber as unknown as Internals).unsafeInterruptAsFork(this.firedAs)
  }

  /** Whether the time was up; if so the fiber is as if it had not been interrupted, except by others. */
  settle(): boolean {
    clearTimeout(this.handle)
    const internals = this.fiber as unknown as Internals
    if (this.children !== null) {
      for (const child of this.children) {
        if (child.unsafePoll() === null) (internals._children ??= new Set()).add(child)
      }
    }
    const id = this.firedAs
    if (id === undefined) return false
    const cause = this.fiber.getFiberRef(FiberRef.interruptedCause)
    internals.setFiberRef(
      FiberRef.interruptedCause,
      Cause.filter(cause, (part) => !(part._tag === "Interrupt" && part.fiberId === id))
    )
    return true
  }
}

const fire = (timer: Timer): void => timer.strike()

const liveClock = Context.unsafeGet(DefaultServices.liveServices, Clock.Clock)
