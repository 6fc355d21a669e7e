/** What a run needs and the database may not give at the moment is asked for again: without it the run is lost before long. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

const pause = "500 millis"

export const persistently = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, never, R> =>
  Effect.orDie(Effect.retry(effect, Schedule.spaced(pause)))

/** The same for what the engine turns into a defect. */
export const persistentlyAlive = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchAllDefect(
    effect,
    (defect) => isOfStorage(defect) ? Effect.delay(persistentlyAlive(effect), pause) : Effect.die(defect)
  )

/** Whether a failure is one of the database. */
export const isOfStorage = (error: unknown): error is { readonly _tag: string; readonly cause?: unknown } =>
  typeof error === "object" && error !== null && "_tag" in error &&
  (error._tag === "SqlError" || error._tag === "PersistenceError")

/** However far it is: a timer holds 24 days, and a sleep beyond never ends. */
export const sleepUntil = (time: number): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    time <= now
      ? Effect.void
      : Effect.zipRight(Effect.sleep(Math.min(time - now, day)), Effect.suspend(() => sleepUntil(time))))

const day = 86_400_000
