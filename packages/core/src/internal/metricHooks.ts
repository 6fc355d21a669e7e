/** Where Effect keeps the value of each metric. */
import * as Metric from "effect/Metric"
import type * as MetricHook from "effect/MetricHook"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"
import * as MetricCatalog from "../MetricCatalog.js"

export type Tags = { readonly [key: string]: string }

export const hookOf = (
  name: MetricCatalog.Name,
  tags: Tags
): MetricHook.MetricHook.Counter<number> | MetricHook.MetricHook.Gauge<number> => {
  const labels = Object.entries(tags).map(([key, value]) => MetricLabel.make(key, value))
  const { description, type } = MetricCatalog.catalog[name]
  const registry = Metric.globalMetricRegistry
  return type === "counter"
    ? registry.get(MetricKey.taggedWithLabels(MetricKey.counter(name, { description, incremental: true }), labels))
    : registry.get(MetricKey.taggedWithLabels(MetricKey.gauge(name, { description }), labels))
}
