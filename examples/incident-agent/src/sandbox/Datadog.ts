/**
 * Datadog: metrics query v1, logs search v2, monitor search v1, events v1.
 *
 * Understood are metric queries `avg:service.error_rate{service:payment-api}` (avg, sum, min, max; `{*}`; `by {service}`;
 * `.rollup(avg, 60)`; several joined by commas) and the searches of `Search.ts`. A point holds the value at the end of
 * its interval or at the present, so the last point is always fresh.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Search from "./Search.js"
import * as Telemetry from "./Telemetry.js"
import * as Vendor from "./Vendor.js"

/**
 * Datadog under `/datadog`; wants `DD-API-KEY`, and `DD-APPLICATION-KEY` for all but events.
 *
 * @since 0.1.0
 * @category vendors
 */
export const datadog: Vendor.Vendor = {
  name: "datadog",
  operations: ["queryMetrics", "searchLogs", "searchMonitors", "postEvent"],
  routes: () => [
    { method: "GET", path: "/api/v1/query", operation: "queryMetrics", handle: keyed(true, queryMetrics) },
    { method: "POST", path: "/api/v2/logs/events/search", operation: "searchLogs", handle: keyed(true, searchLogs) },
    { method: "GET", path: "/api/v1/monitor/search", operation: "searchMonitors", handle: keyed(true, searchMonitors) },
    { method: "POST", path: "/api/v1/events", operation: "postEvent", handle: keyed(false, postEvent) }
  ],
  refuse: (status, message, retryAfter) =>
    Vendor.json(status, { errors: [message] }, {
      ...Vendor.retryAfterHeader(retryAfter),
      ...(status === 429 && {
        "x-ratelimit-limit": "100",
        "x-ratelimit-period": "3600",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": String(Math.ceil(retryAfter ?? 1)),
        "x-ratelimit-name": "sandbox"
      })
    })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const keyed = (applicationKey: boolean, handle: Vendor.Handler): Vendor.Handler => (fleet, call, now) => {
  if (!call.headers["dd-api-key"]) return Vendor.answered(fleet, datadog.refuse(401, "Unauthorized"))
  if (applicationKey && !call.headers["dd-application-key"]) {
    return Vendor.answered(fleet, datadog.refuse(403, "Forbidden"))
  }
  return handle(fleet, call, now)
}

// metrics

const metricQuery =
  /^(avg|sum|min|max):([A-Za-z_][\w.]*)\{([^{}]*)\}(?:\s*by\s*\{\s*(service)\s*\})?(?:\.rollup\(\s*(?:avg|sum|min|max|last)\s*,\s*(\d+)\s*\))?$/

const queryMetrics: Vendor.Handler = (fleet, call, now) => {
  const query = call.query.get("query") ?? ""
  const from = wholeNumber(call.query.get("from"))
  const to = wholeNumber(call.query.get("to"))
  const refuse = (message: string) => Vendor.answered(fleet, datadog.refuse(400, message), { target: query || null })
  if (query === "") return refuse("Missing required parameter: query")
  if (from === undefined) return refuse("Invalid or missing parameter: from, epoch seconds expected")
  if (to === undefined) return refuse("Invalid or missing parameter: to, epoch seconds expected")
  if (from >= to) return refuse("Invalid time range: from must be before to")

  const series: Array<unknown> = []
  const expressions = query.split(/,(?![^{(]*[})])/).map((expression) => expression.trim())
  for (const [index, expression] of expressions.entries()) {
    const match = metricQuery.exec(expression)
    if (match === null) {
      return refuse(`Error parsing query: unable to parse ${expression}: Rule 'scope_expr' didn't match`)
    }
    const [, aggregator = "avg", name = "", scope = "", by, rollup] = match
    const metric = Telemetry.metricNamed("datadog", name)
    if (metric === undefined) continue
    const matches = scopeFilter(scope)
    const services = Object.keys(fleet.workloads).filter(matches)
    const interval = Number(rollup ?? 0) || intervalFor(to - from)
    const groups = by === undefined ? (services.length > 0 ? [services] : []) : services.map((service) => [service])
    for (const group of groups) {
      const pointlist: Array<readonly [number, number]> = []
      const oldest = Math.max(from, Math.floor((now - Telemetry.retention.metrics) / 1_000))
      for (let at = Math.ceil(oldest / interval) * interval; at <= to && at * 1_000 <= now; at += interval) {
        const sampledAt = Math.min(now, (at + interval) * 1_000 - 1)
        pointlist.push([
          at * 1_000,
          aggregate(aggregator, group.map((service) => Telemetry.value(fleet, service, metric, sampledAt)))
        ])
      }
      const shownScope = by === undefined ? scope.trim() : `service:${group[0]}`
      series.push({
        metric: name,
        display_name: name,
        scope: shownScope,
        expression: `${aggregator}:${name}{${shownScope}}`,
        tag_set: by === undefined ? [] : [shownScope],
        aggr: aggregator,
        query_index: index,
        unit: null,
        interval,
        length: pointlist.length,
        start: pointlist[0]?.[0] ?? from * 1_000,
        end: (pointlist.at(-1)?.[0] ?? from * 1_000) + interval * 1_000 - 1,
        attributes: {},
        pointlist
      })
    }
  }
  return Vendor.answered(
    fleet,
    Vendor.json(200, {
      status: "ok",
      res_type: "time_series",
      resp_version: 1,
      query,
      from_date: from * 1_000,
      to_date: to * 1_000,
      group_by: [],
      message: "",
      values: [],
      times: [],
      series
    }),
    { target: query }
  )
}

const scopeFilter = (scope: string) => {
  const tags = scope.split(",").map((tag) => tag.trim()).filter((tag) => tag !== "*" && tag !== "")
  return (service: string) => tags.every((tag) => tag === `service:${service}` || tag === "env:production")
}

const intervalFor = (seconds: number): number =>
  [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 3_600].find((interval) => seconds / interval <= 240) ?? 14_400

const aggregate = (aggregator: string, values: ReadonlyArray<number>): number => {
  switch (aggregator) {
    case "min":
      return Math.min(...values)
    case "max":
      return Math.max(...values)
    default: {
      const sum = values.reduce((a, b) => a + b, 0)
      return aggregator === "sum" ? sum : sum / values.length
    }
  }
}

const wholeNumber = (text: string | null): number | undefined =>
  text !== null && /^\d{1,12}$/.test(text) ? Number(text) : undefined

// logs

const Instant = Schema.Union(Schema.String, Schema.Number)

const LogsSearch = Schema.Struct({
  filter: Schema.optionalWith(
    Schema.Struct({
      query: Schema.optionalWith(Schema.String, { default: () => "*" }),
      from: Schema.optionalWith(Instant, { default: () => "now-15m" }),
      to: Schema.optionalWith(Instant, { default: () => "now" }),
      indexes: Vendor.maybe(Schema.Array(Schema.String))
    }),
    { default: () => ({ query: "*", from: "now-15m", to: "now" }) }
  ),
  sort: Schema.optionalWith(Schema.Literal("timestamp", "-timestamp"), { default: () => "timestamp" as const }),
  page: Schema.optionalWith(
    Schema.Struct({
      limit: Schema.optionalWith(Schema.Int.pipe(Schema.between(1, 1_000)), { default: () => 10 }),
      cursor: Vendor.maybe(Schema.String)
    }),
    { default: () => ({ limit: 10 }) }
  )
})

const searchLogs: Vendor.Handler = (fleet, call, now) => {
  const decoded = Vendor.decodeJson(LogsSearch, call.body === "" ? "{}" : call.body)
  if (Either.isLeft(decoded)) {
    const [{ message, path }] = decoded.left
    return Vendor.answered(
      fleet,
      datadog.refuse(400, path === "" ? message : `input_validation_error(Field '${path}': ${message})`)
    )
  }
  const { filter, page, sort } = decoded.right
  const target = filter.query
  const refuse = (message: string) => Vendor.answered(fleet, datadog.refuse(400, message), { target })
  const matches = Search.parse(filter.query)
  const from = instant(filter.from, now)
  const to = instant(filter.to, now)
  if (matches === undefined) return refuse(`input_validation_error(Field 'filter.query': cannot parse ${filter.query})`)
  if (from === undefined) return refuse("input_validation_error(Field 'filter.from': not a time)")
  if (to === undefined) return refuse("input_validation_error(Field 'filter.to': not a time)")
  const after = page.cursor === undefined ? undefined : decodeCursor(page.cursor)
  if (page.cursor !== undefined && after === undefined) {
    return refuse("input_validation_error(Field 'page.cursor': invalid)")
  }

  const found = Object.keys(fleet.workloads)
    .flatMap((service) =>
      Telemetry.logs(fleet, service, Math.max(from, now - Telemetry.retention.logs), Math.min(to, now))
    )
    .filter((line) =>
      matches({ service: line.service, status: line.level, host: line.host, env: "production" }, line.message)
    )
    .toSorted((a, b) => compareLines(a, b, sort))
  const rest = after === undefined ? found : found.filter((line) => compareLines(line, after, sort) > 0)
  const data = rest.slice(0, page.limit)
  const last = data.at(-1)
  return Vendor.answered(
    fleet,
    Vendor.json(200, {
      data: data.map((line) => ({
        id: line.id,
        type: "log",
        attributes: {
          timestamp: new Date(line.at).toISOString(),
          service: line.service,
          host: line.host,
          status: line.level,
          message: line.message,
          tags: [`service:${line.service}`, "env:production"],
          attributes: {}
        }
      })),
      meta: {
        elapsed: 1,
        status: "done",
        request_id: `sandbox-${now.toString(36)}`,
        ...(rest.length > data.length && last !== undefined && { page: { after: encodeCursor(last) } })
      }
    }),
    { target }
  )
}

interface Position {
  readonly at: number
  readonly id: string
}

const compareLines = (a: Position, b: Position, sort: "timestamp" | "-timestamp"): number =>
  (sort === "timestamp" ? 1 : -1) * (a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))

const encodeCursor = ({ at, id }: Position): string => Buffer.from(`${at}/${id}`).toString("base64url")

const decodeCursor = (cursor: string): Position | undefined => {
  const match = /^(\d+)\/(\w+)$/.exec(Buffer.from(cursor, "base64url").toString())
  return match === null ? undefined : { at: Number(match[1]), id: match[2] ?? "" }
}

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds as a number or its text, an ISO date, or `now`, `now-15m`. */
const instant = (input: string | number, now: number): number | undefined => {
  if (typeof input === "number") return input
  if (/^\d+$/.test(input)) return Number(input)
  const relative = /^now(?:-(\d+)([smhd]))?$/.exec(input)
  if (relative !== null) return now - Number(relative[1] ?? 0) * (units[relative[2] ?? "s"] ?? 0)
  const parsed = Date.parse(input)
  return Number.isNaN(parsed) ? undefined : parsed
}

// monitors

const searchMonitors: Vendor.Handler = (fleet, call, now) => {
  const query = call.query.get("query") ?? ""
  const page = wholeNumber(call.query.get("page") ?? "0")
  const perPage = wholeNumber(call.query.get("per_page") ?? "30")
  const refuse = (message: string) => Vendor.answered(fleet, datadog.refuse(400, message), { target: query })
  const matches = Search.parse(query)
  if (matches === undefined) return refuse(`Invalid query: cannot parse ${query}`)
  if (page === undefined) return refuse("Invalid parameter: page")
  if (perPage === undefined || perPage < 1) return refuse("Invalid parameter: per_page")

  const found = Telemetry.monitors(fleet, now).filter((monitor) =>
    matches(
      { service: monitor.service, status: monitor.status, tag: `service:${monitor.service}`, env: "production" },
      monitor.name
    )
  )
  const counts = (["Alert", "Warn", "OK"] as const).flatMap((name) => {
    const count = found.filter((monitor) => monitor.status === name).length
    return count === 0 ? [] : [{ name, count }]
  })
  return Vendor.answered(
    fleet,
    Vendor.json(200, {
      monitors: found.slice(page * perPage, (page + 1) * perPage).map((monitor) => ({
        id: monitor.id,
        name: monitor.name,
        status: monitor.status,
        type: "query alert",
        classification: "metric",
        query: `avg(last_1m):avg:${
          Telemetry.metrics[monitor.metric].datadog
        }{service:${monitor.service}} > ${monitor.critical}`,
        metrics: [Telemetry.metrics[monitor.metric].datadog],
        scopes: [`service:${monitor.service}`],
        tags: [`service:${monitor.service}`, "env:production"],
        notifications: [],
        last_triggered_ts: monitor.since === null ? null : Math.floor(monitor.since / 1_000),
        quality_issues: [],
        org_id: 1
      })),
      metadata: { total_count: found.length, page, per_page: perPage, page_count: Math.ceil(found.length / perPage) },
      counts: { status: counts, muted: [{ name: false, count: found.length }] }
    }),
    { target: query }
  )
}

// events

const Event = Schema.Struct({
  title: Schema.String.pipe(Schema.minLength(1)),
  text: Schema.String.pipe(Schema.minLength(1), Schema.maxLength(4_000)),
  aggregation_key: Vendor.maybe(Schema.String.pipe(Schema.maxLength(100))),
  alert_type: Vendor.maybe(
    Schema.Literal("error", "warning", "info", "success", "user_update", "recommendation", "snapshot")
  ),
  date_happened: Vendor.maybe(Schema.Int),
  priority: Vendor.maybe(Schema.Literal("normal", "low")),
  tags: Vendor.maybe(Schema.Array(Schema.String))
})

const postEvent: Vendor.Handler = (fleet, call, now) => {
  const decoded = Vendor.decodeJson(Event, call.body)
  if (Either.isLeft(decoded)) {
    const [{ message, path }] = decoded.left
    return Vendor.answered(fleet, datadog.refuse(400, path === "" ? message : `Invalid field '${path}': ${message}`))
  }
  const event = decoded.right
  const id = now
  return Vendor.answered(
    fleet,
    Vendor.json(202, {
      status: "ok",
      event: {
        id,
        id_str: String(id),
        title: event.title,
        text: event.text,
        date_happened: event.date_happened ?? Math.floor(now / 1_000),
        priority: event.priority ?? "normal",
        alert_type: event.alert_type ?? "info",
        tags: event.tags ?? [],
        url: `https://app.datadoghq.com/event/event?id=${id}`,
        handle: null,
        related_event_id: null
      }
    }),
    { target: event.title, key: event.aggregation_key }
  )
}
