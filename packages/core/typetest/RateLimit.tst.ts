import * as RateLimit from "@firebreak/core/RateLimit"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Search extends RateLimit.Tag("search")<Search>() {}
class Other extends RateLimit.Tag("other")<Other>() {}

declare const call: Effect.Effect<number, "boom", "env">
const limits = [{ rate: 10, per: "1 second" }] as const

describe("RateLimit", () => {
  test("adds exactly RateLimited to the error and its tag to the requirements", () => {
    expect(call.pipe(Search.protect)).type.toBe<
      Effect.Effect<number, "boom" | RateLimit.RateLimited, "env" | Search>
    >()
    expect(call.pipe(RateLimit.protect(Search))).type.toBe<
      Effect.Effect<number, "boom" | RateLimit.RateLimited, "env" | Search>
    >()
  })

  test("a rate limit that is a value adds no requirement", () => {
    expect((null! as RateLimit.RateLimit).protect(call)).type.toBe<
      Effect.Effect<number, "boom" | RateLimit.RateLimited, "env">
    >()
  })

  test("a cost changes nothing but the cost", () => {
    expect(call.pipe(RateLimit.withCost(3))).type.toBe<typeof call>()
    expect(RateLimit.withCost(call, 3)).type.toBe<typeof call>()
  })

  test("there is at least one limit", () => {
    expect(Search.layer).type.toBeCallableWith({ limits })
    expect(Search.layer).type.not.toBeCallableWith({ limits: [] })
    expect(Search.layer).type.not.toBeCallableWith()
  })

  test("a layer provides its own rate limit and no other", () => {
    expect(Search.layer({ limits })).type.toBe<Layer.Layer<Search>>()
    expect(Search.layer({ limits })).type.not.toBeAssignableTo<Layer.Layer<Other>>()
  })
})
