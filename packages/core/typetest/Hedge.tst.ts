import * as Hedge from "@firebreak/core/Hedge"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Search extends Hedge.Tag("search")<Search>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("Hedge", () => {
  test("adds its tag to the requirements and no error", () => {
    expect(call.pipe(Search.safe)).type.toBe<Effect.Effect<number, "boom", "env" | Search>>()
    expect(call.pipe(Search.keyed)).type.toBe<Effect.Effect<number, "boom", "env" | Search>>()
  })

  test("has no way to hedge a call without saying why it is safe", () => {
    expect<Hedge.Hedge>().type.not.toHaveProperty("protect")
    expect(Search).type.not.toHaveProperty("protect")
  })

  test("a layer provides its own hedge", () => {
    expect(Search.layer()).type.toBe<Layer.Layer<Search>>()
  })
})
