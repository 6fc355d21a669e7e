import { describe, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import { Window } from "../src/internal/window.js"
import { modelRuns, same } from "./support/runs.js"

const length = 1_000
const buckets = 10

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom({ add: 0 }, { add: 1 }) },
  { weight: 2, arbitrary: fc.constantFrom({ takeBack: 0 }, { takeBack: 1 }) },
  // within a bucket, to the next, to the last of the window, past it, and an hour of nothing
  { weight: 4, arbitrary: fc.constantFrom(1, 30, 100, 900, 999, 1_000, 3_600_000).map((wait) => ({ wait })) }
)

describe("Window", () => {
  it.prop("sums what a list of everything that happened sums, by whole buckets", [
    fc.array(step, { maxLength: 80 }),
    fc.integer({ min: -10_000, max: 10_000 })
  ], ([steps, start]) => {
    const window = new Window(length, buckets, 2)
    let now = start
    let series: [ReadonlyArray<number>, ReadonlyArray<number>] = [[], []]
    const width = length / buckets
    const young = (at: number) => Math.floor(at / width) > Math.floor(now / width) - buckets
    for (const step of steps) {
      if ("wait" in step) now += step.wait
      series = [series[0].filter(young), series[1].filter(young)]
      if ("add" in step) {
        window.increment(step.add, now)
        series[step.add as 0 | 1] = [...series[step.add as 0 | 1], now]
      } else if ("takeBack" in step) {
        const had = series[step.takeBack as 0 | 1]
        same(window.takeBack(step.takeBack, now), had.length > 0, "there was one to take back")
        series[step.takeBack as 0 | 1] = had.slice(1)
      } else {
        window.expire(now)
      }
      same(window.sum(0), series[0].length, "first series")
      same(window.sum(1), series[1].length, "second series")
    }
  }, modelRuns)
})
