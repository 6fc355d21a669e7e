/**
 * Finds what is wrong with a service from what it shows: statistics first, then evidence for each known cause. Pure, and
 * every finding says what it rests on.
 *
 * The score of a metric follows BARO's RobustScorer (Pham et al., FSE 2024): how far the time after the onset lies from
 * the median of the time before it, in units of the interquartile range. It is signed by the way in which the metric
 * moves when something is wrong, and a metric that was flat before is scored too.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { LogLine, Series } from "./Signals.js"
import { Metric } from "./Signals.js"

/**
 * A metric that moved the wrong way. `score` is in interquartile ranges of the time before.
 *
 * @since 0.1.0
 * @category models
 */
export const Symptom = Schema.Struct({
  metric: Metric,
  before: Schema.Number,
  after: Schema.Number,
  score: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export type Symptom = typeof Symptom.Type

/**
 * The causes the agent knows.
 *
 * @since 0.1.0
 * @category models
 */
export const CauseName = Schema.Literal("dead-connections", "stale-cache", "saturation")

/**
 * @since 0.1.0
 * @category models
 */
export type CauseName = typeof CauseName.Type

/**
 * A likely cause: `confidence` from 0 to 1, and the evidence it rests on.
 *
 * @since 0.1.0
 * @category models
 */
export const Cause = Schema.Struct({
  name: CauseName,
  confidence: Schema.Number,
  evidence: Schema.Array(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Cause = typeof Cause.Type

/**
 * What was found; `onset` in milliseconds since the epoch, null if no metric shows one.
 *
 * @since 0.1.0
 * @category models
 */
export class Diagnosis extends Schema.Class<Diagnosis>("Diagnosis")({
  onset: Schema.NullOr(Schema.Number),
  symptoms: Schema.Array(Symptom),
  causes: Schema.Array(Cause)
}) {}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  /** Scores below this are noise. */
  minScore: 5,
  /** The share of a series that a change must explain to be one. */
  minExplained: 0.5,
  /** Causes below this are not named. */
  minConfidence: 0.6
} as const

/**
 * Diagnoses a service. Less data gives less confidence, never more.
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const diagnose = (signals: {
  readonly series: ReadonlyArray<Series>
  readonly logs: ReadonlyArray<LogLine>
}): Diagnosis => {
  const onset = findOnset(signals.series)
  const symptoms = onset === null
    ? []
    : signals.series
      .flatMap((series) => symptomOf(series, onset))
      .filter((symptom) => symptom.score >= defaults.minScore)
      .toSorted((a, b) => b.score - a.score)
  const since = onset ?? -Infinity
  const logs = signals.logs.filter((line) => line.at >= since)
  const causes = rules
    .map((rule) => judge(rule, symptoms, logs))
    .filter((cause) => cause.confidence >= defaults.minConfidence)
    .toSorted((a, b) => b.confidence - a.confidence)
  return new Diagnosis({ onset, symptoms, causes })
}

/**
 * When the service changed: the split of the window that explains most of what varies in the series (a single change
 * point under L1 cost), or null if no series is explained by half.
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const findOnset = (series: ReadonlyArray<Series>): number | null => {
  const times = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))].toSorted((a, b) => a - b)
  const explained = series.map(({ points }) => explainedBy(points))
  let best = { at: 0, explained: 0, strongest: 0 }
  // what came before must be enough to know what is normal
  for (const at of times.slice(Math.ceil(times.length / 5))) {
    const shares = explained.map((by) => by(at))
    const sum = shares.reduce((sum, share) => sum + share, 0)
    if (sum > best.explained) best = { at, explained: sum, strongest: Math.max(...shares) }
  }
  return best.strongest >= defaults.minExplained ? best.at : null
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Which way a metric moves when something is wrong. A falling request rate is a symptom, a rising one a load. */
const direction: Readonly<Record<Metric, 1 | -1>> = {
  errorRate: 1,
  latencyP99: 1,
  cpu: 1,
  memory: 1,
  requestRate: -1,
  cacheHitRate: -1,
  dbConnectionErrors: 1
}

/** The share of a series' deviation from its median that goes away when it is split at a time, 0 to 1. */
const explainedBy = (points: Series["points"]): (at: number) => number => {
  const values = points.map(([, value]) => value)
  const before = deviations(values)
  const after = deviations(values.toReversed())
  const whole = before[values.length]!
  return (at) => {
    const split = points.findIndex(([time]) => time >= at)
    const rest = values.length - split
    return split < 4 || rest < 2 || whole === 0 ? 0 : 1 - (before[split]! + after[rest]!) / whole
  }
}

/** How far the first 0, 1, 2, ... values lie from their median in sum. */
const deviations = (values: ReadonlyArray<number>): ReadonlyArray<number> => {
  const sorted: Array<number> = []
  const grown = values.map((value) => {
    const place = sorted.findIndex((other) => other > value)
    sorted.splice(place === -1 ? sorted.length : place, 0, value)
    const middle = quantileOf(sorted, 0.5)
    return sorted.reduce((sum, value) => sum + Math.abs(value - middle), 0)
  })
  return [0, ...grown]
}

const symptomOf = ({ metric, points }: Series, onset: number): ReadonlyArray<Symptom> => {
  const before = points.filter(([at]) => at < onset).map(([, value]) => value)
  const after = points.filter(([at]) => at >= onset).map(([, value]) => value)
  if (before.length < 4 || after.length === 0) return []
  const middle = median(before)
  const worst = direction[metric] === 1 ? Math.max(...after) : Math.min(...after)
  const score = direction[metric] * (worst - middle) / scaleOf(before, middle)
  return [{ metric, before: middle, after: worst, score: Math.round(score * 10) / 10 }]
}

/** The interquartile range, with a floor so that a series that was flat can be scored as well. */
const scaleOf = (values: ReadonlyArray<number>, middle: number): number =>
  Math.max(quantile(values, 0.75) - quantile(values, 0.25), Math.abs(middle) * 0.02, 1e-6)

const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

const quantile = (values: ReadonlyArray<number>, q: number): number => quantileOf(values.toSorted((a, b) => a - b), q)

const quantileOf = (sorted: ReadonlyArray<number>, q: number): number => {
  const at = (sorted.length - 1) * q
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}

/** A cause and what speaks for it: its own metric, its log lines, and that callers feel it. */
interface Rule {
  readonly cause: CauseName
  readonly metric: Metric
  /** The value the metric must have reached, where moving is not enough. */
  readonly atLeast?: number
  readonly log: RegExp
}

const rules: ReadonlyArray<Rule> = [
  { cause: "dead-connections", metric: "dbConnectionErrors", log: /connection timeout|pool .*exhausted|deadlock/i },
  { cause: "stale-cache", metric: "cacheHitRate", log: /stale cache/i },
  { cause: "saturation", metric: "cpu", atLeast: 90, log: /saturated|queue depth/i }
]

const weights = { metric: 0.5, logs: 0.3, felt: 0.2 } as const

const judge = (rule: Rule, symptoms: ReadonlyArray<Symptom>, logs: ReadonlyArray<LogLine>): Cause => {
  const own = symptoms.find(({ after, metric }) => metric === rule.metric && after >= (rule.atLeast ?? -Infinity))
  const lines = logs.filter((line) => rule.log.test(line.message))
  const felt = symptoms.find(({ metric }) => metric === "errorRate")
  const evidence: Array<string> = []
  let confidence = 0
  if (own !== undefined) {
    confidence += weights.metric
    evidence.push(`${own.metric} went from ${round(own.before)} to ${round(own.after)} (score ${own.score})`)
  }
  if (lines.length >= 2) {
    confidence += weights.logs
    evidence.push(`${lines.length} log lines such as ${JSON.stringify(lines.at(-1)!.message.slice(0, 120))}`)
  }
  if (felt !== undefined && evidence.length > 0) {
    confidence += weights.felt
    evidence.push(`errorRate went from ${round(felt.before)} to ${round(felt.after)}`)
  }
  return { name: rule.cause, confidence: Math.round(confidence * 100) / 100, evidence }
}

const round = (value: number): string => String(Number(value.toPrecision(3)))
