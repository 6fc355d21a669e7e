/**
 * What the agent sees of a service, whoever measured it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A metric the agent understands, and the way it moves when something is wrong.
 *
 * @since 0.1.0
 * @category models
 */
export const Metric = Schema.Literal(
  "errorRate",
  "latencyP99",
  "cpu",
  "memory",
  "requestRate",
  "cacheHitRate",
  "dbConnectionErrors"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Metric = typeof Metric.Type

/**
 * One metric over time: `[milliseconds since the epoch, value]`, oldest first.
 *
 * @since 0.1.0
 * @category models
 */
export const Series = Schema.Struct({
  metric: Metric,
  points: Schema.Array(Schema.Tuple(Schema.Number, Schema.Number))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Series = typeof Series.Type

/**
 * @since 0.1.0
 * @category models
 */
export const LogLine = Schema.Struct({ at: Schema.Number, level: Schema.String, message: Schema.String })

/**
 * @since 0.1.0
 * @category models
 */
export type LogLine = typeof LogLine.Type

/**
 * An alert that is firing.
 *
 * @since 0.1.0
 * @category models
 */
export const Alert = Schema.Struct({ name: Schema.String, status: Schema.String })

/**
 * @since 0.1.0
 * @category models
 */
export type Alert = typeof Alert.Type

/**
 * How far back the agent looks, in milliseconds.
 *
 * @since 0.1.0
 * @category options
 */
export const lookback = 30 * 60_000
