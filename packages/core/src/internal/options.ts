/** The checks of options, by the name that the modules of this package import. */
import * as Predicate from "effect/Predicate"
import { InvalidOption, known } from "../InvalidOption.js"

export * from "../InvalidOption.js"

/** What to do about something in doubt: one of the words, or a probe. */
export const doubt = (module: string, option: string, value: unknown): void => {
  if (!Predicate.isRecord(value)) {
    return known<{ readonly [option: string]: unknown }>(module, { [option]: value }, {
      [option]: { retry: true, escalate: true }
    })
  }
  known<{ readonly [option: string]: unknown }>(`${module}.${option}`, value, { probe: true })
  if (Predicate.isNullable(value.probe)) {
    throw new InvalidOption(`${module}.${option}: probe must be given, got ${value.probe}`)
  }
}
