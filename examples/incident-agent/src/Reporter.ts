/**
 * Tells a terminal what the agent does: a pure rendering of its events, and a sink that prints it.
 *
 * @since 0.1.0
 */
import type * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { attemptText } from "./Actions.js"
import "./AgentEvents.js"
import { inert } from "./InertText.js"

/**
 * A line of output and how it is meant.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly text: string
  readonly tone: "plain" | "strong" | "good" | "warn" | "bad" | "faint"
}

/**
 * The lines for one event; none for events that say nothing new to a human. Each is one line on any terminal, whatever
 * the event's texts hold.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (event: Events.Published): ReadonlyArray<Line> => {
  switch (event._tag) {
    case "IncidentOpened":
      return [
        line(rule, "faint"),
        line(`🚨 INCIDENT: ${event.incident}`, "strong"),
        line(`   Service: ${event.service}`),
        line(`   Severity: ${event.severity}`),
        line(`   Description: ${event.description}`),
        line(rule, "faint")
      ]
    case "IncidentKnown":
      return event.outcome === "resolved"
        ? [line(`✅ ${event.incident} is already resolved (${event.detail}); nothing was done`, "good")]
        : [line(`📞 ${event.incident} is already escalated (${event.detail}); nothing was done`, "warn")]
    case "RunResumed":
      return [
        line(
          event.completedSteps === 0
            ? "📂 Taken up from its beginning"
            : `📂 Checkpoint loaded: ${event.completedSteps} ${plural(event.completedSteps, "step")} done before`,
          "strong"
        )
      ]
    case "StepStarted":
      return event.step in steps ? [line(""), line(`${steps[event.step]!}...`, "strong")] : []
    case "StepReplayed":
      return event.step in steps ? [line(`⏭  ${steps[event.step]!}: already done, from its checkpoint`, "faint")] : []
    case "StepSaved":
      return [line(`💾 Checkpoint saved: ${stepText(event.step)}`, "faint")]
    case "ContextGathered": {
      const from = Object.entries(event.sources).map(([part, source]) => `${part} from ${source ?? "nobody"}`).join(
        ", "
      )
      return event.level === "full"
        ? [line("  ✓ Context gathered (degraded: no)", "good")]
        : [line(`  ⚠ Context gathered (degraded: ${event.level}; ${from})`, "warn")]
    }
    case "ComponentDegraded":
      return [line(`  ⚠ ${event.component}: ${event.error}`, "warn")]
    case "CauseFound":
      return [
        event.evidence.length === 0
          ? line(`  – No cause found: ${event.finding}`, "warn")
          : line(`  ✓ Root cause: ${event.finding}`, "good"),
        ...event.evidence.map((text) => line(`      ${text}`, "faint"))
      ]
    case "ActionStarted":
      return [line(`▶ Executing ${event.operation}`)]
    case "ActionCompleted":
      return event.outcome === "success"
        ? [line(`  ✓ ${done[event.operation] ?? `${event.operation} done`}`, "good")]
        : [line(`  ✗ ${event.operation} failed`, "bad")]
    case "ActionReplayed":
      return [line(`⏭  ${event.operation}: already done`, "faint")]
    case "ActionInDoubt":
      return [
        line(`  ? ${event.operation} is in doubt; looking at what it did (${event.resolution})`, "warn")
      ]
    case "RemediationApplied":
      return [line("  ✓ Remediation applied", "good")]
    case "RemediationRetried":
      return [
        line(`  ✗ failure ${event.failure} of ${event.of}: ${event.error}`, "bad"),
        line(`    again in ${wait(event.delayMillis)}`, "faint")
      ]
    case "RetryScheduled":
      return event.name in vendorNames
        ? [line(`  ↻ ${event.name}: retry ${event.retry} in ${wait(event.delayMillis)} (${event.error})`, "warn")]
        : []
    case "CircuitOpened":
      return [line(`  🔴 Circuit ${event.breaker} open for ${seconds(event.retryAfterMillis)}`, "bad")]
    case "CircuitHalfOpened":
      return [line(`  🟡 Circuit ${event.breaker} half-open`, "warn")]
    case "CircuitClosed":
      return [line(`  🟢 Circuit ${event.breaker} closed`, "good")]
    case "VerificationPending":
      return [
        line(
          `  … ${event.rolledOut ? "" : "rollout in progress, "}error rate ${
            event.errorRate === null ? "unknown" : percent(event.errorRate)
          } after ${seconds(event.waitedMillis)}`,
          "faint"
        )
      ]
    case "IncidentResolved":
      return [
        line(""),
        line("✅ INCIDENT RESOLVED", "good"),
        line(`   Error rate: ${percent(event.errorRate)}`),
        line(`   Actions taken: ${event.actions.join(", ")}`)
      ]
    case "IncidentEscalated":
      return [
        line("📞 ESCALATING TO ON-CALL ENGINEER", "bad"),
        line(`   Incident: ${event.incident}`),
        ...event.reason.split("\n").map((text, i) => line(i === 0 ? `   Reason: ${text}` : `     ${text}`)),
        line(`   Attempted: ${event.attempted.length === 0 ? "nothing" : event.attempted.map(attemptText).join(", ")}`)
      ]
    case "PageSent":
      return [
        line(event.late ? `  ✓ Page ${event.page} sent from the spool` : "  ✓ Page sent to on-call engineer", "good")
      ]
    case "PageSpooled":
      return [
        line(`  ⚠ PagerDuty did not take the page (${event.error})`, "warn"),
        line(`    it waits in ${event.file} and is sent at the next start`, "warn")
      ]
    case "PageDamaged":
      return [line(`  ⚠ A page in the spool cannot be read: ${event.file} (${event.error})`, "bad")]
    case "HealthChecked":
      return event.status === "healthy"
        ? []
        : [line(`  ⚠ Agent is ${event.status}: ${event.failed.join(", ")}`, "warn")]
    case "RemedyApplied":
      return [line(`  🔧 Self-healing: ${event.remedy}`, "warn")]
    default:
      return []
  }
}

/**
 * Renders a stream of events: as `render` does, but a component is said to be degraded once until it recovers, and a
 * retry that reads like one before in its step is not said again.
 *
 * @since 0.1.0
 * @category rendering
 */
export const makeRender = (): typeof render => {
  const degraded = new Set<string>()
  const retries = new Set<string>()
  return (event) => {
    switch (event._tag) {
      case "StepStarted":
        retries.clear()
        return render(event)
      case "ComponentRecovered":
        degraded.delete(event.component)
        return render(event)
      case "ComponentDegraded":
        return isNew(degraded, event.component) ? render(event) : []
      case "RetryScheduled":
        return render(event).filter(({ text }) => isNew(retries, text))
      default:
        return render(event)
    }
  }
}

/**
 * Prints every event to standard output, with colour where `colour` says so.
 *
 * @since 0.1.0
 * @category sinks
 */
export const layer = (options: { readonly colour: boolean }): Layer.Layer<never> => {
  const render = makeRender()
  return EventSink.make((event) =>
    Effect.sync(() => {
      for (const { text, tone } of render(event)) {
        process.stdout.write(
          `${options.colour && codes[tone] !== "" ? `\u001b[${codes[tone]}m${text}\u001b[0m` : text}\n`
        )
      }
    })
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** What others wrote is in it. */
const line = (text: string, tone: Line["tone"] = "plain"): Line => ({ text: inert(text), tone })

const rule = "=".repeat(70)

const steps: Readonly<Record<string, string>> = {
  gather: "Step 1: Gathering incident context",
  analyse: "Step 2: Analysing root cause",
  remediate: "Step 3: Applying remediation",
  verify: "Step 4: Verifying fix",
  escalate: "Escalation: Paging a human"
}

const done: Readonly<Record<string, string>> = { restart_pods: "Pods restarted", clear_cache: "Cache cleared" }

const vendorNames: Readonly<Record<string, true>> = {
  datadog: true,
  prometheus: true,
  loki: true,
  pagerduty: true,
  aws: true,
  kubernetes: true
}

const codes = { plain: "", strong: "1", good: "32", warn: "33", bad: "31", faint: "2" } as const

const isNew = (seen: Set<string>, text: string) => seen.size !== seen.add(text).size

const stepText = (step: string) => {
  const number = /^Step (\d)/.exec(steps[step] ?? "")?.[1]
  return number === undefined ? step : `step ${number} (${step})`
}

const wait = (millis: number) => millis < 100 ? "under 0.1 s" : seconds(millis)

const seconds = (millis: number) => `${(millis / 1_000).toFixed(1)} s`

const percent = (share: number) => `${(share * 100).toFixed(1)} %`

const plural = (count: number, noun: string) => count === 1 ? noun : `${noun}s`
