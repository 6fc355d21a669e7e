import * as RetryBudget from "@firebreak/core/RetryBudget"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { describe, expect, test } from "tstyche"

class Vendor extends RetryBudget.Tag("vendor")<Vendor>() {}

declare const call: Effect.Effect<number, "boom" | "bust", "env">
declare const budget: RetryBudget.RetryBudget
declare const demanding: Schedule.Schedule<number, unknown, "clock">

describe("RetryBudget", () => {
  test("adds no error, its tag, and what the schedule needs", () => {
    expect(call.pipe(Vendor.retry({ schedule: Schedule.recurs(3) }))).type.toBe<
      Effect.Effect<number, "boom" | "bust", "env" | Vendor>
    >()
    expect(call.pipe(Vendor.retry({ schedule: demanding }))).type.toBe<
      Effect.Effect<number, "boom" | "bust", "env" | "clock" | Vendor>
    >()
  })

  test("a budget that is a value adds no requirement", () => {
    expect(call.pipe(RetryBudget.retryWith(budget, { schedule: Schedule.recurs(3) }))).type.toBe<
      Effect.Effect<number, "boom" | "bust", "env">
    >()
  })

  test("refuses a call whose errors its `while` cannot judge", () => {
    const onlyBoom = Vendor.retry({ schedule: Schedule.recurs(3), while: (error: "boom") => error === "boom" })
    expect(onlyBoom).type.not.toBeCallableWith(call)
  })

  test("limits any schedule and keeps its output", () => {
    expect(Vendor.limit(demanding)).type.toBe<Schedule.Schedule<number, unknown, "clock" | Vendor>>()
  })

  test("a layer provides its own budget", () => {
    expect(Vendor.layer()).type.toBe<Layer.Layer<Vendor>>()
  })
})
