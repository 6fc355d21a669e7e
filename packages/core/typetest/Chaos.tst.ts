import * as Chaos from "@firebreak/core/Chaos"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

declare const datadog: Chaos.Target<"down", number>
declare const call: Effect.Effect<number, "down" | "boom", "env">
declare const other: Effect.Effect<string, "boom">

describe("Chaos", () => {
  test("adds nothing to a call that can fail and answer as its target can", () => {
    expect(call.pipe(datadog.inject)).type.toBe<Effect.Effect<number, "down" | "boom", "env">>()
  })

  test("adds what the target can to one that cannot", () => {
    expect(other.pipe(datadog.inject)).type.toBe<Effect.Effect<string | number, "down" | "boom">>()
    expect(other.pipe(Chaos.target("late").inject)).type.toBe<Effect.Effect<string, "boom">>()
  })

  test("faults and outcomes are those of the target", () => {
    expect(datadog.fault).type.toBeCallableWith({ error: () => "down" as const })
    expect(datadog.fault).type.not.toBeCallableWith({ error: () => "boom" as const })
    expect(datadog.outcome).type.not.toBeCallableWith({ value: () => "ok" })
    expect(Chaos.target("late").fault).type.not.toBeCallableWith({ error: () => "boom" as const })
  })

  test("its layer provides nothing that anybody has to ask for", () => {
    expect(Chaos.layer([])).type.toBe<Layer.Layer<never>>()
  })
})
