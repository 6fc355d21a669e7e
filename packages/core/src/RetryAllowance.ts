/**
 * How many retries a dependency can bear: the two rules of a `RetryBudget`, without Effect and without a clock. Times are
 * milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Check from "./internal/options.js"
import { Window } from "./internal/window.js"

/**
 * Why a call is retried. An attempt that ran into its timeout has cost the dependency more than one that failed.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "error" | "timeout"

/**
 * What is left, of one dependency. It is mutable: a call allocates nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Account {
  /** A call begins, its retries not counted. */
  readonly called: (now: number) => void
  /** Takes what a retry costs; false, and nothing taken, where there is too little. */
  readonly tryRetry: (kind: Kind, now: number) => boolean
  /** A retry that was paid for did not reach the dependency. */
  readonly refund: (kind: Kind, now: number) => void
  /** A call succeeded, by a retry of that kind or by its first attempt. */
  readonly succeeded: (retried: Kind | undefined, now: number) => void
  /** Retries of kind "error" that would be granted now, never negative. */
  readonly available: (now: number) => number
}

/**
 * A rule, from which each budget opens its own account. Write your own by implementing it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Allowance {
  /** Whether the account reads the time. Without it `now` is NaN everywhere, and no clock is read. */
  readonly timed: boolean
  readonly open: () => Account
}

/**
 * The figures of the AWS SDKs' standard mode, and those of Finagle's `RetryBudget`.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  capacity: 500,
  cost: 5,
  timeoutCost: 10,
  credit: 1,
  share: 0.1,
  within: "10 seconds",
  minPerSecond: 10
} as const

/**
 * A bucket of tokens, full at first. A retry takes `cost` (default 5), after a timeout `timeoutCost` (10), and gives that
 * back when it succeeds; a success without a retry adds `credit` (1). The bucket holds at most `capacity` (500).
 *
 * @example
 * import * as RetryAllowance from "@firebreak/core/RetryAllowance"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 *
 * // 20 retries in a row, then one for every five calls that succeed
 * const budget = RetryBudget.make({ name: "payments", allowance: RetryAllowance.tokens({ capacity: 100 }) })
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
 * @since 0.1.0
 * @category constructors
 */
export const tokens = (options: {
  readonly capacity?: number | undefined
  readonly cost?: number | undefined
  readonly timeoutCost?: number | undefined
  readonly credit?: number | undefined
} = {}): Allowance => {
  Check.known("RetryAllowance.tokens", options, { capacity: true, cost: true, timeoutCost: true, credit: true })
  const positive = (option: string, value: number) => Check.whole("RetryAllowance.tokens", option, value, { min: 1 })
  const capacity = positive("capacity", options.capacity ?? defaults.capacity)
  const cost = positive("cost", options.cost ?? defaults.cost)
  const timeoutCost = positive("timeoutCost", options.timeoutCost ?? defaults.timeoutCost)
  const credit = Check.whole("RetryAllowance.tokens", "credit", options.credit ?? defaults.credit, { min: 0 })
  return { timed: false, open: () => new Tokens(capacity, cost, timeoutCost, credit) }
}

/**
 * Retries are at most `share` (default 10 %) of the calls `within` the last 10 seconds, plus `minPerSecond` (10) for who
 * calls rarely.
 *
 * @example
 * import * as RetryAllowance from "@firebreak/core/RetryAllowance"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 *
 * // one retry for every five calls of the last ten seconds, and one a second whatever the calls
 * const budget = RetryBudget.make({
 *   name: "payments",
 *   allowance: RetryAllowance.ratio({ share: 0.2, minPerSecond: 1 })
 * })
 *
 * @see https://twitter.github.io/finagle/docs/com/twitter/finagle/service/RetryBudget$.html
 * @since 0.1.0
 * @category constructors
 */
export const ratio = (options: {
  readonly share?: number | undefined
  readonly within?: Duration.DurationInput | undefined
  readonly minPerSecond?: number | undefined
} = {}): Allowance => {
  const module = "RetryAllowance.ratio"
  Check.known(module, options, { share: true, within: true, minPerSecond: true })
  const share = Check.between(module, "share", options.share ?? defaults.share, { min: 0, max: 1_000 })
  const within = Check.millis(module, "within", options.within ?? defaults.within, { min: 10 })
  const perSecond = Check.between(module, "minPerSecond", options.minPerSecond ?? defaults.minPerSecond, {
    min: 0,
    max: 1e6
  })
  const reserve = perSecond * Duration.toSeconds(within)
  return { timed: true, open: () => new Ratio(within, share, reserve) }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

class Tokens implements Account {
  private left: number

  constructor(
    private readonly capacity: number,
    private readonly cost: number,
    private readonly timeoutCost: number,
    private readonly credit: number
  ) {
    this.left = capacity
  }

  called(): void {}

  tryRetry(kind: Kind): boolean {
    const cost = this.costOf(kind)
    if (cost > this.left) return false
    this.left -= cost
    return true
  }

  refund(kind: Kind): void {
    this.add(this.costOf(kind))
  }

  succeeded(retried: Kind | undefined): void {
    this.add(retried === undefined ? this.credit : this.costOf(retried))
  }

  available(): number {
    return Math.floor(this.left / this.cost)
  }

  private costOf(kind: Kind): number {
    return kind === "timeout" ? this.timeoutCost : this.cost
  }

  private add(amount: number): void {
    this.left = Math.min(this.capacity, this.left + amount)
  }
}

const calls = 0
const retries = 1

class Ratio implements Account {
  private readonly window: Window

  constructor(within: number, private readonly share: number, private readonly reserve: number) {
    this.window = new Window(within, 10, 2)
  }

  called(now: number): void {
    this.window.increment(calls, now)
  }

  tryRetry(_: Kind, now: number): boolean {
    if (this.available(now) < 1) return false
    this.window.increment(retries, now)
    return true
  }

  refund(_: Kind, now: number): void {
    this.window.takeBack(retries, now)
  }

  succeeded(): void {}

  available(now: number): number {
    this.window.expire(now)
    const allowed = this.share * this.window.sum(calls) + this.reserve
    // 0.1 * 30 is 3.0000000000000004; the other way round a retry would be lost to rounding
    return Math.max(0, Math.floor(allowed - this.window.sum(retries) + 1e-9))
  }
}
