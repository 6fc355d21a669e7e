import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Failover from "@firebreak/core/Failover"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"

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

  it.prop("a probe never moves away from the primary, and only the right number of healthy ones move back", [
    fc.integer({ min: 1, max: 5 }),
    fc.array(fc.boolean())
  ], ([failbackAfter, probes]) => {
    let state: Failover.State = { active: 2, healthyProbes: 0 }
    let row = 0
    for (const healthy of probes) {
      row = healthy ? row + 1 : 0
      const before = state
      state = Failover.probed(state, healthy, failbackAfter)
      if (before.active === 0) expect(state).toBe(before)
      else expect(state.active).toBe(row >= failbackAfter ? 0 : 2)
    }
  })

  it("refuses a backup named primary and bad numbers", () => {
    expect(() => Failover.make({ name: "x", primary: 1, backups: { primary: 2 } })).toThrow(/backups/)
    expect(() => Failover.make({ ...values, failbackAfter: 0 })).toThrow(/failbackAfter.*got 0/)
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
