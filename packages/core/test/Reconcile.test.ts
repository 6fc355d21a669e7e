import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Health from "@firebreak/core/Health"
import * as Reconcile from "@firebreak/core/Reconcile"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { shellRuns } from "./support/runs.js"

const things = fc.array(fc.tuple(fc.constantFrom(..."abcdefghij"), fc.integer({ min: 0, max: 3 })), { maxLength: 10 })
  .map((entries) => new Map(entries))

const same = (a: number, b: number) => a === b

/** A world of numbers whose repairs may fail. */
const world = (desired: Map<string, number>, actual: Map<string, number>, fails: () => boolean = () => false) => {
  const repairs: Array<string> = []
  const set = (verb: string) => (key: string, value: number) =>
    Effect.suspend(() => {
      repairs.push(`${verb} ${key}`)
      if (fails()) return Effect.fail("no")
      actual.set(key, value)
      return Effect.void
    })
  return {
    repairs,
    options: {
      name: "world",
      desired: Effect.sync(() => new Map(desired)),
      actual: Effect.sync(() => new Map(actual)),
      create: set("create"),
      update: set("update"),
      remove: (key: string) =>
        Effect.suspend(() => {
          repairs.push(`remove ${key}`)
          if (fails()) return Effect.fail("no")
          actual.delete(key)
          return Effect.void
        })
    }
  }
}

describe("Reconcile.diff and plan", () => {
  it.prop("find nothing exactly where both are the same", [things, things], ([desired, actual]) => {
    const drifts = Reconcile.diff(desired, actual, same)
    const equal = desired.size === actual.size && [...desired].every(([key, value]) => actual.get(key) === value)
    expect(drifts.length === 0).toBe(equal)
    expect(new Set(drifts.map(({ key }) => key)).size).toBe(drifts.length)
  })

  it.prop("never repair more than allowed, and lose no drift", [
    things,
    things,
    fc.integer({ min: 1, max: 5 }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.boolean()
  ], ([desired, actual, maxRepairs, maxRemoved, removes]) => {
    const drifts = Reconcile.diff(desired, actual, same)
    const { deferred, refused, repairs } = Reconcile.plan(drifts, actual.size, { maxRepairs, maxRemoved, removes })
    expect(repairs.length).toBeLessThanOrEqual(maxRepairs)
    const removed = repairs.filter(({ _tag }) => _tag === "Unexpected").length
    expect(removed).toBeLessThanOrEqual(removes ? maxRemoved * actual.size : 0)
    expect([...repairs, ...deferred, ...refused].toSorted((a, b) => a.key < b.key ? -1 : 1)).toEqual(drifts)
  })
})

class Replicas extends Reconcile.Tag("replicas")<Replicas, number, number>() {}

describe("Reconcile", () => {
  it.effect.prop("converges though repairs fail, and then stays still", [
    things,
    things,
    fc.array(fc.boolean(), { maxLength: 8 }),
    fc.integer({ min: 1, max: 4 })
  ], ([desired, actual, failures, maxRepairs]) =>
    Effect.gen(function*() {
      const { options, repairs } = world(desired, actual, () => failures.pop() ?? false)
      const reconciler = yield* Reconcile.make({ ...options, maxRepairs, maxRemoved: 1 })
      yield* Effect.replicateEffect(reconciler.round, 20)
      expect(actual).toEqual(desired)
      const done = repairs.length
      const last = yield* reconciler.round
      expect(Either.getOrThrow(last)).toMatchObject({ repairs: [], deferred: [], refused: [] })
      expect(repairs.length).toBe(done)
    }), { ...shellRuns, fastCheck: { ...shellRuns.fastCheck, numRuns: 50 } })

  it.effect("repairs what is missing, different and unexpected, and tells of each", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { options, repairs } = world(
        new Map([["a", 1], ["b", 2], ["c", 3]]),
        new Map([["b", 1], ["c", 3], ["d", 1]])
      )
      const reconciler = yield* Reconcile.make(options)
      yield* reconciler.round
      yield* reconciler.round
      expect(repairs).toEqual(["create a", "update b", "remove d"])
      expect(Array.from(yield* Queue.takeAll(queue)).map(({ at: _, ...event }) => event)).toEqual([
        { _tag: "DriftFound", name: "world", repairs: ["a", "b", "d"], deferred: 0, refused: [], dryRun: false },
        { _tag: "DriftRepaired", name: "world", key: "a", drift: "Missing" },
        { _tag: "DriftRepaired", name: "world", key: "b", drift: "Different" },
        { _tag: "DriftRepaired", name: "world", key: "d", drift: "Unexpected" }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("removes nothing for a source of truth that has lost its data", () =>
    Effect.gen(function*() {
      const { options, repairs } = world(new Map(), new Map([["a", 1], ["b", 1], ["c", 1]]))
      const reconciler = yield* Reconcile.make(options)
      const report = Either.getOrThrow(yield* reconciler.round)
      expect(report.refused.map(({ key }) => key)).toEqual(["a", "b", "c"])
      expect(repairs).toEqual([])
    }))

  it.effect("reports what is unexpected where nothing removes it, once", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { options } = world(new Map([["a", 1]]), new Map([["a", 1], ["b", 1]]))
      const reconciler = yield* Reconcile.make({ ...options, remove: undefined })
      yield* Effect.replicateEffect(reconciler.round, 3)
      expect(yield* Queue.size(queue)).toBe(1)
      expect(Either.getOrThrow(yield* reconciler.drift)).toEqual([{ _tag: "Unexpected", key: "b", actual: 1 }])
      // nobody is going to mend it, so it is nothing to heal
      expect(yield* Effect.either(reconciler.check.effect)).toEqual(Either.right(undefined))
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("repairs nothing where it cannot read, and a repair that hangs holds up no other", () =>
    Effect.gen(function*() {
      const { options, repairs } = world(new Map([["a", 1], ["b", 1]]), new Map())
      const blind = yield* Reconcile.make({ ...options, desired: Effect.fail("database down") })
      expect(yield* blind.round).toEqual(Either.left({ _tag: "Unread", error: "database down" }))
      expect(repairs).toEqual([])

      const stuck = yield* Reconcile.make({
        ...options,
        create: (key, value) => key === "a" ? Effect.never : options.create(key, value),
        timeout: "1 second"
      })
      const round = yield* Effect.fork(stuck.round)
      yield* TestClock.adjust("1 second")
      const report = Either.getOrThrow(yield* Fiber.join(round))
      expect(Array.from(report.failed)).toEqual([["a", "no answer within 1s"]])
      expect(repairs).toEqual(["create b"])
    }))

  it.effect("lets repairs that always fail keep no other from its turn", () =>
    Effect.gen(function*() {
      const bad = Array.from({ length: 12 }, (_, i) => [`a${i}`, 1] as const)
      const actual = new Map<string, number>()
      const { options } = world(new Map([...bad, ["good", 1]]), actual)
      const reconciler = yield* Reconcile.make({
        ...options,
        create: (key, value) => key === "good" ? options.create(key, value) : Effect.fail("quota")
      })
      yield* reconciler.round
      expect(actual.size).toBe(0)
      yield* reconciler.round
      expect(actual.has("good")).toBe(true)
    }))

  it.effect("does not start a repair again that has not ended", () =>
    Effect.gen(function*() {
      let started = 0
      const { options } = world(new Map([["a", 1]]), new Map())
      const reconciler = yield* Reconcile.make({
        ...options,
        timeout: "1 second",
        create: () => Effect.zipRight(Effect.sync(() => started++), Effect.uninterruptible(Effect.sleep("1 minute")))
      })
      const first = yield* Effect.fork(reconciler.round)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(first)
      const second = Either.getOrThrow(yield* reconciler.round)
      expect(Array.from(second.failed)).toEqual([["a", "the last repair has not ended"]])
      expect(started).toBe(1)
    }))

  it.effect("only says what it would do in a dry run", () =>
    Effect.gen(function*() {
      const { options, repairs } = world(new Map([["a", 1]]), new Map())
      const reconciler = yield* Reconcile.make({ ...options, dryRun: true })
      expect(Either.getOrThrow(yield* reconciler.round).repairs.map(({ key }) => key)).toEqual(["a"])
      expect(repairs).toEqual([])
      expect(yield* Effect.either(reconciler.check.effect)).toEqual(Either.left("\"a\" is missing"))
    }))

  it.effect("runs by itself as a Layer", () =>
    Effect.gen(function*() {
      const actual = new Map<string, number>()
      const { options } = world(new Map([["a", 1]]), actual)
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("1 second")
        expect(actual.get("a")).toBe(1)
        actual.set("a", 7)
        yield* TestClock.adjust("1 minute")
        expect(actual.get("a")).toBe(1)
      }).pipe(Effect.provide(Reconcile.layer(options)))
    }))

  it.effect("runs by itself and can be asked as a service by its tag", () =>
    Effect.gen(function*() {
      const actual = new Map<string, number>()
      const { options: { name: _, ...options } } = world(new Map([["a", 1]]), actual)
      const HealthLive = Layer.unwrapEffect(Effect.map(Replicas, ({ check }) => Health.layer({ replicas: check })))
      yield* Effect.gen(function*() {
        const replicas = yield* Replicas
        expect(replicas.name).toBe("replicas")
        yield* TestClock.adjust("1 second")
        expect(actual.get("a")).toBe(1)
        actual.set("a", 7)
        const { check } = yield* Health.Health
        expect((yield* check).status).toBe("critical")
        yield* replicas.remedy.effect
        expect((yield* check).status).toBe("healthy")
        actual.set("a", 7)
      }).pipe(Effect.provide(Layer.provideMerge(HealthLive, Replicas.layer(options))))
      yield* TestClock.adjust("1 hour")
      // its rounds end with the layer
      expect(actual.get("a")).toBe(7)
    }))

  it("refuses bad options by name", () => {
    const { options } = world(new Map(), new Map())
    expect(() => Reconcile.make({ ...options, maxRepairs: 0 })).toThrow("Reconcile: maxRepairs must be a whole number")
    expect(() => Reconcile.make({ ...options, maxRemoved: 2 })).toThrow("Reconcile: maxRemoved must be between 0 and 1")
    expect(() => Reconcile.layer({ ...options, every: 0 })).toThrow("Reconcile: every must be a finite duration")
  })
})
