/** Checks of options, with the name and the wording of @firebreak/core's own. */
import * as Duration from "effect/Duration"

/** A fault in the options of a constructor. */
export class InvalidOption extends Error {
  override readonly name = "InvalidOption"
}

/** A finite duration of at least `min` milliseconds. */
export const duration = (
  module: string,
  option: string,
  value: Duration.DurationInput,
  { min }: { readonly min: number }
): Duration.Duration => {
  let decoded: Duration.Duration
  try {
    decoded = Duration.decode(value)
  } catch {
    throw new InvalidOption(`${module}: ${option} must be a duration, got ${show(value)}`)
  }
  // what is negative or no number is decoded as zero
  if (!Duration.isFinite(decoded) || Duration.toMillis(decoded) < min) {
    throw new InvalidOption(`${module}: ${option} must be a finite duration of at least ${min} ms, got ${show(value)}`)
  }
  return decoded
}

/** A whole number of at least `min`. */
export const count = (module: string, option: string, value: number, { min }: { readonly min: number }): number => {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new InvalidOption(`${module}: ${option} must be a whole number of at least ${min}, got ${show(value)}`)
  }
  return value
}

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}
