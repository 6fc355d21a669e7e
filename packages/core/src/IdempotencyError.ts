/**
 * The errors of `Idempotency`. They have schemas, for a step of a checkpoint may have to store them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { durationText } from "./internal/durationText.js"

/** Left out of a stored error for the default scope. */
const scope = Schema.optionalWith(Schema.String, { default: () => "" })

const named = (id: { readonly scope: string; readonly operation: string; readonly key: string }): string =>
  `"${id.operation}" with the key "${id.key}"${inScope(id.scope)}`

const inScope = (scope: string): string => scope === "" ? "" : ` in the scope "${scope}"`

/**
 * The key was used before with another payload: a fault in the caller, never solved by trying again.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyReused extends Schema.TaggedError<KeyReused>("@firebreak/core/KeyReused")("KeyReused", {
  scope,
  operation: Schema.String,
  key: Schema.String
}) {
  override get message(): string {
    return `Action "${this.operation}" knows the key "${this.key}"${
      inScope(this.scope)
    } with another payload; the action was not run`
  }
}

/**
 * The action is running and the caller chose not to wait (`inFlight: "fail"`).
 *
 * @since 0.1.0
 * @category errors
 */
export class InProgress extends Schema.TaggedError<InProgress>("@firebreak/core/InProgress")("InProgress", {
  scope,
  operation: Schema.String,
  key: Schema.String,
  /** The end of the owner's lease; it may finish earlier, or renew. */
  retryAfter: Schema.Duration
}) {
  override get message(): string {
    return `Action ${named(this)} is in progress, leased for ${durationText(this.retryAfter)}; this call did not run it`
  }
}

/**
 * The action may or may not have taken effect, and nothing says which.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>("@firebreak/core/OutcomeUnknown")(
  "OutcomeUnknown",
  {
    scope,
    operation: Schema.String,
    key: Schema.String,
    /**
     * - `unclear`: this call ran it, and it failed with an error classified `unknown`
     * - `earlier`: an earlier attempt never reported how it ended; this call did not run it
     * - `interrupted`: it was interrupted while it ran, or its store was closed
     */
    reason: Schema.Literal("unclear", "earlier", "interrupted"),
    /** The error of the run, if this call saw one. */
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    const why = {
      unclear: "it was run, and its error leaves open whether it took effect",
      earlier: "an earlier attempt never reported its end, and this call did not run it",
      interrupted: "it was interrupted while it ran"
    }[this.reason]
    return `The outcome of action ${named(this)} is unknown: ${why}; ` +
      "see whether it happened, then reset the key"
  }
}

/**
 * A value does not fit its schema, or JSON. For a `success` or an `error` that could not be encoded the action did run:
 * its key is in doubt. For a `record`, what is stored no longer fits the schemas.
 *
 * @since 0.1.0
 * @category errors
 */
export class CodecError extends Schema.TaggedError<CodecError>("@firebreak/core/CodecError")("CodecError", {
  operation: Schema.String,
  part: Schema.Literal("payload", "success", "error", "record"),
  /** Where in the value, such as `items[0].name`. */
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    const verb = this.part === "record" ? "read its stored outcome" : `encode its ${this.part}`
    const ran = this.part === "success" || this.part === "error"
      ? "the action was run and is in doubt"
      : "the action was not run"
    return `Action "${this.operation}" cannot ${verb} at ${this.path}: ${this.detail}; ${ran}`
  }
}
