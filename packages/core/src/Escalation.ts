/**
 * Calling people when nothing else helped, until it gets through.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Events from "./Events.js"
import type * as HealingState from "./HealingState.js"
import * as Health from "./Health.js"
import { bounded } from "./internal/bounded.js"

/**
 * One remedy that ran. Plain data: it can be sent and stored as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Treatment {
  readonly remedy: string
  /** The check or the status it was for. */
  readonly trigger: string
  readonly attempt: number
  /** When it was judged, in milliseconds since the epoch. */
  readonly at: number
  /** Why it did not help; absent if the checks passed afterwards. */
  readonly error?: string
}

/**
 * What people are told. Plain data: it can be sent and stored as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Escalation {
  readonly name: string
  readonly reason: HealingState.Reason
  readonly consecutiveFailures: number
  /** The report that led to it. */
  readonly report: Health.Report
  /** The last 100 reports, oldest first. */
  readonly history: ReadonlyArray<Health.Report>
  /** The last 100 remedies that ran, oldest first. */
  readonly treatments: ReadonlyArray<Treatment>
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { timeout: "30 seconds", base: "1 second", factor: 2, cap: "60 seconds" } as const

/**
 * An escalation in one line.
 *
 * @since 0.1.0
 * @category models
 */
export const message = (escalation: Escalation): string => {
  const { name, reason, report } = escalation
  const why = reason._tag === "TooManyFailures"
    ? `${reason.consecutiveFailures} bad rounds in a row`
    : `nothing left to try for ${reason.checks.join(", ")}`
  return `${name} needs a human: ${why}; ${report.status}, failing: ${Health.failing(report).join(", ")}`
}

/**
 * Runs `page` until it succeeds, each time for at most 30 seconds, with waits that double from 1 second to 60. Every
 * failure is logged and published as `EscalationFailed`; so is an interruption before it got through.
 *
 * @since 0.1.0
 * @category delivering
 */
export const deliver = <E, R>(
  escalation: Escalation,
  page: (escalation: Escalation) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, never, R> => {
  const failed = (error: string) =>
    Effect.zipRight(
      Events.publish({ _tag: "EscalationFailed", name: escalation.name, error }),
      Effect.logError(`Could not escalate: ${error}. ${message(escalation)}`)
    )
  const attempt = (failures: number): Effect.Effect<void, never, R> =>
    Effect.flatMap(
      bounded(Duration.toMillis(defaults.timeout)).run(Effect.suspend(() => page(escalation))),
      Either.match({
        onRight: () => Effect.void,
        onLeft: (error) =>
          failed(error).pipe(
            Effect.zipRight(Clock.sleep(delay(failures))),
            Effect.zipRight(Effect.suspend(() => attempt(failures + 1)))
          )
      })
    )
  return Effect.onInterrupt(attempt(0), () => failed("interrupted before it got through"))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const delay = (failures: number): Duration.Duration =>
  Duration.min(defaults.cap, Duration.times(defaults.base, defaults.factor ** Math.min(failures, 30)))
