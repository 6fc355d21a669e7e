import type * as Bulkhead from "@firebreak/core/Bulkhead"
import type * as MetricCatalog from "@firebreak/core/MetricCatalog"
import * as Telemetry from "@firebreak/core/Telemetry"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { describe, expect, test } from "tstyche"

interface Part {
  readonly name: string
  readonly waiting: number
}

describe("Telemetry", () => {
  test("its layer needs and provides nothing that must be asked for", () => {
    expect(Telemetry.layer).type.toBe<Layer.Layer<never>>()
  })

  test("a part that is measured is made as it was", () => {
    expect(Telemetry.observed<Part>(null! as Effect.Effect<Part>, [])).type.toBe<Effect.Effect<Part>>()
    expect(Telemetry.observedAs("all")(null! as Effect.Effect<Bulkhead.Bulkhead, "e", "r">))
      .type.toBe<Effect.Effect<Bulkhead.Bulkhead, "e", "r">>()
  })

  test("a measure is of a metric that there is", () => {
    expect<Telemetry.Measure<Part>>().type.toBeAssignableFrom<
      readonly ["firebreak_bulkhead_waiting", {}, (part: Part) => number]
    >()
    expect<Telemetry.Measure<Part>>().type.not.toBeAssignableFrom<
      readonly ["firebreak_typo", {}, (part: Part) => number]
    >()
  })

  test("the catalog knows the tags of each metric and their values", () => {
    expect<MetricCatalog.Tags<"firebreak_healing_outcomes_total">>().type.toBe<{
      readonly name: string
      readonly outcome: "verified" | "failed"
    }>()
    expect<Telemetry.Name>().type.toBe<keyof typeof MetricCatalog.catalog>()
  })
})
