/**
 * How a circuit breaker rejects.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import { durationText } from "./internal/durationText.js"
import * as Rejection from "./Rejection.js"

/**
 * The circuit does not let the call through: it was not started.
 *
 * - `open`: the dependency failed, and it is too early to ask again
 * - `probing`: the circuit is half-open and all its probes are under way
 * - `recovering`: the circuit has just closed and lets only a share of the calls through
 * - `forced`: it is held open by hand
 *
 * @since 0.1.0
 * @category errors
 */
export class CircuitOpen extends Data.TaggedError("CircuitOpen")<{
  readonly breaker: string
  readonly reason: "open" | "probing" | "recovering" | "forced"
  /** When a call may pass, at the latest; infinite while held open by hand. A probe may end, and a ramp let it by, sooner. */
  readonly retryAfter: Duration.Duration
  /** The failure that opened the circuit, if one did. */
  readonly lastFailure: Option.Option<unknown>
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    const state = {
      open: "is open",
      probing: "is probing",
      recovering: "is recovering",
      forced: "is held open by hand"
    }
    const when = Duration.isFinite(this.retryAfter)
      ? `; retry in ${durationText(this.retryAfter)}`
      : ""
    return `Circuit breaker "${this.breaker}" ${state[this.reason]}; the call was not started${when}`
  }
}
