import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Deadline from "@firebreak/core/Deadline"
import * as Events from "@firebreak/core/Events"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}
const VendorLive = Vendor.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" })

interface Down {
  readonly status: number
}

const schedule = Backoff.make({ jitter: "none", maxRetries: 3 })
const policy = Policy.make({
  retry: { schedule, while: (error: Down) => error.status >= 500 },
  breaker: Vendor,
  attemptTimeout: "2 seconds"
})

/** A call that fails with the given statuses, one an attempt (0 hangs), then succeeds; and the times of its attempts. */
const script = (...statuses: ReadonlyArray<number>) => {
  const attempts: Array<number> = []
  const call = Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<string, Down> => {
    const status = statuses[attempts.length]
    attempts.push(now)
    return status === undefined ? Effect.succeed("ok") : status === 0 ? Effect.never : Effect.fail({ status })
  })
  return { attempts, call }
}

/** A circuit that has just opened. */
const tripped = (options: CircuitBreaker.Options) =>
  Effect.tap(
    CircuitBreaker.make({ name: "vendor", trip: CircuitBreaker.consecutive(1), successThreshold: 1, ...options }),
    (breaker) => Effect.ignore(breaker.protect(Effect.fail("down")))
  )

/** Waits for the circuit; a retry takes 20 seconds. */
const patient = (breaker: CircuitBreaker.CircuitBreaker, budget?: RetryBudget.RetryBudget) =>
  Policy.make({
    retry: {
      schedule: Backoff.make({ base: "20 seconds", jitter: "none", maxRetries: 3 }),
      while: (_: unknown) => true,
      whenOpen: "wait",
      budget
    },
    breaker
  })

const settle = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.either(effect))
    yield* TestClock.adjust("1 hour")
    return yield* Fiber.join(fiber)
  })

describe("Policy", () => {
  it.effect("retries transient errors by its schedule", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(503, 503)
      expect(yield* settle(policy(call))).toMatchObject({ right: "ok" })
      expect(attempts).toEqual([0, 1_000, 3_000])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("does not retry what `while` does not call transient", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(404)
      expect(yield* settle(policy(call))).toMatchObject({ left: { status: 404 } })
      expect(attempts).toHaveLength(1)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("tells the hook of a retry only of retries that happen", () =>
    Effect.gen(function*() {
      const heard: Array<number> = []
      const hooked = Policy.make({
        retry: {
          schedule: Backoff.make<Down | Policy.AttemptTimeout>({
            jitter: "none",
            onRetry: ({ retry }) => Effect.sync(() => heard.push(retry))
          }),
          while: (error: Down) => error.status >= 500
        },
        breaker: Vendor
      })
      yield* settle(hooked(script(404).call))
      yield* settle(hooked(script(503, 404).call))
      yield* (yield* Vendor).forceOpen
      yield* settle(hooked(script().call))
      expect(heard).toEqual([1])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("does not retry what the `while` of its schedule refuses", () =>
    Effect.gen(function*() {
      const picky = Policy.make({
        retry: {
          schedule: Backoff.make<Down>({ jitter: "none", while: (error) => error.status !== 501 }),
          while: (error: Down) => error.status >= 500
        }
      })
      const { attempts, call } = script(503, 501)
      expect(yield* settle(picky(call))).toMatchObject({ left: { status: 501 } })
      expect(attempts).toEqual([0, 1000])
    }))

  it.effect("cuts an attempt short, counts it against the breaker, and retries it", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(0)
      expect(yield* settle(policy(call))).toMatchObject({ right: "ok" })
      expect(attempts).toEqual([0, 3_000])
      expect(yield* (yield* Vendor).stats).toMatchObject({ failures: 1, successes: 1 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("gives up at once when the circuit opens, with the last error of the call itself", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(500, 501, 502)
      const fiber = yield* Effect.fork(Effect.either(policy(call)))
      yield* TestClock.adjust("3 seconds")
      expect(yield* Fiber.join(fiber)).toMatchObject({ left: { status: 502 } })
      expect(attempts).toEqual([0, 1_000, 3_000])
      expect(yield* (yield* Vendor).stats).toMatchObject({ rejected: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a circuit that others opened meanwhile ends the retries, with the last error of the call itself", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(500)
      const fiber = yield* Effect.fork(Effect.either(policy(call)))
      yield* TestClock.adjust("500 millis")
      yield* (yield* Vendor).forceOpen
      yield* TestClock.adjust("500 millis")
      expect(yield* Fiber.join(fiber)).toMatchObject({ left: { status: 500 } })
      expect(attempts).toEqual([0])
      expect(yield* (yield* Vendor).stats).toMatchObject({ rejected: 1 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("waits out an open circuit where it is told to, but not past its deadline", () =>
    Effect.gen(function*() {
      const waiting = (deadline: string) =>
        Policy.make({
          deadline: deadline as "1 minute",
          retry: { schedule, while: (error: Down) => error.status >= 500, whenOpen: "wait" },
          breaker: Vendor
        })
      const { attempts, call } = script(500, 500, 500)
      expect(yield* settle(waiting("2 minutes")(call))).toMatchObject({ right: "ok" })
      // the third failure opens the circuit; the fourth attempt is turned away 4 seconds later and waits for the rest
      expect(attempts).toEqual([0, 1_000, 3_000, 33_000])
      yield* (yield* Vendor).reset
      const late = script(500, 500, 500)
      expect(yield* settle(waiting("20 seconds")(late.call))).toMatchObject({ left: { status: 500 } })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("waiters come back soon after the probe that closes the circuit, each at a moment of its own", () =>
    Effect.gen(function*() {
      const breaker = yield* tripped({ resetAfter: "1 minute" })
      const { attempts, call } = script()
      const waiting = patient(breaker)(Effect.zipRight(call, Effect.sleep("50 millis")))
      const fibers = yield* Effect.replicateEffect(Effect.fork(waiting), 20)
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.joinAll(fibers)
      expect(attempts).toHaveLength(20)
      expect(attempts[0]).toBe(60_000)
      expect(Math.max(...attempts)).toBeLessThanOrEqual(60_300)
      expect(new Set(attempts).size).toBeGreaterThan(10)
    }))

  it.effect("waiters look at a probe that takes its time ever more rarely", () =>
    Effect.gen(function*() {
      const breaker = yield* tripped({ resetAfter: "1 second", halfOpenTimeout: "10 minutes" })
      yield* TestClock.adjust("1 second")
      yield* Effect.fork(breaker.protect(Effect.sleep("5 minutes")))
      yield* Effect.yieldNow()
      const fiber = yield* Effect.fork(patient(breaker)(Effect.void))
      yield* TestClock.adjust("5 minutes")
      // 5 s at most, and 2.5 s at least, for the most part of the time
      expect((yield* breaker.stats).rejected).toBeGreaterThanOrEqual(60)
      expect((yield* breaker.stats).rejected).toBeLessThanOrEqual(130)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
    }))

  it.effect("a call that the ramp sheds comes back while it rises", () =>
    Effect.gen(function*() {
      const breaker = yield* tripped({ resetAfter: "1 second", ramp: { from: 0, over: "10 minutes" } })
      yield* TestClock.adjust("1 second")
      yield* breaker.protect(Effect.void)
      yield* TestClock.adjust("1 second")
      const { attempts, call } = script()
      // a half is drawn for the ramp and for each wait, so that it passes where half of the calls do
      const fiber = yield* Effect.fork(patient(breaker)(call).pipe(Effect.withRandom(Random.fixed([0.5]))))
      yield* TestClock.adjust("5 minutes")
      expect(fiber.unsafePoll()).toBe(null)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      expect(attempts[0]).toBeGreaterThan(301_000)
    }))

  it.effect("waits for a probe no longer than its deadline", () =>
    Effect.gen(function*() {
      const breaker = yield* tripped({ resetAfter: "1 second", halfOpenTimeout: "10 minutes" })
      yield* TestClock.adjust("1 second")
      yield* Effect.fork(breaker.protect(Effect.never))
      yield* Effect.yieldNow()
      const fiber = yield* Effect.fork(Effect.flip(Deadline.within(patient(breaker)(Effect.void), "10 seconds")))
      yield* TestClock.adjust("10 seconds")
      expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "CircuitOpen", reason: "probing" })
    }))

  it.effect("is rejected at once, and not started, while the circuit is open", () =>
    Effect.gen(function*() {
      yield* (yield* Vendor).forceOpen
      const { attempts, call } = script()
      expect(yield* settle(policy(call))).toMatchObject({ left: { _tag: "CircuitOpen" } })
      expect(attempts).toHaveLength(0)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("an interrupt ends the call in the middle of a wait", () =>
    Effect.gen(function*() {
      const { attempts, call } = script(503)
      const fiber = yield* Effect.fork(policy(call))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 hour")
      expect(attempts).toHaveLength(1)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a defect is not retried", () =>
    Effect.gen(function*() {
      let attempts = 0
      const call = Effect.suspend(() => Effect.die(++attempts))
      const fiber = yield* Effect.fork(Effect.exit(policy(call)))
      yield* TestClock.adjust("1 hour")
      expect(yield* Fiber.join(fiber)).toMatchObject({ cause: { _tag: "Die" } })
      expect(attempts).toBe(1)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("does not repeat an attempt that took too long where a second effect would be one too many", () =>
    Effect.gen(function*() {
      const once = Policy.make({
        retry: { schedule, while: (error: Down) => error.status >= 500, whenTimedOut: "fail" },
        attemptTimeout: "2 seconds"
      })
      const { attempts, call } = script(503, 0)
      expect(yield* settle(once(call))).toMatchObject({ left: { _tag: "AttemptTimeout" } })
      expect(attempts).toEqual([0, 1_000])
    }))

  it.effect("tells each part what `classify` says of an error of the call's own, and retries it all the same", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ name: "vendor" })
      const throttle = yield* Throttle.make({ name: "vendor", maxProbability: 0, within: "2 hours" })
      const asked: Array<string> = []
      const judging = Policy.make({
        retry: { schedule, while: (error: Down) => error.status >= 500 || error.status === 429 },
        throttle,
        concurrencyLimit: limit,
        breaker: Vendor,
        classify: ({ status }: Down, part) => {
          asked.push(`${status} ${part}`)
          if (status === 404) return "success"
          return status === 429 && part === "breaker" ? "ignore" : "failure"
        }
      })
      expect(yield* settle(judging(script(429, 503, 404).call))).toMatchObject({ left: { status: 404 } })
      expect(asked).toEqual(
        [429, 503, 404].flatMap((status) =>
          ["breaker", "concurrencyLimit", "throttle"].map((part) => `${status} ${part}`)
        )
      )
      expect(yield* (yield* Vendor).stats).toMatchObject({ calls: 3, failures: 1, successes: 1 })
      expect(yield* throttle.stats).toMatchObject({ requests: 3, accepts: 1 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("asks `classify` of nothing but the call's own errors; where it dies the part judges for itself", () =>
    Effect.gen(function*() {
      const judging = Policy.make({
        breaker: Vendor,
        attemptTimeout: "2 seconds",
        classify: (error: Down) => {
          throw error
        }
      })
      expect(yield* settle(judging(script(0).call))).toMatchObject({ left: { _tag: "AttemptTimeout" } })
      expect(yield* settle(judging(script(404).call))).toMatchObject({ left: { status: 404 } })
      expect(yield* Effect.exit(judging(Effect.die("bug")))).toEqual(Exit.die("bug"))
      expect(yield* (yield* Vendor).stats).toMatchObject({ calls: 3, failures: 3 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a retry is told by the name of the breaker, unless its schedule has one", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const told = (options: Backoff.Options) =>
        Effect.gen(function*() {
          const policy = Policy.make({
            retry: { schedule: Backoff.make(options), while: (error: Down) => error.status >= 500 },
            breaker: Vendor
          })
          yield* settle(policy(script(503).call))
          return Array.from(yield* Queue.takeAll(events))
        })
      expect(yield* told({})).toMatchObject([{ _tag: "RetryScheduled", name: "vendor" }])
      expect((yield* told({}))[0]).not.toHaveProperty("operation")
      expect(yield* told({ name: "search", operation: "query" })).toMatchObject([{
        name: "search",
        operation: "query"
      }])
    }).pipe(Effect.scoped, Effect.provide([VendorLive, Events.layer])))

  it.effect("a schedule that is asked for a date is told the time", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(5_000)
      const until = Policy.make({
        retry: {
          schedule: Backoff.make({ base: 0, retryAfter: (_, now) => Option.some(Duration.millis(12_000 - now)) }),
          while: (error: Down) => error.status >= 500
        }
      })
      const { attempts, call } = script(503)
      yield* settle(until(call))
      expect(attempts).toEqual([5_000, 12_000])
    }))

  it("refuses an option that it does not know", () => {
    const mistyped: object = { breaker: Vendor, retries: 3 }
    expect(() => Policy.make(mistyped)).toThrow("Policy: there is no option \"retries\"")
    const inner: object = { schedule, while: () => true, budgt: 1 }
    expect(() => Policy.make({ retry: inner as Policy.Retry<unknown, never> })).toThrow(
      "Policy.retry: there is no option \"budgt\""
    )
  })

  it("refuses a timeout that makes no sense", () => {
    expect(() => Policy.make({ attemptTimeout: 0 })).toThrow(/attemptTimeout.*got 0/)
  })
})

describe("a retry that is paid for", () => {
  const tokens = { capacity: 100, cost: 5, credit: 1 }
  /** A budget of which half is used up, so that it shows what is added. */
  const half = Effect.withFiberRuntime<RetryBudget.RetryBudget>((fiber) =>
    Effect.map(RetryBudget.make({ name: "vendor", allowance: RetryBudget.tokens(tokens) }), (budget) => {
      for (let i = 0; i < 10; i++) budget.unsafeTryRetry("error", fiber)
      return budget
    })
  )
  /** Shut again, each time for 10 seconds, before anybody is let through. */
  const outage = (breaker: CircuitBreaker.CircuitBreaker) =>
    Effect.repeatN(
      Effect.zipRight(
        Effect.zipRight(breaker.reset, Effect.ignore(breaker.protect(Effect.fail("down")))),
        TestClock.adjust("9 seconds")
      ),
      5
    )
  const make = Effect.all([
    CircuitBreaker.make({
      name: "b",
      trip: CircuitBreaker.consecutive(1),
      successThreshold: 1,
      resetAfter: "10 seconds"
    }),
    half
  ])

  it.effect("is given back once by its success, however often it was turned away before", () =>
    Effect.gen(function*() {
      const [breaker, budget] = yield* make
      const { attempts, call } = script(503)
      const fiber = yield* Effect.fork(patient(breaker, budget)(call))
      yield* TestClock.adjust("1 second")
      yield* outage(breaker)
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 0, available: 9 })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      expect(attempts).toHaveLength(2)
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 0, available: 10 })
    }))

  it.effect("is spent once where it fails, however often it was turned away before", () =>
    Effect.gen(function*() {
      const [breaker, budget] = yield* make
      const policy = Policy.make({
        retry: {
          schedule: Backoff.make({ base: "20 seconds", jitter: "none", maxRetries: 1 }),
          while: (_: Down) => true,
          whenOpen: "wait",
          budget
        },
        breaker
      })
      const fiber = yield* Effect.fork(Effect.flip(policy(script(503, 503).call)))
      yield* TestClock.adjust("1 second")
      yield* outage(breaker)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 0, available: 9 })
    }))

  it.effect("is refunded once where its caller leaves, however often it was turned away before", () =>
    Effect.gen(function*() {
      const [breaker, budget] = yield* make
      const fiber = yield* Effect.fork(patient(breaker, budget)(script(503).call))
      yield* TestClock.adjust("1 second")
      yield* outage(breaker)
      yield* Fiber.interrupt(fiber)
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 1, available: 10 })
    }))

  it.effect("is refunded where its caller leaves while it waits for a turn", () =>
    Effect.gen(function*() {
      const limits: RateLimit.Options["limits"] = [{ rate: 1, per: "1 hour" }]
      for (const more of [{}, { attemptTimeout: "1 minute" }] as const) {
        const budget = yield* half
        const rateLimit = yield* RateLimit.make({ name: "vendor", limits, maxWait: "2 hours" })
        const policy = Policy.make({
          retry: { schedule: Backoff.make({ base: 0, jitter: "none" }), while: (_: Down) => true, budget },
          rateLimit,
          ...more
        })
        const fiber = yield* Effect.fork(policy(script(503).call))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 1, available: 10 })
      }
    }))

  it.effect("is refunded where a part within the effect turns it away, as by RetryBudget.retry", () =>
    Effect.gen(function*() {
      const schedule = Backoff.make({ base: 0, jitter: "none", maxRetries: 3 })
      for (const inPolicy of [true, false]) {
        const budget = yield* half
        const breaker = yield* CircuitBreaker.make({ name: "within", trip: CircuitBreaker.consecutive(1) })
        const retry = inPolicy
          ? Policy.make({ retry: { schedule, while: (_: unknown) => true, budget } })
          : RetryBudget.retryWith(budget, { schedule })
        const call = retry(breaker.protect(script(503).call))
        expect(yield* Effect.flip(call)).toMatchObject({ status: 503 })
        expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 1, available: 10 })
      }
    }))

  it.effect("is refunded where the hook of the retry dies", () =>
    Effect.gen(function*() {
      const budget = yield* half
      const schedule = Backoff.make({ base: 0, onRetry: () => Effect.die("bug") })
      yield* Effect.exit(Policy.make({ retry: { schedule, while: (_: Down) => true, budget } })(script(503).call))
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 1, available: 10 })
    }))

  it.effect("is spent where its caller leaves while it runs", () =>
    Effect.gen(function*() {
      const budget = yield* half
      const policy = Policy.make({
        retry: { schedule: Backoff.make({ base: 0, jitter: "none" }), while: (_: Down) => true, budget }
      })
      const fiber = yield* Effect.fork(policy(script(503, 0).call))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      expect(yield* budget.stats).toMatchObject({ granted: 11, refunded: 0, available: 9 })
    }))

  it.effect("a call and its success are counted once, however many policies of the budget it goes through", () =>
    Effect.gen(function*() {
      for (const allowance of [RetryBudget.ratio({ share: 1, minPerSecond: 0 }), RetryBudget.tokens(tokens)]) {
        const after = (wrap: (budget: RetryBudget.RetryBudget) => (call: Effect.Effect<void>) => Effect.Effect<void>) =>
          Effect.gen(function*() {
            const budget = yield* RetryBudget.make({ name: "vendor", allowance })
            const fiber = Option.getOrThrow(Fiber.getCurrentFiber())
            for (let i = 0; i < 10; i++) budget.unsafeTryRetry("error", fiber)
            for (let i = 0; i < 10; i++) yield* wrap(budget)(Effect.void)
            return (yield* budget.stats).available
          })
        const policy = (budget: RetryBudget.RetryBudget) =>
          Policy.make({ retry: { schedule, while: (_: Down) => true, budget } })
        const once = yield* after(policy)
        expect(yield* after((budget) => (call) => pipe(call, policy(budget), policy(budget)))).toBe(once)
        expect(
          yield* after((budget) => (call) => pipe(call, policy(budget), RetryBudget.retryWith(budget, { schedule })))
        )
          .toBe(once)
        expect(
          yield* after((budget) => (call) => pipe(call, RetryBudget.retryWith(budget, { schedule }), policy(budget)))
        )
          .toBe(once)
      }
    }))
})
