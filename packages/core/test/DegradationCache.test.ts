import { describe, expect, it } from "@effect/vitest"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import * as DegradationCacheSuite from "@firebreak/core/testing/DegradationCacheSuite"
import * as Layer from "effect/Layer"

DegradationCacheSuite.suite(
  "memory",
  Layer.sync(DegradationCache.DegradationCache, () => DegradationCache.makeMemory({ capacity: 3 })),
  { capacity: 3 }
)

DegradationCacheSuite.suite("memory with its defaults", DegradationCache.layerMemory)

describe("DegradationCache", () => {
  it("refuses a capacity of none", () => {
    expect(() => DegradationCache.makeMemory({ capacity: 0 })).toThrow(/capacity must be a whole number/)
  })
})
