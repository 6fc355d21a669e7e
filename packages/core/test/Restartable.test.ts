import { describe, expect, it } from "@effect/vitest"
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
