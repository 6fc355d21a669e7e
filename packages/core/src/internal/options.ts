/** The checks of options, by the name that the modules of this package import. */
import * as Predicate from "effect/Predicate"
import { known } from "../InvalidOption.js"

export * from "../InvalidOption.js"

/** What to do about something in doubt: one of the words, or a probe. */
export const doubt = (module: string, option: string, value: unknown): void =>
  Predicate.isRecord(value)
    ? known<{ readonly [option: string]: unknown }>(`${module}.${option}`, value, { probe: true })
    : known<{ readonly [option: string]: unknown }>(module, { [option]: value }, {
      [option]: { retry: true, escalate: true }
    })
