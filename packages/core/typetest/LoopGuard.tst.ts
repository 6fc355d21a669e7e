import * as LoopGuard from "@firebreak/core/LoopGuard"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Agent extends LoopGuard.Tag("agent")<Agent>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("LoopGuard", () => {
  test("adds exactly LoopDetected to the error and its tag to the requirements", () => {
    expect(call.pipe(Agent.protect({ action: "restart" }))).type.toBe<
      Effect.Effect<number, "boom" | LoopGuard.LoopDetected, "env" | Agent>
    >()
  })

  test("a guard that is a value adds no requirement", () => {
    expect((null! as LoopGuard.LoopGuard).protect({ action: "restart" })(call)).type.toBe<
      Effect.Effect<number, "boom" | LoopGuard.LoopDetected, "env">
    >()
  })

  test("a layer provides its own guard", () => {
    expect(Agent.layer()).type.toBe<Layer.Layer<Agent>>()
    expect(Agent.layer({ history: [{ action: "restart", at: 0 }] })).type.toBe<Layer.Layer<Agent>>()
  })
})
