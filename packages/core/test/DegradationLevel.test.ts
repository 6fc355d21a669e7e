import { describe, expect, it } from "@effect/vitest"
import * as DegradationLevel from "@firebreak/core/DegradationLevel"
import * as FastCheck from "effect/FastCheck"

const { isBeyond, of } = DegradationLevel
const qualities = DegradationLevel.Quality.literals

/** `"3 fresh, 1 cached"` as parts of weight 1. */
const parts = (text: string): Array<DegradationLevel.Weighted> =>
  text.split(", ").flatMap((group) => {
    const [count, name] = group.split(" ")
    const quality = qualities.find((known) => known === name)
    if (quality === undefined) throw new Error(`no quality ${name}`)
    return Array.from({ length: Number(count) }, () => ({ quality }))
  })

describe("DegradationLevel", () => {
  it.each([
    ["5 fresh", "full"],
    ["5 alternate", "slight"],
    ["4 fresh, 1 alternate", "slight"],
    ["4 fresh, 1 cached", "slight"],
    ["4 fresh, 1 absent", "slight"],
    // the book's own rule calls the first of these two slight and falls when the missing part comes back from the cache
    ["3 fresh, 1 cached, 1 absent", "moderate"],
    ["3 fresh, 2 cached", "moderate"],
    ["2 fresh, 1 cached", "moderate"],
    ["2 fresh, 1 absent", "moderate"],
    ["5 cached", "moderate"],
    ["1 fresh, 1 constant", "moderate"],
    // and these two moderate and minimal, though the second serves more
    ["3 cached, 7 absent", "minimal"],
    ["5 fresh, 5 absent", "minimal"],
    ["5 constant", "minimal"],
    ["1 fresh, 2 absent", "minimal"],
    ["1 fresh, 3 absent", "failed"],
    ["1 constant, 1 absent", "failed"],
    ["5 absent", "failed"]
  ])("%s: %s", (text, level) => {
    expect(of(parts(text))).toBe(level)
  })

  it("has no level but failed without parts", () => {
    expect(of([])).toBe("failed")
  })

  it("counts weights", () => {
    expect(of([{ quality: "fresh", weight: 9 }, { quality: "absent", weight: 1 }])).toBe("slight")
    expect(of([{ quality: "fresh", weight: 1 }, { quality: "absent", weight: 9 }])).toBe("failed")
  })

  it("does not lose a threshold to rounding", () => {
    const tenths = (fresh: number) =>
      Array.from({ length: 10 }, (_, index) => ({
        quality: index < fresh ? "fresh" as const : "absent" as const,
        weight: 0.1
      }))
    expect([8, 7, 6, 5, 3, 2].map((fresh) => of(tenths(fresh)))).toEqual([
      "slight",
      "moderate",
      "moderate",
      "minimal",
      "minimal",
      "failed"
    ])
    // S is 0.8, and in floating point 0.7999…
    const fresh = [0.1, 0.1, 0.6].map((weight) => ({ quality: "fresh" as const, weight }))
    expect(of([...fresh, { quality: "absent", weight: 0.2 }])).toBe("slight")
    // F is exactly 0.7, and slight asks for more
    expect(
      of([...tenths(7).slice(0, 7), ...tenths(0).slice(0, 3).map((part) => ({ ...part, quality: "cached" as const }))])
    )
      .toBe("moderate")
  })

  it("does not overflow with huge weights", () => {
    const weight = Number.MAX_VALUE
    expect(of([{ quality: "fresh", weight }, { quality: "fresh", weight }, { quality: "absent", weight }])).toBe(
      "moderate"
    )
  })

  const weighted = FastCheck.record({
    quality: FastCheck.constantFrom(...qualities),
    weight: FastCheck.oneof(
      FastCheck.constantFrom(0.1, 0.2, 0.3, 1, 2, 3),
      FastCheck.double({ min: 1e-6, max: 1e6, noNaN: true })
    )
  })

  it.prop(
    "is never worse when a part is better",
    [FastCheck.array(weighted, { minLength: 1, maxLength: 12 }), FastCheck.nat(), FastCheck.constantFrom(...qualities)],
    ([before, position, candidate]) => {
      const index = position % before.length
      const better = Math.min(qualities.indexOf(candidate), qualities.indexOf(before[index]?.quality ?? "absent"))
      const after = before.map((part, at) => at === index ? { ...part, quality: qualities[better] ?? "fresh" } : part)
      expect(isBeyond(of(after), of(before))).toBe(false)
    },
    { fastCheck: { numRuns: 2000 } }
  )

  it.prop(
    "depends on the ratios of the weights only",
    [FastCheck.array(weighted, { minLength: 1, maxLength: 8 }), FastCheck.constantFrom(0.5, 2, 1024)],
    ([before, factor]) => {
      expect(of(before.map((part) => ({ ...part, weight: part.weight * factor })))).toBe(of(before))
    }
  )

  it.prop("is full exactly when every part is fresh", [FastCheck.array(weighted, { minLength: 1 })], ([before]) => {
    expect(of(before) === "full").toBe(before.every(({ quality }) => quality === "fresh"))
  })
})
