/**
 * Every metric that Firebreak has: what it is called, what it counts, by which tags. `docs/telemetry.md` is this table.
 *
 * Names and units follow Prometheus: counters end in `_total`, times are in seconds. `name` is the name of the part, of
 * the schedule, operation, workflow, component, remedy or loop; keys and run ids are no tags.
 *
 * @since 0.1.0
 */

/**
 * A counter only rises; a gauge is what there is now.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly type: "counter" | "gauge"
  readonly unit: string
  /** The keys of its tags, each with the values it can have where they are known. */
  readonly tags: { readonly [key: string]: ReadonlyArray<string> }
  readonly description: string
}

const counter = <const Tags extends Definition["tags"]>(unit: string, tags: Tags, description: string) =>
  ({ type: "counter", unit, tags, description }) as const

const gauge = <const Tags extends Definition["tags"]>(unit: string, tags: Tags, description: string) =>
  ({ type: "gauge", unit, tags, description }) as const

/** Any name. */
const name: ReadonlyArray<string> = []

const levels = ["full", "slight", "moderate", "minimal", "failed"] as const

/**
 * The metrics by name.
 *
 * @since 0.1.0
 * @category catalog
 */
export const catalog = {
  // EventSink
  firebreak_events_total: counter("events", { event: name, name }, "Events of Firebreak's patterns"),

  // CircuitBreaker
  firebreak_circuit_breaker_calls_total: counter(
    "calls",
    { name, outcome: ["success", "failure", "rejected"] },
    "Calls by how they ended; interrupted and ignored ones are in none"
  ),
  firebreak_circuit_breaker_state: gauge(
    "breakers",
    { name, state: ["closed", "recovering", "open", "half-open", "forced-open", "forced-closed"] },
    "Breakers of this name in this state"
  ),
  firebreak_circuit_breaker_opened_total: counter("openings", { name }, "A circuit opened, or opened again"),
  firebreak_circuit_breaker_closed_total: counter("closings", { name }, "A circuit closed again, or was reset"),

  // Backoff
  firebreak_retries_total: counter("retries", { name }, "Retries a schedule of Backoff has decided on"),

  // RetryBudget
  firebreak_retry_budget_available: gauge("retries", { name }, "Retries that would be granted now"),
  firebreak_retry_budget_granted_total: counter("retries", { name }, "Retries that were paid for"),
  firebreak_retry_budget_refused_total: counter("retries", { name }, "Retries that were not allowed"),
  firebreak_retry_budget_refunded_total: counter(
    "retries",
    { name },
    "Retries given back, the dependency never saw them"
  ),

  // Bulkhead
  firebreak_bulkhead_running: gauge("calls", { name }, "Calls that hold a slot"),
  firebreak_bulkhead_waiting: gauge("calls", { name }, "Calls in line for a slot"),
  firebreak_bulkhead_rejected_total: counter(
    "calls",
    { name },
    "Calls turned away: the line full, or the wait too long"
  ),

  // RateLimit
  firebreak_rate_limit_waiting: gauge("calls", { name }, "Calls that wait for their turn"),
  firebreak_rate_limit_available: gauge("cost", { name }, "Cost that may start at once, by the strictest limit"),
  firebreak_rate_limit_rejected_total: counter("calls", { name }, "Calls turned away"),

  // ConcurrencyLimit
  firebreak_concurrency_limit: gauge("calls", { name }, "Calls that may be in flight"),
  firebreak_concurrency_limit_in_flight: gauge("calls", { name }, "Calls in flight"),
  firebreak_concurrency_limit_shed_total: counter("calls", { name }, "Calls turned away at the limit"),

  // Throttle
  firebreak_throttle_rejected_total: counter("calls", { name }, "Calls turned away by lot"),

  // Hedge
  firebreak_hedge_calls_total: counter("calls", { name }, "Calls that may be hedged"),
  firebreak_hedges_total: counter("attempts", { name }, "Attempts beside the first that were started"),
  firebreak_hedge_wins_total: counter("calls", { name }, "Calls that a hedge answered"),
  firebreak_hedge_refused_total: counter("attempts", { name }, "Hedges that the budget did not allow"),

  // Deadline
  firebreak_deadline_exceeded_total: counter(
    "calls",
    { started: ["true", "false"] },
    "Deadlines that passed; `started` says whether the work had begun"
  ),

  // Chaos
  firebreak_chaos_injected_total: counter(
    "calls",
    { name, kind: ["fault", "latency", "outcome", "hang"] },
    "Faults injected on purpose"
  ),

  // Idempotency
  firebreak_actions_total: counter(
    "calls",
    { name, outcome: ["success", "failure", "replayed", "not_started", "in_doubt"] },
    "Actions by what came of them; `in_doubt` may be settled later and then counts again"
  ),

  // Checkpoint
  firebreak_run_starts_total: counter("runs", { name, kind: ["new", "resumed"] }, "Runs begun or taken up again"),
  firebreak_runs_total: counter(
    "runs",
    { name, outcome: ["success", "failure", "cancelled", "expired", "died"] },
    "Runs that ended"
  ),
  firebreak_steps_total: counter(
    "steps",
    { name, outcome: ["success", "failure", "replayed", "compensated"] },
    "Steps of a workflow that were saved, replayed or undone"
  ),

  // Degradation
  firebreak_degradation_level: gauge("level", { name }, "The component's last answer: 0 full to 4 failed"),
  firebreak_degradation_seconds_total: counter(
    "seconds",
    { name, level: levels },
    "Time the component has been at this level since its first degraded answer"
  ),
  firebreak_degraded_answers_total: counter(
    "answers",
    { level: ["slight", "moderate", "minimal", "failed"] },
    "Answers of several components that were not full"
  ),
  firebreak_slo_answers: gauge("answers", { name }, "Answers in the window of DegradationSlo"),
  firebreak_slo_full_ratio: gauge("ratio", { name }, "Share of full answers in the window, 1 while there is none"),
  firebreak_slo_cached_ratio: gauge("ratio", { name }, "Share of answers with a cached part in the window"),
  firebreak_slo_level_seconds: gauge("seconds", { name, level: levels }, "Time at this level in the window"),
  firebreak_degraded_spell_seconds: gauge(
    "seconds",
    { name },
    "The longest time without a full answer, of those that ended in the window or go on"
  ),
  firebreak_slo_violated: gauge(
    "1",
    { name, objective: ["full", "cached", "spell"] },
    "1 while the objective is violated"
  ),

  // Health and Healing
  firebreak_health_status: gauge(
    "1",
    { status: ["healthy", "degraded", "unhealthy", "critical"] },
    "1 for the status that the last round of checks found, else 0"
  ),
  firebreak_health_checks_failing: gauge("checks", {}, "Checks that failed in the last round"),
  firebreak_healing_actions_total: counter("actions", { name }, "Remedies applied"),
  firebreak_healing_outcomes_total: counter(
    "actions",
    { name, outcome: ["verified", "failed"] },
    "Remedies by whether they helped"
  ),
  firebreak_healing_skipped_total: counter(
    "actions",
    { name, reason: ["cooldown", "exhausted", "disabled", "running"] },
    "Remedies that were due and not applied"
  ),
  firebreak_failovers_total: counter("switches", { name, to: ["backup", "primary"] }, "Switches to a backup and back"),
  firebreak_escalations_total: counter("escalations", { name }, "People were called"),
  firebreak_escalation_failures_total: counter("escalations", { name }, "Calls for people that did not get through"),
  firebreak_escalation_drills_total: counter(
    "drills",
    { name, outcome: ["success", "failure"] },
    "Drills of calling people by whether they got through"
  ),

  // Supervision
  firebreak_restarts_total: counter("restarts", { name }, "Children that ended and are started again"),
  firebreak_supervision_gave_up_total: counter(
    "supervisors",
    { name },
    "Supervisors that restarted too often and ended"
  ),

  // Autoscale
  firebreak_scalings_total: counter(
    "scalings",
    { name, outcome: ["up", "down", "failed", "blind"] },
    "Changes of size by their direction, those that failed, and looks at the load that did"
  ),

  // Reconcile
  firebreak_drift_repairs_total: counter(
    "repairs",
    { name, outcome: ["repaired", "failed"] },
    "Differences from the source of truth by whether they could be repaired"
  ),

  // LoopGuard
  firebreak_loops_stopped_total: counter(
    "loops",
    { name },
    "Programs stopped because they went in circles or beyond a budget"
  )
} as const satisfies { readonly [name: string]: Definition }

/**
 * The name of a metric.
 *
 * @since 0.1.0
 * @category models
 */
export type Name = keyof typeof catalog

/**
 * The values that a tag of a metric can have.
 *
 * @since 0.1.0
 * @category models
 */
export type Tags<N extends Name> = {
  readonly [K in keyof (typeof catalog)[N]["tags"]]: (typeof catalog)[N]["tags"][K] extends ReadonlyArray<infer V> ? V
    : never
}
