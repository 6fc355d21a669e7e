/**
 * How a concurrency limit follows what its dependency can take: pure rules that look at one window of finished calls at a
 * time.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Check from "./internal/options.js"

/**
 * What happened between two looks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Window {
  /** Mean milliseconds of the successful calls; NaN if there was none. */
  readonly latency: number
  readonly successes: number
  /** Calls that failed or timed out: they say something about load, and nothing about latency. */
  readonly failures: number
  /** The most calls that were in flight at once. */
  readonly maxInFlight: number
}

/**
 * A strategy over states of type `S`. Write your own by implementing it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LimitStrategy<S> {
  readonly initial: S
  /** The limit, at least 1. Calls are admitted up to the whole number below it. */
  readonly limit: (state: S) => number
  readonly next: (state: S, window: Window) => S
}

/**
 * Where a limit starts, and between which bounds it stays.
 *
 * @since 0.1.0
 * @category options
 */
export interface Bounds {
  /** Default 20. */
  readonly initial?: number | undefined
  /** Default 1. */
  readonly min?: number | undefined
  /** Default 200. */
  readonly max?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Gradient2Options extends Bounds {
  /** How many times slower than usual calls may be before the limit falls. Default 1.5. */
  readonly tolerance?: number | undefined
  /** How much of each new estimate counts, above 0 to 1. Default 0.2. */
  readonly smoothing?: number | undefined
  /** Calls that may queue in the dependency: what the limit grows by while calls are as fast as usual. Default 4. */
  readonly queue?: number | undefined
  /** Windows over which the usual latency is averaged. Default 600. */
  readonly longWindow?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface AimdOptions extends Bounds {
  /** By what the limit is multiplied when there was too much. Default 0.9. */
  readonly backoff?: number | undefined
  /** The share of failures above which there was too much, 0 to 1. Default 0.05. */
  readonly tolerated?: number | undefined
  /** The mean latency above which there was too much. Default: latency does not matter. */
  readonly slowerThan?: Duration.DurationInput | undefined
}

/**
 * The figures of Netflix's concurrency-limits, with a lower bound of 1.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  initial: 20,
  min: 1,
  max: 200,
  gradient2: { tolerance: 1.5, smoothing: 0.2, queue: 4, longWindow: 600 },
  aimd: { backoff: 0.9, tolerated: 0.05 }
} as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Gradient2 {
  readonly limit: number
  /** The usual latency: an exponential average over `longWindow` windows, in milliseconds. */
  readonly longLatency: number
  /** Windows that have taught it, up to the warm-up of 10. */
  readonly learnt: number
}

/**
 * Compares the latency of now with the usual one (Gradient2 of Netflix's concurrency-limits):
 * `gradient = clamp(tolerance * longLatency / latency, 0.5, 1)` and `next = limit * gradient + queue`, smoothed. Each
 * failure takes its share from both terms, and teaches no latency. While fewer than half of the limit are in flight it
 * does not grow.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as LimitStrategy from "@firebreak/core/LimitStrategy"
 *
 * const limit = ConcurrencyLimit.make({ name: "search", strategy: LimitStrategy.gradient2({ initial: 10, max: 100 }) })
 *
 * @since 0.1.0
 * @category constructors
 */
export const gradient2 = (options: Gradient2Options = {}): LimitStrategy<Gradient2> => {
  const module = "LimitStrategy.gradient2"
  const own = { tolerance: true, smoothing: true, queue: true, longWindow: true } as const
  Check.known(module, options, { initial: true, min: true, max: true, ...own })
  const { initial, max, min } = bounds(module, options)
  const figures = defaults.gradient2
  const tolerance = Check.between(module, "tolerance", options.tolerance ?? figures.tolerance, { min: 1, max: 100 })
  const smoothing = Check.between(module, "smoothing", options.smoothing ?? figures.smoothing, { min: 0.001, max: 1 })
  const queue = Check.between(module, "queue", options.queue ?? figures.queue, { min: 0, max })
  const longWindow = Check.whole(module, "longWindow", options.longWindow ?? figures.longWindow, { min: 1 })
  return {
    initial: { limit: initial, longLatency: 0, learnt: 0 },
    limit: (state) => state.limit,
    next: (state, window) => {
      const { learnt, longLatency } = learn(state, window, longWindow)
      const failed = shareOfFailures(window)
      const isIdle = window.maxInFlight < state.limit / 2
      const gradient = isIdle || !(window.latency > 0)
        ? 1
        : Math.min(1, Math.max(0.5, tolerance * longLatency / window.latency))
      const target = state.limit * Math.max(0.5, gradient * (1 - failed / 2)) + (isIdle ? 0 : queue * (1 - failed))
      const smoothed = state.limit + (target - state.limit) * smoothing
      return { limit: Math.min(max, Math.max(min, smoothed)), longLatency, learnt }
    }
  }
}

/**
 * Adds 1 after a good window, multiplies by `backoff` after a bad one (additive increase, multiplicative decrease, as
 * TCP does). It does not grow while fewer than half of the limit are in flight.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as LimitStrategy from "@firebreak/core/LimitStrategy"
 *
 * const limit = ConcurrencyLimit.make({ name: "search", strategy: LimitStrategy.aimd({ slowerThan: "500 millis" }) })
 *
 * @since 0.1.0
 * @category constructors
 */
export const aimd = (options: AimdOptions = {}): LimitStrategy<number> => {
  const module = "LimitStrategy.aimd"
  const own = { backoff: true, tolerated: true, slowerThan: true } as const
  Check.known(module, options, { initial: true, min: true, max: true, ...own })
  const { initial, max, min } = bounds(module, options)
  const backoff = Check.between(module, "backoff", options.backoff ?? defaults.aimd.backoff, { min: 0.5, max: 0.99 })
  const tolerated = Check.between(module, "tolerated", options.tolerated ?? defaults.aimd.tolerated, { min: 0, max: 1 })
  const slow = options.slowerThan === undefined ? Infinity : Check.millis(module, "slowerThan", options.slowerThan)
  return {
    initial,
    limit: (limit) => limit,
    next: (limit, window) => {
      if (shareOfFailures(window) > tolerated || window.latency > slow) return Math.max(min, limit * backoff)
      return window.maxInFlight < limit / 2 ? limit : Math.min(max, limit + 1)
    }
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const warmup = 10

const bounds = (module: string, options: Bounds) => {
  const min = Check.whole(module, "min", options.min ?? defaults.min, { min: 1 })
  const max = Check.whole(module, "max", options.max ?? defaults.max, { min })
  const initial = Check.whole(module, "initial", options.initial ?? Math.min(max, Math.max(min, defaults.initial)), {
    min
  })
  return { initial: Check.between(module, "initial", initial, { min, max }), min, max }
}

const shareOfFailures = (window: Window): number =>
  window.failures === 0 ? 0 : window.failures / (window.failures + window.successes)

const learn = (state: Gradient2, window: Window, longWindow: number): Omit<Gradient2, "limit"> => {
  if (window.successes === 0) return state
  if (state.learnt < warmup) {
    const learnt = state.learnt + 1
    return { longLatency: state.longLatency + (window.latency - state.longLatency) / learnt, learnt }
  }
  const factor = 2 / (longWindow + 1)
  const longLatency = state.longLatency * (1 - factor) + window.latency * factor
  // what was usual is long past: forget it faster than the average would
  return { longLatency: longLatency > 2 * window.latency ? longLatency * 0.95 : longLatency, learnt: state.learnt }
}
