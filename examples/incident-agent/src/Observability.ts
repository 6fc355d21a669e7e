/**
 * What is known about a service, from whoever can be asked: Datadog first, Prometheus and Loki when it is down.
 *
 * @since 0.1.0
 */
import * as Degradation from "@firebreak/core/Degradation"
import type { Level } from "@firebreak/core/DegradationLevel"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Alert, LogLine, Series } from "./Signals.js"
import { VendorError } from "./VendorError.js"
import * as Datadog from "./vendors/Datadog.js"
import * as Loki from "./vendors/Loki.js"
import * as Prometheus from "./vendors/Prometheus.js"

/**
 * What was gathered, and where it came from. A part that nobody could tell is empty and its source null.
 *
 * @since 0.1.0
 * @category models
 */
export class Observations extends Schema.Class<Observations>("Observations")({
  level: Schema.Literal("full", "slight", "moderate", "minimal", "failed"),
  sources: Schema.Struct({
    metrics: Schema.NullOr(Schema.String),
    logs: Schema.NullOr(Schema.String),
    alerts: Schema.NullOr(Schema.String)
  }),
  series: Schema.Array(Series),
  logs: Schema.Array(LogLine),
  alerts: Schema.Array(Alert)
}) {}

/**
 * Too little is known to act on.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotEnoughData extends Schema.TaggedError<NotEnoughData>("NotEnoughData")("NotEnoughData", {
  detail: Schema.String
}) {}

/**
 * The worst level at which the agent still acts.
 *
 * @since 0.1.0
 * @category options
 */
export const tolerate: Level = "moderate"

/**
 * Asks for metrics, logs and alerts side by side.
 *
 * @since 0.1.0
 * @category queries
 */
export const observe = (service: string) =>
  Effect.gen(function*() {
    const failed: Record<"metrics" | "logs" | "alerts", Array<string>> = { metrics: [], logs: [], alerts: [] }
    const { level, parts } = yield* Degradation.all({
      metrics: metrics(service, failed.metrics),
      logs: Degradation.component("logs", noted(failed.logs)(Datadog.logs(service))).pipe(
        Degradation.orElse("loki", noted(failed.logs)(Loki.logs(service)))
      ),
      alerts: Degradation.component("alerts", noted(failed.alerts)(Datadog.alerts(service))).pipe(
        Degradation.orElse("prometheus", noted(failed.alerts)(Prometheus.alerts(service)))
      )
    }, { tolerate, weights: { metrics: 2 } }).pipe(
      Effect.catchTag("DegradedBeyond", () =>
        new NotEnoughData({
          detail: [
            "too little is known",
            ...Object.entries(failed).filter(([, who]) => who.length > 0).map(([part, who]) =>
              `${part}: ${who.join(", ")}`
            )
          ].join("\n")
        }))
    )
    if (parts.metrics._tag !== "Missing" && parts.metrics.value.every(({ points }) => points.length === 0)) {
      return yield* new NotEnoughData({ detail: `no data about ${service}` })
    }
    return new Observations({
      level,
      sources: { metrics: sourceOf(parts.metrics), logs: sourceOf(parts.logs), alerts: sourceOf(parts.alerts) },
      series: parts.metrics._tag === "Missing" ? [] : parts.metrics.value,
      logs: parts.logs._tag === "Missing" ? [] : parts.logs.value,
      alerts: parts.alerts._tag === "Missing" ? [] : parts.alerts.value
    })
  })

/**
 * The share of requests that fail right now, 0 to 1.
 *
 * @since 0.1.0
 * @category queries
 */
export const errorRate = (service: string) =>
  Effect.gen(function*() {
    const failed: Array<string> = []
    const { value } = yield* Effect.mapError(
      Degradation.run(metrics(service, failed, 60_000)),
      () =>
        new VendorError({ vendor: "metrics", operation: "errorRate", kind: "unavailable", detail: failed.join(", ") })
    )
    const latest = value.find(({ metric }) => metric === "errorRate")?.points.at(-1)
    if (latest === undefined) {
      return yield* new VendorError({
        vendor: "metrics",
        operation: "errorRate",
        kind: "garbled",
        detail: "there is no current point"
      })
    }
    return latest[1]
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const metrics = (service: string, failed: Array<string>, span?: number) =>
  Degradation.component("metrics", noted(failed)(Datadog.metrics(service, span))).pipe(
    Degradation.orElse("prometheus", noted(failed)(Prometheus.metrics(service, span)))
  )

/** Notes who failed and how, without what the vendor wrote: that is in the events. */
const noted = (failed: Array<string>) => <A, R>(effect: Effect.Effect<A, VendorError, R>) =>
  Effect.tapError(effect, ({ kind, status, vendor }) => Effect.sync(() => failed.push(`${vendor} ${status ?? kind}`)))

type AnyPart = { readonly _tag: "Fresh" } | { readonly _tag: "Alternate"; readonly source: string } | {
  readonly _tag: "Missing"
}

const sourceOf = (part: AnyPart): string | null =>
  part._tag === "Missing" ? null : part._tag === "Alternate" ? part.source : "datadog"
