/**
 * Calling people when nothing else helped, until it gets through.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Events from "./Events.js"
import type * as HealingState from "./HealingState.js"
import * as Health from "./Health.js"
import { bounded } from "./internal/bounded.js"
import { durationText } from "./internal/durationText.js"

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
 * Why people are called. A `Drill` only proves that they can be: nobody has to do anything.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = HealingState.Reason | { readonly _tag: "Drill" }

/**
 * What people are told. Plain data: it can be sent and stored as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Escalation {
  readonly name: string
  readonly reason: Reason
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
export const defaults = {
  timeout: "30 seconds",
  base: "1 second",
  factor: 2,
  cap: "60 seconds",
  drill: "1 minute"
} as const

/**
 * An escalation in one line.
 *
 * @since 0.1.0
 * @category models
 */
export const message = (escalation: Escalation): string => {
  const { name, reason, report } = escalation
  if (reason._tag === "Drill") return `${name}: this is a drill, nothing has to be done; ${report.status}`
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
  return Effect.onInterrupt(untilThrough(escalation, page, failed), () => failed("interrupted before it got through"))
}

/**
 * What came of a drill; `elapsed` is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Drill {
  readonly delivered: boolean
  readonly elapsed: number
  /** Tries that failed, before it got through or the time was up. */
  readonly failures: number
  /** Why the last try failed that did; absent if none did. */
  readonly error?: string
}

/**
 * Delivers an escalation as `deliver` does, for at most `within`, and tells whether it got through. It publishes nothing.
 *
 * @since 0.1.0
 * @category delivering
 */
export const drill = <E, R>(
  escalation: Escalation,
  page: (escalation: Escalation) => Effect.Effect<unknown, E, R>,
  within: Duration.Duration
): Effect.Effect<Drill, never, R> =>
  Effect.suspend(() => {
    let failures = 0
    let error: string | undefined
    const noted = (why: string) =>
      Effect.sync(() => {
        failures++
        error = why
      })
    return untilThrough(escalation, page, noted).pipe(
      Effect.timeoutOption(within),
      Effect.timed,
      Effect.map(([elapsed, through]): Drill => {
        const delivered = Option.isSome(through)
        const why = error ?? (delivered ? undefined : `no answer within ${durationText(within)}`)
        return { delivered, elapsed: Duration.toMillis(elapsed), failures, ...why === undefined ? {} : { error: why } }
      })
    )
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Pages until it succeeds; `failed` is told of each try that did not. */
const untilThrough = <E, R>(
  escalation: Escalation,
  page: (escalation: Escalation) => Effect.Effect<unknown, E, R>,
  failed: (error: string) => Effect.Effect<void>
): Effect.Effect<void, never, R> => {
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
  return attempt(0)
}

const delay = (failures: number): Duration.Duration =>
  Duration.min(defaults.cap, Duration.times(defaults.base, defaults.factor ** Math.min(failures, 30)))
