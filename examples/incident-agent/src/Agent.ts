/**
 * The incident agent: one typed program made of nothing but Firebreak's patterns. Every step is a checkpoint, every
 * remedy an idempotent action, every vendor behind a breaker, every source of data replaceable by another.
 *
 * @since 0.1.0
 */
import * as Backoff from "@firebreak/core/Backoff"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Deadline from "@firebreak/core/Deadline"
import * as Events from "@firebreak/core/Events"
import * as LoopGuard from "@firebreak/core/LoopGuard"
import * as Policy from "@firebreak/core/Policy"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { act, Attempt, attemptText, doneBefore, isInDoubt } from "./Actions.js"
import "./AgentEvents.js"
import { diagnose, type Diagnosis } from "./Diagnosis.js"
import { Incident } from "./Incident.js"
import { errorRate, NotEnoughData, Observations, observe } from "./Observability.js"
import { Orchestrator } from "./Orchestrator.js"
import { Paging } from "./Paging.js"
import { ActionName, Plan, plan } from "./Runbook.js"
import { VendorError } from "./VendorError.js"
import { Page } from "./vendors/PagerDuty.js"
import { withoutRetries } from "./vendors/VendorParts.js"

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
  attempted: Schema.Array(Attempt),
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
    /** How long the vendors may take to tell what is known: what they have not told by then is missing. */
    gatherWithin: Duration.seconds(90),
    /** Failed remediations in a row before a human is asked. */
    maxConsecutiveFailures: 5,
    /** The wait between them. */
    retryEvery: Duration.seconds(5),
    /** How often a service may get the same remedy within a while, all its incidents together, before a human is asked. */
    maxRepeats: 3,
    repeatsWithin: Duration.hours(1),
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
    if (remediated._tag === "Left") return yield* escalateWith(remediated.left.detail, remediated.left.attempted)

    const verdict = yield* Checkpoint.step("verify", { success: Verdict }, verify(incident, decided))
    if (!verdict.healthy) {
      return yield* escalateWith(whatWasSeen(verdict, yield* Limits), decided.actions.map(applied))
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
  Effect.gen(function*() {
    const { gatherWithin } = yield* Limits
    const observed = yield* observe(service, gatherWithin)
    const { level, sources } = observed
    yield* Events.publish({ _tag: "ContextGathered", level, sources })
    return observed
  })

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
  attempted: Schema.Array(Attempt)
}) {}

const applied = (name: ActionName): Attempt => ({ name, outcome: "applied" })

const remediate = (incident: Incident, { actions: names, decidedAt }: Plan) =>
  Effect.gen(function*() {
    const { maxConsecutiveFailures, maxRepeats, repeatsWithin, retryEvery } = yield* Limits
    const { service } = incident
    const target = { incident: incident.incident_id, service, decidedAt }
    const guard = yield* LoopGuard.make({
      name: "incident-agent",
      maxRepeats,
      within: repeatsWithin,
      history: yield* Effect.orDie(doneBefore(target))
    })
    const attempted: Array<Attempt> = []
    for (const name of names) {
      // an incident that keeps coming back is not mended by what did not mend it
      yield* Effect.mapError(
        guard.action({ action: name, arguments: { service } }),
        ({ evidence }) =>
          new RemediationFailed({ detail: `${service} keeps failing: ${LoopGuard.explain(evidence)}`, attempted })
      )
      // a policy tells of the retries that happen, and of no other
      const retried = Policy.make({
        retry: {
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
          while: (error: unknown) => error instanceof VendorError && error.kind !== "refused"
        }
      })
      // what is repeated here is not repeated below as well
      let attempts = 0
      const attempt = Effect.suspend(() => attempts++ === 0 ? act(name, target) : withoutRetries(act(name, target)))
      yield* retried(attempt).pipe(
        Effect.catchAll((error) =>
          error._tag === "StoreError" ?
            Effect.die(error) :
            Effect.flatMap(Effect.orDie(isInDoubt(name, target)), (inDoubt) =>
              new RemediationFailed({
                detail: `${name} failed: ${error._tag === "VendorError" ? error.brief : error.message}`,
                attempted: [...attempted, { name, outcome: inDoubt ? "in doubt" : "refused" }]
              }))
        )
      )
      attempted.push(applied(name))
    }
    yield* Events.publish({ _tag: "RemediationApplied", actions: names })
  })

/** The last rate that could be read, if there was none `unseen` says why; and what was last seen of the rollout. */
const Verdict = Schema.Struct({
  healthy: Schema.Boolean,
  errorRate: Schema.NullOr(Schema.Number),
  unseen: Schema.String,
  rollout: Schema.optionalWith(Schema.Literal("none", "complete", "incomplete", "unseen"), { default: () => "none" })
})

/** Why a service is not taken for mended. */
const whatWasSeen = (
  { errorRate, rollout, unseen }: typeof Verdict.Type,
  { healthyErrorRate, verifyFor }: Context.Tag.Service<Limits>
): string => {
  const rate = errorRate === null ? `the error rate is unknown: ${unseen}` : `${percent(errorRate)} of requests fail`
  if (rollout === "incomplete") {
    return `the rollout was not seen to complete within ${Duration.toSeconds(verifyFor)} s; ${rate}`
  }
  if (rollout === "unseen") return `it could not be seen whether the rollout completed; ${rate}`
  if (errorRate === null) return `it could not be seen whether the fix helped: ${unseen}`
  return errorRate < healthyErrorRate
    ? `the fix could not be confirmed: no two good looks in a row, in the last ${rate}`
    : `the fix did not help: ${percent(errorRate)} of requests still fail`
}

/** Looks until the service is well twice in a row, or the time is up. */
const verify = (incident: Incident, { actions: names, decidedAt }: Plan) =>
  Effect.gen(function*() {
    const { healthyErrorRate, verifyEvery, verifyFor } = yield* Limits
    const orchestrator = yield* Orchestrator
    const started = yield* Clock.currentTimeMillis
    let latest: number | null = null
    let unseen = "there was no time to look"
    let rollout: (typeof Verdict.Type)["rollout"] = names.includes("restart_pods") ? "unseen" : "none"
    let inARow = 0
    const look = Effect.gen(function*() {
      const seen = rollout === "none" ? true : yield* Effect.orElseSucceed(
        orchestrator.isComplete({ service: incident.service, at: decidedAt }),
        () => undefined
      )
      const rolledOut = seen === true
      if (rollout !== "none" && seen !== undefined) rollout = seen ? "complete" : "incomplete"
      const rate = yield* Effect.catchAll(errorRate(incident.service), ({ detail }) => {
        unseen = detail
        return Effect.succeed(null)
      })
      latest = rate ?? latest
      inARow = rolledOut && rate !== null && rate < healthyErrorRate ? inARow + 1 : 0
      if (inARow >= 2) return true
      const waitedMillis = (yield* Clock.currentTimeMillis) - started
      yield* Events.publish({ _tag: "VerificationPending", errorRate: rate, rolledOut, waitedMillis })
      return false
    })
    const healthy = yield* look.pipe(
      Effect.repeat({ schedule: Schedule.spaced(verifyEvery), until: (well) => well }),
      Effect.as(true),
      // vendors see it too: none waits for a retry that would come too late
      Deadline.within(verifyFor),
      Effect.catchTag("DeadlineExceeded", () => Effect.succeed(false))
    )
    return { healthy, errorRate: latest, unseen, rollout }
  })

const escalate = (incident: Incident) => (reason: string, attempted: ReadonlyArray<Attempt>) =>
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
          attempted
        })
        return yield* Effect.orDie(paging.page(
          new Page({
            dedupKey: incident.incident_id,
            severity: pageSeverity[incident.severity],
            source: incident.service,
            summary: `${incident.incident_id} on ${incident.service}: ${incident.description} (${
              reason.replaceAll("\n", "; ")
            })`,
            details: { reason, attempted: attempted.map(attemptText) }
          })
        ))
      })
    )
    return yield* new Escalated({ incident: incident.incident_id, reason, attempted, page })
  })

const pageSeverity = { critical: "critical", high: "error", medium: "warning", low: "info" } as const

const percent = (share: number) => `${(share * 100).toFixed(1)} %`
