import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpServer from "@effect/platform/HttpServer"
import { describe, expect, it } from "@effect/vitest"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Telemetry from "@firebreak/core/Telemetry"
import * as MetricsRoute from "@firebreak/http/MetricsRoute"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"
import * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import { parse } from "./support/prometheus.js"

/** The series of the snapshot whose metric has a name that begins like that. */
const textOf = (prefix: string) =>
  Effect.map(
    Metric.snapshot,
    (snapshot) => MetricsRoute.toText(snapshot.filter(({ metricKey }) => metricKey.name.startsWith(prefix)))
  )

describe("the text of a snapshot", () => {
  it.effect("has counters and gauges with HELP and TYPE", () =>
    Effect.gen(function*() {
      const requests = Metric.counter("plain_t_requests_total", {
        description: "Requests\\by path\n",
        incremental: true
      })
      yield* Metric.incrementBy(Metric.tagged(requests, "path", "/a"), 3)
      yield* Metric.incrementBy(Metric.tagged(requests, "path", "/b"), 4)
      yield* Metric.incrementBy(Metric.counter("plain_t_up_and_down"), -1)
      yield* Metric.set(Metric.gauge("plain_t_big", { bigint: true }), 2n ** 60n)
      const text = yield* textOf("plain_t_")
      expect(text.split("\n").slice(0, 4)).toEqual([
        "# HELP plain_t_requests_total Requests\\\\by path\\n",
        "# TYPE plain_t_requests_total counter",
        expect.stringMatching(/^plain_t_requests_total\{path="\/[ab]"\} [34]$/),
        expect.stringMatching(/^plain_t_requests_total\{path="\/[ab]"\} [34]$/)
      ])
      const families = parse(text)
      expect(families.get("plain_t_requests_total")!.help).toBe("Requests\\by path\n")
      expect(families.get("plain_t_up_and_down")).toEqual({
        type: "gauge",
        help: undefined,
        samples: [{ name: "plain_t_up_and_down", labels: {}, value: -1 }]
      })
      expect(families.get("plain_t_big")!.samples[0]!.value).toBe(2 ** 60)
    }))

  it.effect("has histograms, summaries and frequencies", () =>
    Effect.gen(function*() {
      const latency = Metric.tagged(
        Metric.histogram("kinds_t_latency", MetricBoundaries.fromIterable([1, 2])),
        "le",
        "x"
      )
      yield* Effect.forEach([0.5, 1.5, 5], (value) => Metric.update(latency, value))
      const size = Metric.summary({
        name: "kinds_t_size",
        maxAge: "1 day",
        maxSize: 10,
        error: 0,
        quantiles: [0.5, 1]
      })
      yield* Effect.forEach([1, 2, 3, 4], (value) => Metric.update(size, value))
      yield* Effect.forEach(["a", "b", "a"], (word) => Metric.update(Metric.frequency("kinds_t_words"), word))
      const families = parse(yield* textOf("kinds_t_"))
      expect(families.get("kinds_t_latency")).toMatchObject({
        type: "histogram",
        samples: [
          { name: "kinds_t_latency_bucket", labels: { le: "1", le_: "x" }, value: 1 },
          { name: "kinds_t_latency_bucket", labels: { le: "2", le_: "x" }, value: 2 },
          { name: "kinds_t_latency_bucket", labels: { le: "+Inf", le_: "x" }, value: 3 },
          { name: "kinds_t_latency_sum", labels: { le_: "x" }, value: 7 },
          { name: "kinds_t_latency_count", labels: { le_: "x" }, value: 3 }
        ]
      })
      expect(families.get("kinds_t_size")!.type).toBe("summary")
      expect(families.get("kinds_t_size")!.samples.map(({ labels, name }) => [name, labels])).toEqual([
        ["kinds_t_size", { quantile: "0.5" }],
        ["kinds_t_size", { quantile: "1" }],
        ["kinds_t_size_sum", {}],
        ["kinds_t_size_count", {}]
      ])
      expect(families.get("kinds_t_words")).toMatchObject({
        type: "counter",
        samples: [{ labels: { key: "a" }, value: 2 }, { labels: { key: "b" }, value: 1 }]
      })
    }))

  it.effect("has values that are no finite numbers", () =>
    Effect.gen(function*() {
      const odd = Metric.gauge("odd_t")
      yield* Effect.forEach(
        [["a", Infinity], ["b", -Infinity], ["c", NaN], ["d", 1e-9], ["e", 1e30]] as const,
        ([name, value]) => Metric.set(Metric.tagged(odd, "name", name), value)
      )
      const samples = parse(yield* textOf("odd_t")).get("odd_t")!.samples
      expect(Object.fromEntries(samples.map(({ labels, value }) => [labels["name"], value])))
        .toEqual({ a: Infinity, b: -Infinity, c: NaN, d: 1e-9, e: 1e30 })
    }))

  it.effect("gives a metric of another type with the same name a name of its own", () =>
    Effect.gen(function*() {
      yield* Metric.increment(Metric.counter("clash_t", { incremental: true }))
      yield* Metric.set(Metric.gauge("clash_t"), 5)
      const families = parse(yield* textOf("clash_t"))
      expect(Array.from(families.values(), ({ type }) => type).toSorted()).toEqual(["counter", "gauge"])
    }))

  const gauge = (name: string, help: string, labels: ReadonlyArray<readonly [string, string]>) =>
    MetricPair.unsafeMake(
      MetricKey.taggedWithLabels(
        MetricKey.gauge(name, { description: help }),
        labels.map(([key, value]) => MetricLabel.make(key, value))
      ),
      MetricState.gauge(1)
    )
  const text = FastCheck.oneof(
    FastCheck.string({ unit: "binary", maxLength: 8 }),
    FastCheck.string({
      unit: FastCheck.constantFrom("\\", "\"", "\n", "n", "{", "}", ",", "=", " ", "_", "1"),
      maxLength: 8
    })
  )
  const times = { fastCheck: { numRuns: 500 } }

  it.prop(
    "has no series twice and only valid names, whatever they are",
    [FastCheck.array(FastCheck.tuple(text, text, FastCheck.array(FastCheck.tuple(text, text), { maxLength: 3 })))],
    ([metrics]) => {
      const families = parse(MetricsRoute.toText(metrics.map((metric) => gauge(...metric))))
      const values = Array.from(families.values()).flatMap(({ samples }) => samples.map(({ value }) => value))
      expect(values.reduce((sum, value) => sum + value, 0)).toBe(metrics.length)
    },
    times
  )

  it.prop("gives labels and help back as they were", [text, text, text], ([help, a, b]) => {
    const family = parse(MetricsRoute.toText([gauge("text_t", help, [["a", a], ["b", b]])])).get("text_t")!
    expect(family).toEqual({
      type: "gauge",
      help: help === "" ? undefined : help,
      samples: [{ name: "text_t", labels: { a, b }, value: 1 }]
    })
  }, times)
})

const get = (path: string) =>
  Effect.flatMap(
    HttpClient.get(path),
    (response) => Effect.map(response.text, (body) => ({ status: response.status, headers: response.headers, body }))
  )

it.live("GET /metrics says what is true at the moment of the scrape", () =>
  Effect.gen(function*() {
    const bulkhead = yield* Bulkhead.make({ name: "scraped-t" })
    const running = () =>
      Effect.map(get("/metrics"), ({ body, headers, status }) => {
        expect([status, headers["content-type"]]).toEqual([200, MetricsRoute.contentType])
        return parse(body).get("firebreak_bulkhead_running")!.samples.find(({ labels }) =>
          labels["name"] === "scraped-t"
        )
      })
    expect((yield* running())!.value).toBe(0)
    expect((yield* bulkhead.protect(running()))!.value).toBe(1)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      HttpServer.serve(MetricsRoute.router).pipe(
        Layer.provideMerge(NodeHttpServer.layerTest),
        Layer.provideMerge(Telemetry.layer)
      )
    )
  ))
