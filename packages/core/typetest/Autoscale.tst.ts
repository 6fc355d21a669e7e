import * as Autoscale from "@firebreak/core/Autoscale"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

class Workers extends Autoscale.Tag("workers")<Workers>() {}

declare const read: Effect.Effect<number, Error, "metrics">
declare const scale: Effect.Effect<void, Error, "fleet">

const options = { target: 1, max: 2, measure: read, current: read, scaleTo: () => scale }

describe("Autoscale", () => {
  test("requires what reading and scaling do", () => {
    expect(Autoscale.make<"metrics" | "fleet">({ name: "workers", ...options })).type.toBe<
      Effect.Effect<Autoscale.Autoscaler, never, "metrics" | "fleet">
    >()
    expect(Autoscale.layer<"metrics" | "fleet">({ name: "workers", ...options })).type.toBe<
      Layer.Layer<never, never, "metrics" | "fleet">
    >()
  })

  test("a layer provides its own autoscaler", () => {
    expect(Workers.layer<"metrics" | "fleet">(options)).type.toBe<Layer.Layer<Workers, never, "metrics" | "fleet">>()
    expect<typeof Workers.Service>().type.toBe<Autoscale.Autoscaler>()
  })
})
