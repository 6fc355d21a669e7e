/**
 * Datadog as the agent reads it: metrics query v1, logs search v2, monitor search v1.
 *
 * @since 0.1.0
 */
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Alert, LogLine, Metric, Series } from "../Signals.js"
import { lookback } from "../Signals.js"
import { VendorError } from "../VendorError.js"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * All metrics of a service over the lookback, in one query.
 *
 * @since 0.1.0
 * @category queries
 */
export const metrics = (service: string, span: number = lookback) =>
  Effect.flatMap(
    call(
      "queryMetrics",
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const query = Object.values(names).map((name) => `avg:${name}{service:${service}}`).join(",")
        return (yield* get("/api/v1/query")).pipe(HttpClientRequest.setUrlParams({
          from: Math.floor((now - span) / 1_000),
          to: Math.ceil(now / 1_000),
          query
        }))
      }),
      MetricsAnswer
    ),
    (answer): Effect.Effect<ReadonlyArray<Series>, VendorError> =>
      answer.status === "ok"
        ? Effect.succeed(answer.series.flatMap(({ metric, pointlist }) => {
          const known = metricOf(metric)
          return known === undefined ? [] : [{
            metric: known,
            points: pointlist.flatMap(([at, value]) => value === null ? [] : [[at, value] as const])
          }]
        }))
        : new VendorError({
          vendor: "datadog",
          operation: "queryMetrics",
          kind: "unavailable",
          detail: answer.error ?? answer.status
        })
  )

/**
 * The latest errors and warnings of a service, oldest first.
 *
 * @since 0.1.0
 * @category queries
 */
export const logs = (service: string) =>
  Effect.map(
    call(
      "searchLogs",
      Effect.map(get("/api/v2/logs/events/search"), (request) =>
        request.pipe(
          HttpClientRequest.setMethod("POST"),
          HttpClientRequest.bodyUnsafeJson({
            filter: {
              query: `service:${service} status:(error OR warn)`,
              from: `now-${lookback / 60_000}m`,
              to: "now"
            },
            sort: "-timestamp",
            page: { limit: 200 }
          })
        )),
      LogsAnswer
    ),
    ({ data }): ReadonlyArray<LogLine> =>
      data.map(({ attributes }) => ({
        at: Date.parse(attributes.timestamp),
        level: attributes.status,
        message: attributes.message
      })).toReversed()
  )

/**
 * The monitors of a service that are in alert.
 *
 * @since 0.1.0
 * @category queries
 */
export const alerts = (service: string) =>
  Effect.map(
    call(
      "searchMonitors",
      Effect.map(
        get("/api/v1/monitor/search"),
        HttpClientRequest.setUrlParam("query", `tag:"service:${service}" status:Alert`)
      ),
      MonitorsAnswer
    ),
    ({ monitors }): ReadonlyArray<Alert> => monitors.map(({ name, status }) => ({ name, status }))
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const call = VendorCall.makeHttp(VendorParts.Datadog)

const get = (path: string) =>
  Effect.map(VendorConfig, (config) =>
    HttpClientRequest.get(`${config.url("datadog")}${path}`).pipe(
      HttpClientRequest.setHeaders({
        "dd-api-key": Redacted.value(config.datadogApiKey),
        "dd-application-key": Redacted.value(config.datadogApplicationKey)
      })
    ))

const names: Readonly<Record<Metric, string>> = {
  errorRate: "service.error_rate",
  latencyP99: "service.latency.p99",
  cpu: "service.cpu.percent",
  memory: "service.memory.percent",
  requestRate: "service.requests.rate",
  cacheHitRate: "service.cache.hit_rate",
  dbConnectionErrors: "service.db.connection_errors"
}

const metricOf = (name: string): Metric | undefined =>
  (Object.keys(names) as ReadonlyArray<Metric>).find((metric) => names[metric] === name)

// Datadog answers 200 with a status of its own
const MetricsAnswer = Schema.Struct({
  status: Schema.String,
  error: Schema.optional(Schema.String),
  series: Schema.optionalWith(
    Schema.Array(Schema.Struct({
      metric: Schema.String,
      pointlist: Schema.Array(Schema.Tuple(Schema.Number, Schema.NullOr(Schema.Number)))
    })),
    { default: () => [] }
  )
})

const LogsAnswer = Schema.Struct({
  data: Schema.Array(Schema.Struct({
    attributes: Schema.Struct({ timestamp: Schema.String, status: Schema.String, message: Schema.String })
  }))
})

const MonitorsAnswer = Schema.Struct({
  monitors: Schema.Array(Schema.Struct({ name: Schema.String, status: Schema.String }))
})
