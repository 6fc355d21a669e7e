import type * as Telemetry from "@firebreak/core/Telemetry"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricState from "effect/MetricState"

/**
 * What a snapshot says of a metric with this `name` tag: its value, or with `by` the values by that other tag. Undefined
 * where there is no such metric.
 */
export const valuesOf = (
  metric: Telemetry.Name,
  name: string | undefined,
  by?: string
): Effect.Effect<number | Record<string, number> | undefined> =>
  Effect.map(Metric.snapshot, (snapshot) => {
    const values: Record<string, number> = {}
    let single: number | undefined
    for (const { metricKey, metricState } of snapshot) {
      const tags = Object.fromEntries(metricKey.tags.map(({ key, value }) => [key, value]))
      if (metricKey.name !== metric || tags["name"] !== name) continue
      const value = MetricState.isCounterState(metricState)
        ? Number(metricState.count)
        : MetricState.isGaugeState(metricState)
        ? Number(metricState.value)
        : NaN
      if (by === undefined) single = value
      else values[tags[by]!] = value
    }
    return by === undefined ? single : values
  })
