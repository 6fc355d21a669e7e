import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

/** How one call of a script goes: how long it waits for its turn, how long it takes, and how it ends. */
const call = fc.record({
  after: fc.integer({ min: 0, max: 8_000 }),
  takes: fc.constantFrom(0, 0, 1, 500, 20_000),
  ends: fc.constantFrom(
    "ok" as const,
    "ok" as const,
    "fail" as const,
    "fail" as const,
    "die" as const,
    "interrupt" as const
  )
})

type Script = ReadonlyArray<typeof call extends fc.Arbitrary<infer A> ? A : never>

const ending = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: String,
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onSome: (error) => JSON.stringify(error),
        onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "died"
      })
  })

/** Runs the script by a clock of its own, each call on a fiber of its own; tells how every call ended and when. */
const play = <E, P>(
  script: Script,
  make: Effect.Effect<P>,
  protect: (part: P, effect: Effect.Effect<string, "down">) => Effect.Effect<string, E>
): Effect.Effect<readonly [part: P, calls: ReadonlyArray<readonly [string, number]>]> => {
  const { clock, now, runUntil } = SimulatedClock.make()
  return Effect.withClock(
    Effect.gen(function*() {
      const part = yield* make
      const fibers: Array<Fiber.RuntimeFiber<readonly [string, number]>> = []
      for (const { after, ends, takes } of script) {
        yield* runUntil(now() + after)
        const work = Effect.zipRight(
          takes === 0 ? Effect.void : Effect.sleep(takes),
          ends === "ok"
            ? Effect.succeed("ok")
            : ends === "fail"
            ? Effect.fail("down" as const)
            : ends === "die"
            ? Effect.die("bug")
            : Effect.interrupt
        )
        fibers.push(
          yield* Effect.fork(Effect.map(Effect.exit(protect(part, work)), (exit) => [ending(exit), now()] as const))
        )
      }
      yield* runUntil(now() + 3_600_000)
      return [part, yield* Effect.forEach(fibers, Fiber.join)] as const
    }),
    clock
  )
}

describe("a part alone and the same part in a Policy", () => {
  it.live.prop("circuit breaker: same answers at the same times, same stats", [
    fc.array(call, { maxLength: 25 }),
    fc.integer({ min: 1, max: 3 })
  ], ([script, halfOpenPermits]) =>
    Effect.gen(function*() {
      const make = CircuitBreaker.make({
        name: "b",
        trip: CircuitBreaker.consecutive(2),
        resetAfter: "5 seconds",
        halfOpenPermits,
        halfOpenTimeout: "10 seconds"
      })
      const [alone, first] = yield* play(script, make, (breaker, work) => breaker.protect(work))
      const [inPolicy, second] = yield* play(script, make, (breaker, work) => Policy.make({ breaker })(work))
      expect(second).toEqual(first)
      expect(yield* inPolicy.stats).toEqual(yield* alone.stats)
    }), shellRuns)

  it.live.prop("bulkhead: same answers at the same times, nothing held at the end", [
    fc.array(call, { maxLength: 25 })
  ], ([script]) =>
    Effect.gen(function*() {
      const make = Bulkhead.make({ name: "b", maxConcurrent: 2, maxQueued: 3, maxWait: "5 seconds" })
      const [alone, first] = yield* play(script, make, (bulkhead, work) => bulkhead.protect(work))
      const [inPolicy, second] = yield* play(script, make, (bulkhead, work) => Policy.make({ bulkhead })(work))
      expect(second).toEqual(first)
      expect(yield* inPolicy.stats).toEqual(yield* alone.stats)
      expect(yield* inPolicy.stats).toMatchObject({ running: 0, waiting: 0 })
    }), shellRuns)

  it.live.prop("rate limit, concurrency limit and throttle: same answers at the same times", [
    fc.array(call, { maxLength: 25 }),
    fc.integer()
  ], ([script, seed]) =>
    Effect.gen(function*() {
      const same = <P, E>(
        make: Effect.Effect<P>,
        protect: (part: P, work: Effect.Effect<string, "down">) => Effect.Effect<string, E>,
        policy: (part: P, work: Effect.Effect<string, "down">) => Effect.Effect<string, E>
      ) =>
        Effect.gen(function*() {
          const [, first] = yield* Effect.withRandom(play(script, make, protect), Random.make(seed))
          const [, second] = yield* Effect.withRandom(play(script, make, policy), Random.make(seed))
          expect(second).toEqual(first)
        })
      yield* same(
        RateLimit.make({ name: "r", limits: [{ rate: 1, per: "5 seconds", burst: 2 }], maxWait: "10 seconds" }),
        (rateLimit, work) => rateLimit.protect(work),
        (rateLimit, work) => Policy.make({ rateLimit })(work)
      )
      yield* same(
        ConcurrencyLimit.make({
          name: "c",
          strategy: ConcurrencyLimit.aimd({ initial: 2, min: 1 }),
          every: 0,
          minimumCalls: 1
        }),
        (concurrencyLimit, work) => concurrencyLimit.protect(work),
        (concurrencyLimit, work) => Policy.make({ concurrencyLimit })(work)
      )
      yield* same(
        Throttle.make({ name: "t" }),
        (throttle, work) => throttle.protect(work),
        (throttle, work) => Policy.make({ throttle })(work)
      )
    }), shellRuns)

  it.live.prop("backoff: the same attempts at the same times as with Effect.retry", [
    fc.integer({ min: 0, max: 7 }),
    fc.constantFrom("none" as const, "full" as const, "decorrelated" as const),
    fc.integer()
  ], ([failures, jitter, seed]) =>
    Effect.gen(function*() {
      const schedule = Backoff.make({ base: 100, jitter, maxRetries: 5, maxTotalDelay: "2 seconds" })
      const attempts = (retry: <A>(effect: Effect.Effect<A, "down">) => Effect.Effect<A, "down">) =>
        Effect.gen(function*() {
          const { clock, now, runUntil } = SimulatedClock.make()
          const times: Array<number> = []
          const work = Effect.suspend(() => {
            times.push(Math.round(now()))
            return times.length > failures ? Effect.succeed("ok") : Effect.fail("down" as const)
          })
          const fiber = yield* Effect.fork(Effect.withClock(Effect.exit(retry(work)), clock))
          yield* runUntil(3_600_000)
          return [times, ending(yield* Fiber.join(fiber))]
        }).pipe(Effect.withRandom(Random.make(seed)))
      const plain = yield* attempts(Effect.retry(schedule))
      expect(yield* attempts(Policy.make({ retry: { schedule, while: () => true } }))).toEqual(plain)
      // and behind a schedule that only looks like another one, so that Policy drives it
      const driven = Schedule.map(schedule, (retry) => retry)
      expect(yield* attempts(Policy.make({ retry: { schedule: driven, while: () => true } }))).toEqual(plain)
    }), shellRuns)
})

describe("a policy's budget", () => {
  it.live.prop("is out by the retries that ran, whatever they waited for and wherever their callers left", [
    fc.array(fc.tuple(call, fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 30_000 })), {
      minLength: 5,
      maxLength: 25,
      size: "max"
    }),
    fc.record({ holds: fc.boolean(), waits: fc.boolean(), within: fc.boolean(), ramps: fc.boolean() }),
    fc.integer()
  ], ([script, { holds, ramps, waits, within }, seed]) => {
    const { clock, now, runUntil } = SimulatedClock.make()
    return Effect.gen(function*() {
      // so much that it is never full and never empty
      const [cost, start] = [50, 500]
      const allowance = RetryBudget.tokens({ capacity: 2 * start * cost, cost, credit: 1 })
      const budget = yield* RetryBudget.make({ name: "vendor", allowance })
      yield* Effect.withFiberRuntime((fiber) => {
        for (let i = 0; i < start; i++) budget.unsafeTryRetry("error", fiber)
        return Effect.void
      })
      const breaker = yield* CircuitBreaker.make({
        name: "vendor",
        trip: CircuitBreaker.consecutive(2),
        resetAfter: "5 seconds",
        halfOpenTimeout: "10 seconds",
        ramp: ramps ? { from: 0.2, over: "20 seconds" } : undefined
      })
      const rateLimit = yield* RateLimit.make({
        name: "vendor",
        limits: [{ rate: 1, per: "4 seconds", burst: 2 }],
        maxWait: "1 minute"
      })
      const policy = Policy.make({
        retry: {
          schedule: Backoff.make({ base: "1 second", maxRetries: 4 }),
          while: (error: unknown) => error === "down",
          whenOpen: waits ? "wait" : "fail",
          budget
        },
        rateLimit,
        ...(within ? {} : { breaker }),
        ...(holds ? { attemptTimeout: "1 hour" } as const : {})
      })
      const seen = { retries: 0, first: 0, second: 0 }
      const callers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
      for (const [{ after, ends, takes }, failures, patience] of script) {
        yield* runUntil(now() + after)
        let attempts = 0
        const work = Effect.gen(function*() {
          const attempt = ++attempts
          if (attempt > 1) seen.retries++
          yield* Effect.sleep(takes)
          if (attempt <= failures) return yield* Effect.fail("down" as const)
          if (ends === "die") return yield* Effect.die("bug")
          if (ends === "interrupt") return yield* Effect.interrupt
          if (ends === "fail") return yield* Effect.fail("final" as const)
          if (attempt > 1) seen.second++
          else seen.first++
        })
        // a retry that the breaker within turns away has not run
        const guarded = within ? breaker.protect(work) : work
        const fiber = yield* Effect.fork(policy(guarded))
        // some leave, most of them while they wait
        if (callers.push(fiber) % 2 === 0) yield* Effect.fork(Effect.delay(Fiber.interrupt(fiber), patience))
      }
      yield* runUntil(now() + 3_600_000)
      expect(callers.every((fiber) => fiber.unsafePoll() !== null)).toBe(true)
      const { available, granted, refunded } = yield* budget.stats
      expect(granted - start - refunded).toBe(seen.retries)
      const tokens = start * cost - seen.retries * cost + seen.second * cost + seen.first
      expect(available).toBe(Math.floor(tokens / cost))
    }).pipe(Effect.withRandom(Random.make(seed)), Effect.withClock(clock))
  }, shellRuns)
})

describe("Policy", () => {
  it.effect("holds the bulkhead's slot through the waits between attempts", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "b", maxConcurrent: 1, maxQueued: 0 })
      const policy = Policy.make({
        bulkhead,
        retry: { schedule: Backoff.make({ jitter: "none", maxRetries: 1 }), while: (_: "down") => true }
      })
      const fiber = yield* Effect.fork(Effect.exit(policy(Effect.fail("down" as const))))
      yield* TestClock.adjust("500 millis")
      expect(yield* Effect.flip(policy(Effect.void))).toMatchObject({ _tag: "BulkheadFull" })
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(fiber)
      yield* policy(Effect.void)
    }))

  it.effect("counts attempts, not calls, against the breaker", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({ name: "b", trip: CircuitBreaker.consecutive(100) })
      const policy = Policy.make({
        breaker,
        retry: { schedule: Schedule.recurs(3), while: (_: "down") => true }
      })
      yield* Effect.ignore(policy(Effect.fail("down" as const)))
      expect(yield* breaker.stats).toMatchObject({ calls: 4, failures: 4 })
    }))

  it.effect("stops retrying when the budget is spent, with the call's own error, and nested retries do not multiply", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({
        name: "vendor",
        allowance: RetryBudget.tokens({ capacity: 10, cost: 5, timeoutCost: 10 })
      })
      let attempts = 0
      const down = Effect.suspend(() => {
        attempts++
        return Effect.fail("down" as const)
      })
      const policy = Policy.make({
        retry: { schedule: Schedule.recurs(3), while: (_: "down") => true, budget }
      })
      expect(yield* Effect.flip(policy(down))).toBe("down")
      expect(attempts).toBe(3)
      attempts = 0
      const fresh = yield* RetryBudget.make({ name: "vendor" })
      const retry = { schedule: Schedule.recurs(2), while: (_: "down") => true, budget: fresh }
      yield* Effect.flip(down.pipe(Policy.make({ retry }), Policy.make({ retry }), Policy.make({ retry })))
      expect(attempts).toBe(3)
    }))

  it.effect("does not wait for a retry that would begin after the deadline", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const down = Effect.flatMap(Clock.currentTimeMillis, (now) => {
        times.push(now)
        return Effect.fail("down" as const)
      })
      const policy = Policy.make({
        deadline: "15 seconds",
        retry: { schedule: Backoff.make({ base: "10 seconds", jitter: "none" }), while: (_: "down") => true }
      })
      const fiber = yield* Effect.fork(Effect.flip(policy(down)))
      yield* TestClock.adjust("10 seconds")
      expect(yield* Fiber.join(fiber)).toBe("down")
      expect(times).toEqual([0, 10_000])
    }))

  it.effect("a hung dependency trips the breaker though only the deadline cuts it, an impatient caller does not", () =>
    Effect.gen(function*() {
      const trip = CircuitBreaker.consecutive(1)
      const hangs = (options: { readonly attemptTimeout?: Duration.DurationInput }) =>
        Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.make({ name: "b", trip })
          const policy = Policy.make({ deadline: "5 seconds", breaker, ...options })
          const fiber = yield* Effect.fork(Effect.flip(policy(Effect.never)))
          yield* TestClock.adjust("5 seconds")
          expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "DeadlineExceeded", started: true })
          return (yield* breaker.stats).state
        })
      expect(yield* hangs({})).toBe("open")
      expect(yield* hangs({ attemptTimeout: "10 seconds" })).toBe("closed")
      const breaker = yield* CircuitBreaker.make({ name: "b", trip })
      const fiber = yield* Effect.fork(Policy.make({ deadline: "5 seconds", breaker })(Effect.never))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      expect(yield* breaker.stats).toMatchObject({ state: "closed", failures: 0 })
    }))

  it.effect("asks throttle, rate limit, concurrency limit and breaker for each attempt, in this order", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "t" })
      const rateLimit = yield* RateLimit.make({
        name: "r",
        limits: [{ rate: 2, per: "1 hour", burst: 2 }],
        onLimit: "reject"
      })
      const concurrencyLimit = yield* ConcurrencyLimit.make({ name: "c" })
      const breaker = yield* CircuitBreaker.make({ name: "b", trip: CircuitBreaker.consecutive(9) })
      const policy = Policy.make({
        throttle,
        rateLimit,
        concurrencyLimit,
        breaker,
        retry: { schedule: Schedule.recurs(5), while: (_: "down") => true }
      })
      // the third attempt is rate limited, so the call ends with what the second said
      expect(yield* Effect.flip(policy(Effect.fail("down" as const)))).toBe("down")
      expect(yield* breaker.stats).toMatchObject({ calls: 2 })
      expect(yield* Effect.flip(policy(Effect.void))).toMatchObject({ _tag: "RateLimited" })
      expect(yield* breaker.stats).toMatchObject({ calls: 2 })
      expect(yield* concurrencyLimit.stats).toMatchObject({ inFlight: 0 })
    }).pipe(Effect.withRandom(Random.fixed([0.99]))))

  it.effect("a fault in the user's functions ends the call with a defect, and holds nothing", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "b", maxConcurrent: 1, maxQueued: 0 })
      const bug = (): never => {
        throw new Error("bug")
      }
      const always = (_: "down") => true
      const policies = [
        Policy.make({ bulkhead, retry: { schedule: Schedule.recurs(1), while: (_: "down") => bug() } }),
        Policy.make({ bulkhead, retry: { schedule: Backoff.make<"down">({ retryAfter: bug }), while: always } }),
        Policy.make({ bulkhead, retry: { schedule: Backoff.make<"down">({ onRetry: bug }), while: always } }),
        Policy.make({
          bulkhead,
          retry: { schedule: Backoff.make<"down">({ base: 0, onRetry: () => Effect.die("bug") }), while: always }
        })
      ]
      for (const policy of policies) {
        const exit = yield* Effect.exit(policy(Effect.fail("down" as const)))
        expect(Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause))).toBe(true)
        expect(yield* bulkhead.stats).toMatchObject({ running: 0 })
      }
    }))

  it.effect("a probe that a call became while it waited for its turn comes back when it is interrupted", () =>
    Effect.gen(function*() {
      const breaker = yield* CircuitBreaker.make({
        name: "b",
        trip: CircuitBreaker.consecutive(1),
        resetAfter: "1 second",
        halfOpenTimeout: "1 hour"
      })
      const rateLimit = yield* RateLimit.make({ name: "r", limits: [{ rate: 1, per: "10 seconds" }] })
      const policy = Policy.make({ rateLimit, breaker })
      yield* policy(Effect.void)
      const fiber = yield* Effect.fork(policy(Effect.never))
      yield* TestClock.adjust("1 second")
      yield* Effect.ignore(breaker.protect(Effect.fail("down")))
      yield* TestClock.adjust("9 seconds")
      expect(yield* breaker.stats).toMatchObject({ state: "half-open" })
      yield* Fiber.interrupt(fiber)
      yield* breaker.protect(Effect.void)
      yield* breaker.protect(Effect.void)
      expect(yield* breaker.stats).toMatchObject({ state: "closed" })
    }))

  it.effect("asks before it waits whether a retry would begin in time, whatever the schedule", () =>
    Effect.gen(function*() {
      const schedules: ReadonlyArray<Schedule.Schedule<unknown>> = [
        Schedule.spaced("10 seconds"),
        Backoff.make({ base: "10 seconds", jitter: "none" }).pipe(Backoff.capped("10 seconds"))
      ]
      for (const schedule of schedules) {
        const policy = Policy.make({ deadline: "15 seconds", retry: { schedule, while: (_: "down") => true } })
        const fiber = yield* Effect.fork(Effect.flip(policy(Effect.fail("down" as const))))
        yield* TestClock.adjust("10 seconds")
        expect(yield* Fiber.join(fiber)).toBe("down")
      }
    }))
})
