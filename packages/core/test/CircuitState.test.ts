import { describe, expect, it } from "@effect/vitest"
import * as CircuitState from "@firebreak/core/CircuitState"
import * as TripStrategy from "@firebreak/core/TripStrategy"
import * as fc from "effect/FastCheck"

// A plain model of the diagram in CircuitState's header, written the slow way: full history, no epochs.
interface Model {
  mode: "closed" | "open" | "half-open"
  failures: number
  retryAt: number
  successes: number
  inFlight: Map<number, { readonly startedAt: number; readonly period: number }>
  period: number
}

/** More of them on demand: FC_RUNS=10000. */
const runs = Number(process.env["FC_RUNS"] ?? 1_000)

const threshold = 3
const resetAfter = 1_000
const timeout = 700

const config = (permits: number, successThreshold: number): CircuitState.Config<number> => ({
  trip: TripStrategy.consecutive(threshold),
  resetAfter: () => resetAfter,
  successThreshold,
  halfOpenPermits: permits,
  halfOpenTimeout: timeout,
  ramp: undefined
})

// weighted so that the circuit opens and probes several times in a run
const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("call" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("settle" as const),
      which: fc.nat(20),
      verdict: fc.constantFrom(
        "failure" as const,
        "failure" as const,
        "failure" as const,
        "success" as const,
        "ignore" as const
      )
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("wait" as const),
      millis: fc.constantFrom(1, 300, 699, 700, 1_000, 1_700)
    })
  }
)

describe("CircuitState", () => {
  it.prop("behaves as the diagram says, whatever happens in whatever order", [
    fc.array(command, { minLength: 30, maxLength: 120, size: "max" }),
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 1, max: 3 })
  ], ([commands, permits, successThreshold]) => {
    const machine = config(permits, successThreshold)
    let state: CircuitState.State<number> = CircuitState.closed(machine, 0)
    let now = 0
    const issued: Array<{ readonly id: number; readonly permit: CircuitState.Permit }> = []
    const model: Model = {
      mode: "closed",
      failures: 0,
      retryAt: 0,
      successes: 0,
      inFlight: new Map(),
      period: 0
    }
    const become = (mode: Model["mode"], at: number) => {
      model.mode = mode
      model.failures = 0
      model.successes = 0
      model.retryAt = at + resetAfter
      model.period++
    }
    const probes = () => [...model.inFlight.values()].filter((call) => call.period === model.period)
    const tick = () => {
      state = CircuitState.expire(machine, state, now, 0)
      if (model.mode !== "half-open") return
      const expired = probes().map((call) => call.startedAt + timeout).filter((at) => at <= now)
      if (expired.length > 0) become("open", Math.min(...expired))
    }
    let ids = 0
    for (const step of commands) {
      if (step._tag === "wait") now += step.millis
      tick()
      if (step._tag === "call") {
        const [next, decision]: readonly [CircuitState.State<number>, CircuitState.Decision] = CircuitState.acquire(
          machine,
          state,
          now,
          0
        )
        state = next
        if (model.mode === "open" && now >= model.retryAt) become("half-open", now)
        const admitted = model.mode === "closed" || (model.mode === "half-open" && probes().length < permits)
        expect(decision._tag).toBe(admitted ? "Admit" : "Reject")
        if (decision._tag === "Admit") {
          issued.push({ id: ids, permit: decision.permit })
          model.inFlight.set(ids++, { startedAt: now, period: model.period })
        } else if (model.mode === "open") {
          expect(decision.retryAfter).toBe(model.retryAt - now)
        }
      }
      if (step._tag === "settle" && issued.length > 0) {
        const [{ id, permit }] = issued.splice(step.which % issued.length, 1) as [(typeof issued)[number]]
        const call = model.inFlight.get(id)!
        model.inFlight.delete(id)
        state = CircuitState.settle(machine, state, permit, step.verdict, now, 0)
        // giving the same permit back a second time changes nothing
        if (permit.probe !== undefined) {
          expect(CircuitState.settle(machine, state, permit, step.verdict, now, 0)).toBe(state)
        }
        if (call.period === model.period && step.verdict !== "ignore") {
          if (model.mode === "closed") {
            model.failures = step.verdict === "success" ? 0 : model.failures + 1
            if (model.failures >= threshold) become("open", now)
          } else if (model.mode === "half-open") {
            if (step.verdict === "failure") become("open", now)
            else if (++model.successes >= successThreshold) become("closed", now)
          }
        }
      }
      const mode = {
        Closed: "closed",
        Recovering: "recovering",
        Open: "open",
        HalfOpen: "half-open",
        Forced: "forced"
      }[state._tag]
      expect(mode).toBe(model.mode)
      if (state._tag === "HalfOpen") expect(state.probes.length).toBe(probes().length)
    }
  }, { fastCheck: { numRuns: runs } })

  it("opens again at the moment a hung probe timed out, however late anybody looks", () => {
    const machine = config(1, 2)
    const open: CircuitState.Open = { _tag: "Open", epoch: 1, retryAt: 1_000, openings: 1 }
    const [probing] = CircuitState.acquire(machine, open, 1_000, 0)
    const reopened = CircuitState.expire(machine, probing, 1_000_000, 0)
    expect(reopened).toMatchObject({ _tag: "Open", retryAt: 1_000 + timeout + resetAfter, openings: 2 })
  })

  it("stays half-open while nobody calls, so that a rare call can still close it", () => {
    const machine = config(1, 1)
    const open: CircuitState.Open = { _tag: "Open", epoch: 1, retryAt: 0, openings: 1 }
    const [probing, decision] = CircuitState.acquire(machine, open, 0, 0)
    if (decision._tag !== "Admit") throw new Error("the probe was rejected")
    const idle = CircuitState.settle(machine, probing, decision.permit, "ignore", 1, 0)
    expect(CircuitState.expire(machine, idle, 1e9, 0)).toBe(idle)
    const [again, second] = CircuitState.acquire(machine, idle, 1e9, 0)
    if (second._tag !== "Admit") throw new Error("the second probe was rejected")
    expect(CircuitState.settle(machine, again, second.permit, "success", 1e9 + 1, 0)._tag).toBe("Closed")
  })
})

describe("rates", () => {
  it.prop("count what lies in the window, to a tenth of it", [
    fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.boolean()), { maxLength: 80 }),
    fc.integer({ min: 100, max: 2_000 })
  ], ([calls, within]) => {
    const trip = TripStrategy.failureRate({ rate: 1, minimumCalls: 1, within })
    let counter = trip.initial
    let now = 1e9
    const failures: Array<number> = []
    for (const [gap, failed] of calls) {
      now += gap
      if (failed) failures.push(now)
      counter = failed ? trip.onFailure(counter, now, NaN) : trip.onSuccess(counter, now, NaN)
      const recent = trip.recentFailures(counter, now)
      const youngerThan = (age: number) => failures.filter((time) => time > now - age).length
      expect(recent).toBeLessThanOrEqual(youngerThan(within))
      expect(recent).toBeGreaterThanOrEqual(youngerThan(within * 0.9))
    }
    expect(trip.recentFailures(counter, now + within)).toBe(0)
    expect(trip.recentFailures(counter, now + 3_600_000)).toBe(0)
  }, { fastCheck: { numRuns: runs } })

  it.prop("count exactly the latest calls", [
    fc.array(fc.boolean(), { maxLength: 300 }),
    fc.integer({ min: 1, max: 120 })
  ], ([outcomes, latest]) => {
    const trip = TripStrategy.failureRate({ rate: 1, latest, minimumCalls: latest })
    let counter = trip.initial
    for (const [i, failed] of outcomes.entries()) {
      counter = failed ? trip.onFailure(counter, NaN, NaN) : trip.onSuccess(counter, NaN, NaN)
      const last = outcomes.slice(Math.max(0, i + 1 - latest), i + 1)
      expect(trip.recentFailures(counter, NaN)).toBe(last.filter(Boolean).length)
      expect(trip.trips(counter, NaN)).toBe(last.length === latest && last.every(Boolean))
    }
  }, { fastCheck: { numRuns: runs } })
})

describe("TripStrategy.countInWindow", () => {
  it.prop("trips exactly when `failures` times lie within the span", [
    fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 40 }),
    fc.integer({ min: 1, max: 6 }),
    fc.integer({ min: 1, max: 1_000 })
  ], ([gaps, failures, within]) => {
    const trip = TripStrategy.countInWindow({ failures, within })
    let counter = trip.initial
    const times: Array<number> = []
    let now = 0
    for (const gap of gaps) {
      now += gap
      times.push(now)
      counter = trip.onFailure(counter, now, NaN)
      const recent = times.filter((time) => time > now - within).length
      expect(trip.trips(counter, now)).toBe(recent >= failures)
      expect(trip.recentFailures(counter, now)).toBe(Math.min(recent, failures))
      expect(trip.recentFailures(counter, now + within)).toBe(0)
    }
  }, { fastCheck: { numRuns: runs } })

  it("keeps no more times than decide", () => {
    const trip = TripStrategy.countInWindow({ failures: 3, within: "1 hour" })
    let counter = trip.initial
    for (let now = 0; now < 100; now++) counter = trip.onFailure(counter, now, NaN)
    expect(counter.length).toBe(3)
  })

  it.each([0, -1, 1.5, NaN])("refuses a threshold of %s", (failures) => {
    expect(() => TripStrategy.countInWindow({ failures, within: "1 second" })).toThrow(/failures.*got/)
    expect(() => TripStrategy.consecutive(failures)).toThrow(/threshold.*got/)
  })
})
