import { describe, expect, it } from "@effect/vitest"
import * as Autoscale from "@firebreak/core/Autoscale"
import * as Events from "@firebreak/core/Events"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { modelRuns } from "./support/runs.js"

const settings: Autoscale.Settings = {
  target: 10,
  min: 2,
  max: 20,
  tolerance: 0.1,
  maxStep: Infinity,
  cooldownOut: 60_000,
  cooldownIn: 300_000
}

const someSettings: fc.Arbitrary<Autoscale.Settings> = fc.record({
  target: fc.double({ min: 0.1, max: 100, noNaN: true }),
  min: fc.integer({ min: 1, max: 5 }),
  max: fc.integer({ min: 5, max: 40 }),
  tolerance: fc.double({ min: 0, max: 0.5, noNaN: true }),
  maxStep: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 5 })),
  cooldownOut: fc.integer({ min: 0, max: 100 }),
  cooldownIn: fc.integer({ min: 0, max: 500 })
})

const waits = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 80 })

/** The instances after each round under a load that is shared evenly. */
const follow = (
  first: number,
  rounds: ReadonlyArray<{ readonly wait: number; readonly load: number }>,
  settings: Autoscale.Settings
) => {
  let state = Autoscale.initial
  let current = first
  let now = 0
  return rounds.map(({ load, wait }) => {
    now += wait
    const [next, decision] = Autoscale.decide(state, { current, measure: load / current }, now, settings)
    state = next
    if (decision._tag === "Scale") current = decision.to
    return { now, current, decision, load }
  })
}

describe("Autoscale.decide", () => {
  it.prop("never oscillates under a constant load: it moves one way, then stays", [
    someSettings,
    fc.integer({ min: 1, max: 60 }),
    fc.double({ min: 0, max: 2_000, noNaN: true }),
    waits
  ], ([settings, first, load, waits]) => {
    const counts = [first, ...follow(first, waits.map((wait) => ({ wait, load })), settings).map((_) => _.current)]
    const steps = counts.slice(1).map((count, i) => Math.sign(count - counts[i]!)).filter((step) => step !== 0)
    expect(new Set(steps).size).toBeLessThanOrEqual(1)
    expect(steps.length).toBeLessThanOrEqual(60)
  }, modelRuns)

  it.prop("keeps its bounds, its steps and its cooldowns under any load", [
    someSettings,
    fc.array(fc.record({ wait: fc.integer({ min: 1, max: 60 }), load: fc.integer({ min: 0, max: 3_000 }) }), {
      minLength: 1,
      maxLength: 60
    })
  ], ([settings, rounds]) => {
    const followed = follow(settings.min, rounds, settings)
    let before = settings.min
    let grownAt = -Infinity
    for (const { current, now } of followed) {
      const bounded = current >= settings.min && current <= settings.max
      const stepped = Math.abs(current - before) <= settings.maxStep
      const cooled = current <= before || now - grownAt >= settings.cooldownOut
      if (!bounded || !stepped || !cooled) expect({ bounded, stepped, cooled }).toEqual("all")
      if (current > before) grownAt = now
      before = current
    }
  }, modelRuns)

  it.prop("never shrinks below what was wanted within the cooldown", [
    fc.array(fc.record({ wait: fc.integer({ min: 1, max: 60 }), load: fc.integer({ min: 0, max: 300 }) }), {
      minLength: 1,
      maxLength: 60
    })
  ], ([rounds]) => {
    const narrow = { ...settings, cooldownIn: 200, cooldownOut: 0, tolerance: 0 }
    const followed = follow(5, rounds, narrow)
    for (const [i, { current, now }] of followed.entries()) {
      const wanted = followed.slice(0, i + 1)
        .filter((round) => now - round.now < narrow.cooldownIn)
        .map(({ load }) => Math.max(narrow.min, Math.min(narrow.max, Math.ceil(load / narrow.target - 1e-9))))
      // what a float makes of a whole number may be one more, never one less
      if (current < Math.max(...wanted)) expect(current).toBeGreaterThanOrEqual(Math.max(...wanted))
    }
  }, modelRuns)

  it("does what the formula says", () => {
    const decide = (current: number, measure: number) =>
      Autoscale.decide(Autoscale.initial, { current, measure }, 0, settings)[1]
    expect(decide(4, 25)).toEqual({ _tag: "Scale", from: 4, to: 10 })
    expect(decide(4, 10.9)).toEqual({ _tag: "Hold", wanted: 4, reason: "on target" })
    expect(decide(4, 1_000)).toEqual({ _tag: "Scale", from: 4, to: 20 })
    expect(decide(4, 5)).toEqual({ _tag: "Hold", wanted: 2, reason: "cooling down" })
    expect(decide(0, 0)).toEqual({ _tag: "Scale", from: 0, to: 2 })
    expect(decide(30, 10)).toEqual({ _tag: "Scale", from: 30, to: 20 })
  })

  it("counts what is there as wanted after a time without a reading, and does not wait below its lower bound", () => {
    const [seen] = Autoscale.decide(Autoscale.initial, { current: 10, measure: 10 }, 0, settings)
    expect(Autoscale.decide(seen, { current: 10, measure: 0 }, 400_000, settings)[1]).toMatchObject({ _tag: "Hold" })
    const grown = { ...seen, grownAt: 0 }
    expect(Autoscale.decide(grown, { current: 1, measure: 10 }, 10, settings)[1]).toEqual({
      _tag: "Scale",
      from: 1,
      to: 2
    })
  })
})

const world = () => {
  const calls: Array<number> = []
  const state = { load: 100, instances: 2 }
  return {
    state,
    calls,
    options: {
      name: "api",
      target: 10,
      min: 2,
      max: 20,
      measure: Effect.sync(() => state.load / state.instances),
      current: Effect.sync(() => state.instances),
      scaleTo: (instances: number) =>
        Effect.sync(() => {
          calls.push(instances)
          state.instances = instances
        })
    }
  }
}

class Workers extends Autoscale.Tag("workers")<Workers>() {}

describe("Autoscale", () => {
  it.effect("follows the load, at once up and after its cooldown down", () =>
    Effect.gen(function*() {
      const { calls, options, state } = world()
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("1 minute")
        expect(calls).toEqual([10])
        state.load = 30
        yield* TestClock.adjust("4 minutes")
        expect(calls).toEqual([10])
        yield* TestClock.adjust("2 minutes")
        expect(calls).toEqual([10, 3])
        yield* TestClock.adjust("15 minutes")
        expect(calls).toEqual([10, 3])
      }).pipe(Effect.provide(Autoscale.layer(options)))
    }))

  it.effect("runs by itself and can be asked as a service by its tag", () =>
    Effect.gen(function*() {
      const { calls, options: { name: _, ...options }, state } = world()
      yield* Effect.gen(function*() {
        const workers = yield* Workers
        expect(workers.name).toBe("workers")
        yield* TestClock.adjust("1 minute")
        expect(calls).toEqual([10])
        yield* TestClock.adjust("1 second")
        state.load = 200
        expect(yield* workers.round).toEqual({ _tag: "Scaled", from: 10, to: 20, dryRun: false })
        yield* workers.remedy.effect
      }).pipe(Effect.provide(Workers.layer(options)))
      yield* TestClock.adjust("1 hour")
      // its rounds end with the layer
      expect(calls).toEqual([10, 20])
    }))

  it.effect("changes nothing while it cannot see, and says so once", () =>
    Effect.gen(function*() {
      const { calls, options } = world()
      const queue = yield* Events.subscribe
      let measure: Effect.Effect<number, string> = Effect.fail("no metrics")
      const scaler = yield* Autoscale.make({ ...options, measure: Effect.suspend(() => measure), timeout: "1 second" })
      expect(yield* scaler.round).toEqual({ _tag: "Blind", error: "no metrics" })
      measure = Effect.succeed(NaN)
      expect(yield* scaler.round).toEqual({ _tag: "Blind", error: "the measure is NaN" })
      measure = Effect.never
      const hanging = yield* Effect.fork(scaler.round)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(hanging)).toEqual({ _tag: "Blind", error: "no answer within 1s" })
      expect(calls).toEqual([])
      expect(Array.from(yield* Queue.takeAll(queue)).map(({ _tag }) => _tag)).toEqual(["ScalingBlind"])
      measure = Effect.succeed(50)
      expect(yield* scaler.round).toEqual({ _tag: "Scaled", from: 2, to: 10, dryRun: false })
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("tries again at once when scaling failed", () =>
    Effect.gen(function*() {
      const { options } = world()
      let broken = true
      const scaler = yield* Autoscale.make({
        ...options,
        scaleTo: (instances) => broken ? Effect.die(new Error("quota")) : options.scaleTo(instances)
      })
      expect(yield* scaler.round).toEqual({ _tag: "Failed", from: 2, to: 10, error: "quota" })
      broken = false
      expect(yield* scaler.round).toEqual({ _tag: "Scaled", from: 2, to: 10, dryRun: false })
    }))

  it.effect("does not scale again while the last scaling has not ended", () =>
    Effect.gen(function*() {
      const { options, state } = world()
      const log: Array<number> = []
      const scaler = yield* Autoscale.make({
        ...options,
        timeout: "1 second",
        scaleTo: (instances) =>
          Effect.uninterruptible(Effect.delay(Effect.sync(() => log.push(state.instances = instances)), "5 seconds"))
      })
      const first = yield* Effect.fork(scaler.round)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(first)).toMatchObject({ _tag: "Failed", error: "no answer within 1s" })
      state.load = 40
      expect(yield* scaler.round).toMatchObject({ _tag: "Failed", error: "the last scaling has not ended" })
      yield* TestClock.adjust("5 seconds")
      expect(log).toEqual([10])
    }))

  it.effect("only says what it would do in a dry run", () =>
    Effect.gen(function*() {
      const { calls, options } = world()
      const queue = yield* Events.subscribe
      const scaler = yield* Autoscale.make({ ...options, dryRun: true })
      expect(yield* scaler.round).toEqual({ _tag: "Scaled", from: 2, to: 10, dryRun: true })
      expect(calls).toEqual([])
      expect(Array.from(yield* Queue.takeAll(queue))).toEqual([
        { _tag: "Scaled", name: "api", from: 2, to: 10, dryRun: true, at: 0 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it("refuses bad options by name", () => {
    const { options } = world()
    expect(() => Autoscale.make({ ...options, target: 0 })).toThrow("Autoscale: target must be between")
    expect(() => Autoscale.make({ ...options, min: 5, max: 4 })).toThrow(
      "Autoscale: max must be a whole number of at least 5, got 4"
    )
    expect(() => Autoscale.layer({ ...options, every: 0 })).toThrow("Autoscale: every must be a finite duration")
  })
})
