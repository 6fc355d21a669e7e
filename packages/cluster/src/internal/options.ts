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

/** A text that is not empty. */
export const text = name
