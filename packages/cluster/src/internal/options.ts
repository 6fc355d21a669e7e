/** Checks of the cluster's options. */
import {
  InvalidOption,
  known,
  millis as checkMillis,
  name,
  type Shape,
  whole as checkWhole
} from "@firebreak/core/InvalidOption"
import type * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"

export { InvalidOption, known, type Shape }

/** A finite duration in milliseconds, at least `min`. */
export const millis = (module: string, option: string, value: Duration.DurationInput, min: number): number =>
  checkMillis(module, option, value, { min })

/** A whole number of at least `min`; `because` is said where it is not. */
export const whole = (module: string, option: string, value: number, min: number, because = ""): number => {
  try {
    return checkWhole(module, option, value, { min })
  } catch (error) {
    throw new InvalidOption(`${(error as Error).message}${because}`)
  }
}

/** A port that there is. */
export const port = (module: string, option: string, value: number): number => {
  whole(module, option, value, 1)
  if (value > 65_535) throw new InvalidOption(`${module}: ${option} must be at most 65535, got ${value}`)
  return value
}

/** The URL of a database. It may hold a password, so it is not shown. */
export const url = (module: string, option: string, value: string | Redacted.Redacted): void => {
  const text: unknown = Redacted.isRedacted(value) ? Redacted.value(value) : value
  // the driver takes a user without a host, as in `postgres://user@/name?host=/run/postgresql`, which is no URL
  if (
    typeof text !== "string" || !/^postgres(?:ql)?:\/\//.test(text) || !URL.canParse(text.replace("@/", "@localhost/"))
  ) {
    throw new InvalidOption(`${module}: ${option} must be a URL that begins with postgres:// or postgresql://`)
  }
}

/** A text that is not empty. */
export const text = name
