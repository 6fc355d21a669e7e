/**
 * `/metrics` for Prometheus: every metric of Effect's registry, Firebreak's own among them, in the text exposition format
 * 0.0.4.
 *
 * A scrape takes one snapshot, and that is when the figures of `Telemetry` are read: what it says is true at that moment.
 *
 * @since 0.1.0
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

/**
 * The content type of the format.
 *
 * @since 0.1.0
 * @category conversions
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

/**
 * A snapshot as text. A counter that may fall is a gauge, a frequency is a counter with the label `key`. Characters that
 * a name cannot have become `_`; series that are then the same add up; a metric that has the name of one of another type
 * gets its own type at the end of its name.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toText = (snapshot: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  for (const { metricKey, metricState } of snapshot) {
    const type = typeOf(metricKey.keyType)
    const plain = validName(metricKey.name)
    const name = (families.get(plain)?.type ?? type) === type ? plain : `${plain}_${type}`
    let family = families.get(name)
    if (family === undefined) {
      families.set(name, family = { type, help: Option.getOrElse(metricKey.description, () => ""), series: new Map() })
    }
    const samples = samplesOf(metricState)
    const labels = labelsOf(metricKey.tags, samples.find(([_, own]) => own !== undefined)?.[1]?.key)
    for (const [suffix, own, value] of samples) {
      const all = own === undefined ? labels : [...labels, labelText(own.key, own.value)]
      const key = name + suffix + (all.length === 0 ? "" : `{${all.join(",")}}`)
      family.series.set(key, (family.series.get(key) ?? 0) + value)
    }
  }
  let text = ""
  for (const [name, { help, series, type }] of families) {
    if (help !== "") text += `# HELP ${name} ${escape(help)}\n`
    text += `# TYPE ${name} ${type}\n`
    for (const [key, value] of series) text += `${key} ${numberText(value)}\n`
  }
  return text
}

/**
 * Answers with all metrics as they are now.
 *
 * @since 0.1.0
 * @category apps
 */
export const metrics: HttpApp.Default = Effect.map(
  Metric.snapshot,
  (snapshot) => HttpServerResponse.text(toText(snapshot), { contentType, headers: { "cache-control": "no-store" } })
)

/**
 * A router with `GET /metrics`, to serve alone or to put beside your own routes.
 *
 * @example
 * import * as HttpRouter from "@effect/platform/HttpRouter"
 * import * as HttpServer from "@effect/platform/HttpServer"
 * import * as Telemetry from "@firebreak/core/Telemetry"
 * import * as HealthRoutes from "@firebreak/http/HealthRoutes"
 * import * as MetricsRoute from "@firebreak/http/MetricsRoute"
 * import * as Layer from "effect/Layer"
 *
 * const Live = HealthRoutes.router().pipe(
 *   HttpRouter.concat(MetricsRoute.router),
 *   HttpServer.serve(),
 *   Layer.provide(Telemetry.layer)
 * )
 *
 * @since 0.1.0
 * @category routers
 */
export const router: HttpRouter.HttpRouter = HttpRouter.empty.pipe(HttpRouter.get("/metrics", metrics))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Type = "counter" | "gauge" | "histogram" | "summary"

/** Metrics of one name: their series, the labels in the key. */
interface Family {
  readonly type: Type
  readonly help: string
  readonly series: Map<string, number>
}

interface Label {
  readonly key: string
  readonly value: string
}

/** `own` is a label that the metric has by its type. */
type Sample = readonly [suffix: string, own: Label | undefined, value: number]

const typeOf = (type: MetricKeyType.MetricKeyType<any, any>): Type => {
  if (MetricKeyType.isCounterKey(type)) return type.incremental ? "counter" : "gauge"
  if (MetricKeyType.isFrequencyKey(type)) return "counter"
  if (MetricKeyType.isHistogramKey(type)) return "histogram"
  return MetricKeyType.isSummaryKey(type) ? "summary" : "gauge"
}

const samplesOf = (state: MetricState.MetricState.Untyped): ReadonlyArray<Sample> => {
  if (MetricState.isCounterState(state)) return [["", undefined, Number(state.count)]]
  if (MetricState.isGaugeState(state)) return [["", undefined, Number(state.value)]]
  if (MetricState.isFrequencyState(state)) {
    return Array.from(state.occurrences, ([key, count]): Sample => ["", { key: "key", value: key }, count])
  }
  const totals: ReadonlyArray<Sample> = MetricState.isHistogramState(state) || MetricState.isSummaryState(state)
    ? [["_sum", undefined, state.sum], ["_count", undefined, state.count]]
    : []
  if (MetricState.isHistogramState(state)) {
    const finite = state.buckets.filter(([bound]) => bound !== Infinity)
    const bucket = (bound: number, count: number): Sample => ["_bucket", { key: "le", value: numberText(bound) }, count]
    return [...finite.map(([bound, count]) => bucket(bound, count)), bucket(Infinity, state.count), ...totals]
  }
  if (MetricState.isSummaryState(state)) {
    const quantiles = state.quantiles.map(([quantile, value]): Sample => [
      "",
      { key: "quantile", value: numberText(quantile) },
      Option.getOrElse(value, () => NaN)
    ])
    return [...quantiles, ...totals]
  }
  return []
}

const validName = (name: string): string => name.replace(/^(?=\d)|[^a-zA-Z0-9_:]/gu, "_") || "_"

const validLabel = (name: string): string => name.replace(/^(?=\d)|[^a-zA-Z0-9_]/gu, "_") || "_"

/** In one order, whatever order they were given in; those that are then of one name become one, as OpenTelemetry says. */
const labelsOf = (labels: ReadonlyArray<Label>, own: string | undefined): ReadonlyArray<string> => {
  const byName = new Map<string, string>()
  for (const { key, value } of labels) {
    const valid = validLabel(key)
    const name = valid === own ? `${valid}_` : valid
    const before = byName.get(name)
    byName.set(name, before === undefined ? value : `${before};${value}`)
  }
  return Array.from(byName, ([name, value]) => labelText(name, value)).toSorted()
}

const labelText = (name: string, value: string): string => `${name}="${escape(value).replaceAll("\"", "\\\"")}"`

const escape = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const numberText = (value: number): string => value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)
