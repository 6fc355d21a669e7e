import { describe, expect, it } from "@effect/vitest"
import type * as Events from "@firebreak/core/Events"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import { HandleIncident } from "../src/Agent.js"
import * as Incident from "../src/Incident.js"
import * as Reporter from "../src/Reporter.js"
import { layer, quickTurns, seeded, toTheEnd, World } from "./support.js"

const textOf = (event: Events.Event) => Reporter.render({ ...event, at: 0 }).map(({ text }) => text)

const run = { workflow: "handle-incident", runId: "handle-incident/INC-1" }

describe("The reporter", () => {
  quickTurns()

  it.effect("tells the chapter's story", () =>
    Effect.gen(function*() {
      const world = yield* World
      yield* toTheEnd(HandleIncident.run(Incident.chapter))
      const rule = "=".repeat(70)
      expect(world.events.flatMap(Reporter.render).map(({ text }) => text)).toEqual([
        rule,
        "🚨 INCIDENT: INC-20240111-001",
        "   Service: payment-api",
        "   Severity: high",
        "   Description: High error rate detected (5% of requests failing)",
        rule,
        "",
        "Step 1: Gathering incident context...",
        "  ✓ Context gathered (degraded: no)",
        "💾 Checkpoint saved: step 1 (gather)",
        "",
        "Step 2: Analysing root cause...",
        "  ✓ Root cause: dead-connections (100 %), stale-cache (100 %)",
        expect.stringMatching(/^ {6}dbConnectionErrors went from 0\.02 to 6\.61 \(score \d+(\.\d)?\)$/),
        expect.stringMatching(/^ {6}\d+ log lines such as "Connection timeout: /),
        expect.stringMatching(/^ {6}errorRate went from 0\.00\d+ to 0\.05\d+$/),
        expect.stringMatching(/^ {6}cacheHitRate went from 0\.96\d? to 0\.54\d? \(score \d+(\.\d)?\)$/),
        expect.stringMatching(/^ {6}\d+ log lines such as ".*stale cache/i),
        "💾 Checkpoint saved: step 2 (analyse)",
        "",
        "Step 3: Applying remediation...",
        "▶ Executing restart_pods",
        "  ✓ Pods restarted",
        "▶ Executing clear_cache",
        "  ✓ Cache cleared",
        "  ✓ Remediation applied",
        "💾 Checkpoint saved: step 3 (remediate)",
        "",
        "Step 4: Verifying fix...",
        "  … rollout in progress, error rate 4.6 % after 0.0 s",
        "  … error rate 4.6 % after 0.5 s",
        "  … error rate 0.4 % after 1.0 s",
        "💾 Checkpoint saved: step 4 (verify)",
        "",
        "✅ INCIDENT RESOLVED",
        "   Error rate: 0.4 %",
        "   Actions taken: restart_pods, clear_cache"
      ])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it("says what was done before when a run is taken up again", () => {
    expect(textOf({ _tag: "RunResumed", ...run, completedSteps: 1 })).toEqual([
      "📂 Checkpoint loaded: 1 step done before"
    ])
    expect(textOf({ _tag: "StepReplayed", ...run, step: "gather", seq: 0 })).toEqual([
      "⏭  Step 1: Gathering incident context: already done, from its checkpoint"
    ])
  })

  it("says where degraded data came from", () => {
    expect(textOf({
      _tag: "ContextGathered",
      level: "slight",
      sources: { metrics: "prometheus", logs: "loki", alerts: null }
    })).toEqual([
      "  ⚠ Context gathered (degraded: slight; metrics from prometheus, logs from loki, alerts from nobody)"
    ])
  })

  it("says why a human was called and what was tried", () => {
    expect(textOf({ _tag: "IncidentEscalated", incident: "INC-1", reason: "no data", attempted: [] })).toEqual([
      "📞 ESCALATING TO ON-CALL ENGINEER",
      "   Incident: INC-1",
      "   Reason: no data",
      "   Attempted: nothing"
    ])
  })

  it("says which attempts are in doubt, and gives each line of the reason its own", () => {
    expect(
      textOf({
        _tag: "IncidentEscalated",
        incident: "INC-1",
        reason: "too little is known\nmetrics: datadog 500",
        attempted: [{ name: "restart_pods", outcome: "in doubt" }, { name: "clear_cache", outcome: "refused" }]
      }).slice(2)
    ).toEqual([
      "   Reason: too little is known",
      "     metrics: datadog 500",
      "   Attempted: restart_pods (outcome unknown), clear_cache (refused)"
    ])
    expect(textOf({ _tag: "ActionInDoubt", operation: "restart_pods", key: "k", resolution: "probe" })).toEqual([
      "  ? restart_pods is in doubt; looking at what it did (probe)"
    ])
  })

  it("numbers the four steps and no other, and says when a run begins anew", () => {
    const saved = (step: string, seq: number) => textOf({ _tag: "StepSaved", ...run, step, seq, outcome: "success" })
    expect(saved("verify", 7)).toEqual(["💾 Checkpoint saved: step 4 (verify)"])
    expect(saved("escalate", 2)).toEqual(["💾 Checkpoint saved: escalate"])
    expect(textOf({ _tag: "RunResumed", ...run, completedSteps: 0 })).toEqual(["📂 Taken up from its beginning"])
  })

  it("does not call it a root cause when none was found", () => {
    expect(Reporter.render({ _tag: "CauseFound", at: 0, finding: "nothing unusual", evidence: [], actions: [] }))
      .toEqual(
        [{ text: "  – No cause found: nothing unusual", tone: "warn" }]
      )
  })

  it("says once that a component is degraded until it recovers, and no retry line twice in a step", () => {
    const render = Reporter.makeRender()
    const said = (event: Events.Event) => render({ ...event, at: 0 }).length > 0
    const degraded = (component: string): Events.Event => ({
      _tag: "ComponentDegraded",
      component,
      quality: "absent",
      source: "datadog",
      error: "down"
    })
    const retry: Events.Event = { _tag: "RetryScheduled", name: "datadog", retry: 1, delayMillis: 3, error: "503" }
    expect(render({ ...retry, at: 0 })).toMatchObject([{ text: "  ↻ datadog: retry 1 in under 0.1 s (503)" }])
    expect([retry, { ...retry, retry: 2 }].map(said)).toEqual([false, true])
    render({ _tag: "StepStarted", at: 0, ...run, step: "verify" })
    expect(said(retry)).toBe(true)
    expect(["metrics", "metrics", "logs"].map((name) => said(degraded(name)))).toEqual([true, false, true])
    render({ _tag: "ComponentRecovered", at: 0, component: "metrics", afterMillis: 1 })
    expect(["metrics", "logs"].map((name) => said(degraded(name)))).toEqual([true, false])
  })

  it("is silent about steps and retries that are not the agent's own", () => {
    expect(textOf({ _tag: "StepStarted", ...run, step: "elsewhere" })).toEqual([])
    expect(textOf({ _tag: "RetryScheduled", name: "elsewhere", retry: 1, delayMillis: 1, error: "" })).toEqual([])
  })

  it("shows control characters and does not obey them", () => {
    expect(
      textOf({
        _tag: "IncidentOpened",
        incident: "INC-1",
        service: "payment-api",
        severity: "low",
        description: "\u001b[2Jall is\nwell\u009b31m"
      })[4]
    ).toBe("   Description: \\u001b[2Jall is\\u000awell\\u009b31m")
  })

  it.prop("never gives a terminal more than one line of printable text a line", [
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("\u001b]0;owned\u0007", "a\r\nb", "\u009bH", "\u2028", "\u202eabc", "\u0000")
    )
  ], ([text]) => {
    const hostile: ReadonlyArray<Events.Event> = [
      { _tag: "IncidentOpened", incident: text, service: text, severity: text, description: text },
      { _tag: "IncidentKnown", incident: text, outcome: "resolved", detail: text },
      { _tag: "IncidentKnown", incident: text, outcome: "escalated", detail: text },
      { _tag: "StepSaved", ...run, step: text, seq: 0, outcome: "success" },
      { _tag: "ContextGathered", level: text, sources: { metrics: text, logs: text, alerts: null } },
      { _tag: "ComponentDegraded", component: text, quality: "absent", source: text, error: text },
      { _tag: "CauseFound", finding: text, evidence: [text, text], actions: [] },
      { _tag: "ActionStarted", operation: text, key: text },
      { _tag: "ActionCompleted", operation: text, key: text, outcome: "failure" },
      { _tag: "RemediationRetried", failure: 1, of: 5, delayMillis: 1, error: text },
      { _tag: "RetryScheduled", name: "datadog", retry: 1, delayMillis: 1, error: text },
      { _tag: "CircuitOpened", breaker: text, failures: 3, retryAfterMillis: 1 },
      { _tag: "IncidentResolved", incident: text, actions: [text], errorRate: 0 },
      { _tag: "IncidentEscalated", incident: text, reason: text, attempted: [] },
      { _tag: "PageSent", page: text, late: true },
      { _tag: "PageSpooled", page: text, file: text, error: text },
      { _tag: "PageDamaged", file: text, error: text },
      { _tag: "HealthChecked", status: "critical", passing: 0, total: 1, failed: [text] },
      { _tag: "RemedyApplied", remedy: text, trigger: text, attempt: 1, dryRun: false }
    ]
    for (const line of hostile.flatMap(textOf)) {
      expect(line).toMatch(/^[^\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e]*$/u)
    }
  })
})
