/** Checks of SqlStore's options. */
import { InvalidOption, known, millis as checkMillis, whole as checkWhole } from "@firebreak/core/InvalidOption"
import * as Duration from "effect/Duration"

export { InvalidOption, known }

/** A finite duration in whole milliseconds. */
export const millis = (option: string, value: Duration.DurationInput): number =>
  Math.round(checkMillis("SqlStore", option, value))

/** A whole number of at least `min`. */
export const whole = (option: string, value: number, min: number): number =>
  checkWhole("SqlStore", option, value, { min })

export const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}
