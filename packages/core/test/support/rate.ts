/** The slow way to see whether a rate limit was kept: look at every window. */
import type * as Gcra from "../../src/internal/gcra.js"

export interface Start {
  readonly at: number
  readonly cost: number
}

/**
 * By how much the starts of any window went over `burst + rate * window`, by the worst limit; the burst is at least the
 * cost of the window's last start. A start may be charged for a time up to `late` milliseconds earlier, which makes every
 * window so much longer.
 */
export const worstExcess = (limits: ReadonlyArray<Gcra.Limit>, starts: ReadonlyArray<Start>, late = 0): number => {
  let worst = -Infinity
  for (const { burst, interval } of limits) {
    for (let last = 0; last < starts.length; last++) {
      const end = starts[last]!
      let sum = 0
      for (let first = last; first >= 0; first--) {
        sum += starts[first]!.cost
        const window = end.at - starts[first]!.at + late
        worst = Math.max(worst, sum - Math.max(burst, end.cost) - window / interval)
      }
    }
  }
  return worst
}
