/**
 * Prometheus: instant and range queries, by GET or by a POSTed form.
 *
 * Understood are selectors alone, `service_error_rate{service="payment-api"}` with the four matchers, and the series
 * `ALERTS`, which exists for the monitors that are in alert at the time asked about.
 *
 * @since 0.1.0
 */
import type * as Fleet from "./Fleet.js"
import * as Telemetry from "./Telemetry.js"
import * as Vendor from "./Vendor.js"

/**
 * Prometheus under `/prometheus`, without authentication.
 *
 * @since 0.1.0
 * @category vendors
 */
export const prometheus: Vendor.Vendor = {
  name: "prometheus",
  operations: ["query", "queryRange"],
  routes: () =>
    (["GET", "POST"] as const).flatMap((method): ReadonlyArray<Vendor.Route> => [
      { method, path: "/api/v1/query", operation: "query", handle: query },
      { method, path: "/api/v1/query_range", operation: "queryRange", handle: queryRange }
    ]),
  refuse: (status, message, retryAfter) =>
    Vendor.json(
      status,
      { status: "error", errorType: errorTypes[status] ?? (status < 500 ? "bad_data" : "internal"), error: message },
      Vendor.retryAfterHeader(retryAfter)
    )
}

/**
 * Whether every matcher of a selector's braces holds, or `undefined` if they cannot be read. LogQL writes them alike.
 *
 * @since 0.1.0
 * @category selectors
 */
export const matchers = (braces: string): ((labels: Readonly<Record<string, string>>) => boolean) | undefined => {
  const tests: Array<(labels: Readonly<Record<string, string>>) => boolean> = []
  const matcher = /\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)/y
  const trimmed = braces.trim()
  while (matcher.lastIndex < trimmed.length) {
    const match = matcher.exec(trimmed)
    if (match === null) return undefined
    const [, label = "", operator = "=", quoted = ""] = match
    const wanted = quoted.replace(/\\(.)/g, "$1")
    if (operator === "=" || operator === "!=") {
      tests.push((labels) => ((labels[label] ?? "") === wanted) === (operator === "="))
    } else {
      const pattern = regex(`^(?:${wanted})$`)
      if (pattern === undefined) return undefined
      tests.push((labels) => pattern.test(labels[label] ?? "") === (operator === "=~"))
    }
  }
  return (labels) => tests.every((test) => test(labels))
}

/**
 * The pattern, or `undefined` if it is not a regular expression.
 *
 * @since 0.1.0
 * @category selectors
 */
export const regex = (pattern: string, flags = ""): RegExp | undefined => {
  try {
    return new RegExp(pattern, flags)
  } catch {
    return undefined
  }
}

/**
 * A time of a Prometheus API in milliseconds: seconds since the epoch, or RFC 3339.
 *
 * @since 0.1.0
 * @category selectors
 */
export const time = (text: string): number | undefined => {
  const parsed = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text)
  return Number.isFinite(parsed) ? parsed : undefined
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const errorTypes: Readonly<Record<number, string>> = { 404: "not_found", 422: "execution", 503: "timeout" }

const maxPoints = 11_000

const lookback = 300_000

interface Series {
  readonly labels: Readonly<Record<string, string>>
  /** The sample at a time, `undefined` where there is none. */
  readonly at: (time: number) => number | undefined
}

const query: Vendor.Handler = (fleet, call, now) => {
  const params = parameters(call)
  const expression = params.get("query") ?? ""
  const asked = params.get("time")
  const at = asked === null ? now : time(asked)
  if (at === undefined) {
    return refuse(fleet, expression, `invalid parameter "time": cannot parse "${asked}" to a valid timestamp`)
  }
  const selected = select(fleet, expression, now)
  if (typeof selected === "string") return refuse(fleet, expression, `invalid parameter "query": ${selected}`)
  const result = selected.flatMap(({ at: sample, labels }) => {
    const value = sample(at)
    return value === undefined ? [] : [{ metric: labels, value: [at / 1_000, String(value)] }]
  })
  return success(fleet, expression, { resultType: "vector", result })
}

const queryRange: Vendor.Handler = (fleet, call, now) => {
  const params = parameters(call)
  const expression = params.get("query") ?? ""
  const bad = (name: string, reason: string) => refuse(fleet, expression, `invalid parameter "${name}": ${reason}`)
  const start = time(params.get("start") ?? "")
  const end = time(params.get("end") ?? "")
  const step = duration(params.get("step") ?? "")
  if (start === undefined) return bad("start", `cannot parse "${params.get("start") ?? ""}" to a valid timestamp`)
  if (end === undefined) return bad("end", `cannot parse "${params.get("end") ?? ""}" to a valid timestamp`)
  if (end < start) return bad("end", "end timestamp must not be before start time")
  if (step === undefined) return bad("step", `cannot parse "${params.get("step") ?? ""}" to a valid duration`)
  if (step <= 0) {
    return bad("step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
  }
  if ((end - start) / step > maxPoints) {
    return refuse(
      fleet,
      expression,
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
    )
  }
  const selected = select(fleet, expression, now)
  if (typeof selected === "string") return bad("query", selected)
  const result = selected.flatMap(({ at, labels }) => {
    const values: Array<readonly [number, string]> = []
    for (let i = 0; start + i * step <= end; i++) {
      const time = start + i * step
      const value = at(time)
      if (value !== undefined) values.push([time / 1_000, String(value)])
    }
    return values.length === 0 ? [] : [{ metric: labels, values }]
  })
  return success(fleet, expression, { resultType: "matrix", result })
}

const parameters = (call: Vendor.Call): URLSearchParams =>
  call.body === "" ? call.query : new URLSearchParams([...call.query, ...new URLSearchParams(call.body)])

const success = (fleet: Fleet.Fleet, target: string, data: unknown): Vendor.Outcome =>
  Vendor.answered(fleet, Vendor.json(200, { status: "success", data }), { target })

const refuse = (fleet: Fleet.Fleet, target: string, message: string): Vendor.Outcome =>
  Vendor.answered(fleet, prometheus.refuse(400, message), { target: target || null })

const selector = /^([A-Za-z_:][\w:]*)\s*(?:\{([^{}]*)\})?$/

/** The series of a selector, or why it cannot be read. */
const select = (fleet: Fleet.Fleet, expression: string, now: number): ReadonlyArray<Series> | string => {
  const trimmed = expression.trim()
  if (trimmed === "") return "unknown position: parse error: no expression found in input"
  const match = selector.exec(trimmed)
  const matches = match === null ? undefined : matchers(match[2] ?? "")
  if (match === null || matches === undefined) {
    return `1:1: parse error: the sandbox reads only selectors, name{label="value"}, not ${trimmed}`
  }
  const name = match[1] ?? ""
  return (name === "ALERTS" ? alerts(fleet, now) : metricSeries(fleet, name, now)).filter(({ labels }) =>
    matches(labels)
  )
}

const metricSeries = (fleet: Fleet.Fleet, name: string, now: number): ReadonlyArray<Series> => {
  const metric = Telemetry.metricNamed("prometheus", name)
  if (metric === undefined) return []
  return Object.keys(fleet.workloads).map((service) => ({
    labels: { __name__: name, job: service, namespace: "production", service },
    at: sampled(now, (time) => Telemetry.value(fleet, service, metric, time))
  }))
}

const alerts = (fleet: Fleet.Fleet, now: number): ReadonlyArray<Series> =>
  Telemetry.monitors(fleet, now).map(({ id, metric, name, service }) => ({
    labels: {
      __name__: "ALERTS",
      alertname: name.replace(/ on .*$/, "").replace(/ (\w)/g, (_, letter: string) => letter.toUpperCase()),
      alertstate: "firing",
      service,
      severity: metric === "errorRate" ? "critical" : "warning"
    },
    at: sampled(
      now,
      (time) =>
        Telemetry.monitors(fleet, time).some((monitor) => monitor.id === id && monitor.status === "Alert")
          ? 1
          : undefined
    )
  }))

// after the last scrape a sample stays valid for the lookback, as in Prometheus
const sampled = (now: number, sample: (time: number) => number | undefined) => (time: number): number | undefined =>
  time > now + lookback || time < now - Telemetry.retention.metrics ? undefined : sample(Math.min(time, now))

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

const duration = (text: string): number | undefined => {
  const match = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text)
  return match === null ? undefined : Number(match[1]) * (durationUnits[match[2] ?? "s"] ?? 1_000)
}
