import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}
class Other extends CircuitBreaker.Tag("other")<Other>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("CircuitBreaker", () => {
  test("adds exactly CircuitOpen to the error and its tag to the requirements", () => {
    expect(call.pipe(Vendor.protect)).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>
    >()
    expect(call.pipe(CircuitBreaker.protect(Vendor))).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>
    >()
  })

  test("a breaker that is a value adds no requirement", () => {
    expect(null! as CircuitBreaker.CircuitBreaker).type.toHaveProperty("protect")
    expect((null! as CircuitBreaker.CircuitBreaker).protect(call)).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env">
    >()
  })

  test("a layer provides its own breaker and no other", () => {
    expect(Vendor.layer()).type.toBe<Layer.Layer<Vendor>>()
    expect(Vendor.layer()).type.not.toBeAssignableTo<Layer.Layer<Other>>()
  })
})
