/** Runs what may hang: it ends in time, whatever it runs. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { durationText } from "./durationText.js"
import { errorText } from "./errorText.js"

/**
 * What an effect gives, or why not: its error as text, or after `timeout` ms that it did not answer. The effect is then interrupted and, if it does not yield to
 * that, left behind on its own fiber; `running()` is true until it has really ended.
 */
export const bounded = (timeout: number) => {
  let inFlight = 0
  const run = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Either.Either<A, string>, never, R> =>
    Effect.acquireUseRelease(
      Effect.sync(() => inFlight++),
      () => effect,
      () => Effect.sync(() => inFlight--)
    ).pipe(
      Effect.disconnect,
      Effect.timeoutFail({
        duration: timeout,
        onTimeout: () => `no answer within ${durationText(Duration.millis(timeout))}`
      }),
      // the timeout must bite even where the caller is uninterruptible, as in a finalizer
      Effect.interruptible,
      Effect.catchAllCause((cause) => Effect.fail(errorText(Cause.squash(cause)))),
      Effect.either
    )
  return { run, running: (): boolean => inFlight > 0 }
}
