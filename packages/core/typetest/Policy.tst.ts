import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import type * as Effect from "effect/Effect"
import { describe, expect, test } from "tstyche"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("Policy", () => {
  test("adds exactly the errors and requirements of its parts", () => {
    expect(call.pipe(Policy.make({}))).type.toBe<Effect.Effect<number, "boom", "env">>()
    expect(call.pipe(Policy.make({ breaker: Vendor }))).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>
    >()
    expect(call.pipe(Policy.make({ attemptTimeout: "1 second" }))).type.toBe<
      Effect.Effect<number, "boom" | Policy.AttemptTimeout, "env">
    >()
    const full = Policy.make({
      retry: { schedule: Backoff.production, while: (error: "boom") => error === "boom" },
      breaker: Vendor,
      attemptTimeout: "1 second"
    })
    expect(call.pipe(full)).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen | Policy.AttemptTimeout, "env" | Vendor>
    >()
  })

  test("accepts no error that its `while` cannot judge", () => {
    const policy = Policy.make({
      retry: { schedule: Backoff.production, while: (error: "other") => error === "other" }
    })
    expect(policy).type.not.toBeCallableWith(call)
  })
})
