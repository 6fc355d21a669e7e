/**
 * What is told of a degraded answer: the report, the error when it is too degraded, the banner for users.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
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
 * A part that is not fresh, as users are told of it: `text` says it in words, such as `12m old`. The times are in
 * milliseconds: how old a cached value is, and since when the component is not fresh (wall clock, since the epoch).
 *
 * @since 0.1.0
 * @category models
 */
export const DegradedPart = Schema.Struct({
  name: Schema.String,
  quality: DegradationLevel.Quality,
  source: Schema.optionalWith(Schema.String, { exact: true }),
  ageMillis: Schema.optionalWith(Schema.Number, { exact: true }),
  since: Schema.optionalWith(Schema.Number, { exact: true }),
  text: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type DegradedPart = typeof DegradedPart.Type

/**
 * What users are told of a degraded answer. It can be sent as JSON: an error's text, which may say more than users shall
 * read, is not in it. `since` is the earliest of its parts; `advice`, `contact` and `recovery` are those of the
 * components, each said once; `text` is one line.
 *
 * @since 0.1.0
 * @category models
 */
export class Degraded extends Schema.Class<Degraded>("@firebreak/core/Degraded")({
  level: DegradationLevel.Level,
  parts: Schema.Array(DegradedPart),
  since: Schema.optionalWith(Schema.Number, { exact: true }),
  advice: Schema.Array(Schema.String),
  contact: Schema.Array(Schema.String),
  recovery: Schema.Array(Schema.String),
  text: Schema.String
}) {}

/**
 * What users are told of the answer; none when all is fresh.
 *
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 *
 * const hints = Degradation.component("hints", Effect.fail("search is down"), { contact: "#search" })
 * const logs = Degradation.component("logs", Effect.succeed(["OOMKilled"]))
 *
 * // text: "Limited functionality: hints unavailable. Try again later."
 * const program = Effect.map(Degradation.all({ hints, logs }, { tolerate: "minimal" }), Degradation.degraded)
 *
 * @since 0.1.0
 * @category reporting
 */
export const degraded = ({ level, outages, parts }: AnyReport): Option.Option<Degraded> => {
  const worse = Object.entries(parts).filter(([, part]) => DegradationPart.isDegraded(part)).map(([name, part]) =>
    toDegradedPart(name, part, outages.find(({ component }) => component === name)?.since)
  )
  if (worse.length === 0) return Option.none()
  const since = worse.flatMap((part) => part.since ?? []).toSorted((a, b) => a - b)[0]
  const text = worse.map((part) => `${part.name} ${part.text}`).join(", ")
  return Option.some(
    new Degraded({
      level,
      parts: worse,
      ...(since === undefined ? {} : { since }),
      ...saidBy(outages),
      text: `Limited functionality: ${text}. Try again later.`
    })
  )
}

/**
 * One line for users: `Limited functionality: logs 12m old, alerts unavailable. Try again later.` None when all is
 * fresh. It is the `text` of `degraded`.
 *
 * @since 0.1.0
 * @category reporting
 */
export const banner = (report: AnyReport): Option.Option<string> => Option.map(degraded(report), ({ text }) => text)

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

type AnyReport = Report<Readonly<Record<string, DegradationPart.Part<unknown, unknown>>>>

const toDegradedPart = (
  name: string,
  part: DegradationPart.Part<unknown, unknown>,
  since: number | undefined
): DegradedPart => ({
  name,
  quality: DegradationPart.quality(part),
  text: DegradationPart.describe(part),
  ...(part._tag === "Alternate" ? { source: part.source } : {}),
  ...(part._tag === "Cached" ? { ageMillis: Duration.toMillis(part.age) } : {}),
  ...(since === undefined ? {} : { since })
})

/** What the components say of themselves, each thing once. */
const saidBy = (outages: ReadonlyArray<Outage>): Pick<Degraded, "advice" | "contact" | "recovery"> => {
  const said = (by: (outage: Outage) => string | undefined) => [
    ...new Set(outages.map(by).filter((text) => text !== undefined))
  ]
  return {
    advice: said(({ advice }) => advice),
    contact: said(({ contact }) => contact),
    recovery: said(({ component, recovery }) => recovery && `${component} ${recovery}`)
  }
}

/** One sentence of each kind, so that a user need not gather what belongs together. */
const adviceOf = (failed: ReadonlyArray<Outage>): ReadonlyArray<string> => {
  const { advice, contact, recovery } = saidBy(failed)
  const sentence = (label: string, parts: ReadonlyArray<string>): ReadonlyArray<string> =>
    parts.length === 0 ? [] : [`${label}: ${parts.join("; ")}.`]
  return [
    ...sentence("Expected back", recovery),
    ...sentence("What you can do", advice),
    ...sentence("Contact", contact)
  ]
}

const iso = (millis: number): string => new Date(millis).toISOString()
