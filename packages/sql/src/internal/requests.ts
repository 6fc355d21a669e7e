/** What both stores share in talking to the writer. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** Whole microseconds, rounded up. */
export const micros = (duration: Duration.Duration): number => Math.ceil(Duration.toMillis(duration) * 1_000)

/** Rows deleted in one request, so that no transaction holds up the others for long. */
const chunk = 1_000

/** Deletes chunk by chunk until nothing is left; returns how many. */
export const drained = <E>(remove: (limit: number) => Effect.Effect<number, E>): Effect.Effect<number, E> => {
  const loop = (total: number): Effect.Effect<number, E> =>
    Effect.flatMap(remove(chunk), (count) => count < chunk ? Effect.succeed(total + count) : loop(total + count))
  return loop(0)
}
