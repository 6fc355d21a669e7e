import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Hedge from "@firebreak/core/Hedge"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { storm, total } from "./support/storm.js"

const timeout = 300_000
const permits = 20

/** Work that takes a few yields and knows how much of it is under way. */
const counted = <E = never>(end: Effect.Effect<void, E> = Effect.void, yields = 2) => {
  const seen = { running: 0, most: 0, started: 0 }
  const work = Effect.acquireUseRelease(
    Effect.sync(() => {
      seen.started++
      seen.most = Math.max(seen.most, ++seen.running)
    }),
    () => Effect.zipRight(Effect.repeatN(Effect.yieldNow(), yields - 1), end),
    () => Effect.sync(() => seen.running--)
  )
  return { seen, work, none: Effect.sync(() => expect(seen.running).toBe(0)) }
}

/** A breaker that probes, and goes on probing: so many calls at once, whose successes do not close it. */
const probing = Effect.tap(
  CircuitBreaker.make({
    name: "storm",
    resetAfter: "1 hour",
    halfOpenPermits: permits,
    successThreshold: Number.MAX_SAFE_INTEGER
  }),
  (breaker) => breaker.restore({ state: "open", openings: 1, retryAt: 0 })
)

/** That a breaker of `probing` still has all its permits. */
const hasPermits = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const call = Effect.fork(Effect.isSuccess(breaker.protect(Deferred.await(gate))))
    const probes = yield* Effect.replicateEffect(call, permits + 1)
    yield* Effect.yieldNow()
    yield* Deferred.succeed(gate, undefined)
    const passed = yield* Effect.forEach(probes, Fiber.join)
    expect(passed.filter(Boolean).length).toBe(permits)
  })

describe(`a storm of ${total.toLocaleString("en-US")} calls that are interrupted at every yield`, () => {
  it.live("leaves a circuit breaker all its probes, and a closed one closed", () =>
    storm({
      yields: 8,
      make: (ops) =>
        Effect.gen(function*() {
          const { none, work } = counted()
          if (ops % 2 === 0) {
            const breaker = yield* CircuitBreaker.make({ name: "storm", trip: CircuitBreaker.consecutive(1) })
            const closed = Effect.map(
              breaker.stats,
              (stats) => expect(stats).toMatchObject({ state: "closed", failures: 0 })
            )
            return { call: breaker.protect(work), mayFailWith: [], idle: Effect.zip(none, closed) }
          }
          const breaker = yield* probing
          return {
            call: breaker.protect(work),
            mayFailWith: ["CircuitOpen"],
            idle: Effect.zip(none, hasPermits(breaker))
          }
        })
    }), timeout)

  it.live("leaves a bulkhead all its slots, and its line empty", () =>
    storm({
      make: (ops) =>
        Effect.gen(function*() {
          const { none, seen, work } = counted()
          const maxWait = ops % 2 === 0 ? undefined : "1 millis"
          const bulkhead = yield* Bulkhead.make({ name: "storm", maxConcurrent: 3, maxQueued: 20, maxWait })
          const free = Effect.map(bulkhead.stats, (stats) => {
            expect(stats).toMatchObject({ running: 0, waiting: 0 })
            expect(seen.most).toBe(3)
          })
          return { call: bulkhead.protect(work), mayFailWith: ["BulkheadFull"], idle: Effect.zip(none, free) }
        })
    }), timeout)

  it.live("leaves nobody in the line of a rate limit", () =>
    storm({
      atOnce: 150,
      make: () =>
        Effect.gen(function*() {
          const { none, work } = counted()
          const limit = yield* RateLimit.make({ name: "storm", limits: [{ rate: 50, per: "1 millis", burst: 5 }] })
          const empty = Effect.map(limit.stats, (stats) => expect(stats).toMatchObject({ waiting: 0, rejected: 0 }))
          return { call: limit.protect(work), mayFailWith: [], idle: Effect.zip(none, empty) }
        })
    }), timeout)

  it.live("leaves nothing in flight by the count of a concurrency limit", () =>
    storm({
      make: () =>
        Effect.gen(function*() {
          const { none, seen, work } = counted()
          const strategy = ConcurrencyLimit.aimd({ min: 20, max: 20, initial: 20 })
          const limit = yield* ConcurrencyLimit.make({ name: "storm", strategy })
          const free = Effect.map(limit.stats, (stats) => {
            expect(stats).toMatchObject({ inFlight: 0 })
            expect(seen.most).toBeGreaterThan(15)
            expect(seen.most).toBeLessThanOrEqual(20)
          })
          return { call: limit.protect(work), mayFailWith: ["LimitExceeded"], idle: Effect.zip(none, free) }
        })
    }), timeout)

  it.live("leaves no attempt of a hedge running", () =>
    storm({
      atOnce: 150,
      make: (ops) =>
        Effect.gen(function*() {
          const { none, work } = counted(ops % 3 === 0 ? Effect.fail({ _tag: "Down" }) : Effect.void, 4)
          const hedge = yield* Hedge.make({ name: "storm", delay: 0, maxHedges: 1 + ops % 2, share: 100, burst: 100 })
          // where the hedges answer, the first attempt does not
          const call = Effect.suspend(() => {
            let attempts = 0
            return hedge.safe(Effect.suspend(() => attempts++ === 0 && ops % 3 !== 0 ? Effect.never : work))
          })
          return { call, mayFailWith: ["Down"], idle: none }
        })
    }), timeout)

  it.live("leaves a policy of all parts nothing held, nothing waiting, and its budget whole", () =>
    storm({
      atOnce: 120,
      make: (ops) =>
        Effect.gen(function*() {
          // every other one has a dependency that fails and a circuit that opens, the others one that is probed
          const fails = ops % 2 === 0
          const { none, work } = counted(
            fails
              ? Effect.flatMap(Random.next, (u) => u < 0.5 ? Effect.fail({ _tag: "Down" }) : Effect.void)
              : Effect.void
          )
          const breaker = fails
            ? yield* CircuitBreaker.make({
              name: "storm",
              trip: CircuitBreaker.consecutive(20),
              resetAfter: "1 millis"
            })
            : yield* probing
          const bulkhead = yield* Bulkhead.make({
            name: "storm",
            maxConcurrent: 40,
            maxQueued: 60,
            maxWait: "1 second"
          })
          const concurrencyLimit = yield* ConcurrencyLimit.make({ name: "storm" })
          const rateLimit = yield* RateLimit.make({
            name: "storm",
            limits: [{ rate: 1_000, per: "1 millis", burst: 9 }]
          })
          const throttle = yield* Throttle.make({ name: "storm", multiplier: 100 })
          const budget = yield* RetryBudget.make({ name: "storm" })
          let retries = 0
          const policy = Policy.make({
            deadline: "1 minute",
            bulkhead,
            retry: {
              schedule: Backoff.make({ base: ops % 4 === 0 ? 1 : 0, maxRetries: 2 }),
              while: (error: { readonly _tag: string }) => error._tag === "Down",
              budget
            },
            throttle,
            rateLimit,
            concurrencyLimit,
            breaker,
            attemptTimeout: "30 seconds"
          })
          const free = Effect.gen(function*() {
            expect(yield* bulkhead.stats).toMatchObject({ running: 0, waiting: 0 })
            expect(yield* concurrencyLimit.stats).toMatchObject({ inFlight: 0 })
            expect(yield* rateLimit.stats).toMatchObject({ waiting: 0 })
            const { granted, refunded } = yield* budget.stats
            // an attempt that begins may be struck before its first step, and one that ran is paid for
            expect(granted - refunded).toBeGreaterThanOrEqual(retries)
            if (!fails) {
              yield* hasPermits(breaker)
              expect(granted).toBe(0)
            }
          })
          const call = Effect.suspend(() => {
            let attempts = 0
            return policy(Effect.suspend(() => {
              if (attempts++ > 0) retries++
              return work
            }))
          })
          return {
            call,
            mayFailWith: ["Down", "BulkheadFull", "LimitExceeded", "Throttled", "CircuitOpen"],
            idle: Effect.zip(none, free)
          }
        })
    }), timeout)
})
