/**
 * When a closed circuit breaker opens: pure counters over the outcomes of completed calls.
 *
 * A counter is a value. `onSuccess` and `onFailure` give the next one and return the same reference where nothing
 * changed, which is what lets a healthy breaker do no work per call. Times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Options from "./internal/options.js"

/**
 * A strategy over counters of type `C`. Write your own by implementing it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TripStrategy<C> {
  readonly initial: C
  /** Whether `onSuccess` reads the time. Without it `now` is NaN there, and a healthy call reads no clock. */
  readonly timesSuccesses?: boolean | undefined
  readonly onSuccess: (counter: C, now: number) => C
  readonly onFailure: (counter: C, now: number) => C
  /** Asked after each failure: open now? */
  readonly trips: (counter: C, now: number) => boolean
  /** Failures that still count at `now`, for stats. */
  readonly recentFailures: (counter: C, now: number) => number
}

/**
 * Opens at the `threshold`-th failure in a row; any success starts over.
 *
 * @since 0.1.0
 * @category constructors
 */
export const consecutive = (threshold: number): TripStrategy<number> => {
  Options.whole("TripStrategy.consecutive", "threshold", threshold, { min: 1 })
  return {
    initial: 0,
    onSuccess: () => 0,
    onFailure: (failures) => failures + 1,
    trips: (failures) => failures >= threshold,
    recentFailures: (failures) => failures
  }
}

/**
 * Opens when `failures` calls have failed within any span of length `within`, whatever succeeded between them. The
 * window slides exactly: a failure counts while it is younger than `within`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const countInWindow = (options: {
  readonly failures: number
  readonly within: Duration.DurationInput
}): TripStrategy<ReadonlyArray<number>> => {
  const failures = Options.whole("TripStrategy.countInWindow", "failures", options.failures, { min: 1 })
  const within = Options.millis("TripStrategy.countInWindow", "within", options.within, { min: 1 })
  const young = (times: ReadonlyArray<number>, now: number) => {
    const first = times.findIndex((time) => time > now - within)
    return first === 0 ? times : first === -1 ? [] : times.slice(first)
  }
  return {
    initial: [],
    onSuccess: (times) => times,
    // the latest `failures` times decide, so no more are ever kept
    onFailure: (times, now) => {
      const kept = young(times, now)
      return [...kept.slice(Math.max(0, kept.length + 1 - failures)), now]
    },
    trips: (times, now) => times.length >= failures && times[0]! > now - within,
    recentFailures: (times, now) => young(times, now).length
  }
}
