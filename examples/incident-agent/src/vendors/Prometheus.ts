/**
 * Prometheus, the alternate source of metrics and alerts.
 *
 * @since 0.1.0
 */
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Alert, Metric, Series } from "../Signals.js"
import { lookback } from "../Signals.js"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * All metrics of a service over the lookback, a query each, side by side.
 *
 * @since 0.1.0
 * @category queries
 */
export const metrics = (service: string, span: number = lookback) =>
  Effect.forEach(
    Object.entries(names) as ReadonlyArray<readonly [Metric, string]>,
    ([metric, name]) =>
      Effect.map(
        call(
          "queryRange",
          Effect.gen(function*() {
            const now = (yield* Clock.currentTimeMillis) / 1_000
            return (yield* get("/api/v1/query_range")).pipe(HttpClientRequest.setUrlParams({
              query: `${name}{service="${service}"}`,
              start: now - span / 1_000,
              end: now,
              step: Math.max(1, Math.ceil(span / 1_000 / 240))
            }))
          }),
          MatrixAnswer
        ),
        ({ data }): Series => ({
          metric,
          points: (data.result[0]?.values ?? []).map(([at, value]) => [at * 1_000, Number(value)] as const)
        })
      ),
    { concurrency: "unbounded" }
  )

/**
 * The alerts of a service that fire.
 *
 * @since 0.1.0
 * @category queries
 */
export const alerts = (service: string) =>
  Effect.map(
    call(
      "query",
      Effect.map(
        get("/api/v1/query"),
        HttpClientRequest.setUrlParam("query", `ALERTS{alertstate="firing",service="${service}"}`)
      ),
      AlertsAnswer
    ),
    ({ data }): ReadonlyArray<Alert> =>
      data.result.map(({ metric }) => ({ name: metric["alertname"] ?? "unnamed alert", status: "Alert" }))
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const call = VendorCall.makeHttp(VendorParts.Prometheus)

const get = (path: string) =>
  Effect.map(VendorConfig, (config) => HttpClientRequest.get(`${config.url("prometheus")}${path}`))

const names: Readonly<Record<Metric, string>> = {
  errorRate: "service_error_rate",
  latencyP99: "service_latency_p99_seconds",
  cpu: "service_cpu_percent",
  memory: "service_memory_percent",
  requestRate: "service_requests_per_second",
  cacheHitRate: "service_cache_hit_ratio",
  dbConnectionErrors: "service_db_connection_errors_per_second"
}

const MatrixAnswer = Schema.Struct({
  data: Schema.Struct({
    result: Schema.Array(Schema.Struct({ values: Schema.Array(Schema.Tuple(Schema.Number, Schema.String)) }))
  })
})

const AlertsAnswer = Schema.Struct({
  data: Schema.Struct({
    result: Schema.Array(Schema.Struct({ metric: Schema.Record({ key: Schema.String, value: Schema.String }) }))
  })
})
