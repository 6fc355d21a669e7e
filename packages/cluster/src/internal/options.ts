/** Checks of options, with the name and the wording of @firebreak/core's own. */
import * as Duration from "effect/Duration"

/** A fault in the options of a constructor. */
export class InvalidOption extends Error {
  override readonly name = "InvalidOption"
}

/** A finite duration in milliseconds, at least `min`. */
export const millis = (module: string, option: string, value: Duration.DurationInput, min: number): number => {
  let decoded: number
  try {
    decoded = Duration.toMillis(Duration.decode(value))
  } catch {
    throw new InvalidOption(`${module}: ${option} must be a duration, got ${show(value)}`)
  }
  if (!Number.isFinite(decoded) || decoded < min) {
    throw new InvalidOption(`${module}: ${option} must be a finite duration of at least ${min} ms, got ${show(value)}`)
  }
  return decoded
}

/** A whole number of at least `min`. */
export const whole = (module: string, option: string, value: number, min: number, because = ""): number => {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new InvalidOption(
      `${module}: ${option} must be a whole number of at least ${min}, got ${show(value)}${because}`
    )
  }
  return value
}

/** A text that is not empty. */
export const text = (module: string, option: string, value: string): string => {
  if (typeof value !== "string" || value.trim() === "") {
    throw new InvalidOption(`${module}: ${option} must not be empty, got ${show(value)}`)
  }
  return value
}

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}
