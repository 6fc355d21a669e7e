import * as Reconcile from "@firebreak/core/Reconcile"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Desired {
  readonly _ = "desired"
}
class Actual {
  readonly _ = "actual"
}

declare const desired: Effect.Effect<ReadonlyMap<string, Desired>, Error, "source">
declare const actual: Effect.Effect<ReadonlyMap<string, Actual>, Error, "world">
declare const repair: Effect.Effect<void, Error, "tools">

const options = { name: "r", desired, actual, create: () => repair, update: () => repair }

describe("Reconcile", () => {
  test("types the drift by both sides and requires what reading and repairing do", () => {
    expect(Reconcile.make<Desired, Actual, "source" | "world" | "tools">(options)).type.toBe<
      Effect.Effect<Reconcile.Reconciler<Desired, Actual>, never, "source" | "world" | "tools">
    >()
    expect(Reconcile.layer<Desired, Actual, "source" | "world" | "tools">(options)).type.toBe<
      Layer.Layer<never, never, "source" | "world" | "tools">
    >()
  })

  test("a layer provides its own reconciler and requires what reading and repairing do", () => {
    class Things extends Reconcile.Tag("things")<Things, Desired, Actual>() {}
    const { name: _, ...rest } = options
    expect(Things.layer<"source" | "world" | "tools">(rest)).type.toBe<
      Layer.Layer<Things, never, "source" | "world" | "tools">
    >()
    expect<typeof Things.Service>().type.toBe<Reconcile.Reconciler<Desired, Actual>>()
  })

  test("hands a repair the values of its side", () => {
    expect(Reconcile.make<Desired, Actual, any>).type.not.toBeCallableWith({
      ...options,
      create: (_: string, value: Actual) => {
        void value
        return repair
      }
    })
  })
})
