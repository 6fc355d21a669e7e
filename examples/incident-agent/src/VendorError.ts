/**
 * The one way in which a vendor's call fails, for the whole agent.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * What kind of failure it was, which decides what may follow.
 *
 * - `not-started`: a protection turned the call away, nothing was sent
 * - `throttled`: the vendor said not now, nothing was done
 * - `refused`: the vendor said no (4xx), nothing was done
 * - `unavailable`: 5xx or a lost connection, it may have been done
 * - `timeout`: no answer in time, it may have been done
 * - `garbled`: an answer that could not be read, it may have been done
 *
 * @since 0.1.0
 * @category models
 */
export const Kind = Schema.Literal("not-started", "throttled", "refused", "unavailable", "timeout", "garbled")

/**
 * @since 0.1.0
 * @category models
 */
export type Kind = typeof Kind.Type

/**
 * A vendor's call failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class VendorError extends Schema.TaggedError<VendorError>("VendorError")("VendorError", {
  vendor: Schema.String,
  operation: Schema.String,
  kind: Kind,
  status: Schema.optional(Schema.Number),
  retryAfterMillis: Schema.optional(Schema.Number),
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.brief}: ${this.detail}`
  }

  /** The message without what the vendor wrote. */
  get brief(): string {
    const status = this.status === undefined ? "" : ` ${this.status}`
    return `${this.vendor} ${this.operation} ${this.kind}${status}`
  }
}

/**
 * Whether another attempt may succeed.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isTransient = (error: VendorError): boolean =>
  error.kind === "throttled" || error.kind === "unavailable" || error.kind === "timeout"

/**
 * Whether another attempt may succeed and this one certainly did nothing: all that may be sent again when a second
 * effect would be one too many.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isPostponed = (error: VendorError): boolean => error.kind === "throttled"

/**
 * Whether the call may have had its effect.
 *
 * @since 0.1.0
 * @category predicates
 */
export const classify = (error: VendorError): "failed" | "unknown" | "not-started" => {
  switch (error.kind) {
    case "unavailable":
    case "timeout":
    case "garbled":
      return "unknown"
    case "throttled":
    case "not-started":
      return "not-started"
    case "refused":
      return "failed"
  }
}

/**
 * How long the vendor asked to wait.
 *
 * @since 0.1.0
 * @category predicates
 */
export const retryAfter = (error: VendorError): Option.Option<Duration.Duration> =>
  Option.map(Option.fromNullable(error.retryAfterMillis), Duration.millis)
