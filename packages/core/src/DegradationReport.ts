/**
 * What is told of a degraded answer: the report, the error when it is too degraded, the banner for users.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as DegradationLevel from "./DegradationLevel.js"
import * as DegradationPart from "./DegradationPart.js"

/**
 * A component that is not fresh: what stands in for it, why, and since when its primary fails (wall clock, milliseconds
 * since the epoch).
 *
 * @since 0.1.0
 * @category models
 */
export const Outage = Schema.Struct({
  component: Schema.String,
  quality: DegradationLevel.Quality,
  error: Schema.String,
  since: Schema.Number,
  advice: Schema.optionalWith(Schema.String, { exact: true }),
  contact: Schema.optionalWith(Schema.String, { exact: true }),
  recovery: Schema.optionalWith(Schema.String, { exact: true })
})

/**
 * @since 0.1.0
 * @category models
 */
export type Outage = typeof Outage.Type

/**
 * What `Degradation.all` returns: the typed parts, the level, and every component that is not fresh.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<out Parts> {
  readonly level: DegradationLevel.Level
  readonly parts: Parts
  readonly outages: ReadonlyArray<Outage>
}

/**
 * The answer would be worse than tolerated; the sources were asked. `since` is when it became so (wall clock,
 * milliseconds since the epoch). The message says what failed, since when, and what a user can do.
 *
 * @since 0.1.0
 * @category errors
 */
export class DegradedBeyond extends Schema.TaggedError<DegradedBeyond>("@firebreak/core/DegradedBeyond")(
  "DegradedBeyond",
  {
    level: DegradationLevel.Level,
    tolerate: DegradationLevel.Level,
    since: Schema.Number,
    failed: Schema.Array(Outage)
  }
) {
  /** What a user can do, over all failed components. */
  get advice(): ReadonlyArray<string> {
    return adviceOf(this.failed)
  }

  override get message(): string {
    const failed = this.failed.map(({ component, error, quality, since }) =>
      `${component} is ${quality} since ${iso(since)} (${error})`
    )
    return [
      `Degraded to "${this.level}" since ${iso(this.since)}, beyond the tolerated "${this.tolerate}": ${
        failed.join(", ")
      }.`,
      ...this.advice
    ].join(" ")
  }
}

/**
 * One line for users: `Limited functionality: logs 12m old, alerts unavailable. Try again later.` None when all is
 * fresh.
 *
 * @since 0.1.0
 * @category reporting
 */
export const banner = (
  report: Report<Readonly<Record<string, DegradationPart.Part<unknown, unknown>>>>
): Option.Option<string> => {
  const parts = Object.entries(report.parts).filter(([, part]) => DegradationPart.isDegraded(part))
  return parts.length === 0
    ? Option.none()
    : Option.some(
      `Limited functionality: ${
        parts.map(([name, part]) => `${name} ${DegradationPart.describe(part)}`).join(", ")
      }. Try again later.`
    )
}

/**
 * One component as it was answered, with what it tells users about itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly component: string
  readonly quality: DegradationLevel.Quality
  readonly weight: number
  readonly error: string
  readonly since: number
  readonly options: {
    readonly advice?: string | undefined
    readonly contact?: string | undefined
    readonly recovery?: string | undefined
  }
}

/**
 * The level of the outcomes, the outages among them, and the error if that is beyond what is tolerated.
 *
 * @since 0.1.0
 * @category rules
 */
export const assess = (outcomes: ReadonlyArray<Outcome>, tolerate: DegradationLevel.Level): {
  readonly level: DegradationLevel.Level
  readonly outages: ReadonlyArray<Outage>
  readonly beyond: Option.Option<DegradedBeyond>
} => {
  const level = DegradationLevel.of(outcomes)
  const failed = outcomes.filter(({ quality }) => quality !== "fresh").map(toOutage)
  // better parts never make a level worse, so there is one moment at which the spells so far went beyond
  const wasBeyond = (at: number) =>
    DegradationLevel.isBeyond(
      DegradationLevel.of(outcomes.map((part) => part.since <= at ? part : { ...part, quality: "fresh" as const })),
      tolerate
    )
  const since = failed.map((outage) => outage.since).toSorted((a, b) => a - b).find(wasBeyond)
  return {
    level,
    outages: failed,
    beyond: since === undefined ? Option.none() : Option.some(new DegradedBeyond({ level, tolerate, since, failed }))
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const toOutage = ({ component, error, options: { advice, contact, recovery }, quality, since }: Outcome): Outage => ({
  component,
  quality,
  error,
  since,
  ...(advice === undefined ? {} : { advice }),
  ...(contact === undefined ? {} : { contact }),
  ...(recovery === undefined ? {} : { recovery })
})

/** One sentence of each kind, so that a user need not gather what belongs together. */
const adviceOf = (failed: ReadonlyArray<Outage>): ReadonlyArray<string> => {
  const sentence = (label: string, said: (outage: Outage) => string | undefined): ReadonlyArray<string> => {
    const parts = new Set(failed.map(said).filter((part) => part !== undefined))
    return parts.size === 0 ? [] : [`${label}: ${[...parts].join("; ")}.`]
  }
  return [
    ...sentence("Expected back", ({ component, recovery }) => recovery && `${component} ${recovery}`),
    ...sentence("What you can do", ({ advice }) => advice),
    ...sentence("Contact", ({ contact }) => contact)
  ]
}

const iso = (millis: number): string => new Date(millis).toISOString()
