/** What both stores share in talking to the writer. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** The longest time that is stored; an infinite duration becomes this. In microseconds it is 142 years. */
const longest = 2 ** 52

/** Whole microseconds, rounded up. */
export const micros = (duration: Duration.Duration): number =>
  Math.min(longest, Math.ceil(Duration.toMillis(duration) * 1_000))

/** Whole milliseconds, rounded up. */
export const millis = (duration: Duration.Duration): number => Math.min(longest, Math.ceil(Duration.toMillis(duration)))

/** Rows deleted in one request, so that no transaction holds up the others for long. */
const chunk = 1_000

/** Deletes chunk by chunk until nothing is left; returns how many. */
export const drained = <E>(remove: (limit: number) => Effect.Effect<number, E>): Effect.Effect<number, E> => {
  const loop = (total: number): Effect.Effect<number, E> =>
    Effect.flatMap(remove(chunk), (count) => count < chunk ? Effect.succeed(total + count) : loop(total + count))
  return loop(0)
}
