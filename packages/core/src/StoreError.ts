/**
 * The one way in which a durable store fails: named, typed, and never reported as success.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Why a store could not do what was asked.
 *
 * - `busy`: another process held the store longer than the configured wait
 * - `full`: the disk is full
 * - `readonly`: the file or directory cannot be written
 * - `corrupt`: the stored data is damaged
 * - `closed`: the store's scope has ended
 * - `io`: anything else the driver reports, a file that has vanished among it
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal("busy", "full", "readonly", "corrupt", "closed", "io")

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * A store could not do what was asked. Nothing was recorded, but for `busy` and `io`, where an answer may have been lost:
 * asking again is safe.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>("@firebreak/core/StoreError")("StoreError", {
  /** The store's name, for SQLite the file. */
  store: Schema.String,
  /** The operation that failed, such as `claim` or `save`. */
  operation: Schema.String,
  reason: Reason,
  detail: Schema.String
}) {
  override get message(): string {
    const lost = this.reason === "busy" || this.reason === "io"
    return `Store "${this.store}" could not ${this.operation} (${this.reason}): ${this.detail}; ` +
      (lost ? "it may or may not be recorded" : "nothing was recorded")
  }
}
