/**
 * Faults in the options of a constructor: the error that is thrown, and the checks that throw it. For constructors of
 * other packages too, so that all of them take and refuse the same, in the same words.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { errorText } from "./internal/errorText.js"

/**
 * A fault in the options of a constructor. Thrown, for it is the program that is wrong; the message names the constructor,
 * the option, what is allowed and what was given.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Error {
  /**
   * @since 0.1.0
   */
  override readonly name = "InvalidOption"
}

/**
 * A finite duration in milliseconds, at least `min` (default 0).
 *
 * @since 0.1.0
 * @category checks
 */
export const millis = (
  module: string,
  option: string,
  value: Duration.DurationInput,
  options?: { readonly min?: number }
): number => {
  const min = options?.min ?? 0
  let decoded: number
  try {
    decoded = Duration.toMillis(Duration.decode(value))
  } catch {
    throw new InvalidOption(`${module}: ${option} must be a duration, got ${show(value)}`)
  }
  // Duration.decode clamps NaN and what is negative to zero; such input is a mistake, not a zero
  if (isNegative(value) || !Number.isFinite(decoded) || decoded < min) {
    throw new InvalidOption(`${module}: ${option} must be a finite duration of at least ${min} ms, got ${show(value)}`)
  }
  return decoded
}

/**
 * A whole number, at least `min`; `Infinity` only where `infinite` says so.
 *
 * @since 0.1.0
 * @category checks
 */
export const whole = (
  module: string,
  option: string,
  value: number,
  options: { readonly min: number; readonly infinite?: boolean }
): number => {
  if (options.infinite === true && value === Infinity) return value
  if (!Number.isSafeInteger(value) || value < options.min) {
    throw new InvalidOption(
      `${module}: ${option} must be a whole number of at least ${options.min}, got ${show(value)}`
    )
  }
  return value
}

/**
 * A finite number within `[min, max]`.
 *
 * @since 0.1.0
 * @category checks
 */
export const between = (
  module: string,
  option: string,
  value: number,
  options: { readonly min: number; readonly max: number }
): number => {
  if (!(value >= options.min && value <= options.max)) {
    throw new InvalidOption(
      `${module}: ${option} must be between ${options.min} and ${options.max}, got ${show(value)}`
    )
  }
  return value
}

/**
 * A name that is not empty, and text that every store and wire can hold: half a surrogate pair, as of an emoji that was cut
 * in two, is refused.
 *
 * @since 0.1.0
 * @category checks
 */
export const name = (module: string, option: string, value: string): string => {
  if (typeof value !== "string") throw new InvalidOption(`${module}: ${option} must be a string, got ${show(value)}`)
  if (value.trim() === "") {
    throw new InvalidOption(`${module}: ${option} must be a name that is not empty, got ${show(value)}`)
  }
  if (/\p{Surrogate}/u.test(value)) {
    throw new InvalidOption(`${module}: ${option} must be well-formed text, got ${show(value)}`)
  }
  return value
}

/**
 * All options that a constructor takes: each with `true`, or with all the words that it may be.
 *
 * @since 0.1.0
 * @category models
 */
export type Shape<O> = {
  readonly [K in keyof O]-?: true | { readonly [Word in Extract<O[K], string>]: true }
}

/**
 * No key but those of `options`, and no word but those that an option may be: what is mistyped is a fault, not something
 * to pass over. The value of an unknown key is not shown, for it may be a password.
 *
 * @since 0.1.0
 * @category checks
 */
export const known = <O extends object>(module: string, given: O, options: Shape<NoInfer<O>>): void => {
  if (typeof given !== "object" || given === null) {
    throw new InvalidOption(`${module}: options must be an object, got ${show(given)}`)
  }
  const shape: Readonly<Record<string, true | object>> = options
  // steps and answers are made often, and this is the fastest way
  for (const key in given) {
    if (!Object.hasOwn(shape, key)) {
      throw new InvalidOption(`${module}: there is no option ${show(key)}, there are ${Object.keys(shape).join(", ")}`)
    }
    const words = shape[key]!
    if (words === true) continue
    const value: unknown = given[key]
    if (value !== undefined && !(typeof value === "string" && Object.hasOwn(words, value))) {
      const allowed = Object.keys(words).map(show).join(", ")
      throw new InvalidOption(`${module}: ${key} must be one of ${allowed}, got ${show(value)}`)
    }
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Whether a duration is given by a number that is negative, or none at all. */
const isNegative = (value: Duration.DurationInput): boolean => {
  if (typeof value === "number" || typeof value === "bigint") return !(value >= 0)
  if (typeof value === "string") return value.trimStart().startsWith("-")
  return Array.isArray(value) && value.some((part) => !(part >= 0))
}

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : errorText(value)
}
