import { describe, expect, it } from "@effect/vitest"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const entry = (value: string) => ({ value, storedAt: 0 })

describe("DegradationCache", () => {
  it.effect("keeps values by component and key", () =>
    Effect.gen(function*() {
      const cache = DegradationCache.makeMemory()
      yield* cache.set("a", "k", entry("1"))
      yield* cache.set("a", "l", entry("2"))
      yield* cache.set("b", "k", entry("3"))
      expect(yield* cache.get("a", "k")).toEqual(Option.some(entry("1")))
      yield* cache.remove("a", "k")
      expect(yield* cache.get("a", "k")).toEqual(Option.none())
      yield* cache.clear("a")
      expect(yield* cache.get("a", "l")).toEqual(Option.none())
      expect(yield* cache.get("b", "k")).toEqual(Option.some(entry("3")))
    }))

  it.effect("beyond its capacity loses the value stored longest ago", () =>
    Effect.gen(function*() {
      const cache = DegradationCache.makeMemory({ capacity: 2 })
      yield* cache.set("a", "1", entry("1"))
      yield* cache.set("a", "2", entry("2"))
      yield* cache.set("a", "1", entry("1 again"))
      yield* cache.set("a", "3", entry("3"))
      expect(yield* cache.get("a", "1")).toEqual(Option.some(entry("1 again")))
      expect(yield* cache.get("a", "2")).toEqual(Option.none())
      expect(yield* cache.get("a", "3")).toEqual(Option.some(entry("3")))
    }))

  it("refuses a capacity of none", () => {
    expect(() => DegradationCache.makeMemory({ capacity: 0 })).toThrow(/capacity must be a whole number/)
  })
})
