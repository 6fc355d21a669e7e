/** A duration as a message says it. */
import * as Duration from "effect/Duration"

/** Rounded up: to whole milliseconds below 10 seconds, to whole seconds from there on. */
export const durationText = (duration: Duration.Duration): string => {
  if (!Duration.isFinite(duration)) return Duration.format(duration)
  // what a float adds to a whole number is no further millisecond
  const millis = Math.ceil(Duration.toMillis(duration) - 1e-6)
  return Duration.format(Duration.millis(millis < 10_000 ? millis : Math.ceil(millis / 1000) * 1000))
}
