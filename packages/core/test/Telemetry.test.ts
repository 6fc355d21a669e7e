import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Deadline from "@firebreak/core/Deadline"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationLevel from "@firebreak/core/DegradationLevel"
import * as Events from "@firebreak/core/Events"
import * as Hedge from "@firebreak/core/Hedge"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Telemetry from "@firebreak/core/Telemetry"
import * as Throttle from "@firebreak/core/Throttle"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { valuesOf } from "./support/metrics.js"

const measured = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, Telemetry.layer)

const fail = Effect.fail("down")

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

describe("the metrics of parts are read when a snapshot is taken", () => {
  it.effect("CircuitBreaker: calls by outcome, the state it is found in, openings", () =>
    measured(Effect.gen(function*() {
      const trip = CircuitBreaker.consecutive(2)
      const breaker = yield* CircuitBreaker.make({ name: "breaker-t", trip, resetAfter: "10 seconds" })
      yield* breaker.protect(Effect.void)
      yield* Effect.exit(breaker.protect(fail))
      const states = { closed: 0, recovering: 0, open: 0, "half-open": 0, "forced-open": 0, "forced-closed": 0 }
      expect(yield* valuesOf("firebreak_circuit_breaker_state", "breaker-t", "state")).toEqual({ ...states, closed: 1 })
      yield* Effect.exit(breaker.protect(fail))
      yield* Effect.exit(breaker.protect(Effect.void))
      expect(yield* valuesOf("firebreak_circuit_breaker_state", "breaker-t", "state")).toEqual({ ...states, open: 1 })
      expect(yield* valuesOf("firebreak_circuit_breaker_calls_total", "breaker-t", "outcome"))
        .toEqual({ success: 1, failure: 2, rejected: 1 })
      yield* TestClock.adjust("10 seconds")
      const probe = yield* Effect.fork(breaker.protect(Effect.never))
      yield* Effect.yieldNow()
      expect(yield* valuesOf("firebreak_circuit_breaker_state", "breaker-t", "state"))
        .toEqual({ ...states, "half-open": 1 })
      // the probe that hangs has failed, and the circuit is open, whether or not anybody calls
      yield* TestClock.adjust("10 seconds")
      expect(yield* valuesOf("firebreak_circuit_breaker_state", "breaker-t", "state")).toEqual({ ...states, open: 1 })
      yield* Fiber.interrupt(probe)
      expect((yield* breaker.stats).state).toBe("open")
      expect(yield* valuesOf("firebreak_circuit_breaker_opened_total", "breaker-t")).toBe(2)
      yield* breaker.reset
      expect(yield* valuesOf("firebreak_circuit_breaker_closed_total", "breaker-t")).toBe(1)
    })))

  it.effect("CircuitBreakerRegistry: all its breakers under its own name", () =>
    measured(Effect.gen(function*() {
      const breakers = yield* CircuitBreakerRegistry.make({ name: "registry-t", trip: CircuitBreaker.consecutive(1) })
      yield* breakers.protect("a")(Effect.void)
      yield* Effect.exit(breakers.protect("b")(fail))
      expect(yield* valuesOf("firebreak_circuit_breaker_state", "registry-t", "state"))
        .toMatchObject({ closed: 1, open: 1 })
      expect(yield* valuesOf("firebreak_circuit_breaker_calls_total", "registry-t", "outcome"))
        .toMatchObject({ success: 1, failure: 1 })
      yield* Effect.map(breakers.all, (all) => expect(all.size).toBe(2))
    })))

  it.effect("Bulkhead: who runs, who waits, who was turned away", () =>
    measured(Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "bulkhead-t", maxConcurrent: 1, maxQueued: 1 })
      const running = yield* Effect.fork(bulkhead.protect(Effect.never))
      const waiting = yield* Effect.fork(bulkhead.protect(Effect.never))
      yield* Effect.yieldNow()
      yield* Effect.exit(bulkhead.protect(Effect.void))
      expect(yield* valuesOf("firebreak_bulkhead_running", "bulkhead-t")).toBe(1)
      expect(yield* valuesOf("firebreak_bulkhead_waiting", "bulkhead-t")).toBe(1)
      expect(yield* valuesOf("firebreak_bulkhead_rejected_total", "bulkhead-t")).toBe(1)
      yield* Fiber.interruptAll([waiting, running])
      expect(yield* valuesOf("firebreak_bulkhead_running", "bulkhead-t")).toBe(0)
      yield* bulkhead.protect(Effect.void)
    })))

  it.effect("RateLimit: what may start, who waits, who was turned away", () =>
    measured(Effect.gen(function*() {
      const limits = [{ rate: 1, per: "1 second", burst: 2 }] as const
      const limit = yield* RateLimit.make({ name: "rate-t", limits, maxWait: "1 second" })
      yield* limit.protect(Effect.void)
      expect(yield* valuesOf("firebreak_rate_limit_available", "rate-t")).toBe(1)
      yield* limit.protect(Effect.void)
      const waiting = yield* Effect.fork(limit.protect(Effect.void))
      yield* Effect.yieldNow()
      yield* Effect.exit(limit.protect(Effect.void))
      expect(yield* valuesOf("firebreak_rate_limit_waiting", "rate-t")).toBe(1)
      expect(yield* valuesOf("firebreak_rate_limit_rejected_total", "rate-t")).toBe(1)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      expect(yield* valuesOf("firebreak_rate_limit_waiting", "rate-t")).toBe(0)
      expect((yield* limit.stats).rejected).toBe(1)
    })))

  it.effect("ConcurrencyLimit: its height, who is in flight, who was turned away", () =>
    measured(Effect.gen(function*() {
      const strategy = ConcurrencyLimit.aimd({ initial: 1, max: 10 })
      const limit = yield* ConcurrencyLimit.make({ name: "concurrency-t", strategy })
      const release = yield* Deferred.make<void>()
      const running = yield* Effect.fork(limit.protect(Deferred.await(release)))
      yield* Effect.yieldNow()
      yield* Effect.exit(limit.protect(Effect.void))
      expect(yield* valuesOf("firebreak_concurrency_limit", "concurrency-t")).toBe((yield* limit.stats).limit)
      expect(yield* valuesOf("firebreak_concurrency_limit_in_flight", "concurrency-t")).toBe(1)
      expect(yield* valuesOf("firebreak_concurrency_limit_shed_total", "concurrency-t")).toBe(1)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(running)
      expect(yield* valuesOf("firebreak_concurrency_limit_in_flight", "concurrency-t")).toBe(0)
    })))

  it.effect("Throttle: who was turned away", () =>
    measured(Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "throttle-t" })
      yield* Effect.repeat(Effect.exit(throttle.protect(fail)), Schedule.recurs(99))
      const { rejected } = yield* throttle.stats
      expect(rejected).toBeGreaterThan(0)
      expect(yield* valuesOf("firebreak_throttle_rejected_total", "throttle-t")).toBe(rejected)
    })))

  it.effect("RetryBudget and Backoff: what is left, what was granted and refused, retries by name", () =>
    measured(Effect.gen(function*() {
      const allowance = RetryBudget.tokens({ capacity: 10, cost: 5 })
      const budget = yield* RetryBudget.make({ name: "budget-t", allowance })
      const schedule = Backoff.make({ name: "backoff-t", base: 0, maxRetries: 5 })
      yield* Effect.exit(RetryBudget.retryWith(fail, budget, { schedule }))
      const { available, granted, refused } = yield* budget.stats
      expect(granted).toBe(2)
      expect(yield* valuesOf("firebreak_retry_budget_available", "budget-t")).toBe(available)
      expect(yield* valuesOf("firebreak_retry_budget_granted_total", "budget-t")).toBe(granted)
      expect(yield* valuesOf("firebreak_retry_budget_refused_total", "budget-t")).toBe(refused)
      expect(yield* valuesOf("firebreak_retry_budget_refunded_total", "budget-t")).toBe(0)
      expect(yield* valuesOf("firebreak_retries_total", "backoff-t")).toBe(3)
    })))

  it.effect("Hedge: calls, hedges, and those that answered", () =>
    measured(Effect.gen(function*() {
      const hedge = yield* Hedge.make({ name: "hedge-t", delay: "1 second", burst: 1, share: 0 })
      let attempts = 0
      const slowFirst = Effect.suspend(() => attempts++ === 0 ? Effect.never : Effect.void)
      const call = yield* Effect.fork(hedge.safe(slowFirst))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(call)
      const refused = yield* Effect.fork(hedge.safe(Effect.sleep("2 seconds")))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(refused)
      expect(yield* valuesOf("firebreak_hedge_calls_total", "hedge-t")).toBe(2)
      expect(yield* valuesOf("firebreak_hedges_total", "hedge-t")).toBe(1)
      expect(yield* valuesOf("firebreak_hedge_wins_total", "hedge-t")).toBe(1)
      expect(yield* valuesOf("firebreak_hedge_refused_total", "hedge-t")).toBe(1)
      expect((yield* hedge.stats).calls).toBe(2)
    })))

  it.effect("parts of one name add up; the counters of those whose layer is gone stay, their gauges go", () =>
    Effect.gen(function*() {
      const turnAway = (n: number) =>
        Effect.gen(function*() {
          const bulkhead = yield* Bulkhead.make({ name: "twice-t", maxConcurrent: 1, maxQueued: 0 })
          yield* Effect.fork(bulkhead.protect(Effect.never))
          yield* Effect.yieldNow()
          yield* Effect.repeatN(Effect.exit(bulkhead.protect(Effect.void)), n - 1)
          return bulkhead
        })
      const sums = Effect.all([
        valuesOf("firebreak_bulkhead_running", "twice-t"),
        valuesOf("firebreak_bulkhead_rejected_total", "twice-t")
      ])
      yield* measured(Effect.gen(function*() {
        const both = yield* Effect.all([turnAway(2), turnAway(3)])
        expect(yield* sums).toEqual([2, 5])
        yield* both[0].stats
      }))
      expect(yield* sums).toEqual([0, 5])
      yield* measured(Effect.flatMap(turnAway(1), () => Effect.map(sums, (now) => expect(now).toEqual([1, 6]))))
    }))

  it.live("a part that nobody holds any more is let go; what it had counted by the last snapshot stays", () =>
    measured(Effect.gen(function*() {
      yield* Effect.flatMap(
        Bulkhead.make({ name: "dropped-t", maxConcurrent: 1, maxQueued: 0 }),
        (bulkhead) => bulkhead.protect(Effect.exit(bulkhead.protect(Effect.void)))
      )
      yield* CircuitBreaker.make({ name: "dropped-t" })
      expect(yield* valuesOf("firebreak_bulkhead_rejected_total", "dropped-t")).toBe(1)
      const closed = Effect.map(
        valuesOf("firebreak_circuit_breaker_state", "dropped-t", "state"),
        (states) => (states as Record<string, number>)["closed"]
      )
      while ((yield* closed) !== 0) {
        // a part that was looked at is held until the end of the turn
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        collectGarbage()
      }
      expect(yield* valuesOf("firebreak_bulkhead_rejected_total", "dropped-t")).toBe(1)
    })))

  it.effect("without the layer nothing is registered", () =>
    Effect.gen(function*() {
      yield* Bulkhead.make({ name: "unmeasured-t" })
      expect(yield* valuesOf("firebreak_bulkhead_running", "unmeasured-t")).toBeUndefined()
    }))
})

describe("the metrics of events", () => {
  it.effect("Deadline: those that passed, by whether the work had begun", () =>
    measured(Effect.gen(function*() {
      const before = yield* valuesOf("firebreak_deadline_exceeded_total", undefined, "started")
      const call = yield* Effect.fork(Effect.exit(Deadline.within(Effect.never, "1 second")))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(call)
      yield* Effect.exit(Deadline.within(Effect.void, 0))
      const after = yield* valuesOf("firebreak_deadline_exceeded_total", undefined, "started")
      expect([before, after]).toEqual([{}, { true: 1, false: 1 }])
    })))

  it.effect("Idempotency: actions by what came of them", () =>
    measured(
      Effect.gen(function*() {
        const act = Idempotency.once({ operation: "act-t", key: "1" }, Effect.void)
        yield* act
        yield* act
        yield* Effect.exit(
          Idempotency.once({ operation: "act-t", key: "2" }, Effect.dieMessage("a bug"))
        )
        expect(yield* valuesOf("firebreak_actions_total", "act-t", "outcome"))
          .toEqual({ success: 1, failure: 0, replayed: 1, not_started: 0, in_doubt: 1 })
      }).pipe(Effect.provide(Idempotency.layerMemory))
    ))

  it.effect("Checkpoint: runs and steps by what came of them", () =>
    measured(
      Effect.gen(function*() {
        let isUp = false
        const run = Checkpoint.run(
          "telemetry-t",
          Effect.zipRight(
            Checkpoint.step("first", {}, Effect.void),
            Checkpoint.step("second", {}, Effect.suspend(() => isUp ? Effect.void : Effect.dieMessage("a crash")))
          )
        )
        yield* Effect.exit(run)
        isUp = true
        yield* run
        expect(yield* valuesOf("firebreak_run_starts_total", "run", "kind")).toEqual({ new: 1, resumed: 1 })
        expect(yield* valuesOf("firebreak_runs_total", "run", "outcome")).toMatchObject({ success: 1, failure: 0 })
        expect(yield* valuesOf("firebreak_steps_total", "run", "outcome")).toMatchObject({
          success: 2,
          failure: 0,
          replayed: 1
        })
      }).pipe(Effect.provide(Checkpoint.layerMemory))
    ))

  it.effect("Degradation: the level of a component, and how long it was there", () =>
    measured(
      Effect.gen(function*() {
        let isUp = false
        const latency = Degradation.component("latency-t", Effect.suspend(() => isUp ? Effect.succeed(1) : fail)).pipe(
          Degradation.orConstant(0)
        )
        yield* Degradation.all({ latency }, { tolerate: "failed" })
        expect(yield* valuesOf("firebreak_degradation_level", "latency-t")).toBe(3)
        yield* TestClock.adjust("90 seconds")
        expect(yield* valuesOf("firebreak_degradation_seconds_total", "latency-t", "level")).toMatchObject({
          minimal: 90
        })
        isUp = true
        yield* Degradation.all({ latency })
        yield* TestClock.adjust("10 seconds")
        expect(yield* valuesOf("firebreak_degradation_level", "latency-t")).toBe(0)
        expect(yield* valuesOf("firebreak_degradation_seconds_total", "latency-t", "level"))
          .toEqual({ full: 10, slight: 0, moderate: 0, minimal: 90, failed: 0 })
        expect(yield* valuesOf("firebreak_degraded_answers_total", undefined, "level")).toMatchObject({ minimal: 1 })
      }).pipe(Effect.provide(Degradation.layerMemory))
    ))

  it("the level of a component is that of an answer which is nothing but it", () => {
    const levels = DegradationLevel.Quality.literals.map((quality) => DegradationLevel.of([{ quality }]))
    expect(levels).toEqual(DegradationLevel.Level.literals)
  })

  /** One event of each kind that no part above has published, and what it counts for. */
  const told: ReadonlyArray<readonly [Events.Event, metric: Telemetry.Name, tag?: string, value?: unknown]> = [
    [{ _tag: "ChaosInjected", target: "told-t", kind: "fault" }, "firebreak_chaos_injected_total", "kind", {
      fault: 1
    }],
    [
      { _tag: "RemedyApplied", remedy: "told-t", trigger: "", attempt: 1, dryRun: false },
      "firebreak_healing_actions_total"
    ],
    [
      { _tag: "RemedyFailed", remedy: "told-t", trigger: "", attempt: 1, error: "" },
      "firebreak_healing_outcomes_total",
      "outcome",
      { failed: 1 }
    ],
    [
      { _tag: "RemedyVerified", remedy: "told-t", trigger: "", attempt: 1 },
      "firebreak_healing_outcomes_total",
      "outcome",
      { failed: 1, verified: 1 }
    ],
    [
      { _tag: "RemedySkipped", remedy: "told-t", trigger: "", reason: "cooldown" },
      "firebreak_healing_skipped_total",
      "reason",
      { cooldown: 1 }
    ],
    [{ _tag: "RunCancelled", workflow: "told-t", runId: "", reason: "" }, "firebreak_runs_total", "outcome", {
      cancelled: 1
    }],
    [{ _tag: "RunExpired", workflow: "told-t", runId: "", deadlineAt: 0 }, "firebreak_runs_total", "outcome", {
      expired: 1
    }],
    [{ _tag: "RunDied", workflow: "told-t", runId: "", stalls: 3 }, "firebreak_runs_total", "outcome", { died: 1 }],
    [
      { _tag: "StepCompensated", workflow: "told-t", runId: "", step: "" },
      "firebreak_steps_total",
      "outcome",
      { compensated: 1 }
    ],
    [{ _tag: "FailedOver", name: "told-t", to: "b" }, "firebreak_failovers_total", "to", { backup: 1 }],
    [{ _tag: "FailedBack", name: "told-t", to: "a" }, "firebreak_failovers_total", "to", { backup: 1, primary: 1 }],
    [
      {
        _tag: "Escalated",
        name: "told-t",
        reason: "exhausted",
        failing: [],
        consecutiveFailures: 1,
        dryRun: false
      },
      "firebreak_escalations_total"
    ],
    [{ _tag: "EscalationFailed", name: "told-t", error: "" }, "firebreak_escalation_failures_total"],
    [
      { _tag: "EscalationDrilled", name: "told-t", outcome: "failure", elapsedMillis: 1, error: "" },
      "firebreak_escalation_drills_total",
      "outcome",
      { failure: 1 }
    ],
    [
      { _tag: "ChildRestarting", name: "told-t", child: "", restarts: 1, with: [], delayMillis: 0, error: "" },
      "firebreak_restarts_total"
    ],
    [
      { _tag: "SupervisionGaveUp", name: "told-t", child: "", restarts: 1, error: "" },
      "firebreak_supervision_gave_up_total"
    ],
    [{ _tag: "Scaled", name: "told-t", from: 1, to: 2, dryRun: false }, "firebreak_scalings_total", "outcome", {
      up: 1
    }],
    [{ _tag: "Scaled", name: "told-t", from: 2, to: 1, dryRun: false }, "firebreak_scalings_total", "outcome", {
      down: 1
    }],
    [
      { _tag: "ScaleFailed", name: "told-t", from: 1, to: 2, error: "" },
      "firebreak_scalings_total",
      "outcome",
      { failed: 1 }
    ],
    [{ _tag: "ScalingBlind", name: "told-t", error: "" }, "firebreak_scalings_total", "outcome", { blind: 1 }],
    [
      { _tag: "DriftRepaired", name: "told-t", key: "", drift: "Missing" },
      "firebreak_drift_repairs_total",
      "outcome",
      { repaired: 1 }
    ],
    [
      { _tag: "RepairFailed", name: "told-t", key: "", drift: "Missing", error: "" },
      "firebreak_drift_repairs_total",
      "outcome",
      { failed: 1 }
    ],
    [{ _tag: "LoopStopped", guard: "told-t", evidence: "", detail: "" }, "firebreak_loops_stopped_total"]
  ]
  it.effect("the others: one for each event", () =>
    measured(Effect.gen(function*() {
      for (const [event, metric, tag, value = 1] of told) {
        yield* Events.publish(event)
        expect([metric, yield* valuesOf(metric, "told-t", tag)]).toMatchObject([metric, value])
      }
      yield* Events.publish({ _tag: "HealthChecked", status: "degraded", passing: 3, total: 4, failed: ["disk"] })
      expect(yield* valuesOf("firebreak_health_status", undefined, "status"))
        .toEqual({ healthy: 0, degraded: 1, unhealthy: 0, critical: 0 })
      expect(yield* valuesOf("firebreak_health_checks_failing", undefined)).toBe(1)
    })))

  it.effect("the bus of an Events.layer beneath it goes on being heard", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const events = yield* Events.Events
      events.unsafeListen(({ _tag }) => heard.push(_tag))
      yield* measured(Events.publish({ _tag: "FailedOver", name: "heard-t", to: "b" }))
      expect(heard).toEqual(["FailedOver"])
      expect(yield* valuesOf("firebreak_failovers_total", "heard-t", "to")).toEqual({ backup: 1, primary: 0 })
    }).pipe(Effect.provide(Events.layer)))
})
