/** The code of `docs/telemetry.md`. */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Telemetry from "@firebreak/core/Telemetry"
import * as MetricsRoute from "@firebreak/http/MetricsRoute"
import type { MetricReader } from "@opentelemetry/sdk-metrics"
import type { SpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Layer from "effect/Layer"

declare const metricReader: MetricReader
declare const spanProcessor: SpanProcessor

// #region usage
class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}

export const Live = Datadog.layer().pipe(Layer.provideMerge(Telemetry.layer))
// #endregion

// #region usage
export const MetricsLive = HttpRouter.empty.pipe(
  HttpRouter.concat(MetricsRoute.router),
  HttpServer.serve()
)
// #endregion

// #region usage
export const OpenTelemetryLive = NodeSdk.layer(() => ({
  resource: { serviceName: "checkout" },
  metricReader,
  spanProcessor
}))
// #endregion
