import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Healing from "@firebreak/core/Healing"
import * as HealingState from "@firebreak/core/HealingState"
import * as HealingStore from "@firebreak/core/HealingStore"
import type * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import { StoreError } from "@firebreak/core/StoreError"
import * as HealingStoreSuite from "@firebreak/core/testing/HealingStoreSuite"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Snapshot from "../src/internal/healingSnapshot.js"
import { modelRuns, same } from "./support/runs.js"

HealingStoreSuite.suite("memory", HealingStore.layerMemory)

const down = HealthCheck.make(Effect.fail("down"))
const fine = HealthCheck.make(Effect.void)

/** A healer in a process of its own, whose end nobody hears of. */
const started = (
  store: HealingStore.Service,
  options: {
    readonly reset?: Effect.Effect<void>
    readonly escalate?: Effect.Effect<void, string>
    readonly attempts?: number
    readonly cooldown?: string
    readonly dryRun?: boolean
    readonly check?: HealthCheck.HealthCheck
  } = {}
) =>
  Effect.gen(function*() {
    const { attempts = 3, check = down, cooldown = "0 millis", dryRun, escalate = Effect.void, reset = Effect.void } =
      options
    const scope = yield* Scope.make()
    const healing = yield* Healing.make({
      name: "api",
      checks: { api: check, b: fine, c: fine, d: fine },
      remedies: { api: [Healing.remedy("reset", reset, { attempts, cooldown: cooldown as "1 minute" })] },
      escalate: () => escalate,
      dryRun
    }).pipe(Scope.extend(scope), Effect.provideService(HealingStore.HealingStore, store))
    return { ...healing, end: Scope.close(scope, Exit.void) }
  })

const told = (queue: Queue.Dequeue<Events.Published>) =>
  Effect.map(Queue.takeAll(queue), (events) =>
    Array.from(events).flatMap((event) =>
      event._tag === "RemedyApplied"
        ? [`${event.remedy} ${event.attempt}`]
        : event._tag === "RemedySkipped"
        ? [`not ${event.remedy}: ${event.reason}`]
        : event._tag === "Escalated"
        ? [event.reason]
        : []
    ))

describe("Healing with a store", () => {
  it.scoped("goes on counting where the last process was", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const store = HealingStore.makeMemory()
      for (let process = 0; process < 5; process++) {
        const healing = yield* started(store)
        yield* healing.runOnce
        yield* healing.end
      }
      expect(yield* told(queue)).toEqual(["reset 1", "reset 2", "reset 3", "exhausted"])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("counts an attempt before it is made, for it may end the process", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const store = HealingStore.makeMemory()
      for (let process = 0; process < 3; process++) {
        const exits = yield* Deferred.make<void>()
        const healing = yield* started(store, {
          attempts: 2,
          reset: Effect.zipRight(Deferred.succeed(exits, undefined), Effect.never)
        })
        const round = yield* Effect.fork(healing.runOnce)
        if (process < 2) yield* Deferred.await(exits)
        else yield* Fiber.join(round)
      }
      expect(yield* told(queue)).toEqual(["reset 1", "reset 2", "exhausted"])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("lets cooldowns go on, by the wall clock", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const store = HealingStore.makeMemory()
      yield* (yield* started(store, { cooldown: "10 minutes" })).runOnce
      yield* TestClock.adjust("9 minutes")
      yield* (yield* started(store, { cooldown: "10 minutes" })).runOnce
      yield* TestClock.adjust("1 minute")
      yield* (yield* started(store, { cooldown: "10 minutes" })).runOnce
      expect(yield* told(queue)).toEqual(["reset 1", "not reset: cooldown", "reset 2"])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("begins a new spell where the check has passed", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const store = HealingStore.makeMemory()
      yield* (yield* started(store)).runOnce
      yield* (yield* started(store, { check: fine })).runOnce
      yield* (yield* started(store)).runOnce
      expect(yield* told(queue)).toEqual(["reset 1", "reset 1"])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("calls people once, and waits to be resumed in whatever process", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const store = HealingStore.makeMemory()
      let calls = 0
      const options = { attempts: 1, escalate: Effect.sync(() => void calls++) }
      const first = yield* started(store, options)
      yield* first.runOnce
      yield* first.runOnce
      yield* Effect.yieldNow()
      expect(calls).toBe(1)

      const second = yield* started(store, options)
      expect((yield* second.stats).mode).toBe("escalated")
      yield* second.runOnce
      yield* second.resume
      const third = yield* started(store, options)
      expect((yield* third.stats).mode).toBe("healing")
      yield* third.runOnce
      expect(calls).toBe(1)
      expect(yield* told(queue)).toEqual(["reset 1", "exhausted", "reset 1"])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("calls people again where a process ended before that got through", () =>
    Effect.gen(function*() {
      const store = HealingStore.makeMemory()
      const first = yield* started(store, { attempts: 1, escalate: Effect.never })
      yield* first.runOnce
      yield* first.runOnce
      yield* first.end

      let calls = 0
      const second = yield* started(store, { attempts: 1, escalate: Effect.sync(() => void calls++) })
      for (let round = 0; round < 3; round++) yield* second.runOnce
      yield* Effect.yieldNow()
      expect(calls).toBe(1)
      expect((yield* second.stats).undelivered).toBe(0)
      yield* (yield* started(store, { escalate: Effect.sync(() => void calls++) })).runOnce
      expect(calls).toBe(1)
    }))

  it.scoped("counts a call as delivered once the store knows of it", () =>
    Effect.gen(function*() {
      const store = HealingStore.makeMemory()
      const saving = yield* Deferred.make<void>()
      const saved = yield* Deferred.make<void>()
      let called = false
      const slow: HealingStore.Service = {
        ...store,
        save: (name, snapshot) =>
          called
            ? Deferred.succeed(saving, undefined).pipe(
              Effect.zipRight(Deferred.await(saved)),
              Effect.zipRight(store.save(name, snapshot))
            )
            : store.save(name, snapshot)
      }
      const healing = yield* started(slow, { attempts: 1, escalate: Effect.sync(() => void (called = true)) })
      yield* healing.runOnce
      yield* healing.runOnce
      yield* Deferred.await(saving)
      expect((yield* healing.stats).undelivered).toBe(1)
      yield* Deferred.succeed(saved, undefined)
      yield* Effect.repeat(healing.stats, { until: ({ undelivered }) => undelivered === 0 })
      expect(Option.getOrThrow(yield* store.load("api")).undelivered).toBe(undefined)
    }))

  it.scoped("keeps nothing of a dry run", () =>
    Effect.gen(function*() {
      const store = HealingStore.makeMemory()
      const dry = yield* started(store, { dryRun: true })
      for (let round = 0; round < 5; round++) yield* dry.runOnce
      expect(yield* store.load("api")).toEqual(Option.none())
    }))

  it.scoped("writes only what has changed", () =>
    Effect.gen(function*() {
      const store = HealingStore.makeMemory()
      let writes = 0
      const counting = { ...store, save: (name: string, s: HealingStore.Snapshot) => (writes++, store.save(name, s)) }
      const healing = yield* started(counting, { check: fine })
      for (let round = 0; round < 5; round++) yield* healing.runOnce
      expect(writes).toBe(0)
      const ill = yield* started(counting, { cooldown: "1 hour" })
      for (let round = 0; round < 5; round++) yield* ill.runOnce
      expect(writes).toBe(1)
    }))

  it.scoped("heals on while the store fails or hangs, and then counts both", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const memory = HealingStore.makeMemory()
      yield* (yield* started(memory)).runOnce
      const broken = new StoreError({ store: "s", operation: "load", reason: "io", detail: "gone" })
      let state: "fails" | "hangs" | "works" = "fails"
      const through = <A>(effect: Effect.Effect<A, StoreError>) =>
        Effect.suspend(() => state === "works" ? effect : state === "fails" ? Effect.fail(broken) : Effect.never)
      const flaky: HealingStore.Service = {
        load: (name) => through(memory.load(name)),
        save: (name, snapshot) => through(memory.save(name, snapshot))
      }
      const healing = yield* started(flaky)
      state = "hangs"
      const round = yield* Effect.fork(healing.runOnce)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(round)
      // what the first process did was not written over, and is added
      expect(Option.getOrThrow(yield* memory.load("api")).used).toMatchObject([{ attempts: 1 }])
      state = "works"
      yield* healing.runOnce
      expect(Option.getOrThrow(yield* memory.load("api")).used).toMatchObject([{ remedy: "reset", attempts: 3 }])
      expect(yield* told(queue)).toEqual(["reset 1", "reset 1", "reset 3"])
      state = "fails"
      const next = yield* Effect.fork(healing.runOnce)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(next)
      expect(yield* told(queue)).toEqual(["exhausted"])
    }).pipe(Effect.provide(Events.layer)))
})

describe("what is kept", () => {
  const remedy = (name: string) =>
    fc.record({
      name: fc.constant(name),
      attempts: fc.integer({ min: 1, max: 3 }),
      cooldown: fc.integer({ min: 0, max: 50 }),
      enabled: fc.boolean()
    })
  const rounds = fc.array(
    fc.record({ gap: fc.integer({ min: 0, max: 60 }), api: fc.boolean(), web: fc.boolean() }),
    { minLength: 1, maxLength: 20 }
  )

  const reportOf = (checks: { readonly api: boolean; readonly web: boolean }): Health.Report => ({
    status: checks.api && checks.web ? "healthy" : checks.api || checks.web ? "unhealthy" : "critical",
    checks: Object.entries(checks).map(([name, passing]) => ({
      name,
      passing,
      critical: false,
      latest: passing ? { _tag: "Passed", elapsed: 0 } : { _tag: "Failed", elapsed: 0, error: "down" },
      at: 0
    })),
    at: 0
  })

  it.prop("a healer that is restarted before every round decides as one that is not", {
    one: remedy("one"),
    two: remedy("two"),
    rounds,
    maxConsecutiveFailures: fc.integer({ min: 1, max: 8 }),
    /** By how much the monotonic clock of each process is ahead of the wall. */
    origins: fc.array(fc.integer({ min: -1_000, max: 1_000 }), { minLength: 20, maxLength: 20 })
  }, ({ maxConsecutiveFailures, one, origins, rounds, two }) => {
    const config: HealingState.Config = {
      remedies: new Map([["api", [one]], ["web", [one, two]]]),
      ladder: new Map([["critical", [two]]]),
      maxConsecutiveFailures,
      dryRun: false
    }
    const json = Schema.parseJson(HealingStore.Snapshot)
    let lasting = HealingState.initial
    let kept: string | undefined
    let wall = 1_000_000
    for (const [i, { gap, ...checks }] of rounds.entries()) {
      wall += gap
      const [next, actions] = HealingState.step(config, lasting, reportOf(checks), wall)
      lasting = next
      const now = wall + origins[i]!
      const before = kept === undefined
        ? Snapshot.nothing
        : Snapshot.restored(Schema.decodeSync(json)(kept), Snapshot.nothing, now, wall)
      const [state, decided] = HealingState.step(config, before.state, reportOf(checks), now)
      kept = Schema.encodeSync(json)(Snapshot.of({ ...before, state }, now, wall))
      same(JSON.stringify(decided), JSON.stringify(actions), `round ${i}`)
    }
  }, modelRuns)

  it("a clock that was set back makes no cooldown longer than it is", () => {
    const state: HealingState.State = {
      _tag: "Healing",
      consecutiveFailures: 0,
      used: new Map([["reset", { attempts: 1, lastAt: 50 }]])
    }
    const snapshot = Snapshot.of({ state, undelivered: undefined }, 100, 1_000_000)
    expect(Snapshot.restored(snapshot, Snapshot.nothing, 10, 0).state.used).toEqual(
      new Map([["reset", { attempts: 1, lastAt: 10 }]])
    )
  })
})
