import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Rejection from "@firebreak/core/Rejection"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { type Start, worstExcess } from "./support/rate.js"
import { shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Search extends RateLimit.Tag("search")<Search>() {}

const tenPerSecond = { name: "ten", limits: [{ rate: 10, per: "1 second" }] } as const
const rejecting = { ...tenPerSecond, onLimit: "reject" } as const

const millis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/** A call that writes down when it started. */
const recorder = (limit: RateLimit.RateLimit) => {
  const starts: Array<number> = []
  return { starts, call: limit.protect(Effect.map(millis, (at) => void starts.push(at))) }
}

describe("RateLimit", () => {
  it.effect("passes success, failure and defect through unchanged", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ name: "x", limits: [{ rate: 1, per: "1 second", burst: 3 }] })
      expect(yield* limit.protect(Effect.succeed(1))).toBe(1)
      expect(yield* Effect.exit(limit.protect(Effect.fail("boom")))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(limit.protect(Effect.die("bug")))).toEqual(Exit.die("bug"))
    }))

  it.effect("spaces calls evenly, in the order they came", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make(tenPerSecond)
      const order: Array<readonly [number, number]> = []
      const call = (i: number) => limit.protect(Effect.map(millis, (at) => order.push([i, at])))
      const all = yield* Effect.fork(Effect.forEach([0, 1, 2, 3, 4], call, { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(all)
      expect(order).toEqual([[0, 0], [1, 100], [2, 200], [3, 300], [4, 400]])
    }))

  it.effect("lets a burst start at once after a pause", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ name: "x", limits: [{ rate: 10, per: "1 second", burst: 3 }] })
      const { call, starts } = recorder(limit)
      expect(yield* limit.stats).toMatchObject({ available: 3 })
      for (let i = 0; i < 5; i++) yield* Effect.fork(call)
      yield* TestClock.adjust("10 seconds")
      for (let i = 0; i < 4; i++) yield* Effect.fork(call)
      yield* TestClock.adjust("1 seconds")
      expect(starts).toEqual([0, 0, 0, 100, 200, 10_000, 10_000, 10_000, 10_100])
    }))

  it.effect("rejects with the time to come back, and the rejected are not charged", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make(rejecting)
      yield* limit.protect(Effect.void)
      yield* TestClock.adjust("40 millis")
      for (let i = 0; i < 3; i++) {
        const error = yield* Effect.flip(limit.protect(Effect.die("must not start")))
        expect(error.retryAfter).toEqual(Duration.millis(60))
        expect(error.message).toBe(`Rate limit "ten" is used up; the call was not started; retry in 60ms`)
        expect(Rejection.isRejection(error)).toBe(true)
        expect(error.stack ?? "").not.toContain("    at ")
      }
      yield* TestClock.adjust("60 millis")
      yield* limit.protect(Effect.void)
      expect(yield* limit.stats).toEqual({ waiting: 0, rejected: 3, available: 0 })
    }))

  it.effect("turns away at once what would wait too long", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ ...tenPerSecond, maxWait: "250 millis" })
      const { call, starts } = recorder(limit)
      const exits = yield* Effect.forEach([0, 1, 2, 3, 4], () => Effect.fork(Effect.exit(call)))
      yield* TestClock.adjust("1 millis")
      const error = yield* Effect.flip(call)
      expect(error.retryAfter).toEqual(Duration.millis(299))
      yield* TestClock.adjust("1 seconds")
      expect(starts).toEqual([0, 100, 200])
      expect((yield* Effect.forEach(exits, Fiber.join)).filter(Exit.isFailure).length).toBe(2)
    }))

  it.effect("several limits: all agree, and a call that one of them refuses is charged to none", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({
        name: "both",
        onLimit: "reject",
        limits: [{ rate: 1, per: "1 second" }, { rate: 3, per: "1 hour", burst: 3 }]
      })
      const { call, starts } = recorder(limit)
      for (let i = 0; i < 60; i++) {
        yield* Effect.ignore(call)
        yield* TestClock.adjust("250 millis")
      }
      expect(starts).toEqual([0, 1_000, 2_000])
      const error = yield* Effect.flip(call)
      expect(error.retryAfter).toEqual(Duration.seconds(1_200 - 15))
      yield* TestClock.adjust(error.retryAfter)
      yield* call
      expect(starts.length).toBe(4)
    }))

  it.effect("charges a call its cost", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ name: "tokens", limits: [{ rate: 1_000, per: "1 second", burst: 500 }] })
      const { call, starts } = recorder(limit)
      for (const cost of [400, 200, 100]) yield* Effect.fork(RateLimit.withCost(call, cost))
      yield* TestClock.adjust("1 seconds")
      expect(starts).toEqual([0, 100, 200])
    }))

  it.effect("starts a call that costs more than the burst when the limit is unused, and has it paid off", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ name: "tokens", limits: [{ rate: 10, per: "1 second", burst: 2 }] })
      const { call, starts } = recorder(limit)
      yield* call
      yield* Effect.fork(call.pipe(RateLimit.withCost(20)))
      yield* TestClock.adjust("100 millis")
      yield* Effect.fork(call)
      yield* TestClock.adjust("5 seconds")
      expect(starts).toEqual([0, 100, 2_000])
    }))

  it.effect("an interrupted waiter has cost nothing: those behind it move up", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make(tenPerSecond)
      const { call, starts } = recorder(limit)
      const fibers: Array<Fiber.RuntimeFiber<void, RateLimit.RateLimited>> = []
      for (let i = 0; i < 6; i++) fibers.push(yield* Effect.fork(call))
      yield* TestClock.adjust("10 millis")
      expect(yield* limit.stats).toMatchObject({ waiting: 5 })
      yield* Fiber.interrupt(fibers[1]!) // the first in line, whose timer runs
      yield* Fiber.interrupt(fibers[3]!) // one in the middle
      expect(yield* limit.stats).toMatchObject({ waiting: 3 })
      yield* TestClock.adjust("1 seconds")
      expect(starts).toEqual([0, 100, 200, 300])
    }))

  it.effect("a thousand callers that gave up do not keep the next one waiting", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ ...tenPerSecond, maxWait: "1 hour" })
      yield* limit.protect(Effect.void)
      const crowd = yield* Effect.forEach(
        Array.from({ length: 1_000 }),
        () => Effect.fork(limit.protect(Effect.die("must not start")))
      )
      yield* TestClock.adjust("50 millis")
      yield* Fiber.interruptAll(crowd)
      const late = yield* Effect.fork(limit.protect(millis))
      yield* TestClock.adjust("50 millis")
      expect(yield* Fiber.join(late)).toBe(100)
      expect(yield* limit.stats).toMatchObject({ waiting: 0 })
    }))

  it.effect("a call in an uninterruptible region waits to the end, though its fiber has been interrupted", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make(tenPerSecond)
      const { call, starts } = recorder(limit)
      const fiber = yield* Effect.fork(Effect.ensuring(Effect.never, Effect.ignore(call)))
      yield* call
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("1 seconds")
      expect(starts).toEqual([0, 100])
    }))

  it.live("holds 3,000 a second within 2 %, whatever its timers do up to 10 ms", () =>
    Effect.gen(function*() {
      const exact = (at: number) => at
      const wholeMillis = (at: number) => Math.ceil(at)
      const sevens = (at: number) => Math.ceil(at / 7) * 7
      for (const wakeAt of [exact, wholeMillis, sevens]) {
        const { clock, now, runUntil } = SimulatedClock.make(wakeAt)
        const limit = yield* RateLimit.make({ name: "fast", limits: [{ rate: 3_000, per: "1 second", burst: 3 }] })
        const starts: Array<Start> = []
        const call = limit.protect(Effect.sync(() => starts.push({ at: now(), cost: 1 })))
        const workers = yield* Effect.forEach([1, 2, 3, 4], () =>
          Effect.fork(Effect.withClock(Effect.forever(call), clock)))
        yield* runUntil(1_000)
        yield* Fiber.interruptAll(workers)
        expect(starts.length).toBeGreaterThanOrEqual(3_000 * 0.98)
        expect(starts.length).toBeLessThanOrEqual(3_003)
        // a start may be late by what its timer was late, and so may fall together with the next ones
        const late = wakeAt === exact ? 0 : wakeAt === wholeMillis ? 1 : 7
        expect(worstExcess([{ interval: 1 / 3, burst: 3 }], starts, late)).toBeLessThanOrEqual(0.01)
      }
    }))

  it.live("a pause of the process is made up for by 10 ms worth of starts, not by all that were missed", () =>
    Effect.gen(function*() {
      // everything that should wake between 100 and 1,100 ms wakes at 1,100
      const { clock, now, runUntil } = SimulatedClock.make((at) => at > 100 && at < 1_100 ? 1_100 : at)
      const limit = yield* RateLimit.make({ name: "fast", limits: [{ rate: 1_000, per: "1 second" }] })
      const starts: Array<Start> = []
      const call = limit.protect(Effect.sync(() => starts.push({ at: now(), cost: 1 })))
      const workers = yield* Effect.forEach(
        [1, 2, 3, 4],
        () => Effect.fork(Effect.withClock(Effect.forever(call), clock))
      )
      yield* runUntil(1_200)
      yield* Fiber.interruptAll(workers)
      expect(starts.filter(({ at }) => at === 1_100).length).toBe(11)
      expect(starts.length).toBe(101 + 11 + 100)
      expect(worstExcess([{ interval: 1, burst: 1 }], starts, 10)).toBeLessThanOrEqual(0.01)
    }))

  it.live.prop("in any window starts at most burst + rate * window, whoever comes and goes, on late timers too", [
    fc.array(
      fc.record({
        gap: fc.nat(300),
        cost: fc.integer({ min: 1, max: 4 }),
        givesUp: fc.option(fc.nat(500), { nil: undefined })
      }),
      { minLength: 1, maxLength: 40 }
    ),
    fc.integer({ min: 1, max: 5 }),
    fc.constantFrom(1, 10, 50)
  ], ([calls, burst, grain]) =>
    Effect.gen(function*() {
      const { clock, now, runUntil, sleeping } = SimulatedClock.make((at) => Math.ceil(at / grain) * grain)
      const limit = yield* RateLimit.make({
        name: "x",
        limits: [{ rate: 10, per: "1 second", burst }, { rate: 4, per: "1 second", burst: burst * 2 }],
        maxWait: "10 seconds"
      })
      const starts: Array<Start> = []
      for (const { cost, gap, givesUp } of calls) {
        const call = limit.protect(Effect.sync(() => void starts.push({ at: now(), cost })))
        const patient = givesUp === undefined ? call : Effect.ignore(Effect.timeout(call, givesUp))
        yield* Effect.fork(Effect.withClock(RateLimit.withCost(patient, cost), clock))
        yield* runUntil(now() + gap)
      }
      yield* runUntil(now() + 60_000)
      expect(yield* Effect.withClock(limit.stats, clock)).toMatchObject({ waiting: 0, available: burst })
      expect(sleeping()).toBe(0)
      // the 10 ms by which a waiter whose turn came late may be charged for an earlier start
      const isPunctual = grain === 1 && calls.every(({ givesUp }) => givesUp === undefined)
      const limits = [{ interval: 100, burst }, { interval: 250, burst: burst * 2 }]
      expect(worstExcess(limits, starts, isPunctual ? 0 : 10)).toBeLessThanOrEqual(0.001)
    }), shellRuns)

  it.effect("tells of every call it turns away", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const limit = yield* RateLimit.make(rejecting)
      yield* limit.protect(Effect.void)
      yield* Effect.exit(limit.protect(Effect.void))
      expect(Array.from(yield* Queue.takeAll(events))).toEqual([
        { _tag: "RateLimitReached", limit: "ten", retryAfterMillis: 100, at: 0 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("is a service: the tag builds it and protects with it", () =>
    Effect.gen(function*() {
      yield* Search.protect(Effect.void)
      expect((yield* Effect.flip(Effect.void.pipe(Search.protect))).limit).toBe("search")
      expect((yield* Effect.flip(Effect.void.pipe(RateLimit.protect(Search)))).limit).toBe("search")
    }).pipe(Effect.provide(Search.layer({ limits: tenPerSecond.limits, onLimit: "reject" }))))

  it("refuses options that make no sense, naming the option and the value", () => {
    const limits = tenPerSecond.limits
    expect(() => RateLimit.make({ name: "", limits })).toThrow(`name must be a name that is not empty, got ""`)
    expect(() => RateLimit.make({ name: "x", limits: [] as never })).toThrow(/limits must hold at least one limit/)
    expect(() => RateLimit.make({ name: "x", limits: [{ rate: 0, per: "1 second" }] })).toThrow(/rate.*got 0/)
    expect(() => RateLimit.make({ name: "x", limits: [{ rate: 1, per: 0 }] })).toThrow(/per.*got 0/)
    expect(() => RateLimit.make({ name: "x", limits: [{ rate: 1, per: 1, burst: 0.5 }] })).toThrow(/burst.*got 0.5/)
    expect(() => RateLimit.make({ name: "x", limits, maxWait: -1 })).toThrow(/maxWait.*got -1/)
    expect(() => RateLimit.withCost(Effect.void, NaN)).toThrow(/cost.*got NaN/)
  })
})
