import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import * as Telemetry from "@firebreak/core/Telemetry"
import {
  AggregationTemporality,
  type DataPoint,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

class Vendor extends CircuitBreaker.Tag("vendor-otel")<Vendor>() {}

const policy = Policy.make({
  breaker: Vendor,
  retry: { schedule: Backoff.make({ name: "vendor-otel", base: 0, maxRetries: 1 }), while: () => true }
})

describe("OpenTelemetry", () => {
  it.live("gets the metrics and the spans", () => {
    const spans = new InMemorySpanExporter()
    const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 2 ** 30 })
    const Live = Vendor.layer({ trip: CircuitBreaker.consecutive(2) }).pipe(
      Layer.provideMerge(Telemetry.layer),
      Layer.provideMerge(NodeSdk.layer(() => ({
        resource: { serviceName: "checkout" },
        metricReader: reader,
        spanProcessor: new SimpleSpanProcessor(spans)
      })))
    )
    return Effect.gen(function*() {
      yield* policy(Effect.void).pipe(Effect.withSpan("well"))
      yield* Effect.exit(policy(Effect.fail("down")).pipe(Effect.withSpan("badly")))
      yield* Effect.promise(() => reader.forceFlush())

      const exported = metrics.getMetrics().flatMap(({ scopeMetrics }) =>
        scopeMetrics.flatMap(({ metrics }) => metrics)
      )
      const valuesOf = (metric: Telemetry.Name) =>
        exported.filter(({ descriptor }) => descriptor.name === metric)
          .flatMap(({ dataPoints }): ReadonlyArray<DataPoint<unknown>> => dataPoints)
          .filter(({ attributes }) => attributes["name"] === "vendor-otel")
          .map(({ attributes: { name: _, ...others }, value }) => [others, value])
      expect(valuesOf("firebreak_circuit_breaker_calls_total")).toEqual(expect.arrayContaining([
        [{ outcome: "success" }, 1],
        [{ outcome: "failure" }, 2]
      ]))
      expect(valuesOf("firebreak_circuit_breaker_state")).toContainEqual([{ state: "open" }, 1])
      expect(valuesOf("firebreak_retries_total")).toEqual([[{}, 1]])

      const finished = spans.getFinishedSpans().map(({ events, name }) => [
        name,
        ...events.map((event) => event.name).filter((event) => event.startsWith("firebreak."))
      ])
      expect(finished).toEqual([
        ["well"],
        ["Policy/retry"],
        ["badly", "firebreak.RetryScheduled", "firebreak.CircuitOpened"]
      ])
    }).pipe(Effect.provide(Live))
  })
})
