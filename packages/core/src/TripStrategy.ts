/**
 * When a closed circuit breaker opens: pure counters over the outcomes of completed calls.
 *
 * A counter is a value. Each outcome gives the next one, or the same reference where nothing changed, which is what lets
 * a healthy breaker do no work per call. Times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as CallWindow from "./internal/callWindow.js"
import * as Check from "./internal/options.js"

/**
 * A strategy over counters of type `C`. Write your own by implementing it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TripStrategy<C> {
  readonly initial: C
  /**
   * What it needs to know of a success beside that it happened: nothing, when it was, or how long it took. What is not
   * asked for is NaN; a healthy call then reads no clock. Default `nothing`.
   */
  readonly reads?: "nothing" | "time" | "elapsed" | undefined
  readonly onSuccess: (counter: C, now: number, elapsed: number) => C
  readonly onFailure: (counter: C, now: number, elapsed: number) => C
  /** Asked after each failure, and after each success of a strategy that reads `elapsed`: open now? */
  readonly trips: (counter: C, now: number) => boolean
  /** Failures (or slow calls) that still count at `now`, for stats. */
  readonly recentFailures: (counter: C, now: number) => number
}

/**
 * Opens at the `threshold`-th failure in a row; any success starts over.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   trip: TripStrategy.consecutive(5)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const consecutive = (threshold: number): TripStrategy<number> => {
  Check.whole("TripStrategy.consecutive", "threshold", threshold, { min: 1 })
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
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   trip: TripStrategy.countInWindow({ failures: 5, within: "2 minutes" })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const countInWindow = (options: {
  readonly failures: number
  readonly within: Duration.DurationInput
}): TripStrategy<ReadonlyArray<number>> => {
  Check.known("TripStrategy.countInWindow", options, { failures: true, within: true })
  const failures = Check.whole("TripStrategy.countInWindow", "failures", options.failures, { min: 1 })
  const within = Check.millis("TripStrategy.countInWindow", "within", options.within, { min: 1 })
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

/**
 * Over which calls a rate is taken: those of a span of time, which forgets in tenths (a window of 10 seconds holds between
 * 9 and 10), or exactly the latest so many.
 *
 * @since 0.1.0
 * @category models
 */
export type Over = { readonly within: Duration.DurationInput } | { readonly latest: number }

/**
 * Opens when at least `rate` (0 to 1) of the completed calls of the window have failed, once it holds `minimumCalls`
 * (default 20).
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * // half of the calls of 30 seconds, where there are ten or more
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   trip: TripStrategy.failureRate({ rate: 0.5, within: "30 seconds", minimumCalls: 10 })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const failureRate = (
  options: { readonly rate: number; readonly minimumCalls?: number | undefined } & Over
): TripStrategy<unknown> => {
  const module = "TripStrategy.failureRate"
  Check.known<Rate>(module, options, { rate: true, minimumCalls: true, within: true, latest: true })
  return "within" in options
    ? rated(module, options, overTime(module, options.within), "time", (_, failed) => failed)
    : rated(module, options, overLatest(module, options), "nothing", (_, failed) => failed)
}

/**
 * Opens when at least `rate` (0 to 1) of the completed calls of the window took longer than `slowerThan`, failed or not,
 * once it holds `minimumCalls` (default 20).
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * // eight of the latest ten calls
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   trip: TripStrategy.slowCallRate({ rate: 0.8, slowerThan: "2 seconds", latest: 10, minimumCalls: 10 })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const slowCallRate = (
  options: {
    readonly rate: number
    readonly slowerThan: Duration.DurationInput
    readonly minimumCalls?: number | undefined
  } & Over
): TripStrategy<unknown> => {
  const module = "TripStrategy.slowCallRate"
  Check.known<Rate & { readonly slowerThan: unknown }>(module, options, {
    rate: true,
    slowerThan: true,
    minimumCalls: true,
    within: true,
    latest: true
  })
  const slow = Check.millis(module, "slowerThan", options.slowerThan)
  return "within" in options
    ? rated(module, options, overTime(module, options.within), "elapsed", (elapsed) => elapsed > slow)
    : rated(module, options, overLatest(module, options), "elapsed", (elapsed) => elapsed > slow)
}

/**
 * Opens when either strategy would.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * const breaker = CircuitBreaker.make({
 *   name: "payments",
 *   trip: TripStrategy.either(
 *     TripStrategy.consecutive(5),
 *     TripStrategy.slowCallRate({ rate: 0.5, slowerThan: "2 seconds", within: "1 minute" })
 *   )
 * })
 *
 * @since 0.1.0
 * @category combinators
 */
export const either = <A, B>(a: TripStrategy<A>, b: TripStrategy<B>): TripStrategy<readonly [A, B]> => {
  const rank = { nothing: 0, time: 1, elapsed: 2 } as const
  const [readsA, readsB] = [a.reads ?? "nothing", b.reads ?? "nothing"]
  const pair = ([x, y]: readonly [A, B], both: readonly [A, B]): readonly [A, B] =>
    both[0] === x && both[1] === y ? both : [x, y]
  return {
    initial: [a.initial, b.initial],
    reads: rank[readsA] > rank[readsB] ? readsA : readsB,
    onSuccess: (both, now, elapsed) =>
      pair([a.onSuccess(both[0], now, elapsed), b.onSuccess(both[1], now, elapsed)], both),
    onFailure: (both, now, elapsed) =>
      pair([a.onFailure(both[0], now, elapsed), b.onFailure(both[1], now, elapsed)], both),
    trips: ([x, y], now) => a.trips(x, now) || b.trips(y, now),
    recentFailures: ([x, y], now) => Math.max(a.recentFailures(x, now), b.recentFailures(y, now))
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The options of a rate, whatever it is taken over. */
interface Rate {
  readonly rate: unknown
  readonly minimumCalls?: unknown
  readonly within?: unknown
  readonly latest?: unknown
}

/** A way to count good and bad calls over some of them. */
interface Span<C> {
  readonly initial: C
  readonly add: (counter: C, now: number, bad: boolean) => C
  readonly sum: (counter: C, now: number) => { readonly all: number; readonly bad: number }
}

const defaultMinimum = 20

const overTime = (module: string, within: Duration.DurationInput): Span<CallWindow.Window> => {
  const width = Check.millis(module, "within", within, { min: CallWindow.buckets }) / CallWindow.buckets
  return {
    initial: CallWindow.empty,
    add: (window, now, bad) => CallWindow.add(window, Math.floor(now / width), bad),
    sum: (window, now) => CallWindow.sum(window, Math.floor(now / width))
  }
}

const overLatest = (
  module: string,
  options: { readonly latest: number; readonly minimumCalls?: number | undefined }
): Span<CallWindow.Latest> => {
  const size = Check.whole(module, "latest", options.latest, { min: options.minimumCalls ?? defaultMinimum })
  return {
    initial: CallWindow.none,
    add: (latest, _, bad) => CallWindow.push(latest, size, bad),
    sum: (latest) => latest
  }
}

/** A strategy over a share of bad calls. Its counter is nobody's business but its own. */
const rated = <C>(
  module: string,
  options: { readonly rate: number; readonly minimumCalls?: number | undefined },
  span: Span<C>,
  reads: "nothing" | "time" | "elapsed",
  isBad: (elapsed: number, failed: boolean) => boolean
): TripStrategy<unknown> => {
  const rate = Check.between(module, "rate", options.rate, { min: Number.EPSILON, max: 1 })
  const minimumCalls = Check.whole(module, "minimumCalls", options.minimumCalls ?? defaultMinimum, { min: 1 })
  const strategy: TripStrategy<C> = {
    initial: span.initial,
    reads,
    onSuccess: (counter, now, elapsed) => span.add(counter, now, isBad(elapsed, false)),
    onFailure: (counter, now, elapsed) => span.add(counter, now, isBad(elapsed, true)),
    trips: (counter, now) => {
      const { all, bad } = span.sum(counter, now)
      return all >= minimumCalls && bad >= rate * all
    },
    recentFailures: (counter, now) => span.sum(counter, now).bad
  }
  return strategy as TripStrategy<unknown>
}
