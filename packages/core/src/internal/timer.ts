/**
 * A timeout without a race: a timer interrupts the fiber that runs the effect, under an id nobody else knows, and the
 * boundary takes exactly that interruption back. `Effect.timeout` races two fibers for the same, at 12 times the cost.
 *
 * It touches internals of Effect's runtime: the interrupted cause of a fiber, its children, and whose children those are
 * that it forks.
 *
 * Where requests are batched an effect goes on in another fiber, which the timer does not reach: there `Effect.timeout`
 * is right.
 *
 * Under the live Clock the timer is one of the host's, under any other a fiber that sleeps by it. `Effect.timeout` can be
 * chosen instead, and all go through one suite (`test/timeout.test.ts`).
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import { type Internals, internalsOf } from "./runtime.js"
import type { Running } from "./stage.js"

/** Whether the fiber's Clock is the live one, and the time one that a timer of the host can hold. */
export const isLive = (fiber: Running, millis: number): boolean =>
  millis <= longest && Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock) === liveClock

/**
 * Made by the fiber before the timed effect, settled by it after. Between the two the effect must be interruptible, and
 * what is around it not.
 */
export class Timer {
  private readonly children: Internals["_children"]
  private handle: ReturnType<typeof setTimeout> | undefined
  private sleeper: Fiber.RuntimeFiber<unknown> | undefined
  private firedAs: FiberId.FiberId | undefined
  private isSettled = false
  /** Whose children are those that the fiber forks, where they are not its own. */
  private readonly scope: Option.Option<unknown>

  constructor(private readonly fiber: Running) {
    const internals = internalsOf(fiber)
    // an interrupted fiber interrupts its children: those it had before are none of this effect's
    this.children = internals._children
    if (this.children !== null) internals._children = null
    // a branch of a concurrent `forEach` gives what it forks to the fiber around it, where no interruption of ours comes
    this.scope = fiber.getFiberRef(forkScope)
    if (Option.isSome(this.scope)) internals.setFiberRef(forkScope, Option.none())
  }

  /** Sets a timer of the host, where `isLive` says so. */
  set(millis: number): this {
    this.handle = setTimeout(fire, millis, this)
    return this
  }

  /** Lets a fiber of its own sleep by the current Clock. */
  sleep(millis: number): Effect.Effect<void> {
    return Effect.map(
      Effect.forkDaemon(Effect.interruptible(
        Effect.zipRight(Effect.sleep(Duration.millis(millis)), Effect.sync(() => this.strike()))
      )),
      (sleeper) => {
        this.sleeper = sleeper
      }
    )
  }

  /** Interrupts the fiber; called when the time is up. */
  strike(): void {
    if (this.isSettled) return
    this.firedAs = FiberId.unsafeMake()
    internalsOf(this.fiber).unsafeInterruptAsFork(this.firedAs)
  }

  /** Whether the time was up; if so the fiber is as if it had not been interrupted, except by others. */
  settle(): boolean {
    this.isSettled = true
    clearTimeout(this.handle)
    this.sleeper?.unsafeInterruptAsFork(this.fiber.id())
    const internals = internalsOf(this.fiber)
    if (this.children !== null) {
      for (const child of this.children) {
        if (child.unsafePoll() === null) (internals._children ??= new Set()).add(child)
      }
    }
    if (Option.isSome(this.scope)) internals.setFiberRef(forkScope, this.scope)
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

/** The effect for at most `millis`, then the error. */
export const within = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  millis: number,
  onTimeout: () => E2
): Effect.Effect<A, E | E2, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime<A, E | E2, R>((fiber) => {
      const timer = new Timer(fiber)
      const timed = Effect.matchCauseEffect(restore(effect), {
        onSuccess: (value) => timer.settle() ? Exit.fail(onTimeout()) : Exit.succeed(value),
        onFailure: (cause): Effect.Effect<never, E | E2> =>
          timer.settle() ? Exit.fail(onTimeout()) : Exit.failCause(cause)
      })
      if (!isLive(fiber, millis)) return Effect.zipRight(timer.sleep(millis), timed)
      timer.set(millis)
      return timed
    })
  )

/** Effect's own, which it does not export. */
const forkScope: FiberRef.FiberRef<Option.Option<unknown>> = globalValue(
  Symbol.for("effect/FiberRef/currentForkScopeOverride"),
  () => FiberRef.unsafeMake<Option.Option<unknown>>(Option.none())
)

const fire = (timer: Timer): void => timer.strike()

/** A longer delay would make a timer of the host fire at once. */
const longest = 2 ** 31 - 1

const liveClock = Context.unsafeGet(DefaultServices.liveServices, Clock.Clock)
