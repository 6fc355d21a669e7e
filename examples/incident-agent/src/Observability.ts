/**
 * What is known about a service, from whoever can be asked: Datadog first, Prometheus and Loki when it is down.
 *
 * @since 0.1.0
 */
import * as Deadline from "@firebreak/core/Deadline"
import * as Degradation from "@firebreak/core/Degradation"
import type { Level } from "@firebreak/core/DegradationLevel"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
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
 * Asks for metrics, logs and alerts side by side. What nobody has told within `duration` is missing, and the rest counts.
 *
 * @since 0.1.0
 * @category queries
 */
export const observe = (service: string, duration: Duration.Duration) =>
  Effect.gen(function*() {
    const failed: Record<"metrics" | "logs" | "alerts", Array<string>> = { metrics: [], logs: [], alerts: [] }
    const end = (yield* Clock.currentTimeNanos) + BigInt(Math.round(Duration.toMillis(duration) * 1e6))
    const ask = (part: Array<string>, vendor: string) => <A, R>(effect: Effect.Effect<A, VendorError, R>) =>
      effect.pipe(before(end, vendor), noted(part))
    const { level, parts } = yield* Degradation.all({
      metrics: Degradation.component("metrics", ask(failed.metrics, "datadog")(Datadog.metrics(service))).pipe(
        Degradation.orElse("prometheus", ask(failed.metrics, "prometheus")(Prometheus.metrics(service)))
      ),
      logs: Degradation.component("logs", ask(failed.logs, "datadog")(Datadog.logs(service))).pipe(
        Degradation.orElse("loki", ask(failed.logs, "loki")(Loki.logs(service)))
      ),
      alerts: Degradation.component("alerts", ask(failed.alerts, "datadog")(Datadog.alerts(service))).pipe(
        Degradation.orElse("prometheus", ask(failed.alerts, "prometheus")(Prometheus.alerts(service)))
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
      Degradation.run(
        Degradation.component("metrics", noted(failed)(Datadog.metrics(service, 60_000))).pipe(
          Degradation.orElse("prometheus", noted(failed)(Prometheus.metrics(service, 60_000)))
        )
      ),
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

/** Runs the effect until `end`, by the monotonic clock. */
const before = (end: bigint, vendor: string) => <A, R>(effect: Effect.Effect<A, VendorError, R>) =>
  Effect.flatMap(Clock.currentTimeNanos, (now) =>
    Effect.catchTag(
      Deadline.within(effect, Duration.nanos(now < end ? end - now : 0n)),
      "DeadlineExceeded",
      ({ message, started }) =>
        new VendorError({ vendor, operation: "gather", kind: started ? "timeout" : "not-started", detail: message })
    ))

/** Notes who failed and how, without what the vendor wrote: that is in the events. */
const noted = (failed: Array<string>) => <A, R>(effect: Effect.Effect<A, VendorError, R>) =>
  Effect.tapError(effect, ({ kind, status, vendor }) => Effect.sync(() => failed.push(`${vendor} ${status ?? kind}`)))

type AnyPart = { readonly _tag: "Fresh" } | { readonly _tag: "Alternate"; readonly source: string } | {
  readonly _tag: "Missing"
}

const sourceOf = (part: AnyPart): string | null =>
  part._tag === "Missing" ? null : part._tag === "Alternate" ? part.source : "datadog"
