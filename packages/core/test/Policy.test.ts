import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Events from "@firebreak/core/Events"
import * as Policy from "@firebreak/core/Policy"
import * as Throttle from "@firebreak/core/Throttle"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
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
