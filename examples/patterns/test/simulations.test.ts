import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Herd from "../src/herd.js"
import { fastForward } from "../src/internal/fastForward.js"
import * as Metastable from "../src/metastable.js"

describe("a herd of 1,000 clients over an outage of 30 seconds", () => {
  for (const jitter of ["full", "decorrelated"]) {
    it.live(
      `${jitter} jitter parts it: 2.2 times the average at most once it has begun to spread, 6 at its beginning`,
      () =>
        Effect.gen(function*() {
          const bins = yield* Herd.herd(Herd.herds[jitter]!)
          expect(Herd.peakOverMean(bins.slice(10_000 / Herd.bin))).toBeLessThanOrEqual(2.2)
          expect(Herd.peakOverMean(bins)).toBeLessThanOrEqual(6)
        }).pipe(fastForward),
      60_000
    )
  }

  it.live("without it all come back at once, and Schedule.jittered hardly helps", () =>
    Effect.gen(function*() {
      for (const jitter of ["no jitter", "Schedule.jittered"]) {
        const bins = yield* Herd.herd(Herd.herds[jitter]!)
        expect(Herd.peakOverMean(bins.slice(10_000 / Herd.bin))).toBeGreaterThan(4)
      }
    }).pipe(fastForward), 60_000)
})

describe("a brown-out of 10 seconds at 80 % load, four attempts", () => {
  const { offered, slowTo } = Metastable.world

  it.live("keeps a naive composition down for good", () =>
    Effect.gen(function*() {
      const seconds = yield* Metastable.naive
      expect(Math.max(...seconds.map(({ requests }) => requests))).toBeGreaterThan(3 * offered)
      expect(Math.max(...Metastable.goodput(seconds.slice(slowTo + 5)))).toBeLessThan(0.05)
    }).pipe(fastForward), 60_000)

  it.live(
    "with budget, throttle and expired work dropped, 95 % are answered 5 seconds after it, and the load never grows",
    () =>
      Effect.gen(function*() {
        const seconds = yield* Metastable.guarded
        expect(Math.min(...Metastable.goodput(seconds.slice(slowTo + 5, -1)))).toBeGreaterThanOrEqual(0.95)
        expect(Math.max(...seconds.map(({ requests }) => requests))).toBeLessThanOrEqual(1.2 * offered)
      }).pipe(fastForward),
    60_000
  )
})
