/** The vendors' handlers as the pure functions they are. */
import { describe, expect, it } from "@effect/vitest"
import { datadog } from "../../src/sandbox/Datadog.js"
import * as Fleet from "../../src/sandbox/Fleet.js"
import { kubernetes } from "../../src/sandbox/Kubernetes.js"
import { loki } from "../../src/sandbox/Loki.js"
import { pagerduty } from "../../src/sandbox/PagerDuty.js"
import { prometheus } from "../../src/sandbox/Prometheus.js"
import type { Call, Vendor } from "../../src/sandbox/Vendor.js"

const now = 1_700_000_000_000
const seconds = now / 1_000
const fleet = Fleet.make(1, now)

interface Request {
  readonly query?: Record<string, string>
  readonly headers?: Record<string, string>
  readonly params?: Record<string, string>
  readonly body?: unknown
}

const ask = (vendor: Vendor, operation: string, request: Request, state = fleet, at = now) => {
  const call: Call = {
    query: new URLSearchParams(request.query),
    headers: request.headers ?? {},
    params: request.params ?? {},
    body: request.body === undefined ? "" : JSON.stringify(request.body)
  }
  const route = vendor.routes().find((route) => route.operation === operation)
  if (route === undefined) throw new Error(`no operation ${operation}`)
  const outcome = route.handle(state, call, at)
  const isJson = outcome.reply.contentType === "application/json"
  return {
    ...outcome,
    status: outcome.reply.status,
    json: isJson ? JSON.parse(outcome.reply.body) : outcome.reply.body
  }
}

describe("Datadog", () => {
  const headers = { "dd-api-key": "a", "dd-application-key": "b" }
  const query = (query: string, from = seconds - 60, to = seconds) =>
    ask(datadog, "queryMetrics", { headers, query: { query, from: String(from), to: String(to) } })
  const search = (body: unknown) => ask(datadog, "searchLogs", { headers, body })

  it("wants both keys, for events the API key alone", () => {
    expect(ask(datadog, "queryMetrics", {}).status).toBe(401)
    expect(ask(datadog, "queryMetrics", { headers: { "dd-api-key": "a" } })).toMatchObject({
      status: 403,
      json: { errors: ["Forbidden"] }
    })
    const event = { title: "t", text: "x", aggregation_key: "k" }
    expect(ask(datadog, "postEvent", { headers: { "dd-api-key": "a" }, body: event })).toMatchObject({
      status: 202,
      key: "k",
      effect: false
    })
  })

  it("gives points in milliseconds, the last of them now", () => {
    const { json } = query("avg:service.error_rate{service:payment-api}")
    const points: ReadonlyArray<readonly [number, number]> = json.series[0].pointlist
    expect(json.status).toBe("ok")
    expect(points).toHaveLength(61)
    expect(points.at(-1)?.[0]).toBe(now)
    expect(points.at(-1)?.[1]).toBeCloseTo(0.05, 2)
  })

  it("answers an unknown metric or service with no series", () => {
    expect(query("avg:service.nothing{*}").json.series).toEqual([])
    expect(query("avg:service.error_rate{service:nobody}").json.series).toEqual([])
  })

  it("reads several queries, groups and rollups", () => {
    const { json } = query(
      "avg:service.cpu.percent{*} by {service},max:service.error_rate{service:payment-api}.rollup(max, 20)"
    )
    expect(json.series.map((series: { scope: string; interval: number }) => [series.scope, series.interval])).toEqual([
      ["service:payment-api", 1],
      ["service:checkout-api", 1],
      ["service:search-api", 1],
      ["service:orders-api", 1],
      ["service:payment-api", 20]
    ])
  })

  it("refuses what it cannot read", () => {
    expect(query("avg(service.error_rate)").status).toBe(400)
    expect(query("avg:service.error_rate{*}", seconds, seconds - 1).status).toBe(400)
    expect(ask(datadog, "queryMetrics", { headers, query: { query: "x", from: "yesterday" } }).json.errors[0])
      .toContain("from")
    expect(search({ page: { limit: 5_000 } }).json.errors[0]).toContain("page.limit")
    expect(search({ filter: { query: "a OR b" } }).json.errors[0]).toContain("filter.query")
    expect(search({ page: { cursor: "?" } }).json.errors[0]).toContain("page.cursor")
  })

  it("pages through logs by cursor without loss or repetition", () => {
    const filter = { query: "service:payment-api status:(error OR warn)", from: "now-5m", to: "now" }
    const whole: ReadonlyArray<unknown> = search({ filter, page: { limit: 1_000 } }).json.data
    const paged: Array<unknown> = []
    for (let cursor: string | undefined, page = 0; page === 0 || cursor !== undefined; page++) {
      const { json } = search({ filter, page: { limit: 7, ...(cursor !== undefined && { cursor }) } })
      paged.push(...json.data)
      cursor = json.meta.page?.after
    }
    expect(whole.length).toBeGreaterThan(50)
    expect(paged).toEqual(whole)
  })

  it("finds logs by phrase and by negation", () => {
    const messages = (query: string): ReadonlyArray<string> =>
      search({ filter: { query, from: "now-5m" }, page: { limit: 1_000 } }).json.data.map(
        (line: { attributes: { message: string } }) => line.attributes.message
      )
    const timeouts = messages("service:payment-api \"connection timeout\"")
    expect(timeouts.length).toBeGreaterThan(0)
    expect(timeouts.every((message) => message.startsWith("Connection timeout"))).toBe(true)
    expect(messages("service:payment-api -timeout").some((message) => message.includes("timeout"))).toBe(false)
  })

  it("shows monitors by service and status", () => {
    const { json } = ask(datadog, "searchMonitors", { headers, query: { query: "service:payment-api status:alert" } })
    expect(json.monitors[0]).toMatchObject({ name: "High error rate on payment-api", status: "Alert" })
    expect(json.counts.status).toEqual([{ name: "Alert", count: json.monitors.length }])
  })
})

describe("Prometheus", () => {
  it("tells the same as Datadog", () => {
    const { json } = ask(prometheus, "query", { query: { query: "service_error_rate{service=\"payment-api\"}" } })
    const points = ask(datadog, "queryMetrics", {
      headers: { "dd-api-key": "a", "dd-application-key": "b" },
      query: { query: "avg:service.error_rate{service:payment-api}", from: String(seconds - 9), to: String(seconds) }
    }).json.series[0].pointlist
    expect(json.data.result[0].value).toEqual([seconds, String(points.at(-1)[1])])
  })

  it("gives a matrix that holds the onset", () => {
    const { json } = ask(prometheus, "queryRange", {
      query: {
        query: "service_error_rate{service=~\"payment-.*\"}",
        start: String(seconds - 600),
        end: String(seconds),
        step: "1m"
      }
    })
    const values: ReadonlyArray<number> = json.data.result[0].values.map(([, value]: [number, string]) => Number(value))
    expect(values).toHaveLength(11)
    expect(Math.max(...values.slice(0, 6))).toBeLessThan(0.01)
    expect(Math.min(...values.slice(6))).toBeGreaterThan(0.03)
  })

  it("has ALERTS for what fires, and no series for what it does not know", () => {
    const firing = ask(prometheus, "query", { query: { query: "ALERTS{service=\"payment-api\"}" } }).json.data.result
    expect(firing[0].metric).toMatchObject({ alertname: "HighErrorRate", alertstate: "firing" })
    expect(ask(prometheus, "query", { query: { query: "nothing" } }).json.data).toEqual({
      resultType: "vector",
      result: []
    })
  })

  it("refuses in its own format", () => {
    const range = { query: "service_error_rate", start: "0", end: String(seconds), step: "1" }
    expect(ask(prometheus, "queryRange", { query: range }).json).toMatchObject({
      status: "error",
      errorType: "bad_data"
    })
    expect(ask(prometheus, "query", { query: { query: "rate(x[5m])" } }).json.error).toContain("parse error")
    expect(ask(prometheus, "query", {}).json.error).toContain("no expression found")
  })
})

describe("Loki", () => {
  const range = (query: Record<string, string>) => ask(loki, "queryRange", { query })

  it("gives streams in nanoseconds, newest first", () => {
    const { json } = range({ query: "{service=\"payment-api\", level=\"error\"} |= \"timeout\"", limit: "20" })
    const stream = json.data.result[0]
    expect(stream.stream).toMatchObject({ service: "payment-api", level: "error" })
    expect(stream.values[0][0]).toMatch(/^\d{19}$/)
    const times = stream.values.map(([time]: [string]) => Number(time))
    expect(times).toEqual(times.toSorted((a: number, b: number) => b - a))
  })

  it("refuses in plain text", () => {
    expect(range({ query: "{service=" })).toMatchObject({ status: 400, json: expect.stringContaining("parse error") })
    expect(range({ query: "{a=\"b\"}", limit: "9000" }).json).toContain("max entries limit")
  })
})

describe("PagerDuty", () => {
  const event = {
    routing_key: "0".repeat(32),
    event_action: "trigger",
    dedup_key: "INC-1",
    payload: { summary: "s", source: "payment-api", severity: "critical" }
  }
  const enqueue = (body: unknown, state = fleet) => ask(pagerduty, "enqueue", { body }, state)

  it("pages once for a key, and again after a resolve", () => {
    const first = enqueue(event)
    expect(first).toMatchObject({ status: 202, effect: true, key: "INC-1", target: "payment-api" })
    const second = enqueue(event, first.fleet)
    expect(second).toMatchObject({ status: 202, effect: false })
    const resolved = enqueue({ ...event, event_action: "resolve" }, second.fleet)
    expect(resolved).toMatchObject({ status: 202, effect: false })
    expect(enqueue(event, resolved.fleet).effect).toBe(true)
  })

  it("names every invalid field", () => {
    expect(enqueue({ ...event, routing_key: "x", payload: { source: "s", severity: "loud" } }).json).toMatchObject({
      status: "invalid event",
      errors: [
        expect.stringContaining("'routing_key'"),
        expect.stringContaining("'payload.summary'"),
        expect.stringContaining("'payload.severity'")
      ]
    })
    expect(enqueue({ ...event, payload: undefined }).json.errors[0]).toContain("'payload'")
  })
})

describe("Kubernetes", () => {
  const headers = { authorization: "Bearer t", "content-type": "application/strategic-merge-patch+json" }
  const params = { namespace: "production", name: "payment-api" }
  const restartAt = (value: string) => ({
    spec: { template: { metadata: { annotations: { "kubectl.kubernetes.io/restartedAt": value } } } }
  })
  const patch = (body: unknown, state = fleet, query: Record<string, string> = {}) =>
    ask(kubernetes, "patchDeployment", { headers, params, body, query }, state)
  const get = (state: Fleet.Fleet, at: number) => ask(kubernetes, "getDeployment", { headers, params }, state, at).json

  it("rolls out: observed, then updated, then available", () => {
    const { effect, fleet: state, key } = patch(restartAt("2024-01-11T00:00:00Z"))
    expect([effect, key]).toEqual([true, "2024-01-11T00:00:00Z"])
    expect(get(state, now).metadata.generation).toBe(2)
    expect(get(state, now).status).toMatchObject({ observedGeneration: 1, updatedReplicas: 0 })
    expect(get(state, now + 250).status).toMatchObject({
      observedGeneration: 2,
      updatedReplicas: 1,
      availableReplicas: 2
    })
    expect(get(state, now + 500).status).toMatchObject({
      observedGeneration: 2,
      updatedReplicas: 3,
      availableReplicas: 3
    })
  })

  it("does nothing for the same annotation again, or for a dry run", () => {
    const first = patch(restartAt("a"))
    const again = patch(restartAt("a"), first.fleet)
    expect([again.effect, again.key, again.json.metadata.generation]).toEqual([false, "a", 2])
    const dry = patch(restartAt("b"), first.fleet, { dryRun: "All" })
    expect([dry.effect, dry.status, dry.fleet]).toEqual([false, 200, first.fleet])
  })

  it("scales by patching the scale", () => {
    const { effect, fleet: state } = ask(kubernetes, "patchScale", {
      headers: { ...headers, "content-type": "application/merge-patch+json" },
      params,
      body: { spec: { replicas: 5 } }
    })
    expect(effect).toBe(true)
    expect(ask(kubernetes, "getScale", { headers, params }, state, now + 500).json).toMatchObject({
      spec: { replicas: 5 },
      status: { replicas: 5 }
    })
  })

  it("refuses in Status objects", () => {
    expect(ask(kubernetes, "getDeployment", { params }).json).toMatchObject({ kind: "Status", code: 401 })
    expect(ask(kubernetes, "getDeployment", { headers, params: { ...params, name: "x" } }).json).toMatchObject({
      reason: "NotFound",
      details: { name: "x" }
    })
    expect(patch({ metadata: { resourceVersion: "1" }, ...restartAt("a") }).json).toMatchObject({
      reason: "Conflict",
      code: 409
    })
    expect(patch({ spec: { paused: true } }).json).toMatchObject({ reason: "Invalid", code: 422 })
    expect(
      ask(kubernetes, "patchDeployment", { headers: { ...headers, "content-type": "application/json" }, params }).status
    )
      .toBe(415)
  })
})
