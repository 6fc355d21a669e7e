/** The code of `docs/degradation.md`. */
import * as Degradation from "@firebreak/core/Degradation"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

class VendorDown extends Data.TaggedError("VendorDown")<{ readonly status: number }> {}

const Metrics = Schema.Struct({ errorRate: Schema.NullOr(Schema.Number) })

declare const datadogMetrics: (service: string) => Effect.Effect<typeof Metrics.Type, VendorDown>
declare const prometheusMetrics: (service: string) => Effect.Effect<typeof Metrics.Type, VendorDown>
declare const datadogLogs: (service: string) => Effect.Effect<ReadonlyArray<string>, VendorDown>

// #region usage
const metrics = (service: string) =>
  Degradation.component("metrics", datadogMetrics(service)).pipe(
    Degradation.orElse("prometheus", prometheusMetrics(service)),
    Degradation.orCached({ key: service, schema: Metrics, maxAge: "1 hour" }),
    Degradation.orConstant({ errorRate: null })
  )

const logs = (service: string) => Degradation.component("logs", datadogLogs(service))

export const context = Effect.fnUntraced(function*(service: string) {
  const report = yield* Degradation.all(
    { metrics: metrics(service), logs: logs(service) },
    { tolerate: "moderate", weights: { metrics: 2 } }
  )
  return {
    level: report.level, // "full" | "slight" | "moderate" | "minimal" | "failed"
    errorRate: report.parts.metrics.value.errorRate, // the chain is total: there always is a value
    logs: report.parts.logs._tag === "Fresh" ? report.parts.logs.value : [] // Fresh | Missing<VendorDown>
  }
})
// #endregion
