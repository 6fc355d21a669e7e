/**
 * How a run can fail beside its own errors.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { durationText } from "./internal/durationText.js"
import type { StoreError } from "./StoreError.js"

/**
 * The code of a half-done run has changed: it asks for a step other than the one recorded at that place (or, where
 * `called` is null, never asks for it). No unrecorded step was started after it showed.
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryMismatch
  extends Schema.TaggedError<HistoryMismatch>("@firebreak/core/HistoryMismatch")("HistoryMismatch", {
    runId: Schema.String,
    /** The position in the run, from 0. */
    seq: Schema.Number,
    recorded: Schema.String,
    called: Schema.NullOr(Schema.String)
  })
{
  override get message(): string {
    const now = this.called === null ? "the code ended without it" : `the code now calls "${this.called}"`
    return `Run "${this.runId}" recorded step "${this.recorded}" at position ${this.seq}, but ${now}; ` +
      "finish the run with the code that began it, or clear it"
  }
}

/**
 * Another live owner has the run; nothing was started.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunInProgress extends Schema.TaggedError<RunInProgress>("@firebreak/core/RunInProgress")("RunInProgress", {
  runId: Schema.String,
  /** When its lease ends if it is not renewed. */
  retryAfter: Schema.Duration
}) {
  override get message(): string {
    return `Run "${this.runId}" is in progress elsewhere; nothing was started; its lease ends in ${
      durationText(this.retryAfter)
    }`
  }
}

/**
 * The run exists with another payload; nothing was started.
 *
 * @since 0.1.0
 * @category errors
 */
export class PayloadMismatch
  extends Schema.TaggedError<PayloadMismatch>("@firebreak/core/PayloadMismatch")("PayloadMismatch", {
    workflow: Schema.String,
    key: Schema.String
  })
{
  override get message(): string {
    return `Workflow "${this.workflow}" has a run with the key "${this.key}" and another payload; nothing was started`
  }
}

/**
 * The run was taken over by another owner while this one was stopped or cut off. What was saved before stands.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunFenced extends Schema.TaggedError<RunFenced>("@firebreak/core/RunFenced")("RunFenced", {
  runId: Schema.String
}) {
  override get message(): string {
    return `Run "${this.runId}" was taken over by another owner; this one has stopped`
  }
}

/**
 * A value does not fit its schema, or JSON. A step whose outcome could not be encoded did run, and runs again when the
 * run is resumed.
 *
 * @since 0.1.0
 * @category errors
 */
export class StepCodecError
  extends Schema.TaggedError<StepCodecError>("@firebreak/core/StepCodecError")("StepCodecError", {
    runId: Schema.String,
    /** The step, or null for the payload and the outcome of the run itself. */
    step: Schema.NullOr(Schema.String),
    part: Schema.Literal("payload", "success", "error", "record"),
    /** Where in the value, such as `items[0].name`. */
    path: Schema.String,
    detail: Schema.String
  })
{
  override get message(): string {
    const what = this.part === "record" ? "stored outcome cannot be read" : `${this.part} cannot be encoded`
    const whose = this.step === null ? `Run "${this.runId}"` : `Step "${this.step}" of run "${this.runId}"`
    return `${whose}: its ${what} at ${this.path}: ${this.detail}`
  }
}

/**
 * How a run can fail beside the errors it declares. These end the run from outside: its body cannot catch them.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError = HistoryMismatch | PayloadMismatch | RunFenced | RunInProgress | StepCodecError | StoreError
