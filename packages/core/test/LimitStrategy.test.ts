import { describe, expect, it } from "@effect/vitest"
import * as LimitStrategy from "@firebreak/core/LimitStrategy"
import * as fc from "effect/FastCheck"
import { modelRuns, same } from "./support/runs.js"

const window = fc.record({
  latency: fc.integer({ min: 1, max: 10_000 }),
  successes: fc.integer({ min: 0, max: 100 }),
  failures: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 100 })),
  maxInFlight: fc.integer({ min: 1, max: 200 })
}).filter(({ failures, successes }) => failures + successes > 0).map((window): LimitStrategy.Window => ({
  ...window,
  latency: window.successes === 0 ? NaN : window.latency
}))
const windows = fc.array(window, { minLength: 1, maxLength: 40 })
const healthy = (window: LimitStrategy.Window) => window.failures === 0
const strategies = fc.constantFrom<LimitStrategy.LimitStrategy<any>>(
  LimitStrategy.gradient2({ min: 5, max: 50 }),
  LimitStrategy.aimd({ min: 5, max: 50 }),
  LimitStrategy.aimd({ min: 5, max: 50, slowerThan: "1 second" })
)
const last = <S>(strategy: LimitStrategy.LimitStrategy<S>, windows: ReadonlyArray<LimitStrategy.Window>) =>
  windows.reduce(strategy.next, strategy.initial)

const steady = (latency: number, count = 1): ReadonlyArray<LimitStrategy.Window> =>
  Array.from({ length: count }, () => ({ latency, successes: 50, failures: 0, maxInFlight: 200 }))

describe("every LimitStrategy", () => {
  it.prop("stays within its bounds, whatever happens", [strategies, windows], ([strategy, windows]) => {
    let state = strategy.initial
    for (const window of windows) {
      state = strategy.next(state, window)
      const limit = strategy.limit(state)
      if (!(limit >= 5 && limit <= 50)) expect(limit).toBeNaN()
    }
  }, modelRuns)

  it.prop("does not grow while fewer than half of it are in flight", [strategies, windows, window], (
    [strategy, windows, window]
  ) => {
    const state = last(strategy, windows)
    const limit = strategy.limit(state)
    const idle = { ...window, maxInFlight: Math.ceil(limit / 2) - 1 }
    expect(strategy.limit(strategy.next(state, idle))).toBeLessThanOrEqual(limit)
  }, modelRuns)

  it.prop("is never higher for a failure in place of a success", [strategies, windows, window], (
    [strategy, windows, window]
  ) => {
    const state = last(strategy, windows)
    const worse = { ...window, successes: Math.max(0, window.successes - 1), failures: window.failures + 1 }
    expect(strategy.limit(strategy.next(state, worse))).toBeLessThanOrEqual(
      strategy.limit(strategy.next(state, window)) + 1e-9
    )
  }, modelRuns)
})

describe("gradient2", () => {
  it.prop("is Netflix's Gradient2 where nothing fails", [windows], ([windows]) => {
    const strategy = LimitStrategy.gradient2({ min: 20 })
    // after Gradient2Limit.java and ExpAvgMeasurement.java
    let limit = 20
    let count = 0
    let sum = 0
    let longRtt = 0
    let state = strategy.initial
    for (const window of windows.filter(healthy)) {
      const rtt = window.latency
      if (count < 10) {
        count++
        sum += rtt
        longRtt = sum / count
      } else {
        const factor = 2 / 601
        longRtt = longRtt * (1 - factor) + rtt * factor
        if (longRtt / rtt > 2) longRtt *= 0.95
      }
      if (window.maxInFlight >= limit / 2) {
        const gradient = Math.max(0.5, Math.min(1, 1.5 * longRtt / rtt))
        const next = limit * gradient + 4
        limit = Math.max(20, Math.min(200, limit * 0.8 + next * 0.2))
      }
      state = strategy.next(state, window)
      if (Math.abs(state.limit - limit) > 1e-6) same(state.limit, limit, "limit")
      if (Math.abs(state.longLatency - longRtt) > 1e-6) same(state.longLatency, longRtt, "long latency")
    }
  }, modelRuns)

  it("learns no latency from failures, and lowers the limit for them", () => {
    const strategy = LimitStrategy.gradient2()
    const before = last(strategy, steady(100, 20))
    const after = strategy.next(before, { latency: NaN, successes: 0, failures: 50, maxInFlight: 200 })
    expect(after.longLatency).toBe(before.longLatency)
    expect(after.limit).toBeCloseTo(before.limit * 0.9)
  })

  it("falls to its lower bound while everything fails", () => {
    const strategy = LimitStrategy.gradient2({ min: 2 })
    const outage = Array.from({ length: 60 }, () => ({ latency: NaN, successes: 0, failures: 10, maxInFlight: 200 }))
    expect(last(strategy, outage).limit).toBe(2)
  })

  it("is not troubled by calls that take no time", () => {
    const strategy = LimitStrategy.gradient2()
    expect(last(strategy, [...steady(0, 20), ...steady(5), ...steady(0)]).limit).toBeGreaterThan(20)
  })
})

describe("aimd", () => {
  it.prop("adds one after a good window and takes a tenth after a bad one, by hand", [windows], ([windows]) => {
    const strategy = LimitStrategy.aimd({ min: 5, max: 50, initial: 20, slowerThan: "1 second" })
    let limit = 20
    let state = strategy.initial
    for (const window of windows) {
      const calls = window.successes + window.failures
      const isBad = window.failures * 20 > calls || window.latency > 1_000
      if (isBad) limit = Math.max(5, limit * 0.9)
      else if (window.maxInFlight * 2 >= limit) limit = Math.min(50, limit + 1)
      state = strategy.next(state, window)
      same(state, limit, "limit")
    }
  }, modelRuns)

  it("adds one after a good window, and multiplies after a bad one", () => {
    const strategy = LimitStrategy.aimd({ slowerThan: "1 second" })
    expect(last(strategy, steady(100, 5))).toBe(25)
    expect(last(strategy, [...steady(100, 5), ...steady(1_001)])).toBe(22.5)
    const failing = { latency: 100, successes: 94, failures: 6, maxInFlight: 200 }
    expect(last(strategy, [...steady(100, 5), failing])).toBe(22.5)
    expect(last(strategy, [...steady(100, 5), { ...failing, successes: 95, failures: 5 }])).toBe(26)
  })
})

describe("options of a LimitStrategy", () => {
  it("that make no sense are refused, naming the option and the value", () => {
    expect(() => LimitStrategy.gradient2({ min: 0 })).toThrow(/min.*got 0/)
    expect(() => LimitStrategy.gradient2({ min: 10, max: 5 })).toThrow(/max.*at least 10, got 5/)
    expect(() => LimitStrategy.gradient2({ initial: 500 })).toThrow(/initial.*got 500/)
    expect(() => LimitStrategy.gradient2({ tolerance: 0.5 })).toThrow(/tolerance.*got 0.5/)
    expect(() => LimitStrategy.gradient2({ smoothing: 0 })).toThrow(/smoothing.*got 0/)
    expect(() => LimitStrategy.gradient2({ queue: -1 })).toThrow(/queue.*got -1/)
    expect(() => LimitStrategy.gradient2({ longWindow: 0 })).toThrow(/longWindow.*got 0/)
    expect(() => LimitStrategy.aimd({ backoff: 1 })).toThrow(/backoff.*got 1/)
    expect(() => LimitStrategy.aimd({ tolerated: -1 })).toThrow(/tolerated.*got -1/)
  })

  it("a bound moves the start that would lie outside", () => {
    expect(LimitStrategy.aimd({ max: 8 }).initial).toBe(8)
    expect(LimitStrategy.aimd({ min: 30 }).initial).toBe(30)
  })
})
