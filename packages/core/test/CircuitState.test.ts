import { describe, expect, it } from "@effect/vitest"
import * as CircuitState from "@firebreak/core/CircuitState"
import * as TripStrategy from "@firebreak/core/TripStrategy"
import * as fc from "effect/FastCheck"
import { labelOf } from "../src/internal/circuitEvent.js"
import { commands, growing, Model, probeTimeout, ramp, threshold } from "./support/circuitModel.js"
import { modelRuns, same } from "./support/runs.js"

const resetAfter = 1_000

const config = (
  permits: number,
  successThreshold: number,
  more: Partial<CircuitState.Config<number>> = {}
): CircuitState.Config<number> => ({
  trip: TripStrategy.consecutive(threshold),
  resetAfter: () => resetAfter,
  successThreshold,
  halfOpenPermits: permits,
  halfOpenTimeout: probeTimeout,
  ramp: undefined,
  ...more
})

describe("CircuitState", () => {
  it.prop("behaves as the diagram says, whatever happens in whatever order", [
    commands,
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 1, max: 3 }),
    fc.boolean()
  ], ([commands, permits, successThreshold, ramps]) => {
    const machine = config(permits, successThreshold, { resetAfter: growing, ramp: ramps ? ramp : undefined })
    const model = new Model(permits, successThreshold, ramps)
    let state: CircuitState.State<number> = CircuitState.closed(machine, 0)
    let now = 0
    let calls = 0
    const issued: Array<{ readonly id: number; readonly permit: CircuitState.Permit }> = []
    for (const step of commands) {
      if (step._tag === "wait") now += step.millis
      const before = state
      state = CircuitState.expire(machine, state, now, 0)
      model.tick(now)
      switch (step._tag) {
        case "call": {
          const id = calls++
          const [next, decision]: readonly [CircuitState.State<number>, CircuitState.Decision] = CircuitState.acquire(
            machine,
            state,
            now,
            step.draw
          )
          state = next
          const retryAfter = model.call(id, now, step.draw)
          same(decision._tag === "Reject" ? decision.retryAfter : undefined, retryAfter, "time until a retry")
          if (decision._tag === "Admit") issued.push({ id, permit: decision.permit })
          break
        }
        case "settle": {
          if (issued.length === 0) break
          const [{ id, permit }] = issued.splice(step.which % issued.length, 1) as [(typeof issued)[number]]
          const settled: CircuitState.State<number> = CircuitState.settle(machine, state, permit, step.verdict, now, 0)
          if (permit.epoch !== state.epoch) same(settled, state, "state after a result of another epoch")
          state = settled
          model.settle(id, step.verdict, now)
          // giving the same permit back a second time changes nothing
          if (permit.probe !== undefined) {
            same(
              CircuitState.settle(machine, state, permit, step.verdict, now, 0),
              state,
              "state after a second return"
            )
          }
          break
        }
        case "hand": {
          state = step.what === "reset"
            ? CircuitState.closed(machine, state.epoch + 1)
            : CircuitState.force(state, step.what)
          model.become(step.what === "reset" ? "closed" : `forced-${step.what}`, now)
        }
      }
      same(labelOf(state), model.mode, "mode")
      same(state.epoch >= before.epoch, true, "epochs only grow")
      if (state._tag === "HalfOpen") same(state.probes.length, model.probes, "probes in flight")
    }
  }, modelRuns)

  it("opens again at the moment a hung probe timed out, however late anybody looks", () => {
    const machine = config(1, 2)
    const open: CircuitState.Open = { _tag: "Open", epoch: 1, retryAt: 1_000, openings: 1 }
    const [probing] = CircuitState.acquire(machine, open, 1_000, 0)
    const reopened = CircuitState.expire(machine, probing, 1_000_000, 0)
    expect(reopened).toMatchObject({ _tag: "Open", retryAt: 1_000 + probeTimeout + resetAfter, openings: 2 })
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
    fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.boolean(), fc.boolean()), { maxLength: 80 }),
    fc.integer({ min: 100, max: 2_000 }),
    fc.boolean()
  ], ([calls, within, bySlowness]) => {
    const trip = bySlowness
      ? TripStrategy.slowCallRate({ rate: 1, slowerThan: 50, minimumCalls: 1, within })
      : TripStrategy.failureRate({ rate: 1, minimumCalls: 1, within })
    let counter = trip.initial
    let now = 1e9
    const counted: Array<number> = []
    for (const [gap, failed, slow] of calls) {
      now += gap
      if (bySlowness ? slow : failed) counted.push(now)
      const elapsed = slow ? 51 : 50
      counter = failed ? trip.onFailure(counter, now, elapsed) : trip.onSuccess(counter, now, elapsed)
      const recent = trip.recentFailures(counter, now)
      const youngerThan = (age: number) => counted.filter((time) => time > now - age).length
      same(recent <= youngerThan(within) && recent >= youngerThan(within * 0.9), true, "recent calls in the window")
    }
    same(trip.recentFailures(counter, now + within), 0, "recent calls a window later")
    same(trip.recentFailures(counter, now + 3_600_000), 0, "recent calls an hour later")
  }, modelRuns)

  it.prop("count exactly the latest calls", [
    fc.array(fc.boolean(), { maxLength: 300 }),
    fc.integer({ min: 1, max: 120 })
  ], ([outcomes, latest]) => {
    const trip = TripStrategy.failureRate({ rate: 0.5, latest, minimumCalls: latest })
    let counter = trip.initial
    let bad = 0
    for (const [i, failed] of outcomes.entries()) {
      counter = failed ? trip.onFailure(counter, NaN, NaN) : trip.onSuccess(counter, NaN, NaN)
      bad += Number(failed) - Number(i >= latest && outcomes[i - latest])
      same(trip.recentFailures(counter, NaN), bad, "failures among the latest")
      same(trip.trips(counter, NaN), i + 1 >= latest && bad / latest >= 0.5, "trips")
    }
  }, modelRuns)

  it.prop("`either` trips when one of the two would, and asks for what they both need", [
    fc.array(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.boolean(), fc.boolean()), { maxLength: 40 })
  ], ([calls]) => {
    const failures = TripStrategy.consecutive(4)
    const slowness = TripStrategy.slowCallRate({ rate: 0.5, slowerThan: 50, minimumCalls: 5, within: "1 second" })
    const both = TripStrategy.either(failures, slowness)
    same(both.reads, "elapsed", "what it reads")
    let [a, b, pair] = [failures.initial, slowness.initial, both.initial]
    let now = 0
    for (const [gap, failed, slow] of calls) {
      now += gap
      const elapsed = slow ? 51 : 50
      const on = failed ? "onFailure" : "onSuccess"
      a = failures[on](a, now, elapsed)
      b = slowness[on](b, now, elapsed)
      pair = both[on](pair, now, elapsed)
      same(both.trips(pair, now), failures.trips(a, now) || slowness.trips(b, now), "trips")
    }
  }, modelRuns)
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
      same(trip.trips(counter, now), recent >= failures, "trips")
      same(trip.recentFailures(counter, now), Math.min(recent, failures), "recent failures")
      same(trip.recentFailures(counter, now + within), 0, "recent failures a span later")
    }
  }, modelRuns)

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
