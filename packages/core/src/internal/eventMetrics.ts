/** What events say to metrics: for what has no part that counts, or counts only now and then. */
import type * as DegradationLevel from "../DegradationLevel.js"
import type * as Events from "../Events.js"
import * as MetricCatalog from "../MetricCatalog.js"
import type { Measure } from "../Telemetry.js"
import { hookOf, type Tags } from "./metricHooks.js"

type Handlers = { readonly [Tag in Events.Event["_tag"]]?: (event: Events.Of<Tag>) => void }

/** Best first. The level of an answer that is one part of the i-th quality is the i-th level. */
const qualities: ReadonlyArray<DegradationLevel.Quality> = ["fresh", "alternate", "cached", "constant", "absent"]
const levels = MetricCatalog.catalog.firebreak_degradation_seconds_total.tags.level

/** How long one component has been at each level, and where it is now. */
export class Standing {
  private readonly spent = levels.map(() => 0)
  private level = 0

  constructor(private since: number) {}

  move(quality: DegradationLevel.Quality, now: number): void {
    this.spent[this.level]! += now - this.since
    this.since = now
    this.level = qualities.indexOf(quality)
  }

  static readonly measures: ReadonlyArray<Measure<Standing>> = [
    ["firebreak_degradation_level", {}, (standing) => standing.level],
    ...levels.map((level, i): Measure<Standing> => [
      "firebreak_degradation_seconds_total",
      { level },
      (standing, now) => (standing.spent[i]! + (standing.level === i ? now - standing.since : 0)) / 1_000
    ])
  ]
}

/** Counts what events tell. `standingOf` finds or makes the standing of a component, `now` is the monotonic time. */
export const handlers = (standingOf: (component: string) => Standing, now: () => number): Handlers => ({
  CircuitOpened: ({ breaker }) => count("firebreak_circuit_breaker_opened_total", { name: breaker }),
  CircuitClosed: ({ breaker }) => count("firebreak_circuit_breaker_closed_total", { name: breaker }),
  RetryScheduled: ({ name }) => count("firebreak_retries_total", { name }),
  DeadlineExceeded: ({ started }) =>
    count("firebreak_deadline_exceeded_total", { started: started ? "true" : "false" }),
  ChaosInjected: ({ kind, target }) => count("firebreak_chaos_injected_total", { name: target, kind }),

  ActionCompleted: ({ operation, outcome }) => count("firebreak_actions_total", { name: operation, outcome }),
  ActionReplayed: ({ operation }) => count("firebreak_actions_total", { name: operation, outcome: "replayed" }),
  ActionNotStarted: ({ operation }) => count("firebreak_actions_total", { name: operation, outcome: "not_started" }),
  ActionInDoubt: ({ operation }) => count("firebreak_actions_total", { name: operation, outcome: "in_doubt" }),

  RunStarted: ({ workflow }) => count("firebreak_run_starts_total", { name: workflow, kind: "new" }),
  RunResumed: ({ workflow }) => count("firebreak_run_starts_total", { name: workflow, kind: "resumed" }),
  RunCompleted: ({ outcome, workflow }) => count("firebreak_runs_total", { name: workflow, outcome }),
  RunCancelled: ({ workflow }) => count("firebreak_runs_total", { name: workflow, outcome: "cancelled" }),
  RunExpired: ({ workflow }) => count("firebreak_runs_total", { name: workflow, outcome: "expired" }),
  RunDied: ({ workflow }) => count("firebreak_runs_total", { name: workflow, outcome: "died" }),
  StepCompensated: ({ workflow }) => count("firebreak_steps_total", { name: workflow, outcome: "compensated" }),
  StepSaved: ({ outcome, workflow }) => count("firebreak_steps_total", { name: workflow, outcome }),
  StepReplayed: ({ workflow }) => count("firebreak_steps_total", { name: workflow, outcome: "replayed" }),

  ComponentDegraded: ({ component, quality }) => standingOf(component).move(quality, now()),
  ComponentRecovered: ({ component }) => standingOf(component).move("fresh", now()),
  ResponseDegraded: ({ level }) => count("firebreak_degraded_answers_total", { level }),

  HealthChecked: (event) => {
    for (const status of MetricCatalog.catalog.firebreak_health_status.tags.status) {
      set("firebreak_health_status", { status }, status === event.status ? 1 : 0)
    }
    set("firebreak_health_checks_failing", {}, event.total - event.passing)
  },
  RemedyApplied: ({ dryRun, remedy }) =>
    dryRun ? undefined : count("firebreak_healing_actions_total", { name: remedy }),
  RemedyVerified: ({ remedy }) => count("firebreak_healing_outcomes_total", { name: remedy, outcome: "verified" }),
  RemedyFailed: ({ remedy }) => count("firebreak_healing_outcomes_total", { name: remedy, outcome: "failed" }),
  RemedySkipped: ({ reason, remedy }) => count("firebreak_healing_skipped_total", { name: remedy, reason }),
  FailedOver: ({ name }) => count("firebreak_failovers_total", { name, to: "backup" }),
  FailedBack: ({ name }) => count("firebreak_failovers_total", { name, to: "primary" }),
  Escalated: ({ dryRun, name }) => dryRun ? undefined : count("firebreak_escalations_total", { name }),
  EscalationDrilled: ({ name, outcome }) => count("firebreak_escalation_drills_total", { name, outcome }),
  EscalationFailed: ({ name }) => count("firebreak_escalation_failures_total", { name }),

  ChildRestarting: ({ name }) => count("firebreak_restarts_total", { name }),
  SupervisionGaveUp: ({ name }) => count("firebreak_supervision_gave_up_total", { name }),
  Scaled: ({ dryRun, from, name, to }) =>
    dryRun ? undefined : count("firebreak_scalings_total", { name, outcome: to > from ? "up" : "down" }),
  ScaleFailed: ({ name }) => count("firebreak_scalings_total", { name, outcome: "failed" }),
  ScalingBlind: ({ name }) => count("firebreak_scalings_total", { name, outcome: "blind" }),
  DriftRepaired: ({ name }) => count("firebreak_drift_repairs_total", { name, outcome: "repaired" }),
  RepairFailed: ({ name }) => count("firebreak_drift_repairs_total", { name, outcome: "failed" }),
  LoopStopped: ({ guard }) => count("firebreak_loops_stopped_total", { name: guard })
})

/** Counts one. The other values of its tag appear with it, at 0, so that their first is seen to be a rise. */
const count = <N extends MetricCatalog.Name>(metric: N, tags: MetricCatalog.Tags<N> & Tags): void => {
  for (const [tag, values] of Object.entries<ReadonlyArray<string>>(MetricCatalog.catalog[metric].tags)) {
    for (const value of values) hookOf(metric, { ...tags, [tag]: value })
  }
  hookOf(metric, tags).update(1)
}

const set = <N extends MetricCatalog.Name>(metric: N, tags: MetricCatalog.Tags<N> & Tags, value: number): void =>
  hookOf(metric, tags).update(value)
