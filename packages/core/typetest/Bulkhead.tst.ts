import * as Bulkhead from "@firebreak/core/Bulkhead"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Reports extends Bulkhead.Tag("reports")<Reports>() {}
class Other extends Bulkhead.Tag("other")<Other>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("Bulkhead", () => {
  test("adds exactly BulkheadFull to the error and its tag to the requirements", () => {
    expect(call.pipe(Reports.protect)).type.toBe<
      Effect.Effect<number, "boom" | Bulkhead.BulkheadFull, "env" | Reports>
    >()
    expect(call.pipe(Bulkhead.protect(Reports))).type.toBe<
      Effect.Effect<number, "boom" | Bulkhead.BulkheadFull, "env" | Reports>
    >()
  })

  test("a bulkhead that is a value adds no requirement", () => {
    expect((null! as Bulkhead.Bulkhead).protect(call)).type.toBe<
      Effect.Effect<number, "boom" | Bulkhead.BulkheadFull, "env">
    >()
  })

  test("a layer provides its own bulkhead and no other", () => {
    expect(Reports.layer()).type.toBe<Layer.Layer<Reports>>()
    expect(Reports.layer()).type.not.toBeAssignableTo<Layer.Layer<Other>>()
  })
})
