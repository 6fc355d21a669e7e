import * as Throttle from "@firebreak/core/Throttle"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Search extends Throttle.Tag("search")<Search>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("Throttle", () => {
  test("adds exactly Throttled to the error and its tag to the requirements", () => {
    expect(call.pipe(Search.protect)).type.toBe<Effect.Effect<number, "boom" | Throttle.Throttled, "env" | Search>>()
    expect(call.pipe(Throttle.protect(Search))).type.toBe<
      Effect.Effect<number, "boom" | Throttle.Throttled, "env" | Search>
    >()
  })

  test("a throttle that is a value adds no requirement", () => {
    expect((null! as Throttle.Throttle).protect(call)).type.toBe<
      Effect.Effect<number, "boom" | Throttle.Throttled, "env">
    >()
  })

  test("a layer provides its own throttle", () => {
    expect(Search.layer()).type.toBe<Layer.Layer<Search>>()
  })
})
