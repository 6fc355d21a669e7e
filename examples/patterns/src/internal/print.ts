/** What the demos' lines have in common. */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** A line that begins with the time since a fast-forwarded demo began. */
export const timed = (line: string): Effect.Effect<void> =>
  Effect.flatMap(
    Clock.currentTimeNanos,
    (now) => Console.log(`${seconds(Duration.nanos(now), 1).padStart(7)}  ${line}`)
  )

/** A duration as `1.50 s`. */
export const seconds = (duration: Duration.DurationInput, digits = 2): string =>
  `${Duration.toSeconds(duration).toFixed(digits)} s`
