import { describe, expect, it } from "@effect/vitest"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Events from "@firebreak/core/Events"
import * as Rejection from "@firebreak/core/Rejection"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Reports extends Bulkhead.Tag("reports")<Reports>() {}

const one = { name: "one", maxConcurrent: 1 } as const
const idle = { running: 0, waiting: 0 }

/** Fills the bulkhead until the returned gate is opened. */
const filled = (bulkhead: Bulkhead.Bulkhead, calls = 1) =>
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    for (let i = 0; i < calls; i++) yield* Effect.fork(bulkhead.protect(Deferred.await(gate)))
    yield* Effect.yieldNow()
    return gate
  })

describe("Bulkhead", () => {
  it.effect("passes success, failure and defect through unchanged, and gives the slot back after each", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      expect(yield* bulkhead.protect(Effect.succeed(1))).toBe(1)
      expect(yield* Effect.exit(bulkhead.protect(Effect.fail("boom")))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(bulkhead.protect(Effect.die("bug")))).toEqual(Exit.die("bug"))
      expect(yield* bulkhead.stats).toEqual({ ...idle, rejected: 0 })
    }))

  it.effect("runs ten at once and lets a hundred wait, by default", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "default" })
      const gate = yield* filled(bulkhead, 110)
      expect(yield* bulkhead.stats).toEqual({ running: 10, waiting: 100, rejected: 0 })
      const error = yield* Effect.flip(bulkhead.protect(Effect.void))
      expect(error).toMatchObject({ bulkhead: "default", running: 10, waiting: 100, reason: "full" })
      expect(error.message).toBe(`Bulkhead "default" is full (10 running, 100 waiting); the call was not started`)
      expect(Rejection.isRejection(error)).toBe(true)
      expect(error.stack ?? "").not.toContain("    at ")
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("1 millis")
      expect(yield* bulkhead.stats).toEqual({ ...idle, rejected: 1 })
    }))

  it.effect("does not let anybody wait when told so", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ ...one, maxQueued: 0 })
      yield* filled(bulkhead)
      expect((yield* Effect.flip(bulkhead.protect(Effect.void))).reason).toBe("full")
    }))

  it.effect("starts waiting calls in the order they came", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ ...one, maxQueued: Infinity })
      const started: Array<number> = []
      const calls = Array.from({ length: 50 }, (_, i) =>
        bulkhead.protect(Effect.zipRight(Effect.sync(() => started.push(i)), Effect.yieldNow())))
      yield* Effect.all(calls, { concurrency: "unbounded" })
      expect(started).toEqual(Array.from({ length: 50 }, (_, i) =>
        i))
    }))

  it.effect("hands a slot to the first waiter, not to a newcomer", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      const order: Array<string> = []
      const call = (name: string) => bulkhead.protect(Effect.sync(() => order.push(name)))
      const waiting = yield* bulkhead.protect(Effect.zipLeft(Effect.fork(call("waiting")), Effect.yieldNow()))
      yield* call("newcomer") // asks before the waiter's fiber has had its turn
      yield* Fiber.join(waiting)
      expect(order).toEqual(["waiting", "newcomer"])
    }))

  it.effect("an interrupted waiter leaves the line at once and is never started", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      const gate = yield* filled(bulkhead)
      let calls = 0
      const waiter = yield* Effect.fork(bulkhead.protect(Effect.sync(() => calls++)))
      yield* Effect.yieldNow()
      expect(yield* bulkhead.stats).toMatchObject({ running: 1, waiting: 1 })
      yield* Fiber.interrupt(waiter)
      expect(yield* bulkhead.stats).toMatchObject({ running: 1, waiting: 0 })
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.yieldNow()
      expect(yield* bulkhead.stats).toMatchObject(idle)
      expect(calls).toBe(0)
    }))

  it.effect("a slot given to a waiter that is interrupted in the same moment goes to the next", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      const hold = yield* Deferred.make<void>()
      const first = yield* Effect.fork(bulkhead.protect(Deferred.await(hold)))
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(bulkhead.protect(Effect.die("must not start")))
      const third = yield* Effect.fork(bulkhead.protect(Effect.succeed("started")))
      yield* Effect.yieldNow()
      // ends the first call, and interrupts the second before it has heard of its slot
      first.addObserver(() => second.unsafeInterruptAsFork(second.id()))
      yield* Deferred.succeed(hold, undefined)
      expect(yield* Fiber.join(third)).toBe("started")
      expect(Exit.isInterrupted(yield* Fiber.await(second))).toBe(true)
      expect(yield* bulkhead.stats).toMatchObject(idle)
    }))

  it.effect("holds the slot until the call's finalizers have run", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      const call = yield* Effect.fork(
        bulkhead.protect(Effect.onInterrupt(Effect.never, () => Effect.sleep("5 seconds")))
      )
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(call)
      yield* TestClock.adjust("4 seconds")
      expect(yield* bulkhead.stats).toMatchObject({ running: 1 })
      yield* TestClock.adjust("1 seconds")
      expect(yield* bulkhead.stats).toMatchObject({ running: 0 })
    }))

  it.effect("a call in an uninterruptible region waits to the end, though its fiber has been interrupted", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make(one)
      const gate = yield* filled(bulkhead)
      let cleaned = false
      const call = bulkhead.protect(Effect.sync(() => cleaned = true))
      const fiber = yield* Effect.fork(Effect.ensuring(Effect.never, Effect.ignore(call)))
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("1 seconds")
      expect(yield* bulkhead.stats).toMatchObject({ running: 1, waiting: 1 })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(fiber)
      expect(cleaned).toBe(true)
    }))

  it.effect("turns a call away that has waited too long, and only that one", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ ...one, maxWait: "2 seconds" })
      const gate = yield* filled(bulkhead)
      const early = yield* Effect.fork(Effect.flip(bulkhead.protect(Effect.die("must not start"))))
      yield* TestClock.adjust("1 seconds")
      const late = yield* Effect.fork(bulkhead.protect(Effect.succeed("in time")))
      yield* TestClock.adjust("1 seconds")
      const error = yield* Fiber.join(early)
      expect(error).toMatchObject({ reason: "timeout", running: 1, waiting: 1 })
      expect(error.message).toContain("had no slot in time (1 running, 1 waiting); the call was not started")
      yield* Deferred.succeed(gate, undefined)
      expect(yield* Fiber.join(late)).toBe("in time")
      yield* TestClock.adjust("1 hour")
      expect(yield* bulkhead.stats).toEqual({ ...idle, rejected: 1 })
    }))

  it.effect("leaves no timer behind", () =>
    Effect.gen(function*() {
      let asleep = 0
      const clock: Clock.Clock = Object.create(yield* Effect.clock, {
        sleep: {
          value: () =>
            Effect.acquireUseRelease(Effect.sync(() => asleep++), () => Effect.never, () => Effect.sync(() => asleep--))
        }
      })
      const bulkhead = yield* Bulkhead.make({ ...one, maxWait: "1 hour" })
      const gate = yield* filled(bulkhead)
      const call = Effect.fork(Effect.withClock(bulkhead.protect(Effect.void), clock))
      const started = yield* call
      const interrupted = yield* call
      yield* TestClock.adjust("1 seconds")
      expect(asleep).toBe(2)
      yield* Fiber.interrupt(interrupted)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(started)
      yield* TestClock.adjust("1 seconds")
      expect(asleep).toBe(0)
    }))

  it.effect("can be resized while calls run and wait", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ ...one, maxConcurrent: 2 })
      const gates = [yield* filled(bulkhead, 2), yield* filled(bulkhead, 2)]
      expect(yield* bulkhead.stats).toMatchObject({ running: 2, waiting: 2 })
      yield* bulkhead.resize(3)
      expect(yield* bulkhead.stats).toMatchObject({ running: 3, waiting: 1 })
      yield* bulkhead.resize(1)
      expect(yield* bulkhead.stats).toMatchObject({ running: 3, waiting: 1 })
      yield* Deferred.succeed(gates[0]!, undefined) // two end: one more than may run is left over, then none
      yield* TestClock.adjust("1 millis")
      expect(yield* bulkhead.stats).toMatchObject({ running: 1, waiting: 1 })
      yield* Deferred.succeed(gates[1]!, undefined)
      yield* TestClock.adjust("1 millis")
      expect(yield* bulkhead.stats).toMatchObject(idle)
    }))

  it.effect("tells of every call it turns away", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const bulkhead = yield* Bulkhead.make({ ...one, maxQueued: 1, maxWait: "1 seconds" })
      yield* filled(bulkhead, 2)
      yield* Effect.exit(bulkhead.protect(Effect.void))
      yield* TestClock.adjust("1 seconds")
      const all = Array.from(yield* Queue.takeAll(events))
      expect(all).toEqual([
        { _tag: "BulkheadRejected", bulkhead: "one", running: 1, waiting: 1, reason: "full", at: 0 },
        { _tag: "BulkheadRejected", bulkhead: "one", running: 1, waiting: 0, reason: "timeout", at: 1_000 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("is a service: the tag builds it and protects with it", () =>
    Effect.gen(function*() {
      yield* filled(yield* Reports)
      expect((yield* Effect.flip(Effect.void.pipe(Reports.protect))).bulkhead).toBe("reports")
      expect((yield* Effect.flip(Effect.void.pipe(Bulkhead.protect(Reports)))).reason).toBe("full")
    }).pipe(Effect.provide(Reports.layer({ maxConcurrent: 1, maxQueued: 0 }))))

  it.live.prop("runs, lets wait and turns away what a list on paper would, whoever ends, leaves or waits too long", [
    fc.array(
      fc.oneof(
        { weight: 5, arbitrary: fc.constant({ _tag: "call" as const }) },
        { weight: 3, arbitrary: fc.nat(7).map((which) => ({ _tag: "end" as const, which })) },
        { weight: 2, arbitrary: fc.nat(7).map((which) => ({ _tag: "interrupt" as const, which })) },
        { weight: 2, arbitrary: fc.constantFrom(1, 400, 1_000).map((millis) => ({ _tag: "wait" as const, millis })) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }).map((total) => ({ _tag: "resize" as const, total })) }
      ),
      { maxLength: 60, size: "max" }
    ),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 0, max: 4 })
  ], ([commands, slots, maxQueued]) => {
    const { clock, now, runUntil, sleeping } = SimulatedClock.make()
    return Effect.withClock(
      Effect.gen(function*() {
        const bulkhead = yield* Bulkhead.make({ name: "x", maxConcurrent: slots, maxQueued, maxWait: 1_000 })
        let total = slots
        let running: ReadonlyArray<number> = []
        let waiting: ReadonlyArray<{ readonly id: number; readonly until: number }> = []
        let rejected = 0
        const fibers: Array<Fiber.RuntimeFiber<void, Bulkhead.BulkheadFull>> = []
        const gates: Array<Deferred.Deferred<void>> = []
        const started: Array<number> = []
        const fill = () => {
          while (running.length < total && waiting.length > 0) {
            running = [...running, waiting[0]!.id]
            waiting = waiting.slice(1)
          }
        }
        for (const step of commands) {
          switch (step._tag) {
            case "call": {
              const id = fibers.length
              const gate = yield* Deferred.make<void>()
              gates.push(gate)
              const work = Effect.zipRight(Effect.sync(() => started.push(id)), Deferred.await(gate))
              fibers.push(yield* Effect.forkDaemon(bulkhead.protect(work)))
              if (running.length < total) running = [...running, id]
              else if (waiting.length < maxQueued) waiting = [...waiting, { id, until: now() + 1_000 }]
              else rejected++
              break
            }
            case "end": {
              if (running.length === 0) break
              const id = running[step.which % running.length]!
              Deferred.unsafeDone(gates[id]!, Exit.void)
              running = running.filter((other) => other !== id)
              fill()
              break
            }
            case "interrupt": {
              const inside = [...running, ...waiting.map(({ id }) => id)]
              if (inside.length === 0) break
              const id = inside[step.which % inside.length]!
              yield* Fiber.interruptFork(fibers[id]!)
              running = running.filter((other) => other !== id)
              waiting = waiting.filter((waiter) => waiter.id !== id)
              fill()
              break
            }
            case "wait": {
              yield* runUntil(now() + step.millis)
              const late = waiting.filter(({ until }) => until <= now())
              rejected += late.length
              waiting = waiting.filter((waiter) => !late.includes(waiter))
              break
            }
            case "resize": {
              yield* bulkhead.resize(total = step.total)
              fill()
            }
          }
          yield* runUntil(now())
          const stats = yield* bulkhead.stats
          same(stats.running, running.length, "running")
          same(stats.waiting, waiting.length, "waiting")
          same(stats.rejected, rejected, "rejected")
          same(running.every((id) => started.includes(id)), true, "who has a slot has started")
          same(sleeping(), waiting.length, "timers")
        }
        same(started.every((id, i) => i === 0 || started[i - 1]! < id), true, "started in the order they came")
        yield* Fiber.interruptAll(fibers)
        same((yield* bulkhead.stats).running, 0, "running at the end")
      }),
      clock
    )
  }, shellRuns)

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => Bulkhead.make({ name: " " })).toThrow(`name must be a name that is not empty, got " "`)
    expect(() => Bulkhead.make({ name: "x", maxConcurrent: 0 })).toThrow(/maxConcurrent.*got 0/)
    expect(() => Bulkhead.make({ name: "x", maxQueued: -1 })).toThrow(/maxQueued.*got -1/)
    expect(() => Bulkhead.make({ name: "x", maxWait: Infinity })).toThrow(/maxWait.*finite/)
  })

  it.live("takes a thousand calls of 1 ms through ten slots in the time of a hundred", () =>
    Effect.gen(function*() {
      const { clock, now, runUntil } = SimulatedClock.make()
      const bulkhead = yield* Bulkhead.make({ name: "busy", maxQueued: Infinity })
      const ends: Array<number> = []
      const call = Effect.map(bulkhead.protect(Effect.sleep("1 millis")), () => ends.push(now()))
      for (let i = 0; i < 1_000; i++) yield* Effect.fork(Effect.withClock(call, clock))
      yield* runUntil(1_000)
      expect(ends).toEqual(Array.from({ length: 1_000 }, (_, i) => 1 + Math.floor(i / 10)))
    }))
})
