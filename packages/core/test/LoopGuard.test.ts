import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as LoopGuard from "@firebreak/core/LoopGuard"
import * as State from "@firebreak/core/LoopGuardState"
import * as Rejection from "@firebreak/core/Rejection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { modelRuns, same } from "./support/runs.js"

const limits: State.Limits = {
  maxSteps: 8,
  maxTime: 1_000,
  maxCost: 20,
  maxRepeats: 2,
  maxCycles: 2,
  longestCycle: 3,
  maxStalled: 3,
  within: 100
}

const observation: fc.Arbitrary<State.Observation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      _tag: fc.constant("Action" as const),
      action: fc.constant("act"),
      fingerprint: fc.constantFrom("a", "b", "c"),
      cost: fc.integer({ min: 0, max: 6 })
    })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Spent" as const), cost: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("State" as const), state: fc.constantFrom("x", "y", "z") }) },
  {
    weight: 2,
    arbitrary: fc.record({ _tag: fc.constant("Progress" as const), measure: fc.integer({ min: 0, max: 9 }) })
  }
)

interface Told {
  readonly observation: State.Observation
  readonly at: number
}

const run = fc.array(fc.tuple(observation, fc.integer({ min: 0, max: 60 })), { maxLength: 40 }).map((steps) => {
  let at = 0
  return steps.map(([observation, wait]): Told => ({ observation, at: at += wait }))
})

/** What may be said of everything that was told and accepted, read off the whole list. */
const model = (accepted: ReadonlyArray<Told>, next: Told): State.Evidence["_tag"] | undefined => {
  const actions = accepted.filter(({ observation }) => observation._tag === "Action")
  const costs = (told: ReadonlyArray<Told>) =>
    told.reduce((sum, { observation }) => sum + ("cost" in observation ? observation.cost : 0), 0)
  if (next.at > limits.maxTime) return "TimeUsedUp"
  switch (next.observation._tag) {
    case "Action": {
      const { fingerprint } = next.observation
      if (actions.length === limits.maxSteps) return "StepsUsedUp"
      if (costs([...accepted, next]) > limits.maxCost) return "CostUsedUp"
      let best = -1
      let stalled = 0
      for (const { observation } of accepted) {
        if (observation._tag === "Action") stalled++
        if (observation._tag === "Progress" && observation.measure > best) {
          best = observation.measure
          stalled = 0
        }
      }
      if (best >= 0 && stalled >= limits.maxStalled) return "NoProgress"
      const alike = actions.filter(({ at, observation }) =>
        next.at - at < limits.within && observation._tag === "Action" && observation.fingerprint === fingerprint
      )
      return alike.length >= limits.maxRepeats ? "ActionRepeated" : undefined
    }
    case "Spent":
      return costs([...accepted, next]) > limits.maxCost ? "CostUsedUp" : undefined
    case "State": {
      const entered = [...accepted, next].flatMap(({ at, observation }) =>
        observation._tag === "State" ? [{ state: observation.state, at }] : []
      ).filter(({ state }, i, all) => state !== all[i - 1]?.state)
      // the state it is in already is nothing new
      if (entered.at(-1)?.at !== next.at) return undefined
      const recent = entered.filter(({ at }) => next.at - at < limits.within).map(({ state }) => state).join("")
      return /(..+?)\1$/.test(recent.slice(-4)) || /(...)\1$/.test(recent) ? "StatesCycled" : undefined
    }
    case "Progress":
      return undefined
  }
}

describe("LoopGuardState", () => {
  it.prop("stops a program exactly when the model does", [run], ([told]) => {
    let state = State.initial(0)
    const accepted: Array<Told> = []
    for (const next of told) {
      const [after, evidence] = State.step(state, next.observation, next.at, limits)
      same(evidence?._tag, model(accepted, next), "the evidence")
      if (evidence !== undefined) return
      accepted.push(next)
      state = after
    }
  }, modelRuns)

  it.prop("never lets anything through once it has stopped, and stays as it is", [run], ([told]) => {
    let state = State.initial(0)
    for (const { at, observation } of told) {
      const before = state
      const [after, evidence] = State.step(state, observation, at, limits)
      if (before.stopped !== undefined) {
        expect(after).toBe(before)
        expect(evidence).toBe(before.stopped)
      }
      state = after
      expect(state.steps).toBeLessThanOrEqual(limits.maxSteps)
    }
  })

  it("recognises the shortest cycle", () => {
    expect(State.cycleOf(["a", "b", "a", "b"], 2, 4)).toEqual(["a", "b"])
    expect(State.cycleOf(["x", "a", "b", "c", "a", "b", "c"], 2, 4)).toEqual(["a", "b", "c"])
    expect(State.cycleOf(["a", "b", "c", "a", "b", "c"], 2, 2)).toBeUndefined()
    expect(State.cycleOf(["a", "b", "a"], 2, 4)).toBeUndefined()
  })

  it("remembers a bounded number of actions", () => {
    let state = State.initial(0)
    const wide = { ...limits, maxSteps: Infinity, maxCost: Infinity, maxStalled: Infinity, maxTime: Infinity }
    for (let i = 0; i < 5_000; i++) {
      ;[state] = State.step(state, { _tag: "Action", action: "a", fingerprint: `${i}`, cost: 0 }, 0, wide)
    }
    expect(state.steps).toBe(5_000)
    expect(state.actions.length).toBe(1_000)
  })
})

class Agent extends LoopGuard.Tag("agent")<Agent>() {}

const restart = { action: "restart", arguments: { service: "api", zone: "a" } }

describe("LoopGuard", () => {
  it.effect("refuses the same action once it was taken too often, whatever the order of its arguments", () =>
    Effect.gen(function*() {
      let ran = 0
      const guard = yield* LoopGuard.make({ name: "agent", maxRepeats: 2 })
      const act = (arguments_: unknown) =>
        Effect.sync(() => ++ran).pipe(guard.protect({ action: "restart", arguments: arguments_ }))
      yield* act({ service: "api", zone: "a" })
      yield* act({ zone: "a", service: "api" })
      yield* act({ service: "web", zone: "a" })
      const error = yield* Effect.flip(act({ service: "api", zone: "a" }))
      expect(ran).toBe(3)
      expect(error.message).toBe(
        "LoopGuard \"agent\" stopped the program: \"restart\" was taken 2 times with the same arguments within 10m"
      )
      expect(Rejection.isRejection(error)).toBe(true)
      // whatever comes next
      expect(yield* Effect.flip(act({ service: "other" }))).toEqual(error)
      expect((yield* Effect.flip(guard.progress(1))).evidence).toEqual(error.evidence)
      yield* guard.reset
      expect(yield* act({ service: "api", zone: "a" })).toBe(4)
    }))

  it.effect("lets the same action through again after a while", () =>
    Effect.gen(function*() {
      const guard = yield* LoopGuard.make({ name: "agent", maxRepeats: 1, within: "1 minute" })
      yield* guard.action(restart)
      yield* TestClock.adjust("1 minute")
      yield* guard.action(restart)
      yield* TestClock.adjust("59 seconds")
      expect(Exit.isFailure(yield* Effect.exit(guard.action(restart)))).toBe(true)
    }))

  it.effect("sees a program go to and fro", () =>
    Effect.gen(function*() {
      const guard = yield* LoopGuard.make({ name: "scaler", maxCycles: 2 })
      yield* Effect.forEach(["up", "up", "down", "up"], guard.state)
      const error = yield* Effect.flip(guard.state("down"))
      expect(error.evidence).toEqual({ _tag: "StatesCycled", cycle: ["up", "down"], times: 2 })
      expect(error.message).toContain("it went through \"up\", \"down\" 2 times in a row")
    }))

  it.effect("stops a program that makes no progress, and one that was never asked for any does not stall", () =>
    Effect.gen(function*() {
      const guard = yield* LoopGuard.make({ name: "agent", maxStalled: 2, maxRepeats: Infinity })
      yield* Effect.replicateEffect(guard.action(restart), 5)
      yield* guard.progress(-4)
      yield* Effect.replicateEffect(guard.action(restart), 2)
      yield* guard.progress(-3)
      yield* Effect.replicateEffect(guard.action(restart), 2)
      yield* guard.progress(-3)
      const error = yield* Effect.flip(guard.action(restart))
      expect(error.evidence).toEqual({ _tag: "NoProgress", steps: 2, best: -3 })
    }))

  it.effect("keeps the budgets of steps, time and cost", () =>
    Effect.gen(function*() {
      const steps = yield* LoopGuard.make({ name: "agent", maxSteps: 2, maxRepeats: Infinity })
      yield* Effect.replicateEffect(steps.action(restart), 2)
      expect((yield* Effect.flip(steps.action(restart))).evidence).toEqual({ _tag: "StepsUsedUp", steps: 2 })

      const time = yield* LoopGuard.make({ name: "agent", maxTime: "1 minute" })
      yield* TestClock.adjust("1 minute")
      yield* time.action(restart)
      yield* TestClock.adjust("1 second")
      expect((yield* Effect.flip(time.action(restart))).message).toContain("it has run for 1m 1s, allowed are 1m")

      const cost = yield* LoopGuard.make({ name: "agent", maxCost: 1 })
      yield* cost.action({ ...restart, cost: 0.5 })
      yield* cost.spent(0.25)
      expect(Rejection.isRejection(yield* Effect.flip(cost.action({ ...restart, cost: 0.5 })))).toBe(true)
      // what is told afterwards has happened
      expect(Rejection.isRejection(yield* Effect.flip(cost.spent(1)))).toBe(false)
      expect((yield* Effect.flip(cost.action({ ...restart, cost: 0.5 }))).evidence).toEqual({
        _tag: "CostUsedUp",
        cost: 1.25,
        limit: 1
      })
      const report = yield* cost.report
      expect(report).toMatchObject({ steps: 1, cost: 0.75, best: Option.none() })
      expect(Option.isSome(report.stopped)).toBe(true)
    }))

  it.effect("holds what was done before against a program, as far as it is recent", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const at = Duration.toMillis("1 hour")
      const before = (minutes: number) => ({ ...restart, at: at - minutes * 60_000 })
      const guard = yield* LoopGuard.make({ name: "agent", maxRepeats: 2, history: [before(30), before(9)] })
      yield* guard.action(restart)
      expect((yield* Effect.flip(guard.action(restart))).evidence).toMatchObject({ _tag: "ActionRepeated", times: 2 })
      expect((yield* guard.report).steps).toBe(1)
    }))

  it.effect("says so once", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const guard = yield* LoopGuard.make({ name: "agent", maxSteps: 1 })
      yield* guard.action(restart)
      yield* Effect.ignore(guard.action(restart))
      yield* Effect.ignore(guard.action(restart))
      expect(Array.from(yield* Queue.takeAll(queue))).toEqual([
        { _tag: "LoopStopped", guard: "agent", evidence: "StepsUsedUp", detail: "all 1 steps are used up", at: 0 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("is a service by its tag", () =>
    Effect.gen(function*() {
      const act = Effect.succeed("done").pipe(Agent.protect(restart))
      expect(yield* act).toBe("done")
      expect(yield* Effect.flip(act)).toBeInstanceOf(LoopGuard.LoopDetected)
    }).pipe(Effect.provide(Agent.layer({ maxRepeats: 1 }))))

  it.effect("takes what was done before in its layer", () =>
    Effect.gen(function*() {
      const history = [{ ...restart, at: 0 }]
      const act = Agent.protect(restart)(Effect.void).pipe(Effect.provide(Agent.layer({ maxRepeats: 1, history })))
      expect((yield* Effect.flip(act)).evidence).toMatchObject({ _tag: "ActionRepeated", times: 1 })
    }))

  it("refuses bad options and arguments by name", () => {
    expect(() => LoopGuard.make({ name: " " })).toThrow("LoopGuard: name must be a name that is not empty, got \" \"")
    expect(() => LoopGuard.make({ name: "a", maxSteps: 0 })).toThrow(
      "LoopGuard: maxSteps must be a whole number of at least 1, got 0"
    )
    expect(() => LoopGuard.make({ name: "a", maxRepeats: 1_001 })).toThrow(
      "LoopGuard: maxRepeats must be between 1 and 1000, got 1001"
    )
    expect(() => LoopGuard.make({ name: "a", maxCost: -1 })).toThrow(
      "LoopGuard: maxCost must be between 0 and Infinity"
    )
    expect(() => LoopGuard.make({ name: "a", within: Infinity })).toThrow("LoopGuard: within must be a finite duration")
    expect(() => LoopGuard.make({ name: "a", history: [{ action: "x", arguments: { n: NaN }, at: 0 }] })).toThrow(
      "LoopGuard \"a\": arguments of \"x\" must be JSON; n: NaN is not JSON"
    )
    expect(() => LoopGuard.make({ name: "a", maxTime: Infinity, maxSteps: Infinity })).not.toThrow()
  })
})
