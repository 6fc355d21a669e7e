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
 * The run was begun with another version of the code, which this one does not accept; nothing was started.
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionMismatch
  extends Schema.TaggedError<VersionMismatch>("@firebreak/core/VersionMismatch")("VersionMismatch", {
    runId: Schema.String,
    /** The version that began the run. */
    recorded: Schema.String,
    /** The version of the code. */
    version: Schema.String
  })
{
  override get message(): string {
    return `Run "${this.runId}" was begun with version "${this.recorded}", and this code, version "${this.version}", ` +
      "does not accept it; nothing was started; finish the run with that version, or list it in accepts"
  }
}

/**
 * The run was cancelled; its compensations have run.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunCancelled extends Schema.TaggedError<RunCancelled>("@firebreak/core/RunCancelled")("RunCancelled", {
  runId: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `Run "${this.runId}" was cancelled: ${this.reason}; its compensations have run`
  }
}

/**
 * The run did not end within its deadline; its compensations have run.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunDeadlineExceeded
  extends Schema.TaggedError<RunDeadlineExceeded>("@firebreak/core/RunDeadlineExceeded")("RunDeadlineExceeded", {
    runId: Schema.String,
    /** Wall-clock milliseconds since the epoch. */
    deadlineAt: Schema.Number
  })
{
  override get message(): string {
    return `Run "${this.runId}" passed its deadline (${
      new Date(this.deadlineAt).toISOString()
    }); its compensations have run`
  }
}

/**
 * The run was given up: its owner died or failed too often in a row without finishing a step.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunDead extends Schema.TaggedError<RunDead>("@firebreak/core/RunDead")("RunDead", {
  runId: Schema.String,
  stalls: Schema.Number
}) {
  override get message(): string {
    return `Run "${this.runId}" is dead: it died or failed ${this.stalls} times in a row without finishing a step; ` +
      "nothing was started; requeue it when the cause is mended"
  }
}

/**
 * A step with `onInDoubt: "escalate"` was in flight when the run's owner died: whether it happened is not known. It was
 * not run again; look, and `settle` it.
 *
 * @since 0.1.0
 * @category errors
 */
export class StepInDoubt extends Schema.TaggedError<StepInDoubt>("@firebreak/core/StepInDoubt")("StepInDoubt", {
  runId: Schema.String,
  step: Schema.String,
  /** Wall-clock milliseconds since the epoch. */
  startedAt: Schema.Number
}) {
  override get message(): string {
    return `Step "${this.step}" of run "${this.runId}" was begun at ${
      new Date(this.startedAt).toISOString()
    } and never ended; it was not run again; find out whether it happened, and settle it`
  }
}

/**
 * The engine cannot do what the program asks for; that part was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>("@firebreak/core/Unsupported")("Unsupported", {
  engine: Schema.String,
  capability: Schema.String
}) {
  override get message(): string {
    return `The checkpoint engine "${this.engine}" does not offer ${this.capability}; nothing was started`
  }
}

/**
 * How a run can have ended beside the outcomes it declares.
 *
 * @since 0.1.0
 * @category errors
 */
export const RunEnded = Schema.Union(RunCancelled, RunDeadlineExceeded, RunDead)

/**
 * @since 0.1.0
 * @category errors
 */
export type RunEnded = typeof RunEnded.Type

/**
 * How a run can fail beside the errors it declares. These end the run from outside: its body cannot catch them.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError =
  | HistoryMismatch
  | PayloadMismatch
  | RunEnded
  | RunFenced
  | RunInProgress
  | StepCodecError
  | StepInDoubt
  | StoreError
  | Unsupported
  | VersionMismatch
