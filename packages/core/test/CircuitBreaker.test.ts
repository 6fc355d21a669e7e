import { describe, expect, it } from "@effect/vitest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Deadline from "@firebreak/core/Deadline"
import * as Events from "@firebreak/core/Events"
import * as Rejection from "@firebreak/core/Rejection"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { commands, growing, Model, probeTimeout, ramp, threshold } from "./support/circuitModel.js"
import { same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

const boom = Effect.fail("boom" as const)
const three = { name: "vendor", trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" } as const

const opened = (options: CircuitBreaker.Options = {}) =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make({ ...three, ...options })
    for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
    return breaker
  })

const state = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.stats, (stats) => stats.state)

describe("CircuitBreaker", () => {
  it.effect("passes success, failure and defect through unchanged", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make(three)
      expect(yield* breaker.protect(Effect.succeed(1))).toBe(1)
      expect(yield* Effect.exit(breaker.protect(boom))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(breaker.protect(Effect.die("bug")))).toEqual(Exit.die("bug"))
    }))

  it.effect("runs the chapter's story: three failures, open for 30 seconds, two successes close it", () =>
    Effect.gen(function*() {
      const breaker = yield* opened()
      let calls = 0
      const call = breaker.protect(Effect.sync(() => ++calls))

      yield* TestClock.adjust("18 seconds")
      const error = yield* Effect.flip(call)
      expect(error).toBeInstanceOf(CircuitBreaker.CircuitOpen)
      expect(error.retryAfter).toEqual(Duration.seconds(12))
      expect(error.lastFailure).toEqual(Option.some("boom"))
      expect(error.message).toBe(`Circuit breaker "vendor" is open; the call was not started; retry in 12s`)
      expect(calls).toBe(0)

      yield* TestClock.adjust("12 seconds")
      yield* call
      expect(yield* state(breaker)).toBe("half-open")
      yield* call
      expect(yield* state(breaker)).toBe("closed")
      expect(yield* breaker.stats).toMatchObject({ calls: 6, successes: 2, failures: 3, rejected: 1, successRate: 0.4 })
    }))

  it.effect("opens at five failures within 120 seconds by default, and forgets older ones", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "default" })
      for (let i = 0; i < 4; i++) {
        yield* Effect.ignore(breaker.protect(boom))
        yield* breaker.protect(Effect.void)
      }
      yield* TestClock.adjust("2 minutes")
      yield* Effect.ignore(breaker.protect(boom))
      expect(yield* breaker.stats).toMatchObject({ state: "closed", recentFailures: 1 })
      for (let i = 0; i < 4; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(60) })
    }))

  it.effect("one failed probe opens it again, whatever the window holds", () =>
    Effect.gen(function*() {
      const breaker = yield* opened()
      yield* TestClock.adjust("1 hour")
      yield* Effect.ignore(breaker.protect(boom))
      expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(30) })
    }))

  it.effect("lets exactly the permitted probes pass at once", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({ halfOpenPermits: 2 })
      yield* TestClock.adjust("30 seconds")
      const gate = yield* Deferred.make<void>()
      const probe = breaker.protect(Deferred.await(gate))
      const fibers = yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.fork(Effect.either(probe)))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(gate, undefined)
      const results = yield* Effect.forEach(fibers, Fiber.join)
      expect(results.filter((result) => result._tag === "Right").length).toBe(2)
      expect(yield* state(breaker)).toBe("closed")
    }))

  it.effect("gives the permit back when a probe is interrupted, and counts it for nothing", () =>
    Effect.gen(function*() {
      const breaker = yield* opened()
      yield* TestClock.adjust("30 seconds")
      const fiber = yield* Effect.fork(breaker.protect(Effect.never))
      yield* Effect.yieldNow()
      expect(yield* Effect.flip(breaker.protect(Effect.void))).toBeInstanceOf(CircuitBreaker.CircuitOpen)
      yield* Fiber.interrupt(fiber)
      expect(yield* state(breaker)).toBe("half-open")
      yield* breaker.protect(Effect.void)
      yield* breaker.protect(Effect.void)
      expect(yield* state(breaker)).toBe("closed")
    }))

  it.effect("a hung probe cannot wedge the circuit", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({ halfOpenTimeout: "5 seconds" })
      yield* TestClock.adjust("30 seconds")
      const hung = yield* Effect.fork(breaker.protect(Effect.never))
      yield* TestClock.adjust("5 seconds")
      expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(30) })
      yield* TestClock.adjust("30 seconds")
      yield* breaker.protect(Effect.void)
      expect(yield* state(breaker)).toBe("half-open")
      yield* Fiber.interrupt(hung)
      expect(yield* state(breaker)).toBe("half-open")
    }))

  it.effect("a result that comes back in another epoch changes nothing", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ ...three, successThreshold: 1 })
      const gate = yield* Deferred.make<void>()
      const late = yield* Effect.fork(Effect.ignore(breaker.protect(Effect.zipRight(Deferred.await(gate), boom))))
      yield* Effect.yieldNow()
      for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
      yield* TestClock.adjust("30 seconds")
      yield* breaker.protect(Effect.void)
      expect(yield* breaker.stats).toMatchObject({ state: "closed", recentFailures: 0 })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(late)
      expect(yield* breaker.stats).toMatchObject({ state: "closed", recentFailures: 0, failures: 4 })
    }))

  it.effect("an interrupted call counts for nothing while closed", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ ...three, trip: CircuitBreaker.consecutive(1) })
      const fiber = yield* Effect.fork(breaker.protect(Effect.never))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      expect(yield* breaker.stats).toMatchObject({ state: "closed", failures: 0, successes: 0, calls: 1 })
    }))

  it.effect("a defect counts as a failure", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ ...three, trip: CircuitBreaker.consecutive(1) })
      yield* Effect.exit(breaker.protect(Effect.die("bug")))
      const error = yield* Effect.flip(breaker.protect(Effect.void))
      expect(error.lastFailure).toEqual(Option.some("bug"))
    }))

  it.effect("asks `classify` about typed errors, and never about rejections of the library", () =>
    Effect.gen(function*() {
      class Full extends Error {
        readonly [Rejection.TypeId] = true
      }
      const breaker = yield* CircuitBreaker.make({
        ...three,
        trip: CircuitBreaker.consecutive(1),
        classify: (error) => error === 404 ? "success" : error === 400 ? "ignore" : "failure"
      })
      yield* Effect.ignore(breaker.protect(Effect.fail(404)))
      yield* Effect.ignore(breaker.protect(Effect.fail(400)))
      yield* Effect.ignore(breaker.protect(Effect.fail(new Full())))
      expect(yield* breaker.stats).toMatchObject({ state: "closed", successes: 1, failures: 0, successRate: 1 })
      yield* Effect.ignore(breaker.protect(Effect.fail(503)))
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("an open inner breaker does not trip the outer one", () =>
    Effect.gen(function*() {
      const inner = yield* opened()
      const outer = yield* CircuitBreaker.make({ name: "outer", trip: CircuitBreaker.consecutive(1) })
      yield* Effect.ignore(Effect.void.pipe(inner.protect, outer.protect))
      expect(yield* state(outer)).toBe("closed")
    }))

  it.effect("stays open longer the more often it opens, if asked to, and starts over once closed", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({
        resetAfter: (openings) => Duration.seconds(10 * openings),
        successThreshold: 1
      })
      const left = Effect.map(breaker.stats, (stats) => Duration.toSeconds(stats.timeUntilRetry))
      expect(yield* left).toBe(10)
      yield* TestClock.adjust("10 seconds")
      yield* Effect.ignore(breaker.protect(boom))
      expect(yield* left).toBe(20)
      yield* TestClock.adjust("20 seconds")
      yield* breaker.protect(Effect.void)
      for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* left).toBe(10)
    }))

  it.effect("can be held open, held closed and reset by hand", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make(three)
      yield* breaker.forceOpen
      const error = yield* Effect.flip(breaker.protect(Effect.void))
      expect(error.message).toContain("held open by hand")
      yield* TestClock.adjust("1 hour")
      expect(yield* state(breaker)).toBe("forced-open")
      yield* breaker.forceClosed
      for (let i = 0; i < 9; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("forced-closed")
      yield* breaker.reset
      expect(yield* breaker.stats).toMatchObject({ state: "closed", recentFailures: 0 })
    }))

  it.effect("tells its transitions in order, and to a listener that blocks too", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const breaker = yield* CircuitBreaker.make(three)
      const blocked = yield* Effect.fork(Stream.runForEach(breaker.transitions, () => Effect.never))
      const own = yield* Effect.fork(Stream.runCollect(Stream.take(breaker.transitions, 4)))
      yield* TestClock.adjust("1 millis") // both streams have subscribed
      for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
      yield* TestClock.adjust("30 seconds")
      yield* breaker.protect(Effect.void)
      yield* breaker.protect(Effect.void)
      yield* breaker.forceOpen
      const tags = ["CircuitOpened", "CircuitHalfOpened", "CircuitClosed", "CircuitForced"]
      expect(Array.from(yield* Fiber.join(own), (event) => event._tag)).toEqual(tags)
      const all = Array.from(yield* Queue.takeAll(events))
      expect(all.map((event) => event._tag)).toEqual(tags)
      expect(all[0]).toEqual({ _tag: "CircuitOpened", breaker: "vendor", failures: 3, retryAfterMillis: 30_000, at: 1 })
      yield* Fiber.interrupt(blocked)
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("is a service: the tag builds it and protects with it", () =>
    Effect.gen(function*() {
      const call = Effect.fail("down").pipe(Vendor.protect)
      for (let i = 0; i < 3; i++) yield* Effect.ignore(call)
      expect((yield* Effect.flip(Effect.void.pipe(CircuitBreaker.protect(Vendor)))).breaker).toBe("vendor")
      const vendor = yield* Vendor
      expect(yield* state(vendor)).toBe("open")
    }).pipe(Effect.provide(Vendor.layer({ trip: CircuitBreaker.consecutive(3) }))))

  it.effect("keeps its count right when 1,000 calls of mixed outcome run at once", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "busy", trip: CircuitBreaker.consecutive(10_000) })
      yield* Effect.forEach(
        Array.from({ length: 1_000 }, (_, i) => i),
        (i) => Effect.ignore(breaker.protect(Effect.zipRight(Effect.yieldNow(), i % 2 === 0 ? Effect.void : boom))),
        { concurrency: "unbounded" }
      )
      expect(yield* breaker.stats).toMatchObject({ calls: 1_000, successes: 500, failures: 500 })
    }))

  it.effect("builds its rejection without a stack trace and leaves the limit as it was", () =>
    Effect.gen(function*() {
      const limit = Error.stackTraceLimit
      const breaker = yield* opened()
      const error = yield* Effect.flip(breaker.protect(Effect.void))
      expect(Error.stackTraceLimit).toBe(limit)
      expect(error.stack ?? "").not.toContain("    at ")
      expect(Cause.pretty(Cause.fail(error))).toContain(`Circuit breaker "vendor" is open`)
    }))

  it.effect("opens at a failure rate, once there are enough calls to tell", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({
        name: "rate",
        trip: CircuitBreaker.failureRate({ rate: 0.5, minimumCalls: 10, within: "10 seconds" })
      })
      for (let i = 0; i < 9; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("closed")
      yield* TestClock.adjust("20 seconds")
      for (let i = 0; i < 6; i++) yield* breaker.protect(Effect.void)
      for (let i = 0; i < 5; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("closed")
      yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("opens when too many calls are slow, though none fails", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({
        name: "slow",
        trip: CircuitBreaker.either(
          CircuitBreaker.consecutive(100),
          CircuitBreaker.slowCallRate({ rate: 0.5, slowerThan: "2 seconds", minimumCalls: 4, latest: 10 })
        )
      })
      const call = (duration: Duration.DurationInput) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.fork(breaker.protect(Effect.sleep(duration)))
          yield* TestClock.adjust(duration)
          yield* Fiber.join(fiber)
        })
      yield* call("1 second")
      yield* call("1 second")
      yield* call("3 seconds")
      expect(yield* state(breaker)).toBe("closed")
      yield* call("3 seconds")
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("lets a growing share of the calls through after it closed, and no more than that", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({ successThreshold: 1, ramp: { from: 0.1, over: "10 seconds" } })
      yield* TestClock.adjust("30 seconds")
      yield* breaker.protect(Effect.void)
      expect(yield* state(breaker)).toBe("recovering")
      const share = Effect.map(
        Effect.replicateEffect(Effect.isSuccess(breaker.protect(Effect.void)), 1_000),
        (passed) => passed.filter(Boolean).length / 1_000
      )
      expect(Math.abs((yield* share) - 0.1)).toBeLessThan(0.05)
      yield* TestClock.adjust("5 seconds")
      expect(Math.abs((yield* share) - 0.55)).toBeLessThan(0.05)
      const rejection = yield* Effect.flip(Effect.forever(breaker.protect(Effect.void)))
      expect(rejection).toMatchObject({ reason: "recovering", retryAfter: Duration.seconds(5) })
      yield* TestClock.adjust("5 seconds")
      expect(yield* share).toBe(1)
      expect(yield* state(breaker)).toBe("closed")
    }).pipe(Effect.withRandom(Random.make("ramp"))))

  it.effect("a relapse on the ramp stays open longer than a first failure", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({
        successThreshold: 1,
        ramp: { from: 1, over: "1 minute" },
        resetAfter: CircuitBreaker.growing({ base: "10 seconds", cap: "1 minute", jitter: 0 })
      })
      yield* TestClock.adjust("10 seconds")
      yield* breaker.protect(Effect.void)
      for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
      expect((yield* breaker.stats).timeUntilRetry).toEqual(Duration.seconds(20))
    }))

  it.effect("spreads its open durations by the Random service, so a seed replays them", () =>
    Effect.gen(function*() {
      const durations = Effect.gen(function*() {
        const breaker = yield* opened({
          resetAfter: CircuitBreaker.growing({ base: "10 seconds", cap: "10 seconds", jitter: 1 })
        })
        const seen: Array<number> = []
        for (let i = 0; i < 5; i++) {
          const left = (yield* breaker.stats).timeUntilRetry
          seen.push(Math.round(Duration.toMillis(left)))
          yield* TestClock.adjust("20 seconds")
          yield* Effect.ignore(breaker.protect(boom))
        }
        return seen
      })
      const seeded = Effect.suspend(() => Effect.withRandom(durations, Random.make("jitter")))
      const first = yield* seeded
      expect(yield* seeded).toEqual(first)
      expect(new Set(first).size).toBe(5)
      expect(first.every((millis) => millis >= 10_000 && millis < 20_000)).toBe(true)
    }))

  it.effect("is isolated until the last of overlapping isolations ends", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make(three)
      const [outer, inner] = [yield* Scope.make(), yield* Scope.make()]
      yield* Scope.extend(breaker.isolate, outer)
      yield* Scope.extend(breaker.isolate, inner)
      yield* Scope.close(outer, Exit.void)
      expect(yield* Effect.flip(breaker.protect(Effect.void))).toMatchObject({ reason: "forced" })
      yield* Scope.close(inner, Exit.void)
      yield* breaker.protect(Effect.void)
    }))

  it.effect("only observes where it is told to: it changes states and rejects nobody", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({ observeOnly: true })
      expect(yield* state(breaker)).toBe("open")
      expect(yield* breaker.protect(Effect.succeed(1))).toBe(1)
      expect(yield* breaker.stats).toMatchObject({ state: "open", rejected: 1 })
    }))

  it.effect("goes on from a snapshot, by wall-clock time, and never stays open longer than it would itself", () =>
    Effect.gen(function*() {
      const old = yield* opened({ resetAfter: "30 seconds" })
      yield* TestClock.adjust("10 seconds")
      const snapshot = yield* old.snapshot
      const fresh = yield* CircuitBreaker.make(three)
      yield* fresh.restore(yield* Schema.decode(CircuitBreaker.Snapshot)(snapshot))
      expect(yield* fresh.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(20) })
      yield* fresh.restore({ ...snapshot, retryAt: 1e15 })
      expect(yield* fresh.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(30) })
      const late = yield* Effect.fork(fresh.protect(Effect.never))
      yield* Fiber.interrupt(late)
      yield* fresh.restore({ state: "closed", openings: 0, retryAt: 0 })
      yield* fresh.protect(Effect.void)
    }))

  it.effect("keeps its state and its count when it is reconfigured, unless it counts another way", () =>
    Effect.gen(function*() {
      const trip = CircuitBreaker.consecutive(3)
      const breaker = yield* CircuitBreaker.make({ name: "r", trip })
      yield* Effect.ignore(breaker.protect(boom))
      yield* breaker.reconfigure({ trip, resetAfter: "5 seconds" })
      expect(yield* breaker.stats).toMatchObject({ recentFailures: 1 })
      for (let i = 0; i < 2; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(5) })
      yield* breaker.reconfigure({ trip: CircuitBreaker.consecutive(9) })
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("a full window of the latest calls can trip, with exactly as many calls as it holds", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({
        name: "latest",
        trip: CircuitBreaker.failureRate({ rate: 0.5, latest: 20 })
      })
      for (let i = 0; i < 19; i++) yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("closed")
      yield* Effect.ignore(breaker.protect(boom))
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("a `classify` that throws says failure, and gives a probe's permit back", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({
        halfOpenTimeout: "1 hour",
        classify: () => {
          throw new Error("classify bug")
        }
      })
      yield* TestClock.adjust("30 seconds")
      expect(yield* Effect.exit(breaker.protect(boom))).toEqual(Exit.fail("boom"))
      expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(30) })
    }))

  it.effect("a defect beside a typed error is a failure, whatever `classify` says of the error", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({
        name: "both",
        trip: CircuitBreaker.consecutive(1),
        classify: () => "ignore"
      })
      yield* Effect.exit(breaker.protect(Effect.ensuring(boom, Effect.die("bug"))))
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("learns of a dependency that hangs until the deadline, and nothing of a caller who leaves", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "hung", trip: CircuitBreaker.consecutive(1) })
      const left = yield* Effect.fork(Deadline.within(breaker.protect(Effect.never), "1 second"))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(left)
      expect(yield* state(breaker)).toBe("closed")
      const hung = yield* Effect.fork(Effect.flip(Deadline.within(breaker.protect(Effect.never), "1 second")))
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(hung))._tag).toBe("DeadlineExceeded")
      expect(yield* state(breaker)).toBe("open")
    }))

  it.effect("stays isolated whatever is done by hand meanwhile, and then goes on in the state it had", () =>
    Effect.gen(function*() {
      const breaker = yield* opened()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* breaker.isolate
        yield* breaker.reset
        expect(yield* Effect.flip(breaker.protect(Effect.void))).toMatchObject({ reason: "forced" })
        yield* Effect.scoped(breaker.isolate)
        expect(yield* breaker.stats).toMatchObject({ state: "forced-open" })
        yield* breaker.forceOpen
      }))
      expect(yield* breaker.stats).toMatchObject({ state: "forced-open" })
      yield* breaker.reset
      yield* breaker.protect(Effect.void)
    }))

  it.effect("a late failure of another epoch is not the one that opened the circuit", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ ...three, successThreshold: 1 })
      const gate = yield* Deferred.make<void>()
      const late = yield* Effect.fork(
        Effect.ignore(breaker.protect(Effect.zipRight(Deferred.await(gate), Effect.fail("late"))))
      )
      yield* Effect.yieldNow()
      for (let i = 0; i < 3; i++) yield* Effect.ignore(breaker.protect(boom))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(late)
      expect((yield* Effect.flip(breaker.protect(Effect.void))).lastFailure).toEqual(Option.some("boom"))
      yield* breaker.forceOpen
      expect((yield* Effect.flip(breaker.protect(Effect.void))).lastFailure).toEqual(Option.none())
    }))

  it.effect("says how many calls opened it, by its own way of counting", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const breaker = yield* CircuitBreaker.make({
        name: "slow",
        trip: CircuitBreaker.slowCallRate({ rate: 0.5, slowerThan: "1 second", minimumCalls: 2, latest: 10 })
      })
      const slow = yield* Effect.fork(breaker.protect(Effect.sleep("2 seconds")))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(slow)
      yield* breaker.protect(Effect.void)
      expect(yield* Queue.take(events)).toMatchObject({ _tag: "CircuitOpened", failures: 1 })
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("closes again even where its open time is a function that gives nonsense", () =>
    Effect.gen(function*() {
      const breaker = yield* opened({ resetAfter: () => NaN, successThreshold: 2 })
      yield* TestClock.adjust("1 milli")
      yield* breaker.protect(Effect.void)
      yield* breaker.protect(Effect.void)
      expect(yield* state(breaker)).toBe("closed")
      expect(() => CircuitBreaker.make({ name: "x", resetAfter: 0 })).toThrow(/resetAfter.*at least 1 ms, got 0/)
    }))

  it.effect("can be taken apart", () =>
    Effect.gen(function*() {
      const { protect, reconfigure, reset, restore, snapshot } = yield* CircuitBreaker.make(three)
      yield* reconfigure({})
      yield* restore(yield* snapshot)
      yield* reset
      expect(yield* protect(Effect.succeed(1))).toBe(1)
    }))

  it.effect("a step of the wall clock changes nothing", () =>
    Effect.gen(function*() {
      const test = yield* Effect.clock
      let step = 0
      const stepped: Clock.Clock = {
        ...Clock.make(),
        currentTimeMillis: Effect.map(test.currentTimeMillis, (millis) => millis + step),
        unsafeCurrentTimeMillis: () => test.unsafeCurrentTimeMillis() + step,
        currentTimeNanos: test.currentTimeNanos,
        unsafeCurrentTimeNanos: () => test.unsafeCurrentTimeNanos()
      }
      yield* Effect.withClock(
        Effect.gen(function*() {
          const breaker = yield* opened()
          for (const hours of [1, -1]) {
            step = hours * 3_600_000
            expect(yield* breaker.stats).toMatchObject({ state: "open", timeUntilRetry: Duration.seconds(30) })
            expect(yield* Effect.flip(breaker.protect(Effect.void))).toMatchObject({ _tag: "CircuitOpen" })
          }
        }),
        stepped
      )
    }))

  it.live.prop("behaves as the diagram says, with calls that are under way, late, hung or interrupted", [
    commands,
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 1, max: 3 }),
    fc.boolean()
  ], ([commands, halfOpenPermits, successThreshold, ramps]) => {
    const { clock, now, runUntil } = SimulatedClock.make()
    return Effect.withClock(
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({
          name: "vendor",
          trip: CircuitBreaker.consecutive(threshold),
          resetAfter: growing,
          halfOpenTimeout: probeTimeout,
          halfOpenPermits,
          successThreshold,
          ramp: ramps ? ramp : undefined
        })
        const model = new Model(halfOpenPermits, successThreshold, ramps)
        const running: Array<{
          readonly id: number
          readonly answer: Deferred.Deferred<void, "down">
          readonly fiber: Fiber.RuntimeFiber<void, "down" | CircuitBreaker.CircuitOpen>
        }> = []
        const counts = { calls: 0, successes: 0, failures: 0, rejected: 0 }
        for (const step of commands) {
          if (step._tag === "wait") yield* runUntil(now() + step.millis)
          model.tick(now())
          switch (step._tag) {
            case "call": {
              const id = counts.calls++
              const answer = yield* Deferred.make<void, "down">()
              const call = Effect.withRandom(breaker.protect(Deferred.await(answer)), Random.fixed([step.draw]))
              const fiber = yield* Effect.forkDaemon(call)
              yield* runUntil(now())
              const retryAfter = model.call(id, now(), step.draw)
              if (retryAfter === undefined) running.push({ id, answer, fiber })
              else {
                counts.rejected++
                const error = yield* Effect.flip(Fiber.join(fiber))
                same(
                  error instanceof CircuitBreaker.CircuitOpen ? Duration.toMillis(error.retryAfter) : undefined,
                  retryAfter,
                  "time until a retry"
                )
              }
              break
            }
            case "settle": {
              if (running.length === 0) break
              const [{ answer, fiber, id }] = running.splice(step.which % running.length, 1) as [
                (typeof running)[number]
              ]
              if (step.verdict === "ignore") yield* Fiber.interrupt(fiber)
              else {
                counts[step.verdict === "success" ? "successes" : "failures"]++
                Deferred.unsafeDone(answer, step.verdict === "success" ? Exit.void : Exit.fail("down"))
                yield* Fiber.await(fiber)
              }
              model.settle(id, step.verdict, now())
              break
            }
            case "hand": {
              yield* breaker[step.what === "reset" ? "reset" : step.what === "open" ? "forceOpen" : "forceClosed"]
              model.become(step.what === "reset" ? "closed" : `forced-${step.what}`, now())
            }
          }
          const stats = yield* breaker.stats
          same(stats.state, model.mode, "state")
          same(stats.calls, counts.calls, "calls")
          same(stats.successes, counts.successes, "successes")
          same(stats.failures, counts.failures, "failures")
          same(stats.rejected, counts.rejected, "rejected")
        }
        yield* Fiber.interruptAll(running.map(({ fiber }) => fiber))
      }),
      clock
    )
  }, shellRuns)

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => CircuitBreaker.make({ name: "" })).toThrow(`name must be a name that is not empty, got ""`)
    expect(() => CircuitBreaker.make({ name: "x", resetAfter: -5 })).toThrow(/resetAfter.*got -5/)
    expect(() => CircuitBreaker.make({ name: "x", successThreshold: 0 })).toThrow(/successThreshold.*got 0/)
    expect(() => CircuitBreaker.make({ name: "x", halfOpenPermits: 1.5 })).toThrow(/halfOpenPermits.*got 1.5/)
    expect(() => CircuitBreaker.make({ name: "x", ramp: { from: 2, over: 1 } })).toThrow(
      /ramp.from.*between 0 and 1.*2/
    )
    expect(() => CircuitBreaker.failureRate({ rate: 50, within: "1 minute" })).toThrow(/rate.*between.*got 50/)
    expect(() => CircuitBreaker.failureRate({ rate: 0.5, latest: 10 })).toThrow(/latest.*at least 20.*got 10/)
    expect(() => CircuitBreaker.make({ name: "x", halfOpenTimeout: Infinity })).toThrow(/halfOpenTimeout.*finite/)
  })
})
