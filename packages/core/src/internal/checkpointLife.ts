/** An attempt at a run for as long as it is its owner's: the lease, the deadline, and what ends it from outside. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { type RunError, RunFenced } from "../CheckpointError.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import type { StoreError } from "../StoreError.js"
import { forkAs } from "./runtime.js"
import { isLive } from "./timer.js"

/** Why a run ends without an outcome of its own. */
export type Ending =
  | { readonly _tag: "Cancelled"; readonly reason: string }
  | { readonly _tag: "DeadlineExceeded"; readonly deadlineAt: number }

/** Waits until then, however far it is: a timer holds 24 days, and a sleep beyond never ends. */
export const sleepUntil = (nanos: bigint): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeNanos, (now) => {
    const left = nanos - now
    if (left <= 0n) return Effect.void
    return left <= day
      ? Effect.sleep(Duration.nanos(left))
      : Effect.zipRight(Effect.sleep(Duration.nanos(day)), sleepUntil(nanos))
  })

const day = 86_400_000_000_000n

export class Life {
  /** The fiber that works on the run: its body, or what undoes it. */
  main: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Why the run was ended from outside, without an outcome. */
  aborted: Cause.Cause<RunError> | undefined
  /** Why the run ends other than its body says. */
  ending: Ending | undefined
  /** Whether it is too late for an ending: the body has ended, for good or in failure. */
  decided = false
  private renewal: ReturnType<typeof setTimeout> | undefined
  private keeper: Fiber.RuntimeFiber<never> | undefined

  constructor(
    private readonly store: CheckpointStore.Service,
    readonly runId: string,
    readonly token: number,
    private readonly lease: Duration.Duration,
    /** Monotonic nanoseconds by this process's clock. */
    private leaseUntil: bigint
  ) {}

  /**
   * Runs it on a fiber of its own as the work on the run; interruption of the caller interrupts it, and waits. `prepare`
   * is given the fiber before it does anything.
   */
  work<A, E, R>(
    effect: Effect.Effect<A, E, R>,
    prepare?: (fiber: Fiber.RuntimeFiber<A, E>) => void
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    const work = Effect.interruptible(Effect.withFiberRuntime<A, E, R>((fiber) => {
      this.main = fiber
      prepare?.(fiber)
      // it may have been ended before it began
      return this.aborted === undefined ? effect : Effect.interrupt
    }))
    return Effect.flatMap(Effect.fork(work), (main) => {
      const ended = Effect.async<Exit.Exit<A, E>>((resume) => main.addObserver((exit) => resume(Exit.succeed(exit))))
      return Effect.catchAllCause(Effect.interruptible(ended), () => Fiber.interrupt(main))
    })
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  /** Ends the run from outside: the caller goes no further, and the work is interrupted, whatever it catches. */
  fail(error: RunError): Effect.Effect<never> {
    return this.abort(Cause.fail(error))
  }

  /** Ends the run for a mistake in its program. */
  misuse(message: string): Effect.Effect<never> {
    return this.abort(Cause.die(new Cause.RuntimeException(`Checkpoint: run "${this.runId}" ${message}`)))
  }

  get fenced(): Effect.Effect<never> {
    return this.fail(new RunFenced({ runId: this.runId }))
  }

  private abort(cause: Cause.Cause<RunError>): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.aborted ??= cause
      return this.stop
    })
  }

  /** Interrupts the work, and the caller. */
  get stop(): Effect.Effect<never> {
    return this.main === undefined
      ? Effect.interrupt
      : Effect.zipRight(Fiber.interruptFork(this.main), Effect.interrupt)
  }

  /** Ends the body, so that what it did is undone. The first reason counts. */
  end(ending: Ending): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.aborted !== undefined || this.ending !== undefined || this.decided) return Effect.void
      this.ending = ending
      return this.main === undefined ? Effect.void : Fiber.interruptFork(this.main)
    })
  }

  // ---------------------------------------------------------------------------
  // the lease
  // ---------------------------------------------------------------------------

  isLate(nanos: bigint): boolean {
    return nanos >= this.leaseUntil
  }

  /** Goes on only if the run is still this owner's. */
  get reclaim(): Effect.Effect<void> {
    return Effect.flatMap(Effect.either(this.renew), (renewed) => {
      if (Either.isLeft(renewed)) return this.fail(renewed.left)
      return renewed.right ? Effect.void : this.fenced
    })
  }

  /**
   * Renews it from now on at a third of the lease, until `letGo`. Under the live Clock it is a timer of the host that
   * starts the fiber which does so, for most runs are over before: then it costs no fiber.
   */
  keep(fiber: Fiber.RuntimeFiber<any, any>): Effect.Effect<void> | undefined {
    const third = Duration.toMillis(this.lease) / 3
    if (isLive(fiber, third)) {
      this.renewal = setTimeout(() => {
        this.keeper = forkAs(fiber, this.renewing)
      }, third)
      return undefined
    }
    const keeping = Effect.zipRight(Effect.sleep(third), this.renewing)
    return Effect.map(Effect.forkDaemon(Effect.interruptible(keeping)), (keeper) => {
      this.keeper = keeper
    })
  }

  letGo(fiber: Fiber.RuntimeFiber<any, any>): void {
    clearTimeout(this.renewal)
    this.keeper?.unsafeInterruptAsFork(fiber.id())
  }

  /** A store out of reach is asked again for as long as the lease lasts. */
  private get renewing(): Effect.Effect<never> {
    return Effect.gen(this, function*() {
      while (true) {
        const left = this.leaseUntil - (yield* Clock.currentTimeNanos)
        const renewed = yield* this.renew.pipe(
          Effect.either,
          Effect.timeoutTo({
            duration: Duration.nanos(left > 1_000_000n ? left : 1_000_000n),
            onSuccess: Option.some,
            onTimeout: () => Option.none()
          })
        )
        if (Option.isSome(renewed) && Either.isRight(renewed.value)) {
          if (!renewed.value.right) return yield* this.fenced
        } else if (this.isLate(yield* Clock.currentTimeNanos)) {
          return yield* Option.isSome(renewed) && Either.isLeft(renewed.value)
            ? this.fail(renewed.value.left)
            : this.fenced
        }
        yield* Effect.sleep(Duration.times(this.lease, 1 / 3))
      }
    })
  }

  private get renew(): Effect.Effect<boolean, StoreError> {
    return Effect.gen(this, function*() {
      const { lease, runId, token } = this
      const asked = yield* Clock.currentTimeNanos
      const renewal = yield* this.store.renew({ runId, token, lease })
      if (renewal._tag === "Lost") return false
      this.leaseUntil = asked + Duration.unsafeToNanos(lease)
      if (Option.isSome(renewal.cancelled)) yield* this.end({ _tag: "Cancelled", reason: renewal.cancelled.value })
      return true
    })
  }
}
