import { describe, expect, it } from "@effect/vitest"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Restartable from "@firebreak/core/Restartable"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

const tracked = (log: Array<string>) => {
  let built = 0
  return Effect.acquireRelease(
    Effect.sync(() => {
      log.push(`open ${++built}`)
      return built
    }),
    (n) => Effect.sync(() => log.push(`close ${n}`))
  )
}

class Database extends Context.Tag("test/Database")<Database, {
  readonly query: (sql: string) => Effect.Effect<string>
  readonly instance: Effect.Effect<number>
}>() {}

/** A database that counts its instances, fails every call once it is closed, and can refuse to open. */
const databases = (log: Array<string> = []) => {
  const tracking = tracked(log)
  const self: { refuses: boolean; opening: Effect.Effect<void>; readonly layer: Layer.Layer<Database, string> } = {
    refuses: false,
    opening: Effect.void,
    layer: Layer.scoped(
      Database,
      Effect.gen(function*() {
        if (self.refuses) return yield* Effect.fail("port taken")
        const instance = yield* tracking
        yield* self.opening
        let open = true
        yield* Effect.addFinalizer(() => Effect.sync(() => open = false))
        const alive = Effect.suspend(() => open ? Effect.void : Effect.die("closed"))
        return {
          query: (sql: string) => Effect.as(alive, `${sql} by ${instance}`),
          instance: Effect.as(alive, instance)
        }
      })
    )
  }
  return self
}

describe("Restartable.layer", () => {
  it.effect("users of the service get what was built again, even by effects they made before", () => {
    const log: Array<string> = []
    return Effect.gen(function*() {
      const database = yield* Database
      const before = database.query("select 1")
      expect(yield* before).toBe("select 1 by 1")
      const restartable = yield* Restartable.of<Database, Context.Tag.Service<Database>, string>(Database)
      yield* restartable.restart
      expect(yield* before).toBe("select 1 by 2")
      expect(yield* database.instance).toBe(2)
      expect(log).toEqual(["open 1", "close 1", "open 2"])
      expect(restartable.remedy.name).toBe("restart test/Database")
    }).pipe(Effect.provide(Restartable.layer(Database, databases(log).layer)))
  })

  it.effect("its users' users too: a service made with it goes to the new one", () => {
    class Repository extends Context.Tag("test/Repository")<Repository, { readonly all: Effect.Effect<string> }>() {}
    const repository = Layer.effect(Repository, Effect.map(Database, ({ query }) => ({ all: query("all") })))
    return Effect.gen(function*() {
      const { all } = yield* Repository
      yield* Effect.flatMap(Restartable.of(Database), ({ restart }) => restart)
      expect(yield* all).toBe("all by 2")
    }).pipe(Effect.provide(repository.pipe(Layer.provideMerge(Restartable.layer(Database, databases().layer)))))
  })

  it.effect("builds again what the Layer is built on, and leaves alone what it was given", () => {
    let [inner, outer] = [0, 0]
    class Inner extends Context.Tag("test/Inner")<Inner, number>() {}
    class Outer extends Context.Tag("test/Outer")<Outer, number>() {}
    const service = Layer.effect(
      Database,
      Effect.map(Effect.all([Inner, Outer]), (built) => ({
        query: () => Effect.succeed(built.join()),
        instance: Effect.succeed(0)
      }))
    ).pipe(Layer.provide(Layer.sync(Inner, () => ++inner)))
    return Effect.gen(function*() {
      yield* Effect.flatMap(Restartable.of(Database), ({ restart }) => restart)
      expect(yield* Effect.flatMap(Database, ({ query }) => query(""))).toBe("2,1")
    }).pipe(
      Effect.provide(Restartable.layer(Database, service).pipe(Layer.provide(Layer.sync(Outer, () => ++outer))))
    )
  })

  it.effect("calls made while it restarts wait", () => {
    const of = databases()
    return Effect.gen(function*() {
      const database = yield* Database
      const gate = yield* Deferred.make<void>()
      of.opening = Deferred.await(gate)
      const restart = yield* Effect.fork(Effect.flatMap(Restartable.of(Database), ({ restart }) => restart))
      yield* Effect.yieldNow()
      const call = yield* Effect.fork(database.query("select 1"))
      yield* Effect.yieldNow()
      expect(call.unsafePoll()).toBe(null)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(restart)
      expect(yield* Fiber.join(call)).toBe("select 1 by 2")
    }).pipe(Effect.provide(Restartable.layer(Database, of.layer, { name: "database" })))
  })

  it.effect("calls die with why it could not be built again, until it could", () => {
    const of = databases()
    return Effect.gen(function*() {
      const database = yield* Database
      const { restart } = yield* Restartable.of<Database, Context.Tag.Service<Database>, string>(Database)
      of.refuses = true
      expect(yield* Effect.flip(restart)).toBe("port taken")
      const exit = yield* Effect.exit(database.query("select 1"))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      expect(defect).toBeInstanceOf(Restartable.RestartFailed)
      expect((defect as Error).message).toBe(
        "Restartable \"database\" is down, the call did not run: its restart failed (port taken)"
      )
      of.refuses = false
      yield* restart
      expect(yield* database.query("select 1")).toBe("select 1 by 2")
    }).pipe(Effect.provide(Restartable.layer(Database, of.layer, { name: "database" })))
  })

  it.effect("a Layer that cannot be built at first fails as it does", () => {
    const of = databases()
    of.refuses = true
    return Effect.gen(function*() {
      expect(yield* Effect.flip(Effect.scoped(Layer.build(Restartable.layer(Database, of.layer))))).toBe("port taken")
    })
  })

  it.effect("is a remedy of Healing: a stale instance is replaced under its users", () => {
    let broken = false
    let built = 0
    const layer = Layer.sync(Database, () => {
      built++
      broken = false
      return { query: () => broken ? Effect.die("stale") : Effect.succeed("row"), instance: Effect.succeed(built) }
    })
    return Effect.gen(function*() {
      const database = yield* Database
      const { remedy } = yield* Restartable.of(Database)
      const healing = yield* Healing.make({
        checks: { database: HealthCheck.make(database.query("select 1")) },
        remedies: { database: [remedy] }
      })
      broken = true
      yield* healing.runOnce
      expect(yield* healing.stats).toMatchObject({ applied: 1, succeeded: 1 })
      expect(yield* database.instance).toBe(2)
    }).pipe(Effect.scoped, Effect.provide(Restartable.layer(Database, layer, { name: "database" })))
  })
})

describe("Restartable", () => {
  it.effect("closes what it built before it builds again, and closes the last with the scope", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      yield* Effect.gen(function*() {
        const program = yield* Restartable.make(tracked(log), { name: "program" })
        expect(yield* program.get).toBe(1)
        yield* program.restart
        expect(yield* program.get).toBe(2)
        expect(yield* program.restarts).toBe(1)
      }).pipe(Effect.scoped)
      expect(log).toEqual(["open 1", "close 1", "open 2", "close 2"])
    }))

  it.scoped("builds a Layer anew", () =>
    Effect.gen(function*() {
      class Counter extends Context.Tag("test/Counter")<Counter, number>() {}
      let built = 0
      const layer = Layer.sync(Counter, () => ++built)
      const program = yield* Restartable.make(Layer.build(layer), { name: "layer" })
      yield* program.restart
      expect(Context.get(yield* program.get, Counter)).toBe(2)
    }))

  it.scoped("stops the fibers of the program it restarts", () =>
    Effect.gen(function*() {
      const fibers: Array<Fiber.RuntimeFiber<never>> = []
      const loop = Effect.map(Effect.forkScoped(Effect.never), (fiber) => fibers.push(fiber))
      const program = yield* Restartable.make(loop, { name: "loop" })
      yield* program.restart
      expect(fibers.length).toBe(2)
      expect(Exit.isInterrupted(yield* Fiber.await(fibers[0]!))).toBe(true)
      expect(fibers[1]!.unsafePoll()).toBe(null)
    }))

  it.scoped("after a failed restart it fails as the build did, until one succeeds", () =>
    Effect.gen(function*() {
      let up = true
      const program = yield* Restartable.make(
        Effect.suspend(() => up ? Effect.succeed("up") : Effect.fail("port taken")),
        { name: "server" }
      )
      up = false
      expect(yield* Effect.flip(program.restart)).toBe("port taken")
      expect(yield* Effect.flip(program.get)).toBe("port taken")
      up = true
      yield* program.restart
      expect(yield* program.get).toBe("up")
    }))

  it.scoped("users wait while it restarts, and restarts at the same time are one", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let built = 0
      const program = yield* Restartable.make(
        Effect.suspend(() => ++built === 1 ? Effect.succeed(1) : Effect.as(Deferred.await(gate), built)),
        { name: "slow" }
      )
      const restarts = yield* Effect.all([Effect.fork(program.restart), Effect.fork(program.restart)])
      yield* Effect.yieldNow()
      const user = yield* Effect.fork(program.get)
      yield* Effect.yieldNow()
      expect(user.unsafePoll()).toBe(null)
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(restarts, Fiber.join)
      expect(yield* Fiber.join(user)).toBe(2)
      expect(built).toBe(2)
    }))

  it.scoped("a caller of `restart` that is interrupted disturbs neither the restart nor the others who wait for it", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const gate = yield* Deferred.make<void>()
      let hold = false
      const build = Effect.zipLeft(tracked(log), Effect.suspend(() => hold ? Deferred.await(gate) : Effect.void))
      const program = yield* Restartable.make(build, { name: "shared" })
      hold = true
      const first = yield* Effect.fork(program.restart)
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(program.restart)
      const user = yield* Effect.fork(program.get)
      yield* Effect.yieldNow()
      expect(Exit.isInterrupted(yield* Fiber.interrupt(first))).toBe(true)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(second)
      expect(yield* Fiber.join(user)).toBe(2)
      expect(yield* program.restarts).toBe(1)
      expect(log).toEqual(["open 1", "close 1", "open 2"])
    }))

  it.scoped("a restart that all its callers have left is given up, and can be repeated", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      let hang = false
      const build = Effect.zipLeft(tracked(log), Effect.suspend(() => hang ? Effect.never : Effect.void))
      const program = yield* Restartable.make(build, { name: "hanging" })
      hang = true
      const restarts = yield* Effect.all([Effect.fork(program.restart), Effect.fork(program.restart)])
      yield* Effect.yieldNow()
      const user = yield* Effect.fork(program.get)
      yield* Fiber.interruptAll(restarts)
      expect(log).toEqual(["open 1", "close 1", "open 2", "close 2"])
      expect(yield* Fiber.await(user)).toEqual(
        Exit.die(new Error("Restartable \"hanging\": its restart was interrupted"))
      )
      hang = false
      yield* program.restart
      expect(yield* program.get).toBe(3)
    }))

  it.scoped("who restarts while a restart is given up gets a new one", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let built = 0
      const build = Effect.suspend(() => {
        built++
        return built !== 2
          ? Effect.succeed(built)
          : Effect.zipRight(Effect.addFinalizer(() => Deferred.await(gate)), Effect.never)
      })
      const program = yield* Restartable.make(build, { name: "slow to stop" })
      const first = yield* Effect.fork(program.restart)
      yield* Effect.yieldNow()
      const leaving = yield* Effect.fork(Fiber.interrupt(first))
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(program.restart)
      yield* Effect.yieldNow()
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(leaving)
      yield* Fiber.join(second)
      expect(yield* program.get).toBe(3)
    }))

  it.effect("a start that is interrupted is an interruption and leaves nothing open", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const start = Restartable.make(Effect.zipRight(tracked(log), Effect.never), { name: "hanging" })
      const fiber = yield* Effect.fork(Effect.scoped(start))
      yield* Effect.yieldNow()
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
      expect(log).toEqual(["open 1", "close 1"])
    }))

  it.scoped("a build that interrupts itself fails its callers with that, and can be repeated", () =>
    Effect.gen(function*() {
      let interrupts = false
      const build = Effect.suspend(() => interrupts ? Effect.interrupt : Effect.succeed("up"))
      const program = yield* Restartable.make(build, { name: "odd" })
      interrupts = true
      expect(Exit.isInterrupted(yield* Effect.exit(program.restart))).toBe(true)
      expect(Exit.isInterrupted(yield* Effect.exit(program.get))).toBe(true)
      interrupts = false
      yield* program.restart
      expect(yield* program.get).toBe("up")
    }))

  it.effect("a restart under way when the scope closes is interrupted and leaves nothing open", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      let hold = false
      const build = Effect.zipLeft(tracked(log), Effect.suspend(() => hold ? Effect.never : Effect.void))
      const scope = yield* Scope.make()
      const program = yield* Restartable.make(build, { name: "closing" }).pipe(Scope.extend(scope))
      hold = true
      const restart = yield* Effect.fork(program.restart)
      yield* Effect.yieldNow()
      const user = yield* Effect.fork(program.get)
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      expect(log).toEqual(["open 1", "close 1", "open 2", "close 2"])
      expect(Exit.isInterrupted(yield* Fiber.await(restart))).toBe(true)
      expect(Exit.isInterrupted(yield* Fiber.await(user))).toBe(true)
      expect(Exit.isInterrupted(yield* Effect.exit(program.restart))).toBe(true)
      expect(log).toHaveLength(4)
    }))

  it.effect("a restart that is still stopping the old one when the scope closes does not build", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const stopping = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const build = Effect.zipLeft(
        tracked(log),
        Effect.addFinalizer(() => Effect.zipRight(Deferred.succeed(stopping, undefined), Deferred.await(gate)))
      )
      const scope = yield* Scope.make()
      const program = yield* Restartable.make(build, { name: "slow to stop" }).pipe(Scope.extend(scope))
      const restart = yield* Effect.fork(program.restart)
      yield* Deferred.await(stopping)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(closing)
      expect(Exit.isInterrupted(yield* Fiber.await(restart))).toBe(true)
      expect(log).toEqual(["open 1", "close 1"])
    }))

  it("its remedy has the cooldown of the book", () => {
    const program = Effect.runSync(Effect.scoped(Restartable.make(Effect.void, { name: "server" })))
    expect(program.remedy).toMatchObject({ name: "restart server", cooldown: 60_000, attempts: 3 })
    expect(() => Restartable.make(Effect.void, { name: "server", attempts: 0 })).toThrow(/attempts.*got 0/)
  })
})
