/** A failure as one line of text, for messages and events. */
import * as Inspectable from "effect/Inspectable"

/** The message of an error, the text itself, or else the value as JSON. */
export const errorText = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : Inspectable.toStringUnknown(error, 0)
