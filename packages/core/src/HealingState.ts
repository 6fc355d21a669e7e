/**
 * What to do about a health report: the pure decisions of `Healing`.
 *
 * A round is two moves. `step` looks at a new report and picks remedies for the checks that fail. When they have run and
 * the checks were asked again, `climb` looks at what is left and picks from the ladder of remedies by status. Each move
 * counts what it hands out, so no order of reports can take more than the limits allow.
 *
 * @since 0.1.0
 */
import * as Health from "./Health.js"

/**
 * A remedy as the decisions see it. Milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  readonly name: string
  readonly attempts: number
  readonly cooldown: number
  readonly enabled: boolean
}

/**
 * The statuses that have remedies.
 *
 * @since 0.1.0
 * @category models
 */
export type Rung = Exclude<Health.Status, "healthy">

/**
 * @since 0.1.0
 * @category models
 */
export interface Config<Remedy extends Limits = Limits> {
  /** Remedies of each check, tried in order. */
  readonly remedies: ReadonlyMap<string, ReadonlyArray<Remedy>>
  /** Remedies of a status and of every worse one, tried in order. */
  readonly ladder: ReadonlyMap<Rung, ReadonlyArray<Remedy>>
  /** Unhealthy or critical reports in a row that hand over to people. */
  readonly maxConsecutiveFailures: number
  /** Decide as always, but do nothing. */
  readonly dryRun: boolean
}

/**
 * What is remembered of a remedy: attempts in the current spell, and when it was last handed out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Used {
  readonly attempts: number
  readonly lastAt: number
}

/**
 * What is remembered between reports. `Escalated` heals nothing until it is resumed.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly _tag: "Healing" | "Escalated"
  /** Unhealthy or critical reports in a row. */
  readonly consecutiveFailures: number
  readonly used: ReadonlyMap<string, Used>
}

/**
 * Why people are called: too many bad reports in a row, or every remedy that applies to what fails is used up.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason =
  | { readonly _tag: "TooManyFailures"; readonly consecutiveFailures: number }
  | { readonly _tag: "Exhausted"; readonly checks: ReadonlyArray<string> }

/**
 * What to do, in order. A trigger is the name of a check or a status. `Propose` is an `Apply` in a dry run.
 *
 * @since 0.1.0
 * @category models
 */
export type Action<Remedy extends Limits = Limits> =
  | { readonly _tag: "Apply" | "Propose"; readonly remedy: Remedy; readonly trigger: string; readonly attempt: number }
  | {
    readonly _tag: "Skip"
    readonly remedy: Remedy
    readonly trigger: string
    readonly reason: "cooldown" | "exhausted" | "disabled"
  }
  | { readonly _tag: "Escalate"; readonly reason: Reason; readonly dryRun: boolean }

/**
 * @since 0.1.0
 * @category decisions
 */
export const initial: State = { _tag: "Healing", consecutiveFailures: 0, used: new Map() }

/**
 * The first move of a round: counts the report, calls people if that is due, else picks at most one remedy for each
 * failing check. Remedies whose triggers are all well start a new spell. `now` is monotonic milliseconds.
 *
 * @since 0.1.0
 * @category decisions
 */
export const step = <Remedy extends Limits>(
  config: Config<Remedy>,
  state: State,
  report: Health.Report,
  now: number
): readonly [State, ReadonlyArray<Action<Remedy>>] => {
  const consecutiveFailures = Health.isAtLeast(report.status, "unhealthy") ? state.consecutiveFailures + 1 : 0
  const used = endSpells(config, state.used, report)
  if (state._tag === "Escalated") {
    // nobody was called in a dry run, so nobody will resume
    const over = config.dryRun && report.status === "healthy"
    return [{ _tag: over ? "Healing" : "Escalated", consecutiveFailures, used }, []]
  }
  const reason = reasonToEscalate(config, { consecutiveFailures, used }, report)
  if (reason !== undefined) {
    return [
      { _tag: "Escalated", consecutiveFailures, used },
      [{ _tag: "Escalate", reason, dryRun: config.dryRun }]
    ]
  }
  const failing = report.checks.filter(needsRemedy).map((check) => check.name)
  const triggers = failing.map((name) => [name, config.remedies.get(name) ?? []] as const)
  return pick(config, { _tag: "Healing", consecutiveFailures, used }, triggers, now)
}

/**
 * The second move of a round, with what the checks say after the first: picks at most one remedy for each rung of the
 * ladder that the status has reached.
 *
 * @since 0.1.0
 * @category decisions
 */
export const climb = <Remedy extends Limits>(
  config: Config<Remedy>,
  state: State,
  report: Health.Report,
  now: number
): readonly [State, ReadonlyArray<Action<Remedy>>] =>
  state._tag === "Escalated" ? [state, []] : pick(config, state, rungs(config, report.status), now)

/**
 * A remedy starts now. It may have waited since it was decided on, for those before it: its cooldown counts from here,
 * and where healing was resumed meanwhile it is the first attempt.
 *
 * @since 0.1.0
 * @category decisions
 */
export const begin = (state: State, remedy: string, now: number): State => {
  const use = state.used.get(remedy)
  if (use === undefined) return state
  return { ...state, used: new Map(state.used).set(remedy, { attempts: Math.max(1, use.attempts), lastAt: now }) }
}

/**
 * Takes up healing again after an escalation, as if nothing had been tried; only cooldowns go on.
 *
 * @since 0.1.0
 * @category decisions
 */
export const resume = (state: State): State => ({
  _tag: "Healing",
  consecutiveFailures: 0,
  used: new Map(Array.from(state.used, ([name, { lastAt }]) => [name, { attempts: 0, lastAt }]))
})

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Trigger<Remedy> = readonly [name: string, remedies: ReadonlyArray<Remedy>]

/**
 * A check that fails by itself: not because of another, which is then what to treat, and not one whose latest run passed
 * and that only waits for more passes.
 */
const needsRemedy = (check: Health.CheckResult): boolean =>
  !check.passing && check.because === undefined && check.latest._tag === "Failed"

const rungs = <Remedy>(
  config: { readonly ladder: ReadonlyMap<Rung, ReadonlyArray<Remedy>> },
  status: Health.Status
): ReadonlyArray<Trigger<Remedy>> => Array.from(config.ladder).filter(([rung]) => Health.isAtLeast(status, rung))

const endSpells = (config: Config, used: State["used"], report: Health.Report): State["used"] => {
  if (used.size === 0) return used
  const failing = Health.failing(report)
  const ill = new Set([
    ...failing.flatMap((name) => config.remedies.get(name) ?? []),
    ...report.status === "healthy" ? [] : Array.from(config.ladder.values()).flat()
  ].map((remedy) => remedy.name))
  return new Map(
    Array.from(used, ([name, use]) => [name, ill.has(name) ? use : { attempts: 0, lastAt: use.lastAt }])
  )
}

const reasonToEscalate = (
  config: Config,
  state: Pick<State, "consecutiveFailures" | "used">,
  report: Health.Report
): Reason | undefined => {
  if (state.consecutiveFailures >= config.maxConsecutiveFailures) {
    return { _tag: "TooManyFailures", consecutiveFailures: state.consecutiveFailures }
  }
  const checks = report.checks.filter(needsRemedy).map((check) => check.name)
  if (checks.length === 0) return undefined
  const options = [
    ...checks.flatMap((name) => config.remedies.get(name) ?? []),
    ...rungs(config, report.status).flatMap(([, remedies]) => remedies)
  ].filter((remedy) => remedy.enabled === true)
  const nothingLeft = options.length > 0 && options.every((remedy) => isExhausted(remedy, state.used))
  return nothingLeft ? { _tag: "Exhausted", checks } : undefined
}

const isExhausted = (remedy: Limits, used: State["used"]): boolean =>
  !((used.get(remedy.name)?.attempts ?? 0) < remedy.attempts)

/**
 * Takes the first remedy of each trigger that is neither exhausted nor cooling down, and counts it. Each condition asks
 * for leave to run, not for a reason to stop: a limit that is no number, or a time that went back, is no leave.
 */
const pick = <Remedy extends Limits>(
  config: Config<Remedy>,
  state: State,
  triggers: ReadonlyArray<Trigger<Remedy>>,
  now: number
): readonly [State, ReadonlyArray<Action<Remedy>>] => {
  const used = new Map(state.used)
  const actions: Array<Action<Remedy>> = []
  const taken = new Set<string>()
  for (const [trigger, remedies] of triggers) {
    for (const remedy of remedies) {
      // two triggers that share a remedy are both served by one run
      if (taken.has(remedy.name)) break
      const use = used.get(remedy.name) ?? { attempts: 0, lastAt: -Infinity }
      if (remedy.enabled !== true) {
        actions.push({ _tag: "Skip", remedy, trigger, reason: "disabled" })
      } else if (!(use.attempts < remedy.attempts)) {
        actions.push({ _tag: "Skip", remedy, trigger, reason: "exhausted" })
      } else if (!(now - use.lastAt >= remedy.cooldown)) {
        actions.push({ _tag: "Skip", remedy, trigger, reason: "cooldown" })
      } else {
        const attempt = use.attempts + 1
        used.set(remedy.name, { attempts: attempt, lastAt: now })
        taken.add(remedy.name)
        actions.push({ _tag: config.dryRun ? "Propose" : "Apply", remedy, trigger, attempt })
        break
      }
    }
  }
  return [{ ...state, used }, actions]
}
