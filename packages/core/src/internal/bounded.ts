/** Runs what may hang: it ends in time, whatever it runs. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import { durationText } from "./durationText.js"
import { errorText } from "./errorText.js"

/**
 * What an effect gives, or why not: its error as text, or after `timeout` ms that it did not answer. It runs on a fiber of
 * its own, which is then interrupted and, if it does not yield to that, left behind; `running()` is true until it has
 * really ended. The timeout bites even where the caller is uninterruptible, as in a finalizer. An effect that ends at once
 * costs no timer.
 */
export const bounded = (timeout: number) => {
  let inFlight = 0
  const run = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Either.Either<A, string>, never, R> =>
    Effect.flatMap(Effect.runtime<R>(), (runtime) =>
      Effect.async<Either.Either<A, string>>((resume) => {
        const fork = Runtime.runFork(runtime)
        let timer: Fiber.RuntimeFiber<void> | undefined
        let ended = false
        inFlight++
        const fiber = fork(Effect.interruptible(effect))
        fiber.addObserver((exit) => {
          inFlight--
          ended = true
          if (timer !== undefined) interrupt(timer)
          resume(Effect.succeed(
            Exit.isSuccess(exit) ? Either.right(exit.value) : Either.left(errorText(Cause.squash(exit.cause)))
          ))
        })
        if (ended) return
        timer = fork(Effect.interruptible(Effect.sleep(timeout)))
        timer.addObserver((exit) => {
          if (Exit.isFailure(exit)) return
          resume(Effect.succeed(Either.left(`no answer within ${durationText(Duration.millis(timeout))}`)))
          interrupt(fiber)
        })
        return Effect.sync(() => {
          if (timer !== undefined) interrupt(timer)
          interrupt(fiber)
        })
      }))
  return { run, running: (): boolean => inFlight > 0 }
}

const interrupt = (fiber: Fiber.RuntimeFiber<unknown, unknown>): void => fiber.unsafeInterruptAsFork(FiberId.none)
