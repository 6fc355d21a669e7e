import * as Supervision from "@firebreak/core/Supervision"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { describe, expect, test } from "tstyche"

declare const consume: Effect.Effect<never, "lost", "queue" | Scope.Scope>
declare const poll: Effect.Effect<void, never, "clock">

const children = { consumer: Supervision.child(consume), poller: Supervision.child(poll) }

describe("Supervision", () => {
  test("requires what its children do, their own scope apart", () => {
    expect(Supervision.run({ name: "workers", children })).type.toBe<
      Effect.Effect<void, Supervision.RestartsExceeded, "queue" | "clock">
    >()
    expect(Supervision.make({ name: "workers", children })).type.toBe<
      Effect.Effect<Supervision.Supervision<"consumer" | "poller">, never, Scope.Scope | "queue" | "clock">
    >()
  })
})
