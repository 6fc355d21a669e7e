/** Checks of the options, with the name and the wording of @firebreak/core's own. */
import * as Duration from "effect/Duration"

/** A fault in the options. */
export class InvalidOption extends Error {
  override readonly name = "InvalidOption"
}

/** A finite duration in whole milliseconds. */
export const millis = (option: string, value: Duration.DurationInput): number => {
  let decoded: number
  try {
    decoded = Duration.toMillis(Duration.decode(value))
  } catch {
    throw new InvalidOption(`SqlStore: ${option} must be a duration, got ${show(value)}`)
  }
  // Duration.decode makes zero of NaN and of what is negative
  if (!Number.isFinite(decoded) || isNegative(value)) {
    throw new InvalidOption(`SqlStore: ${option} must be a finite duration of at least 0 ms, got ${show(value)}`)
  }
  return Math.round(decoded)
}

/** A whole number of at least `min`. */
export const whole = (option: string, value: number, min: number): number => {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new InvalidOption(`SqlStore: ${option} must be a whole number of at least ${min}, got ${show(value)}`)
  }
  return value
}

/** One of a few words. */
export const oneOf = <A extends string>(option: string, value: A, words: ReadonlyArray<A>): A => {
  if (!words.includes(value)) {
    throw new InvalidOption(`SqlStore: ${option} must be one of ${words.map(show).join(", ")}, got ${show(value)}`)
  }
  return value
}

export const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const isNegative = (value: Duration.DurationInput): boolean => {
  if (typeof value === "number" || typeof value === "bigint") return !(value >= 0)
  if (typeof value === "string") return value.trimStart().startsWith("-")
  return Array.isArray(value) && value.some((part) => !(part >= 0))
}
