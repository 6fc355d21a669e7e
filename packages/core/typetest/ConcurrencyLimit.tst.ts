import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import type * as LimitStrategy from "@firebreak/core/LimitStrategy"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Search extends ConcurrencyLimit.Tag("search")<Search>() {}
class Other extends ConcurrencyLimit.Tag("other")<Other>() {}

declare const call: Effect.Effect<number, "boom", "env">
declare const own: LimitStrategy.LimitStrategy<{ readonly calm: boolean }>

describe("ConcurrencyLimit", () => {
  test("adds exactly LimitExceeded to the error and its tag to the requirements", () => {
    expect(call.pipe(Search.protect)).type.toBe<
      Effect.Effect<number, "boom" | ConcurrencyLimit.LimitExceeded, "env" | Search>
    >()
    expect(call.pipe(ConcurrencyLimit.protect(Search))).type.toBe<
      Effect.Effect<number, "boom" | ConcurrencyLimit.LimitExceeded, "env" | Search>
    >()
  })

  test("a limit that is a value adds no requirement", () => {
    expect((null! as ConcurrencyLimit.ConcurrencyLimit).protect(call)).type.toBe<
      Effect.Effect<number, "boom" | ConcurrencyLimit.LimitExceeded, "env">
    >()
  })

  test("a priority changes nothing but the priority", () => {
    expect(call.pipe(ConcurrencyLimit.withPriority(2))).type.toBe<typeof call>()
    expect(ConcurrencyLimit.withPriority(call, 2)).type.toBe<typeof call>()
  })

  test("takes a strategy of any state", () => {
    expect(Search.layer).type.toBeCallableWith({ strategy: own })
    expect(Search.layer).type.toBeCallableWith({ strategy: ConcurrencyLimit.aimd() })
  })

  test("a layer provides its own limit and no other", () => {
    expect(Search.layer()).type.toBe<Layer.Layer<Search>>()
    expect(Search.layer()).type.not.toBeAssignableTo<Layer.Layer<Other>>()
  })
})
