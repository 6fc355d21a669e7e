/** The code of `docs/degradation.md`. */
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationSlo from "@firebreak/core/DegradationSlo"
import * as DegradationSpells from "@firebreak/core/DegradationSpells"
import * as Events from "@firebreak/core/Events"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
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

declare const dashboardMetrics: (service: string) => Effect.Effect<typeof Metrics.Type, VendorDown>

// #region usage
export const dashboard = (service: string) =>
  Degradation.component("dashboard", dashboardMetrics(service), { timeout: "2 seconds" }).pipe(
    Degradation.orCached({
      key: service,
      schema: Metrics,
      ttl: "30 seconds", // served without asking, and as good as fresh
      staleWhileRevalidate: true, // served at once up to `maxAge`, and refreshed in the background
      maxAge: "1 hour"
    })
  )
// #endregion

// #region usage
export const quickContext = (service: string) =>
  Degradation.all(
    { metrics: metrics(service), logs: logs(service) },
    { deadline: "3 seconds", name: "incident-context" }
  )
// #endregion

// #region usage
export const SloLive = DegradationSlo.layer({ named: { "incident-context": { full: 0.95 } } }).pipe(
  Layer.provideMerge(Events.layer)
)

export const isAsPromised = Effect.map(
  DegradationSlo.report("incident-context"),
  Option.match({
    onNone: () => "no answer yet",
    onSome: ({ full, longestSpell, objectives }) => ({
      full, // the share of full answers within a day
      longestSpell,
      violated: objectives.filter(({ verdict }) => verdict === "violated").map(({ objective }) => objective)
    })
  })
)
// #endregion

// #region usage
export const Durable = Layer.merge(SqlStore.layerSqlite({ filename: "agent.db" }), DegradationSpells.layer)
// #endregion
