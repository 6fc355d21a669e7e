/** The incident agent as one typed program under TestClock: no socket, no file, no real wait. */
import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Healing from "@firebreak/core/Healing"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { HandleIncident, Limits } from "../src/Agent.js"
import * as Incident from "../src/Incident.js"
import { Orchestrator } from "../src/Orchestrator.js"
import { Paging } from "../src/Paging.js"
import * as Run from "../src/Run.js"
import type { Fault } from "../src/sandbox/Faults.js"
import * as SelfHealing from "../src/SelfHealing.js"
import * as PagerDuty from "../src/vendors/PagerDuty.js"
import { callsTo, effects, eventsOf, layer, quickTurns, seeded, start, toTheEnd, World } from "./support.js"
import * as Support from "./support.js"

const about = (service: string) => new Incident.Incident({ ...Incident.chapter, service })

const down = (vendor: Fault["vendor"], more: Partial<Fault> = {}): Fault => ({
  vendor,
  kind: "status",
  status: 503,
  ...more
})

/** Handles the incident in a world with these faults; how it ended, and the world after it. */
const handle = (faults: ReadonlyArray<Fault>, incident = Incident.chapter) =>
  Effect.gen(function*() {
    const world = yield* World
    world.faults = faults
    return { world, outcome: yield* Effect.either(toTheEnd(HandleIncident.run(incident))) }
  })

/** Seconds since the start at which each event of a tag happened. */
const secondsOf = (events: ReadonlyArray<{ readonly at: number }>) => events.map(({ at }) => (at - start) / 1_000)

describe("The incident agent", () => {
  quickTurns()

  it.effect("resolves the chapter's incident, step by step", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([])
      expect(outcome).toMatchObject({ _tag: "Right", right: { actions: ["restart_pods", "clear_cache"] } })
      expect(world.events.map((event) => "step" in event ? `${event._tag} ${event.step}` : event._tag)).toEqual([
        "RunStarted",
        "IncidentOpened",
        "StepStarted gather",
        "ContextGathered",
        "StepSaved gather",
        "StepStarted analyse",
        "CauseFound",
        "StepSaved analyse",
        "StepStarted remediate",
        "ActionStarted",
        "ActionCompleted",
        "ActionStarted",
        "ActionCompleted",
        "RemediationApplied",
        "StepSaved remediate",
        "StepStarted verify",
        "VerificationPending",
        "VerificationPending",
        "VerificationPending",
        "StepSaved verify",
        "IncidentResolved",
        "RunCompleted"
      ])
      expect(effects(world)).toEqual(["patchDeployment", "rebootCacheCluster"])
      expect(callsTo(world, "pagerduty")).toEqual([])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("answers from its record when the incident has ended, and calls nobody", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([])
      const calls = world.calls.length
      expect(yield* Effect.either(HandleIncident.run(Incident.chapter))).toEqual(outcome)
      expect(world.calls.length).toBe(calls)
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("leaves a vendor alone for the 30 seconds of its open circuit, probes it, and trusts it again", () =>
    Effect.gen(function*() {
      // search-api cannot be mended, so the agent goes on looking for as long as it may
      const limits = { ...(yield* Limits), verifyFor: Duration.seconds(40), verifyEvery: Duration.seconds(1) }
      const { outcome, world } = yield* Effect.provideService(
        handle([down("datadog", { count: 3 })], about("search-api")),
        Limits,
        limits
      )
      expect(outcome._tag).toBe("Left")
      const [opened] = secondsOf(eventsOf(world, "CircuitOpened"))
      const [halfOpened] = secondsOf(eventsOf(world, "CircuitHalfOpened"))
      const [closed] = secondsOf(eventsOf(world, "CircuitClosed"))
      const calls = callsTo(world, "datadog").map(({ at, status }) => [at / 1_000, status] as const)
      expect(calls.slice(0, 3).map(([, status]) => status)).toEqual([503, 503, 503])
      expect(opened).toBe(calls[2]?.[0])
      // the agent looks every second: the first look after the 30 seconds is the probe, the second closes
      expect(halfOpened).toBeGreaterThanOrEqual(opened! + 30)
      expect(halfOpened).toBeLessThan(opened! + 31)
      expect(calls[3]).toEqual([halfOpened, 200])
      expect(closed).toBeCloseTo(halfOpened! + 1, 3)
      // meanwhile it did not stand still
      expect(callsTo(world, "prometheus").some(({ at }) => at > 10_000 && at < 30_000)).toBe(true)
      expect(eventsOf(world, "CircuitOpened")).toHaveLength(1)
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("does the whole backoff: up to 1, 2 and 4 seconds, as the seed draws them", () =>
    Effect.gen(function*() {
      const world = yield* World
      // a throttled call does not open the circuit, so all retries take place
      world.faults = [down("pagerduty", { status: 429 })]
      const [a, b, c] = yield* seeded("backoff")(Effect.replicateEffect(Random.next, 3))
      const result = yield* Effect.either(toTheEnd(seeded("backoff")(PagerDuty.trigger(page("INC-1")))))
      expect(result).toMatchObject({ left: { kind: "throttled", status: 429 } })
      const waits = [a! * 1_000, b! * 2_000, c! * 4_000]
      const expected = waits.reduce<ReadonlyArray<number>>((times, wait) => [...times, times.at(-1)! + wait], [0])
      const actual = callsTo(world, "pagerduty").map(({ at }) => at)
      expect(actual).toHaveLength(4)
      actual.forEach((at, i) => expect(at).toBeCloseTo(expected[i]!, 1))
    }).pipe(Effect.provide(layer())))

  it.effect("ends the backoff when the third failure opens the circuit", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [down("pagerduty")]
      const result = yield* Effect.either(toTheEnd(PagerDuty.trigger(page("INC-1"))))
      expect(result).toMatchObject({ left: { kind: "unavailable", status: 503 } })
      expect(callsTo(world, "pagerduty")).toHaveLength(3)
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("waits as long as Datadog asks by Retry-After, then goes on as if nothing had been", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        down("datadog", { operation: "queryMetrics", status: 429, retryAfter: 7, count: 1 })
      ])
      expect(outcome._tag).toBe("Right")
      expect(callsTo(world, "datadog", "queryMetrics").slice(0, 2).map(({ at }) => at)).toEqual([0, 7_000])
      expect(eventsOf(world, "ContextGathered")).toMatchObject([{ level: "full" }])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("goes on with Prometheus and Loki when Datadog is down, and says so", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([down("datadog")])
      expect(outcome).toMatchObject({ right: { actions: ["restart_pods", "clear_cache"] } })
      expect(eventsOf(world, "ContextGathered")).toMatchObject([{
        level: "slight",
        sources: { metrics: "prometheus", logs: "loki", alerts: "prometheus" }
      }])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("touches nothing and pages a human when nobody can say what is going on", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        { vendor: "datadog", kind: "reset" },
        down("prometheus"),
        { vendor: "loki", kind: "hang" }
      ])
      expect(outcome).toMatchObject({
        left: {
          _tag: "Escalated",
          reason: "too little is known\nmetrics: datadog unavailable, prometheus 503\n" +
            "logs: datadog unavailable, loki timeout\nalerts: datadog unavailable, prometheus 503",
          attempted: [],
          page: "sent"
        }
      })
      expect(effects(world)).toEqual(["enqueue"])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("leaves to a human what no runbook covers", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([], about("orders-api"))
      expect(outcome).toMatchObject({
        left: { reason: expect.stringContaining("no runbook applies: saturation"), attempted: [], page: "sent" }
      })
      expect(effects(world)).toEqual(["enqueue"])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("escalates a fix that does not help, after 30 seconds of looking", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([], about("search-api"))
      expect(outcome).toMatchObject({
        left: { reason: expect.stringMatching(/^the fix did not help: \d\.\d % of requests still fail$/) }
      })
      expect(effects(world)).toEqual(["patchDeployment", "rebootCacheCluster", "enqueue"])
      expect(secondsOf(eventsOf(world, "IncidentEscalated"))).toEqual([30])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("mends the same trouble of a service three times an hour, then asks a human before it does so again", () =>
    Effect.gen(function*() {
      const world = yield* World
      const reasons: Array<string> = []
      for (let i = 1; i <= 4; i++) {
        const incident = new Incident.Incident({ ...about("search-api"), incident_id: `INC-${i}` })
        const { outcome } = yield* handle([], incident)
        reasons.push(outcome._tag === "Left" && outcome.left._tag === "Escalated" ? outcome.left.reason : outcome._tag)
      }
      expect(reasons.map((reason) => reason.replace(/\d\.\d %.*/, ""))).toEqual([
        ...Array.from({ length: 3 }, () => "the fix did not help: "),
        "search-api keeps failing: \"restart_pods\" was taken 3 times with the same arguments within 1h"
      ])
      expect(effects(world).filter((operation) => operation === "patchDeployment").length).toBe(3)
      expect(eventsOf(world, "LoopStopped").map(({ guard }) => guard)).toEqual(["incident-agent"])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("gives up after 5 consecutive failures and tells the human what it did", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([down("elasticache", { operation: "rebootCacheCluster" })])
      expect(outcome).toMatchObject({
        left: {
          reason: expect.stringMatching(/^clear_cache failed: aws rebootCacheCluster/),
          attempted: [{ name: "restart_pods", outcome: "applied" }, { name: "clear_cache", outcome: "in doubt" }]
        }
      })
      expect(eventsOf(world, "RemediationRetried").map(({ failure, of }) => `${failure} of ${of}`)).toEqual([
        "1 of 5",
        "2 of 5",
        "3 of 5",
        "4 of 5"
      ])
      expect(effects(world)).toEqual(["patchDeployment", "enqueue"])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("tells the human of a restart that was sent and never answered", () =>
    Effect.gen(function*() {
      const pages: Array<PagerDuty.Page> = []
      const { outcome, world } = yield* Effect.updateService(
        handle([down("kubernetes", { after: true })]),
        Paging,
        (paging) => ({
          ...paging,
          page: (page) => {
            pages.push(page)
            return Effect.succeed("sent" as const)
          }
        })
      )
      expect(effects(world)).toContain("patchDeployment")
      expect(pages).toMatchObject([{
        details: {
          attempted: ["restart_pods (outcome unknown)"],
          reason: expect.stringMatching(/^restart_pods failed: kubernetes \w+ unavailable 503$/)
        }
      }])
      expect(outcome).toMatchObject({ left: { attempted: [{ name: "restart_pods", outcome: "in doubt" }] } })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("says of a refused action that it was refused, and tells of no retry that does not happen", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        down("kubernetes", { operation: "patchDeployment", status: 403 })
      ])
      expect(outcome).toMatchObject({ left: { attempted: [{ name: "restart_pods", outcome: "refused" }] } })
      expect(eventsOf(world, "RemediationRetried")).toEqual([])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("says that it could not see whether the fix helped, when nobody shows it", () =>
    Effect.gen(function*() {
      const world = yield* World
      const events = yield* Events.Events
      events.unsafeListen((event) => {
        if (event._tag === "StepStarted" && event.step === "verify") {
          world.faults = [down("datadog"), down("prometheus")]
        }
      })
      const { outcome } = yield* handle([])
      expect(outcome).toMatchObject({
        left: {
          reason: expect.stringMatching(/^it could not be seen whether the fix helped: datadog .*, prometheus /),
          attempted: [{ outcome: "applied" }, { outcome: "applied" }]
        }
      })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("says of a rollout that never completes just that, and not that the fix did not help", () =>
    Effect.gen(function*() {
      const { outcome } = yield* Effect.updateService(
        handle([]),
        Orchestrator,
        (orchestrator) => ({ ...orchestrator, isComplete: () => Effect.succeed(false) })
      )
      expect(outcome).toMatchObject({
        left: {
          reason: expect.stringMatching(
            /^the rollout was not seen to complete within 30 s; \d\.\d % of requests fail$/
          ),
          attempted: [{ outcome: "applied" }, { outcome: "applied" }]
        }
      })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("says that it could not see the rollout, when nobody shows it", () =>
    Effect.gen(function*() {
      const { outcome } = yield* handle([down("kubernetes", { operation: "getDeployment" })])
      expect(outcome).toMatchObject({
        left: {
          reason: expect.stringMatching(
            /^it could not be seen whether the rollout completed; \d\.\d % of requests fail$/
          )
        }
      })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("gathers for as long as it may, and goes on with what it was told by then", () =>
    Effect.gen(function*() {
      const limits = { ...(yield* Limits), gatherWithin: Duration.seconds(10) }
      const { outcome, world } = yield* Effect.provideService(
        handle([{ vendor: "datadog", operation: "searchLogs", kind: "hang" }]),
        Limits,
        limits
      )
      expect(outcome._tag).toBe("Right")
      expect(secondsOf(eventsOf(world, "ContextGathered"))).toEqual([10])
      expect(eventsOf(world, "ContextGathered")).toMatchObject([
        { sources: { metrics: "datadog", logs: null, alerts: "datadog" } }
      ])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("asks a human when nobody has told anything by then", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* Effect.provideService(
        handle([{ vendor: "datadog", kind: "hang" }]),
        Limits,
        { ...(yield* Limits), gatherWithin: Duration.seconds(4) }
      )
      expect(outcome).toMatchObject({
        left: {
          reason: "too little is known\nmetrics: datadog timeout, prometheus not-started\n" +
            "logs: datadog timeout, loki not-started\nalerts: datadog timeout, prometheus not-started"
        }
      })
      expect(secondsOf(eventsOf(world, "IncidentEscalated"))).toEqual([4])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("does not repeat below what it repeats itself", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        down("elasticache", { operation: "rebootCacheCluster", status: 429 })
      ])
      expect(outcome).toMatchObject({ left: { attempted: [{ outcome: "applied" }, { outcome: "refused" }] } })
      // three retries below the first attempt, then four of its own: 8, and not 20
      expect(callsTo(world, "elasticache", "rebootCacheCluster")).toHaveLength(8)
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("leaves to a human a service that nobody knows", () =>
    Effect.gen(function*() {
      const { outcome } = yield* handle([], about("nosuch"))
      expect(outcome).toMatchObject({ left: { reason: "no data about nosuch", attempted: [] } })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("knows an incident by its id: other words are the same one, another service is bad input", () =>
    Effect.gen(function*() {
      yield* handle([])
      const reworded = new Incident.Incident({ ...Incident.chapter, description: "worse", severity: "critical" })
      expect(yield* Run.identify(reworded)).toEqual(Incident.chapter)
      expect(yield* Effect.flip(Run.identify(about("orders-api")))).toMatchObject({
        _tag: "BadIncident",
        message: "INC-20240111-001 is known with service payment-api, not orders-api"
      })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("knows its exit code when the incident has ended, though old pages still wait to be sent", () =>
    Effect.gen(function*() {
      const codes: Array<number> = []
      const run = Run.handle(Incident.chapter, ({ exitCode }) => codes.push(exitCode))
      const fiber = yield* Effect.fork(
        Effect.updateService(run, Paging, (paging) => ({ ...paging, deliver: Effect.never }))
      )
      yield* Effect.repeat(TestClock.adjust("250 millis"), { until: () => codes.length > 0 })
      yield* Fiber.interrupt(fiber)
      expect(codes).toEqual([0])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("acts once when AWS throttles", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        down("elasticache", { operation: "rebootCacheCluster", status: 429, retryAfter: 2, count: 2 })
      ])
      expect(outcome._tag).toBe("Right")
      expect(callsTo(world, "elasticache", "rebootCacheCluster").map(({ effect }) => effect)).toEqual([
        false,
        false,
        true
      ])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("looks what it did when an answer is lost, and does not do it again", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        { vendor: "kubernetes", operation: "patchDeployment", kind: "hang", after: true, count: 1 },
        { vendor: "elasticache", operation: "rebootCacheCluster", kind: "hang", after: true, count: 3 }
      ])
      expect(outcome._tag).toBe("Right")
      expect(effects(world).filter((operation) => operation === "patchDeployment")).toHaveLength(1)
      expect(effects(world).filter((operation) => operation === "rebootCacheCluster")).toHaveLength(1)
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("keeps a page that PagerDuty does not take, and ends all the same", () =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([down("pagerduty")], about("orders-api"))
      expect(outcome).toMatchObject({ left: { _tag: "Escalated", page: "spooled" } })
      world.faults = []
      yield* TestClock.adjust("30 seconds")
      expect(yield* Effect.flatMap(Paging, (paging) => paging.deliver)).toBe(1)
      expect(world.fleet.pages).toMatchObject([{ dedupKey: "INC-20240111-001", status: "triggered" }])
    }).pipe(Effect.provide(layer()), seeded(1)))
})

describe("The agent's death", () => {
  quickTurns()

  const run = (seed: number) => seeded(seed)(Effect.provide(HandleIncident.run(Incident.chapter), Support.layerProcess))

  const lateAnswers = { kind: "latency", ms: 100, after: true } as const
  const lateCalls = { kind: "latency", ms: 100 } as const

  type Killing = (agent: Fiber.RuntimeFiber<unknown, unknown>) => Effect.Effect<unknown>

  const at = (millis: number): Killing => (agent) => Effect.zipRight(TestClock.adjust(millis), Fiber.interrupt(agent))

  /** The moment the n-th event is out. */
  const onEvent = (n: number): Killing => (agent) =>
    Effect.gen(function*() {
      const events = yield* Events.Events
      let left = n
      const unlisten = events.unsafeListen(() => {
        if (--left === 0) agent.unsafeInterruptAsFork(FiberId.none)
      })
      yield* Support.turnsUntilDone(agent)
      unlisten()
    })

  /** The agent dies, is started again, and must have done what it would have done anyway, once. */
  const survives = (slow: typeof lateAnswers | typeof lateCalls, kill: Killing) =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = (["datadog", "kubernetes", "elasticache"] as const).map((vendor) => ({ vendor, ...slow }))
      yield* kill(yield* Effect.fork(run(1)))
      const diedIn = eventsOf(world, "StepStarted").at(-1)?.step

      const outcome = yield* toTheEnd(run(2))
      expect(outcome.actions).toEqual(["restart_pods", "clear_cache"])
      expect(outcome.errorRate).toBeLessThan(0.01)
      expect(eventsOf(world, "StepSaved").map(({ step }) => step)).toEqual(["gather", "analyse", "remediate", "verify"])
      expect(effects(world)).toEqual(["patchDeployment", "rebootCacheCluster"])
      return diedIn
    }).pipe(Effect.provide(Layer.merge(Support.layerWorld(), Support.layerStores)))

  it.effect.each(
    [
      ["gather", "the questions are out", 50],
      ["remediate", "the restart is under way", 150],
      ["remediate", "the reboot is under way", 250],
      ["verify", "it looks for the first time", 350]
    ] as const
  )("in the middle of %s, while %s, costs nothing and repeats nothing", ([step, , millis]) =>
    Effect.gen(function*() {
      expect(yield* survives(lateAnswers, at(millis))).toBe(step)
      expect(yield* survives(lateCalls, at(millis))).toBe(step)
    }))

  it.effect("at any of its events costs nothing and repeats nothing", () =>
    Effect.forEach(Array.from({ length: 22 }, (_, i) => i + 1), (n) => survives(lateAnswers, onEvent(n))))

  it.effect.prop(
    "at any time costs nothing and repeats nothing",
    {
      slow: fc.constantFrom(lateAnswers, lateCalls),
      millis: fc.integer({ min: 0, max: 2_600 })
    },
    ({ millis, slow }) => Effect.asVoid(survives(slow, at(millis))),
    { fastCheck: { numRuns: 10 } }
  )
})

describe("The agent's self-healing", () => {
  quickTurns()

  const healing = Effect.map(Layer.build(SelfHealing.layer), (context) => Context.get(context, Healing.Healing))

  it.scoped("looks 120 times in an hour and says nothing while all is well", () =>
    Effect.gen(function*() {
      const world = yield* World
      const { stats } = yield* healing
      yield* TestClock.adjust("1 hour")
      expect(eventsOf(world, "HealthChecked")).toHaveLength(120)
      expect(eventsOf(world, "HealthChecked").every(({ status }) => status === "healthy")).toBe(true)
      expect(yield* stats).toMatchObject({ mode: "healing", rounds: 120, applied: 0 })
      expect(world.calls).toEqual([])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.scoped("sends a spooled page once PagerDuty is back", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [down("pagerduty")]
      const paging = yield* Paging
      expect(yield* toTheEnd(paging.page(page("INC-1")))).toBe("spooled")
      const { stats } = yield* healing
      yield* TestClock.adjust("80 seconds")
      expect(world.fleet.pages).toEqual([])

      world.faults = []
      yield* TestClock.adjust("1 hour")
      expect(world.fleet.pages).toMatchObject([{ dedupKey: "INC-1" }])
      expect(yield* paging.spooled).toEqual([])
      expect(eventsOf(world, "PageSent")).toMatchObject([{ page: "INC-1", late: true }])
      expect(eventsOf(world, "RemedyVerified")).toHaveLength(1)
      expect(yield* stats).toMatchObject({ mode: "healing", consecutiveFailures: 0, succeeded: 1 })
      expect(eventsOf(world, "HealthChecked").at(-1)).toMatchObject({ status: "healthy" })
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.scoped("calls people after 5 bad rounds, tries until they hear it, and then delivers what had waited", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [down("pagerduty")]
      yield* toTheEnd(Effect.flatMap(Paging, (paging) => paging.page(page("INC-1"))))
      const { stats } = yield* healing
      yield* TestClock.adjust("10 minutes")
      expect(eventsOf(world, "Escalated")).toMatchObject([{ reason: "too many failures", consecutiveFailures: 5 }])
      expect(yield* stats).toMatchObject({ mode: "escalated", undelivered: 1 })

      world.faults = []
      yield* TestClock.adjust("50 minutes")
      expect(world.fleet.pages.map(({ dedupKey }) => dedupKey)).toEqual(["incident-agent-health", "INC-1"])
      expect(yield* stats).toMatchObject({ undelivered: 0 })
      expect(yield* world.spool.entries).toEqual([])
      expect(eventsOf(world, "Escalated")).toHaveLength(1)
    }).pipe(Effect.provide(layer()), seeded(1)))
})

describe("Time travel", () => {
  quickTurns()

  const story = (seed: number) =>
    Effect.gen(function*() {
      const { outcome, world } = yield* handle([
        down("datadog", { count: 2 }),
        down("kubernetes", { operation: "patchDeployment", count: 4 }),
        { vendor: "elasticache", operation: "rebootCacheCluster", kind: "reset", after: true, count: 1 }
      ])
      return { outcome, events: world.events }
    }).pipe(Effect.provide(layer(seed)), seeded(seed))

  it.effect("a seed tells the same story twice, to the fraction of a millisecond; another seed tells another", () =>
    Effect.gen(function*() {
      const once = yield* story(1)
      expect(once.outcome._tag).toBe("Right")
      expect(yield* story(1)).toEqual(once)
      expect((yield* story(2)).events).not.toEqual(once.events)
    }))
})

const page = (dedupKey: string) =>
  new PagerDuty.Page({ dedupKey, severity: "error", source: "payment-api", summary: "it is broken", details: {} })
