import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Failover from "@firebreak/core/Failover"
import * as State from "@firebreak/core/FailoverState"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { modelRuns } from "./support/runs.js"

const active = <A>(failover: Failover.Failover<A>) => Effect.map(failover.active, ({ name }) => name)

const values = { name: "database", primary: 0, backups: { first: 1, second: 2 } }

describe("Failover", () => {
  it.scoped("takes the backups in order and stays on the last one", () =>
    Effect.gen(function*() {
      const failover = yield* Failover.make(values)
      expect(yield* active(failover)).toBe("primary")
      yield* failover.failover
      expect(yield* active(failover)).toBe("first")
      yield* failover.failover
      const error = yield* Effect.flip(failover.failover)
      expect(error.message).toBe(`Failover "database" has no backup left; "second" stays active`)
      expect(yield* failover.use(Effect.succeed)).toBe(2)
      yield* failover.failback
      expect(yield* active(failover)).toBe("primary")
    }))

  it.scoped("fails back after that many healthy probes in a row", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      let well = true
      const check = () => well ? Effect.void : Effect.fail("down")
      const failover = yield* Failover.make({ ...values, check, failbackAfter: 3 })
      yield* failover.failover
      yield* TestClock.adjust("20 seconds")
      well = false
      yield* TestClock.adjust("10 seconds")
      well = true
      yield* TestClock.adjust("29 seconds")
      expect(yield* active(failover)).toBe("first")
      yield* TestClock.adjust("1 second")
      expect(yield* active(failover)).toBe("primary")
      expect([...yield* Queue.takeAll(events)]).toMatchObject([
        { _tag: "FailedOver", name: "database", to: "first" },
        { _tag: "FailedBack", name: "database", to: "primary" }
      ])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("a probe that hangs or dies is not healthy and stops nothing", () =>
    Effect.gen(function*() {
      const answers = [Effect.uninterruptible(Effect.sleep("5 seconds")), Effect.die("bug"), Effect.never, Effect.void]
      let probes = 0
      const check = () => answers[Math.min(probes++, 3)]!
      const failover = yield* Failover.make({ ...values, check, failbackAfter: 1 })
      yield* failover.failover
      yield* TestClock.adjust("31 seconds")
      expect(yield* active(failover)).toBe("first")
      yield* TestClock.adjust("20 seconds")
      expect(yield* active(failover)).toBe("primary")
    }))

  it.scoped("a probe that was started before a switch counts for nothing", () =>
    Effect.gen(function*() {
      const answer = yield* Deferred.make<void>()
      const failover = yield* Failover.make({ ...values, check: () => Deferred.await(answer), failbackAfter: 1 })
      yield* failover.failover
      const probe = yield* Effect.fork(failover.probe)
      yield* Effect.yieldNow()
      yield* failover.failover
      yield* Deferred.succeed(answer, undefined)
      yield* Fiber.join(probe)
      expect(yield* active(failover)).toBe("second")
    }))

  it.scoped("leaves an implementation whose probes fail, for one that is well", () =>
    Effect.gen(function*() {
      const well = new Set([0, 1, 2])
      const check = (implementation: number) => well.has(implementation) ? Effect.void : Effect.fail("down")
      const failover = yield* Failover.make({ ...values, check, failoverAfter: 2, failbackAfter: 2 })
      yield* TestClock.adjust("1 minute")
      well.delete(0)
      well.delete(1)
      yield* TestClock.adjust("10 seconds")
      expect(yield* active(failover)).toBe("primary")
      yield* TestClock.adjust("10 seconds")
      // the first backup is down as well
      expect(yield* active(failover)).toBe("second")
      well.add(0)
      yield* TestClock.adjust("20 seconds")
      // well again, and held
      expect(yield* active(failover)).toBe("second")
      yield* TestClock.adjust("10 seconds")
      expect(yield* active(failover)).toBe("primary")
    }))

  it.scoped("stays where it is while nothing is well", () =>
    Effect.gen(function*() {
      const failover = yield* Failover.make({ ...values, check: () => Effect.fail("down"), failoverAfter: 1 })
      yield* TestClock.adjust("1 minute")
      expect(yield* active(failover)).toBe("primary")
      // and a remedy has nowhere to go
      expect((yield* Effect.flip(failover.failover)).active).toBe("primary")
    }))

  it("refuses a backup named primary and bad numbers", () => {
    expect(() => Failover.make({ name: "x", primary: 1, backups: { primary: 2 } })).toThrow(/backups/)
    expect(() => Failover.make({ ...values, failbackAfter: 0 })).toThrow(/failbackAfter.*got 0/)
    expect(() => Failover.make({ ...values, holdFor: "1 minute", maxHold: "30 seconds" })).toThrow(/maxHold.*60000 ms/)
  })
})

const settings: State.Settings = {
  implementations: 3,
  failoverAfter: 2,
  failbackAfter: 2,
  holdFor: 30,
  maxHold: 240,
  resetAfter: 300
}

describe("FailoverState", () => {
  const world = fc.array(
    fc.record({
      healthy: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
      wait: fc.integer({ min: 1, max: 20 }),
      asked: fc.option(fc.constantFrom("failover" as const, "failback" as const), { freq: 12 })
    }),
    { maxLength: 120 }
  )

  it.prop(
    "has one active implementation, leaves it only for one that is well, and holds a backup as long as it should",
    [
      world
    ],
    ([world]) => {
      let now = 0
      let state = State.initial(3, now)
      for (const { asked, healthy, wait } of world) {
        now += wait
        const before = state
        if (asked === "failover") state = State.failover(state, now, settings) ?? state
        else if (asked === "failback") state = State.failback(state, now)
        else state = State.probed(state, healthy, now, settings)
        if (!(state.active >= 0 && state.active < 3)) expect(state.active).toBeLessThan(3)
        if (state.active === before.active) continue
        // a probe's own decisions
        if (asked === null) {
          expect(healthy[state.active]).toBe(true)
          const left = -state.streaks[before.active]! >= settings.failoverAfter
          if (!left) {
            expect(state.active).toBe(0)
            expect(now - before.switchedAt).toBeGreaterThanOrEqual(State.hold(before, settings))
          }
        }
        if (state.active === 0 && asked !== "failback") {
          expect(state.streaks[0]).toBeGreaterThanOrEqual(settings.failbackAfter)
        }
      }
    },
    modelRuns
  )

  it("does not follow a primary that comes and goes: the way back takes twice as long each time", () => {
    let now = 0
    let state = State.initial(2, now)
    const two = { ...settings, implementations: 2 }
    const held: Array<number> = []
    for (let left = 0; held.length < 5; now += 10) {
      // it fails as soon as it is active, and is well as soon as it is not
      const before = state
      state = State.probed(state, [state.active !== 0, true], now, two)
      if (before.active === 0 && state.active === 1) left = now
      if (before.active === 1 && state.active === 0) held.push(now - left)
    }
    expect(held).toEqual([30, 60, 120, 240, 240])
  })

  it("trusts a primary as before when it was well for long enough", () => {
    const state = { ...State.initial(2, 0), active: 0, flaps: 3, failedBackAt: 0 }
    expect(State.failover(state, 299, settings)?.flaps).toBe(4)
    expect(State.failover(state, 300, settings)?.flaps).toBe(0)
  })
})

class Database extends Context.Tag("test/Database")<Database, {
  readonly query: (sql: string) => Effect.Effect<string>
  readonly version: Effect.Effect<string>
}>() {}

class Live {
  constructor(private readonly label: string) {}
  readonly version = Effect.suspend(() => Effect.succeed(this.label))
  query(sql: string): Effect.Effect<string> {
    return Effect.succeed(`${this.label}: ${sql}`)
  }
}

describe("Failover.layer", () => {
  const DatabaseLive = Failover.layer(Database, {
    primary: Layer.sync(Database, () => new Live("main")),
    backups: {
      replica: Layer.succeed(
        Database,
        Object.freeze({ ...new Live("replica"), query: (sql) => Effect.succeed(`replica: ${sql}`) })
      )
    }
  })

  it.effect("swaps the implementation under a user who holds the service", () =>
    Effect.gen(function*() {
      const database = yield* Database
      const failover = yield* Failover.of(Database)
      const prepared = database.query("select")
      expect(yield* Effect.all([prepared, database.version])).toEqual(["main: select", "main"])
      yield* failover.failover
      // even an effect that was made before the switch
      expect(yield* Effect.all([prepared, database.version])).toEqual(["replica: select", "replica"])
      yield* failover.failback
      expect(yield* prepared).toBe("main: select")
      expect(failover.name).toBe("test/Database")
    }).pipe(Effect.provide(DatabaseLive)))

  it.effect("a call in flight stays with the implementation it started on", () =>
    Effect.gen(function*() {
      const slow = (label: string) => ({
        query: () => Effect.delay(Effect.succeed(label), "1 second"),
        version: Effect.succeed(label)
      })
      const layer = Failover.layer(Database, {
        primary: Layer.succeed(Database, slow("main")),
        backups: { replica: Layer.succeed(Database, slow("replica")) }
      })
      const answer = yield* Effect.gen(function*() {
        const call = yield* Effect.fork(Effect.flatMap(Database, (database) => database.query("select")))
        yield* Effect.yieldNow()
        yield* Effect.flatMap(Failover.of(Database), (failover) => failover.failover)
        yield* TestClock.adjust("1 second")
        return yield* Fiber.join(call)
      }).pipe(Effect.provide(layer))
      expect(answer).toBe("main")
    }))
})
