import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import * as Diagnosis from "../src/Diagnosis.js"
import { plan } from "../src/Runbook.js"
import * as Fleet from "../src/sandbox/Fleet.js"
import * as Telemetry from "../src/sandbox/Telemetry.js"
import { type LogLine, lookback, type Metric, type Series } from "../src/Signals.js"

const now = Date.UTC(2024, 0, 11, 9, 30)
const interval = 10_000

/** What a fleet shows of a service over the lookback: a point every ten seconds, errors and warnings. */
const signalsOf = (service: string, seed: number) => {
  const fleet = Fleet.make(seed, now)
  const times = Array.from({ length: lookback / interval + 1 }, (_, i) => now - lookback + i * interval)
  const series = (Object.keys(Telemetry.metrics) as ReadonlyArray<Metric>).map((metric): Series => ({
    metric,
    points: times.map((at) => [at, Telemetry.value(fleet, service, metric, at)])
  }))
  const logs = Telemetry.logs(fleet, service, now - lookback, now).filter(({ level }) => level !== "info")
  return { onset: fleet.onset, series, logs }
}

const causesOf = (signals: { readonly series: ReadonlyArray<Series>; readonly logs: ReadonlyArray<LogLine> }) =>
  Diagnosis.diagnose(signals).causes.map(({ name }) => name)

/** Noise around 1, from -half to +half of `noise`. */
const noisy = (noise: number, length: number) =>
  fc.array(fc.double({ min: -0.5, max: 0.5, noNaN: true }), { minLength: length, maxLength: length })
    .map((draws) => draws.map((draw) => 1 + noise * draw))

const seriesOf = (values: ReadonlyArray<number>, metric: Metric = "errorRate"): Series => ({
  metric,
  points: values.map((value, i) => [i * interval, value])
})

const length = 120

describe("The onset", () => {
  it.prop(
    "is found within two points of a step of any size, anywhere after the first fifth",
    [noisy(0.1, length), fc.integer({ min: 30, max: length - 6 }), fc.double({ min: 1, max: 1_000, noNaN: true })],
    ([values, step, size]) => {
      const onset = Diagnosis.findOnset([seriesOf(values.map((value, i) => i < step ? value : value + size))])
      expect(onset).not.toBeNull()
      expect(Math.abs(onset! / interval - step)).toBeLessThanOrEqual(2)
    }
  )

  it.prop(
    "is found for a fall as well as for a rise",
    [noisy(0.05, length), fc.integer({ min: 30, max: length - 6 })],
    ([values, step]) => {
      const onset = Diagnosis.findOnset([seriesOf(values.map((value, i) => i < step ? value : value / 2))])
      expect(Math.abs(onset! / interval - step)).toBeLessThanOrEqual(2)
    }
  )

  it.prop("is null on pure noise", [fc.integer({ min: 0, max: 1e6 })], ([seed]) => {
    const values = Array.from({ length }, (_, i) => 1 + 0.2 * Fleet.noise(seed, i))
    expect(Diagnosis.findOnset([seriesOf(values)])).toBeNull()
  })

  it("is null without data, with too little of it, and when nothing moves", () => {
    expect(Diagnosis.findOnset([])).toBeNull()
    expect(Diagnosis.findOnset([seriesOf([])])).toBeNull()
    expect(Diagnosis.findOnset([seriesOf([1, 1, 9])])).toBeNull()
    expect(Diagnosis.findOnset([seriesOf(Array.from({ length }, () => 1))])).toBeNull()
  })

  it("is that of the series that moved, however many did not", () => {
    const flat = seriesOf(Array.from({ length }, (_, i) => 1 + 0.1 * Fleet.noise(1, i)), "cpu")
    const moved = seriesOf(Array.from({ length }, (_, i) => i < 80 ? 0 : 5), "dbConnectionErrors")
    expect(Diagnosis.findOnset([flat, moved, { ...flat, metric: "memory" }])).toBe(80 * interval)
  })
})

describe("The causes", () => {
  const seeds = [1, 2, 3, 4, 5]

  it.each(seeds)("of payment-api are dead connections and a stale cache (seed %i)", (seed) => {
    const signals = signalsOf("payment-api", seed)
    const { causes, onset, symptoms } = Diagnosis.diagnose(signals)
    expect(causes.map(({ confidence, name }) => [name, confidence])).toEqual([["dead-connections", 1], [
      "stale-cache",
      1
    ]])
    expect(Math.abs(onset! - signals.onset)).toBeLessThanOrEqual(2 * interval)
    expect(symptoms[0]?.metric).toBe("dbConnectionErrors")
    expect(plan(Diagnosis.diagnose(signals), now).actions).toEqual(["restart_pods", "clear_cache"])
  })

  it.each(seeds)("of search-api look the same, which only the verification tells apart (seed %i)", (seed) => {
    expect(causesOf(signalsOf("search-api", seed)).toSorted()).toEqual(["dead-connections", "stale-cache"])
  })

  it.each(seeds)("of orders-api are saturation, which a human must see (seed %i)", (seed) => {
    const signals = signalsOf("orders-api", seed)
    expect(causesOf(signals)).toEqual(["saturation"])
    expect(plan(Diagnosis.diagnose(signals), now).actions).toEqual([])
  })

  it.each(seeds)("of checkout-api are none: nothing is wrong with it (seed %i)", (seed) => {
    const signals = signalsOf("checkout-api", seed)
    expect(Diagnosis.diagnose(signals)).toMatchObject({ onset: null, symptoms: [], causes: [] })
    expect(plan(Diagnosis.diagnose(signals), now).finding).toBe("nothing unusual in the data")
  })

  it.prop(
    "are never surer with less data",
    [
      fc.constantFrom("payment-api", "search-api", "orders-api", "checkout-api"),
      fc.integer({ min: 0, max: 100 }),
      fc.subarray(Object.keys(Telemetry.metrics)),
      fc.nat({ max: 200 })
    ],
    ([service, seed, metrics, lines]) => {
      const all = signalsOf(service, seed)
      const some = {
        series: all.series.filter(({ metric }) => metrics.includes(metric)),
        logs: all.logs.slice(0, lines)
      }
      const surest = new Map(Diagnosis.diagnose(all).causes.map(({ confidence, name }) => [name, confidence]))
      for (const { confidence, name } of Diagnosis.diagnose(some).causes) {
        expect(confidence).toBeLessThanOrEqual(surest.get(name) ?? 0)
      }
    },
    { fastCheck: { numRuns: 40 } }
  )

  it("need more than logs, or a metric that nobody feels", () => {
    const { logs, series } = signalsOf("payment-api", 1)
    expect(causesOf({ series: [], logs })).toEqual([])
    expect(causesOf({ series: series.filter(({ metric }) => metric === "dbConnectionErrors"), logs: [] })).toEqual([])
  })

  it("say what they rest on", () => {
    const [cause] = Diagnosis.diagnose(signalsOf("payment-api", 1)).causes
    expect(cause?.evidence).toEqual([
      expect.stringMatching(/^dbConnectionErrors went from 0\.0\d+ to 6\.\d+ \(score \d+(\.\d)?\)$/),
      expect.stringMatching(/^\d+ log lines such as ".*(timeout|deadlock).*"$/i),
      expect.stringMatching(/^errorRate went from 0\.00\d+ to 0\.05\d+$/)
    ])
  })
})
