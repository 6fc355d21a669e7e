/** The answers of one name, and which of its objectives were told to be violated. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Answered, Figures, Judgement, Report, Shares } from "../DegradationSlo.js"
import type * as Events from "../Events.js"
import * as MetricCatalog from "../MetricCatalog.js"
import type { Measure } from "../Telemetry.js"
import { type Counted, SloWindow } from "./sloWindow.js"

export class Account {
  private readonly window: SloWindow
  readonly violated = new Set<Judgement["objective"]>()

  constructor(
    readonly name: string,
    private readonly judge: (shares: Shares) => ReadonlyArray<Judgement>,
    { buckets, within }: { readonly within: number; readonly buckets: number },
    private readonly tell: (event: Events.Event) => void
  ) {
    this.window = new SloWindow(within, buckets)
  }

  record({ hasCached, level }: Answered, now: number): void {
    this.window.answered(level, hasCached, now)
    for (const judgement of this.judge(this.shares(now))) this.note(judgement)
  }

  report(now: number): Report {
    const figures = this.figures(now)
    const objectives = this.judge(figures)
    for (const judgement of objectives) this.note(judgement)
    return { name: this.name, ...figures, objectives, isMet: objectives.every(({ verdict }) => verdict !== "violated") }
  }

  shares(now: number): Shares {
    return sharesOf(this.window.counted(now))
  }

  timeAt(level: keyof Figures["timeAt"], now: number): Duration.Duration {
    return Duration.millis(this.window.timeAt(level, now))
  }

  private figures(now: number): Figures {
    const counted = this.window.counted(now)
    return {
      ...sharesOf(counted),
      timeAt: {
        full: this.timeAt("full", now),
        slight: this.timeAt("slight", now),
        moderate: this.timeAt("moderate", now),
        minimal: this.timeAt("minimal", now),
        failed: this.timeAt("failed", now)
      },
      currentSpell: Option.map(Option.fromNullable(counted.currentSpell), Duration.millis)
    }
  }

  /** An objective that cannot be judged any more stays as it was told. */
  private note({ limit, objective, value, verdict }: Judgement): void {
    if (verdict === "unjudged" || (verdict === "violated") === this.violated.has(objective)) return
    if (verdict === "violated") this.violated.add(objective)
    else this.violated.delete(objective)
    this.tell({ _tag: verdict === "violated" ? "SloViolated" : "SloMet", name: this.name, objective, value, limit })
  }
}

const { catalog } = MetricCatalog

export const measures: ReadonlyArray<Measure<Account>> = [
  ["firebreak_slo_answers", {}, (account, now) => account.shares(now).answers],
  ["firebreak_slo_full_ratio", {}, (account, now) => account.shares(now).full],
  ["firebreak_slo_cached_ratio", {}, (account, now) => account.shares(now).cached],
  ["firebreak_degraded_spell_seconds", {}, (account, now) => Duration.toSeconds(account.shares(now).longestSpell)],
  ...catalog.firebreak_slo_level_seconds.tags.level.map((level): Measure<Account> => [
    "firebreak_slo_level_seconds",
    { level },
    (account, now) => Duration.toSeconds(account.timeAt(level, now))
  ]),
  ...catalog.firebreak_slo_violated.tags.objective.map((objective): Measure<Account> => [
    "firebreak_slo_violated",
    { objective },
    (account) => account.violated.has(objective) ? 1 : 0
  ])
]

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const sharesOf = ({ answers, cached, full, longestSpell }: Counted): Shares => ({
  answers,
  full: answers === 0 ? 1 : full / answers,
  cached: answers === 0 ? 0 : cached / answers,
  longestSpell: Duration.millis(longestSpell)
})
