/**
 * The incident agent: one typed program made of nothing but Firebreak's patterns. Every step is a checkpoint, every
 * remedy an idempotent action, every vendor behind a breaker, every source of data replaceable by another.
 *
 * @since 0.1.0
 */
import * as Backoff from "@firebreak/core/Backoff"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Events from "@firebreak/core/Events"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { act } from "./Actions.js"
import "./AgentEvents.js"
import { diagnose, type Diagnosis } from "./Diagnosis.js"
import { Incident } from "./Incident.js"
import { errorRate, NotEnoughData, Observations, observe } from "./Observability.js"
import { Orchestrator } from "./Orchestrator.js"
import { Paging } from "./Paging.js"
import { ActionName, Plan, plan } from "./Runbook.js"
import { VendorError } from "./VendorError.js"
import { Page } from "./vendors/PagerDuty.js"

/**
 * How an incident ends when the agent could mend it.
 *
 * @since 0.1.0
 * @category models
 */
export class Resolution extends Schema.Class<Resolution>("Resolution")({
  incident: Schema.String,
  actions: Schema.Array(ActionName),
  errorRate: Schema.Number
}) {}

/**
 * How an incident ends when a human must take over. The human has been paged, or the page waits in the spool.
 *
 * @since 0.1.0
 * @category errors
 */
export class Escalated extends Schema.TaggedError<Escalated>("Escalated")("Escalated", {
  incident: Schema.String,
  reason: Schema.String,
  actions: Schema.Array(ActionName),
  page: Schema.Literal("sent", "spooled")
}) {
  override get message(): string {
    return `${this.incident} was escalated: ${this.reason}`
  }
}

/**
 * The agent's limits.
 *
 * @since 0.1.0
 * @category options
 */
export class Limits extends Context.Reference<Limits>()("incident-agent/Limits", {
  defaultValue: () => ({
    /** Failed remediations in a row before a human is asked. */
    maxConsecutiveFailures: 5,
    /** The wait between them. */
    retryEvery: Duration.seconds(5),
    /** How long a fix may take to show. */
    verifyFor: Duration.seconds(30),
    /** How often it is looked for. */
    verifyEvery: Duration.millis(500),
    /** The share of failing requests at which a service counts as well. */
    healthyErrorRate: 0.01
  })
}) {}

/**
 * Handles one incident: gather, analyse, remediate, verify; then it is resolved or a human has it.
 *
 * @since 0.1.0
 * @category workflows
 */
export const HandleIncident = Checkpoint.workflow("handle-incident", {
  payload: Incident,
  key: (incident) => incident.incident_id,
  success: Resolution,
  error: Escalated
}, (incident) =>
  Effect.gen(function*() {
    yield* Events.publish({
      _tag: "IncidentOpened",
      incident: incident.incident_id,
      service: incident.service,
      severity: incident.severity,
      description: incident.description
    })
    const escalateWith = escalate(incident)

    const gathered = yield* Effect.either(
      Checkpoint.step("gather", { success: Observations, error: NotEnoughData }, gather(incident.service))
    )
    if (gathered._tag === "Left") return yield* escalateWith(gathered.left.detail, [])

    const decided = yield* Checkpoint.step("analyse", { success: Plan }, analyse(gathered.right))
    if (decided.actions.length === 0) {
      return yield* escalateWith(`no runbook applies: ${decided.finding}`, [])
    }

    const remediated = yield* Effect.either(
      Checkpoint.step("remediate", { error: RemediationFailed }, remediate(incident, decided))
    )
    if (remediated._tag === "Left") return yield* escalateWith(remediated.left.detail, remediated.left.applied)

    const verdict = yield* Checkpoint.step("verify", { success: Verdict }, verify(incident, decided))
    if (!verdict.healthy) {
      return yield* escalateWith(
        `the fix did not help: ${
          verdict.errorRate === null
            ? "the error rate is unknown"
            : `${percent(verdict.errorRate)} of requests still fail`
        }`,
        decided.actions
      )
    }
    const resolution = new Resolution({
      incident: incident.incident_id,
      actions: decided.actions,
      errorRate: verdict.errorRate ?? 0
    })
    yield* Events.publish({ _tag: "IncidentResolved", ...resolution })
    return resolution
  }))

// -----------------------------------------------------------------------------
// internal: the steps
// -----------------------------------------------------------------------------

const gather = (service: string) =>
  Effect.tap(observe(service), ({ level, sources }) => Events.publish({ _tag: "ContextGathered", level, sources }))

const analyse = (observations: Observations) =>
  Effect.gen(function*() {
    const diagnosis: Diagnosis = diagnose(observations)
    const decided = plan(diagnosis, yield* Clock.currentTimeMillis)
    yield* Events.publish({
      _tag: "CauseFound",
      finding: decided.finding,
      evidence: [...new Set(diagnosis.causes.flatMap(({ evidence }) => evidence))],
      actions: decided.actions
    })
    return decided
  })

class RemediationFailed extends Schema.TaggedError<RemediationFailed>()("RemediationFailed", {
  detail: Schema.String,
  applied: Schema.Array(ActionName)
}) {}

const remediate = (incident: Incident, { actions: names, decidedAt }: Plan) =>
  Effect.gen(function*() {
    const { maxConsecutiveFailures, retryEvery } = yield* Limits
    const applied: Array<ActionName> = []
    for (const name of names) {
      yield* act(name, { incident: incident.incident_id, service: incident.service, decidedAt }).pipe(
        Effect.retry({
          schedule: Backoff.make<unknown>({
            name,
            base: retryEvery,
            factor: 1,
            jitter: "none",
            maxRetries: maxConsecutiveFailures - 1,
            retryAfter: (error) =>
              error instanceof VendorError && error.retryAfterMillis !== undefined
                ? Option.some(Duration.millis(error.retryAfterMillis))
                : Option.none(),
            onRetry: ({ delay, error, retry }) =>
              Events.publish({
                _tag: "RemediationRetried",
                failure: retry,
                of: maxConsecutiveFailures,
                delayMillis: Duration.toMillis(delay),
                error: error instanceof Error ? error.message : String(error)
              })
          }),
          while: (error) => error instanceof VendorError && error.kind !== "refused"
        }),
        Effect.catchAll((error) =>
          error._tag === "StoreError"
            ? Effect.die(error)
            : new RemediationFailed({ detail: `${name} failed: ${error.message}`, applied })
        )
      )
      applied.push(name)
    }
    yield* Events.publish({ _tag: "RemediationApplied", actions: names })
  })

const Verdict = Schema.Struct({ healthy: Schema.Boolean, errorRate: Schema.NullOr(Schema.Number) })

/** Looks until the service is well twice in a row, or the time is up. */
const verify = (incident: Incident, { actions: names, decidedAt }: Plan) =>
  Effect.gen(function*() {
    const { healthyErrorRate, verifyEvery, verifyFor } = yield* Limits
    const orchestrator = yield* Orchestrator
    const started = yield* Clock.currentTimeMillis
    let latest: number | null = null
    let inARow = 0
    const look = Effect.gen(function*() {
      const rolledOut = !names.includes("restart_pods") ||
        (yield* Effect.orElseSucceed(
          orchestrator.isComplete({ service: incident.service, at: decidedAt }),
          () => false
        ))
      const rate = yield* Effect.orElseSucceed(errorRate(incident.service), () => null)
      latest = rate
      inARow = rolledOut && rate !== null && rate < healthyErrorRate ? inARow + 1 : 0
      if (inARow >= 2) return true
      const waitedMillis = (yield* Clock.currentTimeMillis) - started
      yield* Events.publish({ _tag: "VerificationPending", errorRate: rate, rolledOut, waitedMillis })
      return false
    })
    const healthy = yield* look.pipe(
      Effect.repeat({ schedule: Schedule.spaced(verifyEvery), until: (well) => well }),
      Effect.timeoutTo({ duration: verifyFor, onSuccess: () => true, onTimeout: () => false })
    )
    return { healthy, errorRate: latest }
  })

const escalate = (incident: Incident) => (reason: string, applied: ReadonlyArray<ActionName>) =>
  Effect.gen(function*() {
    const page = yield* Checkpoint.step(
      "escalate",
      { success: Schema.Literal("sent", "spooled") },
      Effect.gen(function*() {
        const paging = yield* Paging
        yield* Events.publish({
          _tag: "IncidentEscalated",
          incident: incident.incident_id,
          reason,
          actions: applied
        })
        return yield* Effect.orDie(paging.page(
          new Page({
            dedupKey: incident.incident_id,
            severity: pageSeverity[incident.severity],
            source: incident.service,
            summary: `${incident.incident_id} on ${incident.service}: ${incident.description} (${reason})`,
            details: { reason, attempted: applied }
          })
        ))
      })
    )
    return yield* new Escalated({ incident: incident.incident_id, reason, actions: applied, page })
  })

const pageSeverity = { critical: "critical", high: "error", medium: "warning", low: "info" } as const

const percent = (share: number) => `${(share * 100).toFixed(1)} %`
