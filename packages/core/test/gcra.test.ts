import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import * as Gcra from "../src/internal/gcra.js"
import { type Start, worstExcess } from "./support/rate.js"
import { modelRuns } from "./support/runs.js"

// binary fractions, so that the model and the algorithm, which add in another order, agree to the last bit
const limit = fc.record({
  interval: fc.integer({ min: 1, max: 64 }).map((n) => n / 16),
  burst: fc.integer({ min: 1, max: 8 })
})
const limits = fc.array(limit, { minLength: 1, maxLength: 3 })
const cost = fc.oneof({ weight: 5, arbitrary: fc.constant(1) }, {
  weight: 1,
  arbitrary: fc.integer({ min: 1, max: 12 })
})
const calls = fc.array(fc.record({ gap: fc.nat(40).map((n) => n / 16), cost }), { minLength: 1, maxLength: 60 })

/** The same limit as a bucket of tokens, which may be overdrawn by a cost above the burst. */
class Bucket {
  private tokens: number
  private at = 0
  constructor(private readonly limit: Gcra.Limit) {
    this.tokens = limit.burst
  }
  level(now: number): number {
    return Math.min(this.limit.burst, this.tokens + (now - this.at) / this.limit.interval)
  }
  allows(cost: number, now: number): boolean {
    // rounding of the division
    return this.level(now) >= Math.min(cost, this.limit.burst) - 1e-9
  }
  charge(cost: number, now: number): void {
    this.tokens = this.level(now) - cost
    this.at = now
  }
}

describe("Gcra", () => {
  it.prop("allows what a bucket of tokens would, by every limit or by none", [limits, calls], ([limits, calls]) => {
    const buckets = limits.map((limit) => new Bucket(limit))
    let state = Gcra.unused(limits)
    let now = 0
    for (const { cost, gap } of calls) {
      now += gap
      const allowed = Gcra.allowedAt(limits, state, cost) <= now
      const level = Math.min(...buckets.map((bucket) => bucket.level(now)))
      if (allowed !== buckets.every((bucket) => bucket.allows(cost, now))) expect(allowed).toBe(!allowed)
      if (Math.abs(Gcra.available(limits, state, now) - Math.max(0, level)) > 1e-9) expect(state).toBe(level)
      if (!allowed) continue
      state = Gcra.charge(limits, state, cost, now)
      for (const bucket of buckets) bucket.charge(cost, now)
    }
  }, modelRuns)

  it.prop("in any window w starts at most burst + rate * w, and under load no less than the rate", [limits, calls], (
    [limits, calls]
  ) => {
    let state = Gcra.unused(limits)
    let arrival = 0
    let at = 0
    const starts: Array<Start> = []
    for (const { cost, gap } of calls) {
      arrival += gap
      const earliest = Math.max(arrival, at)
      at = Math.max(earliest, Gcra.allowedAt(limits, state, cost))
      // a waiting call starts at the moment at which some limit would have been overrun just before
      if (at > earliest) {
        expect(
          limits.some((limit, i) =>
            state[i]! + cost * limit.interval > at - 1 / 32 + Math.max(limit.burst, cost) * limit.interval
          )
        ).toBe(true)
      }
      state = Gcra.charge(limits, state, cost, at)
      starts.push({ at, cost })
    }
    expect(worstExcess(limits, starts)).toBeLessThanOrEqual(1e-9)
  }, modelRuns)

  it.prop("forecasts the start of a call behind others: exactly with one limit, never too late with several", [
    limits,
    calls,
    fc.array(cost, { maxLength: 10 }),
    cost
  ], ([limits, calls, line, cost]) => {
    let state = Gcra.unused(limits)
    let now = 0
    for (const { cost, gap } of calls) {
      now += gap
      if (Gcra.allowedAt(limits, state, cost) <= now) state = Gcra.charge(limits, state, cost, now)
    }
    const forecast = Gcra.forecast(limits, state, cost, line.reduce((sum, cost) => sum + cost, 0), now)
    let at = now
    for (const ahead of line) {
      at = Math.max(at, Gcra.allowedAt(limits, state, ahead))
      state = Gcra.charge(limits, state, ahead, at)
    }
    const truth = Math.max(at, Gcra.allowedAt(limits, state, cost))
    if (limits.length === 1) expect(forecast).toBeCloseTo(truth, 9)
    else expect(forecast).toBeLessThanOrEqual(truth + 1e-9)
  }, modelRuns)
})
