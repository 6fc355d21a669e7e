/**
 * Whether answers are as good as promised: for each name of `Degradation.all` the share of full answers, the share with a
 * cached part, the time at each level and the longest spell without a full answer, over a sliding window.
 *
 * The defaults are the book's objectives: 99 % of answers full, under 5 % with a cached part, no spell over 5 minutes.
 * Without the layer nothing is counted.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as DegradationLevel from "./DegradationLevel.js"
import * as Events from "./Events.js"
import * as Check from "./internal/options.js"
import * as Account from "./internal/sloAccount.js"
import * as Telemetry from "./Telemetry.js"

/**
 * What is promised.
 *
 * @since 0.1.0
 * @category options
 */
export interface Objectives {
  /** The least share of full answers, 0 to 1. Default 0.99. */
  readonly full?: number | undefined
  /** The share of answers with a cached part stays under this, 0 to 1. Default 0.05. */
  readonly cached?: number | undefined
  /** No spell without a full answer is longer. Default 5 minutes. */
  readonly spell?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options extends Objectives {
  /** How far back the window reaches, short by at most one bucket. Default 1 day. */
  readonly within?: Duration.DurationInput | undefined
  /** In how many steps the window slides: with 288 it is between 99.65 % and 100 % of `within` long. Default 288. */
  readonly buckets?: number | undefined
  /** Shares are not judged before there are so many answers in the window. Default 100. */
  readonly minimumAnswers?: number | undefined
  /** How often objectives are judged while there are no answers. Default 10 seconds. */
  readonly every?: Duration.DurationInput | undefined
  /** Other objectives for some names. */
  readonly named?: { readonly [name: string]: Objectives } | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  full: 0.99,
  cached: 0.05,
  spell: "5 minutes",
  within: "1 day",
  buckets: 288,
  minimumAnswers: 100,
  every: "10 seconds"
} as const

/**
 * What is judged.
 *
 * @since 0.1.0
 * @category models
 */
export interface Shares {
  readonly answers: number
  /** The share of full answers, 1 while there is no answer. */
  readonly full: number
  /** The share of answers with a cached part, 0 while there is no answer. */
  readonly cached: number
  /** From the first answer that was not full to the next full one, of those that ended in the window or go on. */
  readonly longestSpell: Duration.Duration
}

/**
 * What the window holds. An answer is at its level until the next one; the time before the first one is at none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Figures extends Shares {
  readonly timeAt: { readonly [Level in DegradationLevel.Level]: Duration.Duration }
  /** How long the spell that goes on has lasted. */
  readonly currentSpell: Option.Option<Duration.Duration>
}

/**
 * `unjudged` as long as there are too few answers for a share.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "met" | "violated" | "unjudged"

/**
 * One objective: the value as it is and its limit, for `spell` both in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement {
  readonly objective: "full" | "cached" | "spell"
  readonly value: number
  readonly limit: number
  readonly verdict: Verdict
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report extends Figures {
  readonly name: string
  readonly objectives: ReadonlyArray<Judgement>
  /** Whether no objective is violated. */
  readonly isMet: boolean
}

/**
 * An answer as it is counted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answered {
  readonly level: DegradationLevel.Level
  /** Whether a part of it came from the cache and was not within its ttl. */
  readonly hasCached: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Counts an answer of this name. */
  readonly unsafeRecord: (name: string, answer: Answered) => void
  /** What is known of a name; none before its first answer. */
  readonly unsafeReport: (name: string) => Option.Option<Report>
  /** What is known of every name, in the order of their first answers. */
  readonly unsafeReports: () => ReadonlyArray<Report>
}

/**
 * Where answers are counted; by default nowhere.
 *
 * @since 0.1.0
 * @category tags
 */
export class DegradationSlo extends Context.Reference<DegradationSlo>()("@firebreak/core/DegradationSlo", {
  defaultValue: (): Service => off
}) {}

/**
 * The rule: which objectives such figures meet. Shares are judged from `minimumAnswers` on, spells always.
 *
 * @throws InvalidOption when a share is not between 0 and 1, or the spell no finite duration
 * @example
 * import * as DegradationSlo from "@firebreak/core/DegradationSlo"
 * import * as Duration from "effect/Duration"
 *
 * const shares = { answers: 1_000, full: 0.98, cached: 0.01, longestSpell: Duration.minutes(2) }
 *
 * // full: 0.98 is under 0.99
 * const violated = DegradationSlo.judge(shares).filter(({ verdict }) => verdict === "violated")
 *
 * @since 0.1.0
 * @category rules
 */
export const judge = (
  figures: Shares,
  objectives: Objectives & Pick<Options, "minimumAnswers"> = {}
): ReadonlyArray<Judgement> => {
  Check.known("DegradationSlo.judge", objectives, { full: true, cached: true, spell: true, minimumAnswers: true })
  return judgeBy(limitsOf(objectives, objectives))(figures)
}

/**
 * Counts answers, on the Clock and the Events that are there when it is made, and lets them be measured. It judges
 * with every answer and every report; `layer` does so in between.
 *
 * @throws InvalidOption when an option makes no sense
 * @example
 * import * as DegradationSlo from "@firebreak/core/DegradationSlo"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.map(DegradationSlo.make({ within: "1 hour" }), (slo) => {
 *   slo.unsafeRecord("context", { level: "slight", hasCached: true })
 *   return slo.unsafeReports()
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service> => {
  const { limitsOf, ...settings } = resolve(options)
  return Effect.all([Effect.clock, Events.Events, Telemetry.Telemetry]).pipe(
    Effect.map(([clock, events, telemetry]) => {
      const accounts = new Map<string, Account.Account>()
      const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
      const tell = (event: Events.Event) => events.unsafePublish(event, clock.unsafeCurrentTimeMillis())
      const accountOf = (name: string) => {
        let account = accounts.get(name)
        if (account === undefined) {
          accounts.set(name, account = new Account.Account(name, judgeBy(limitsOf(name)), settings, tell))
          telemetry.unsafeObserve(account, name, Account.measures, clock)
        }
        return account
      }
      return {
        unsafeRecord: (name, answer) => accountOf(name).record(answer, now()),
        unsafeReport: (name) => Option.map(Option.fromNullable(accounts.get(name)), (account) => account.report(now())),
        unsafeReports: () => Array.from(accounts.values(), (account) => account.report(now()))
      }
    })
  )
}

/**
 * Counts the answers of what is run with it.
 *
 * @example
 * import * as DegradationSlo from "@firebreak/core/DegradationSlo"
 *
 * const Live = DegradationSlo.layer({ full: 0.995, named: { "search-hints": { full: 0.9 } } })
 *
 * @throws InvalidOption when an option makes no sense
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<never> => {
  const every = Check.millis("DegradationSlo", "every", options.every ?? defaults.every, { min: 1 })
  const made = make(options)
  return Layer.scoped(
    DegradationSlo,
    Effect.tap(made, (service) =>
      Effect.forkScoped(Effect.forever(
        Effect.zipRight(Effect.sleep(every), Effect.sync(() => void service.unsafeReports()))
      )))
  )
}

/**
 * What is known of the answers of a name; none before its first answer.
 *
 * @since 0.1.0
 * @category getters
 */
export const report = (name: string): Effect.Effect<Option.Option<Report>> =>
  Effect.map(DegradationSlo, (slo) => slo.unsafeReport(name))

/**
 * What is known of the answers of every name, in the order of their first answers.
 *
 * @since 0.1.0
 * @category getters
 */
export const reports: Effect.Effect<ReadonlyArray<Report>> = Effect.map(DegradationSlo, (slo) => slo.unsafeReports())

/**
 * Objectives that are violated from now on, and those that are met again.
 *
 * @since 0.1.0
 * @category getters
 */
export const changes: Stream.Stream<Events.Of<"SloViolated" | "SloMet">> = Stream.filter(
  Events.stream,
  (event) => event._tag === "SloViolated" || event._tag === "SloMet"
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const off: Service = {
  unsafeRecord: () => {},
  unsafeReport: () => Option.none(),
  unsafeReports: () => []
}

/** Objectives with nothing left out, the spell in milliseconds. */
interface Limits {
  readonly full: number
  readonly cached: number
  readonly spell: number
  readonly minimumAnswers: number
}

interface Settings {
  readonly within: number
  readonly buckets: number
  readonly limitsOf: (name: string) => Limits
}

const limitsOf = (objectives: Objectives, options: Options): Limits => {
  const share = (objective: "full" | "cached") =>
    Check.between("DegradationSlo", objective, objectives[objective] ?? options[objective] ?? defaults[objective], {
      min: 0,
      max: 1
    })
  const { minimumAnswers = defaults.minimumAnswers } = options
  return {
    full: share("full"),
    cached: share("cached"),
    spell: Check.millis("DegradationSlo", "spell", objectives.spell ?? options.spell ?? defaults.spell),
    minimumAnswers: Check.whole("DegradationSlo", "minimumAnswers", minimumAnswers, { min: 1 })
  }
}

const resolve = (options: Options): Settings => {
  Check.known("DegradationSlo", options, {
    full: true,
    cached: true,
    spell: true,
    within: true,
    buckets: true,
    minimumAnswers: true,
    every: true,
    named: true
  })
  for (const [name, objectives] of Object.entries(options.named ?? {})) {
    Check.known(`DegradationSlo.named.${name}`, objectives, { full: true, cached: true, spell: true })
  }
  const common = limitsOf(options, options)
  const named = new Map(
    Object.entries(options.named ?? {}).map(([name, objectives]) => [name, limitsOf(objectives, options)])
  )
  return {
    within: Check.millis("DegradationSlo", "within", options.within ?? defaults.within, { min: 1 }),
    buckets: Check.whole("DegradationSlo", "buckets", options.buckets ?? defaults.buckets, { min: 1 }),
    limitsOf: (name) => named.get(name) ?? common
  }
}

const judgeBy = (limits: Limits) => ({ answers, cached, full, longestSpell }: Shares): ReadonlyArray<Judgement> => {
  const one = (objective: Judgement["objective"], value: number, isMet: boolean, isJudged: boolean): Judgement => ({
    objective,
    value,
    limit: limits[objective],
    verdict: isJudged ? isMet ? "met" : "violated" : "unjudged"
  })
  const spell = Duration.toMillis(longestSpell)
  const isJudged = answers >= limits.minimumAnswers
  return [
    one("full", full, full >= limits.full, isJudged),
    one("cached", cached, cached < limits.cached, isJudged),
    one("spell", spell, spell <= limits.spell, true)
  ]
}
