/**
 * How degraded an answer is: a pure rule over the quality and the weight of its parts.
 *
 * The figures (0.8, 0.7, 0.6, 0.3) are the book's. The rule is monotone: a part of better quality never makes the level
 * worse.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The levels, best first.
 *
 * - `full`: every part came fresh from its primary source
 * - `slight`: users barely notice
 * - `moderate`: the core works
 * - `minimal`: only what is critical
 * - `failed`: not usable
 *
 * @since 0.1.0
 * @category models
 */
export const Level = Schema.Literal("full", "slight", "moderate", "minimal", "failed")

/**
 * @since 0.1.0
 * @category models
 */
export type Level = typeof Level.Type

/**
 * Where the value of a part came from, best first.
 *
 * @since 0.1.0
 * @category models
 */
export const Quality = Schema.Literal("fresh", "alternate", "cached", "constant", "absent")

/**
 * @since 0.1.0
 * @category models
 */
export type Quality = typeof Quality.Type

/**
 * What the rule needs to know of a part. `weight` is positive and finite, by default 1; only ratios of weights count.
 *
 * @since 0.1.0
 * @category models
 */
export interface Weighted {
  readonly quality: Quality
  readonly weight?: number | undefined
}

/**
 * The level of an answer with these parts.
 *
 * With S the weight share of the parts that have a value (a constant counts half) and F the share that is live (from
 * the primary or an alternate source): `full` if every part is fresh; else `slight` if S >= 0.8 and F > 0.7; else
 * `moderate` if S >= 0.6; else `minimal` if S >= 0.3; else `failed`. No parts at all are `failed`.
 *
 * @example
 * import * as DegradationLevel from "@firebreak/core/DegradationLevel"
 *
 * const level = DegradationLevel.of([{ quality: "fresh", weight: 3 }, { quality: "cached" }, { quality: "absent" }])
 * // "moderate": S is 4/5, F is 3/5
 *
 * @since 0.1.0
 * @category rules
 */
export const of = (parts: ReadonlyArray<Weighted>): Level => {
  if (parts.length === 0) return "failed"
  if (parts.every(({ quality }) => quality === "fresh")) return "full"
  // in units of the heaviest part, so that a sum of huge weights cannot overflow
  const unit = Math.max(...parts.map(({ weight = 1 }) => weight))
  let total = 0
  let served = 0
  let live = 0
  for (const { quality, weight = 1 } of parts) {
    total += weight / unit
    served += (weight / unit) * servedShare[quality]
    live += quality === "fresh" || quality === "alternate" ? weight / unit : 0
  }
  // eight parts of weight 0.1 in ten sum to 0.7999…: a share counts as reached within this tolerance
  const tolerance = 1e-9 * total
  if (served >= 0.8 * total - tolerance && live > 0.7 * total + tolerance) return "slight"
  if (served >= 0.6 * total - tolerance) return "moderate"
  return served >= 0.3 * total - tolerance ? "minimal" : "failed"
}

/**
 * Whether `level` is worse than what is tolerated.
 *
 * @since 0.1.0
 * @category rules
 */
export const isBeyond = (level: Level, tolerate: Level): boolean =>
  Level.literals.indexOf(level) > Level.literals.indexOf(tolerate)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const servedShare: Record<Quality, number> = { fresh: 1, alternate: 1, cached: 1, constant: 0.5, absent: 0 }
