import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Events from "@firebreak/core/Events"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Rejection from "@firebreak/core/Rejection"
import * as RetryAllowance from "@firebreak/core/RetryAllowance"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { modelRuns, same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Vendor extends RetryBudget.Tag("vendor")<Vendor>() {}

class Full extends Error {
  readonly [Rejection.TypeId] = true
}

const small = RetryBudget.tokens({ capacity: 20, cost: 5, timeoutCost: 10 })
const atOnce = Schedule.recurs(2)
const stats = Effect.flatMap(Vendor, (budget) => budget.stats)

/** Fails by the list, then succeeds; counts its calls. */
const flaky = <E>(...errors: ReadonlyArray<E>) => {
  let calls = 0
  const effect: Effect.Effect<string, E> = Effect.suspend(() =>
    calls++ < errors.length ? Effect.fail(errors[calls - 1]!) : Effect.succeed("ok")
  )
  return { effect, calls: () => calls }
}

const command = fc.oneof(
  fc.record({ _tag: fc.constant("call" as const) }),
  fc.record({ _tag: fc.constant("retry" as const), kind: fc.constantFrom("error" as const, "timeout" as const) }),
  fc.record({ _tag: fc.constant("refund" as const) }),
  fc.record({ _tag: fc.constant("succeed" as const), retried: fc.boolean() }),
  fc.record({ _tag: fc.constant("wait" as const), millis: fc.integer({ min: 1, max: 3_000 }) })
)

describe("RetryAllowance", () => {
  it.prop("tokens are never below zero nor above the capacity, and are those of a ledger", [
    fc.array(command, { maxLength: 100 })
  ], ([commands]) => {
    const account = RetryAllowance.tokens({ capacity: 30, cost: 5, timeoutCost: 10 }).open()
    let ledger = 30
    const paid: Array<RetryBudget.Kind> = []
    const price = (kind: RetryBudget.Kind) => kind === "timeout" ? 10 : 5
    for (const step of commands) {
      if (step._tag === "retry") {
        const granted = account.tryRetry(step.kind, NaN)
        same(granted, ledger >= price(step.kind), "granted")
        if (granted) {
          ledger -= price(step.kind)
          paid.push(step.kind)
        }
      } else if (step._tag === "refund" && paid.length > 0) {
        const kind = paid.pop()!
        account.refund(kind, NaN)
        ledger += price(kind)
      } else if (step._tag === "succeed") {
        const kind = step.retried ? paid.pop() : undefined
        account.succeeded(kind, NaN)
        ledger += kind === undefined ? 1 : price(kind)
      }
      ledger = Math.min(30, ledger)
      same(ledger >= 0, true, "the ledger is not overdrawn")
      same(account.available(NaN), Math.floor(ledger / 5), "retries left")
    }
  }, modelRuns)

  it.prop("a ratio grants what the calls and retries still in the window allow, never more", [
    fc.array(command, { maxLength: 150 }),
    fc.constantFrom(0, 0.1, 0.25, 1),
    fc.integer({ min: 0, max: 3 })
  ], ([commands, share, minPerSecond]) => {
    const account = RetryAllowance.ratio({ share, within: "2 seconds", minPerSecond }).open()
    const width = 200
    let now = 12_345
    let calls: Array<number> = []
    let retries: Array<number> = []
    const young = (at: number) => Math.floor(at / width) > Math.floor(now / width) - 10
    for (const step of commands) {
      if (step._tag === "wait") now += step.millis
      calls = calls.filter(young)
      retries = retries.filter(young)
      const left = Math.max(0, Math.floor(share * calls.length + minPerSecond * 2 - retries.length + 1e-9))
      same(account.available(now), left, "retries left")
      if (step._tag === "call") {
        account.called(now)
        calls.push(now)
      } else if (step._tag === "retry") {
        same(account.tryRetry(step.kind, now), left >= 1, "granted")
        if (left >= 1) retries.push(now)
      } else if (step._tag === "refund") {
        account.refund("error", now)
        retries.shift()
      }
    }
  }, modelRuns)

  it("has the figures of the AWS SDKs: a hundred retries, or fifty after timeouts", () => {
    const grants = (kind: RetryBudget.Kind) => {
      const account = RetryAllowance.tokens().open()
      let granted = 0
      while (account.tryRetry(kind, 0)) granted++
      return granted
    }
    expect(grants("error")).toBe(100)
    expect(grants("timeout")).toBe(50)
  })

  it("has the figures of Finagle: a tenth of the calls of ten seconds, and ten a second", () => {
    const account = RetryAllowance.ratio().open()
    expect(account.available(0)).toBe(100)
    for (let i = 0; i < 1_000; i++) account.called(i)
    expect(account.available(1_000)).toBe(200)
    expect(account.available(100_000)).toBe(100)
  })

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => RetryAllowance.tokens({ capacity: 0 })).toThrow(/capacity.*got 0/)
    expect(() => RetryAllowance.tokens({ cost: 1.5 })).toThrow(/cost.*got 1.5/)
    expect(() => RetryAllowance.ratio({ share: -1 })).toThrow(/share.*got -1/)
    expect(() => RetryAllowance.ratio({ within: 0 })).toThrow(/within.*got 0/)
    expect(() => RetryBudget.make({ name: "" })).toThrow(/name must be a name/)
  })
})

describe("RetryBudget.retry", () => {
  it.effect("retries while there is something left, then ends with the call's own error", () =>
    Effect.gen(function*() {
      let calls = 0
      const down = Effect.suspend(() => Effect.fail(`down ${++calls}`))
      const call = down.pipe(Vendor.retry({ schedule: atOnce }))
      expect(yield* Effect.exit(call)).toEqual(Exit.fail("down 3"))
      expect(yield* Effect.exit(call)).toEqual(Exit.fail("down 6"))
      expect(yield* Effect.exit(call)).toEqual(Exit.fail("down 7"))
      expect(yield* stats).toEqual({ available: 0, granted: 4, refused: 1, refunded: 0 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("gives a retry that succeeds its cost back, and adds one for a success without", () =>
    Effect.gen(function*() {
      const budget = yield* Vendor
      yield* flaky("down", "down").effect.pipe(Vendor.retry({ schedule: atOnce }))
      expect((yield* budget.stats).available).toBe(3)
      for (let i = 0; i < 5; i++) yield* Effect.void.pipe(Vendor.retry({ schedule: atOnce }))
      expect((yield* budget.stats).available).toBe(4)
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("pays for a retry before it waits", () =>
    Effect.gen(function*() {
      const down = flaky(...Array.from({ length: 9 }, () => "down"))
      const call = down.effect.pipe(Vendor.retry({ schedule: Schedule.spaced("10 seconds") }))
      const fibers = yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.fork(Effect.exit(call)))
      yield* Effect.yieldNow()
      yield* TestClock.adjust("1 second")
      expect(yield* stats).toMatchObject({ granted: 4, refused: 1, available: 0 })
      expect(fibers.filter((fiber) => fiber.unsafePoll() !== null).length).toBe(1)
      yield* Fiber.interruptAll(fibers)
      expect(yield* stats).toMatchObject({ refunded: 4, available: 4 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("takes twice as much after a timeout", () =>
    Effect.gen(function*() {
      const slow = Effect.sleep("1 minute").pipe(Effect.timeout("1 second"), Vendor.retry({ schedule: atOnce }))
      const fiber = yield* Effect.fork(Effect.exit(slow))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      expect(yield* stats).toMatchObject({ granted: 2, available: 0 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("refunds a retry that was rejected, and fails with what the dependency said last", () =>
    Effect.gen(function*() {
      const { calls, effect } = flaky<string | Full>("down", new Full())
      const exit = yield* Effect.exit(effect.pipe(Vendor.retry({ schedule: Schedule.recurs(5) })))
      expect(exit).toEqual(Exit.fail("down"))
      expect(calls()).toBe(2)
      expect(yield* stats).toEqual({ available: 4, granted: 1, refused: 0, refunded: 1 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("retries neither a rejection, nor what `while` refuses, nor a defect", () =>
    Effect.gen(function*() {
      const rejected = flaky(new Full())
      yield* Effect.exit(rejected.effect.pipe(Vendor.retry({ schedule: atOnce })))
      const final = flaky(503, 404)
      const call = final.effect.pipe(Vendor.retry({ schedule: atOnce, while: (error: number) => error >= 500 }))
      expect(yield* Effect.exit(call)).toEqual(Exit.fail(404))
      let deaths = 0
      const bug = Effect.suspend(() => Effect.die(++deaths))
      expect(yield* Effect.exit(bug.pipe(Vendor.retry({ schedule: atOnce })))).toEqual(Exit.die(1))
      expect([rejected.calls(), final.calls(), deaths]).toEqual([1, 2, 1])
      expect(yield* stats).toMatchObject({ granted: 1 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.live.prop("keeps the ledger of all its callers, who succeed, fail, time out, are rejected or leave", [
    fc.boolean(),
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constant({ _tag: "call" as const }) },
        {
          weight: 6,
          arbitrary: fc.record({
            which: fc.nat(7),
            answer: fc.constantFrom("ok" as const, "down" as const, "down" as const, "slow" as const, "full" as const)
          }).map((answer) => ({ _tag: "answer" as const, ...answer }))
        },
        { weight: 1, arbitrary: fc.nat(7).map((which) => ({ _tag: "interrupt" as const, which })) },
        { weight: 3, arbitrary: fc.constantFrom(1, 500, 1_000).map((millis) => ({ _tag: "wait" as const, millis })) }
      ),
      { maxLength: 80, size: "max" }
    )
  ], ([inPolicy, commands]) => {
    const { clock, now, runUntil } = SimulatedClock.make()
    const price = { down: 5, slow: 10 }
    const exits = {
      ok: Exit.void,
      down: Exit.fail("down"),
      slow: Exit.fail(new Cause.TimeoutException()),
      full: Exit.fail(new Full())
    }
    return Effect.withClock(
      Effect.gen(function*() {
        const budget = yield* RetryBudget.make({ name: "vendor", allowance: small })
        const schedule = Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(2))
        const retry = inPolicy
          ? Policy.make({ retry: { schedule, while: () => true, budget } })
          : RetryBudget.retryWith(budget, { schedule })
        let ledger = 20
        const counts = { granted: 0, refused: 0, refunded: 0 }
        interface Caller {
          readonly fiber: Fiber.RuntimeFiber<void, unknown>
          answer: Deferred.Deferred<void, unknown>
          attempts: number
          /** What the retry under way or waited for has cost. */
          paid: "down" | "slow" | undefined
          /** When its next attempt begins; undefined while one is under way. */
          until: number | undefined
        }
        const callers: Array<Caller> = []
        const call = Effect.gen(function*() {
          const answer = yield* Deferred.make<void, unknown>()
          // each attempt waits for an answer of its own
          const attempt: Effect.Effect<void, unknown> = Effect.suspend(() => Deferred.await(caller.answer))
          const fiber = yield* Effect.forkDaemon(retry(attempt))
          const caller: Caller = { fiber, answer, attempts: 1, paid: undefined, until: undefined }
          callers.push(caller)
        })
        for (const step of commands) {
          switch (step._tag) {
            case "call":
              yield* call
              break
            case "answer": {
              const attempting = callers.filter(({ until }) => until === undefined)
              if (attempting.length === 0) break
              const caller = attempting[step.which % attempting.length]!
              Deferred.unsafeDone(caller.answer, exits[step.answer])
              caller.answer = yield* Deferred.make<void, unknown>()
              const leave = () => callers.splice(callers.indexOf(caller), 1)
              if (step.answer === "ok") {
                ledger = Math.min(20, ledger + (caller.paid === undefined ? 1 : price[caller.paid]))
                leave()
              } else if (step.answer === "full") {
                if (caller.paid !== undefined) {
                  ledger = Math.min(20, ledger + price[caller.paid])
                  counts.refunded++
                }
                leave()
              } else if (caller.attempts === 3) {
                leave()
              } else if (ledger < price[step.answer]) {
                counts.refused++
                leave()
              } else {
                ledger -= price[step.answer]
                counts.granted++
                caller.paid = step.answer
                caller.attempts++
                caller.until = now() + 1_000
              }
              break
            }
            case "interrupt": {
              if (callers.length === 0) break
              const [{ fiber, paid, until }] = callers.splice(step.which % callers.length, 1) as [Caller]
              yield* Fiber.interrupt(fiber)
              if (until !== undefined && paid !== undefined) {
                ledger = Math.min(20, ledger + price[paid])
                counts.refunded++
              }
              break
            }
            case "wait": {
              yield* runUntil(now() + step.millis)
              for (const caller of callers) if (caller.until! <= now()) caller.until = undefined
            }
          }
          yield* runUntil(now())
          same(ledger >= 0, true, "not overdrawn")
          const stats = yield* budget.stats
          same(stats.available, Math.floor(ledger / 5), "available")
          same(stats.granted, counts.granted, "granted")
          same(stats.refused, counts.refused, "refused")
          same(stats.refunded, counts.refunded, "refunded")
        }
        yield* Fiber.interruptAll(callers.map(({ fiber }) => fiber))
      }),
      clock
    )
  }, shellRuns)

  it.effect("tells once of a dry spell, and again of the next", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const budget = yield* RetryBudget.make({ name: "vendor", allowance: RetryBudget.tokens({ capacity: 5 }) })
      const call = Effect.fail("down").pipe(RetryBudget.retryWith(budget, { schedule: atOnce }))
      for (let i = 0; i < 3; i++) yield* Effect.ignore(call)
      const told = { _tag: "RetryBudgetExhausted", budget: "vendor", at: 0 }
      expect(Array.from(yield* Queue.takeAll(events))).toEqual([told])
      for (let i = 0; i < 5; i++) yield* Effect.void.pipe(RetryBudget.retryWith(budget, { schedule: atOnce }))
      yield* Effect.ignore(call)
      expect(Array.from(yield* Queue.takeAll(events))).toEqual([told])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("with a ratio, retries are a tenth of the calls", () =>
    Effect.gen(function*() {
      let attempts = 0
      const down = Effect.suspend(() => Effect.fail(++attempts))
      for (let i = 0; i < 1_000; i++) {
        yield* Effect.ignore(down.pipe(Vendor.retry({ schedule: Schedule.recurs(3) })))
      }
      expect(attempts).toBe(1_100)
    }).pipe(Effect.provide(Vendor.layer({ allowance: RetryBudget.ratio({ minPerSecond: 0 }) }))))
})

describe("one layer retries", () => {
  it.effect("three loops of three attempts make three calls, not twenty-seven", () =>
    Effect.gen(function*() {
      const { calls, effect } = flaky(...Array.from({ length: 99 }, () => "down"))
      const once = Vendor.retry({ schedule: atOnce })
      yield* Effect.exit(effect.pipe(once, once, once))
      expect(calls()).toBe(3)
    }).pipe(Effect.provide(Vendor.layer())))

  it.effect("loops of different budgets multiply", () =>
    Effect.gen(function*() {
      const other = yield* RetryBudget.make({ name: "other" })
      const { calls, effect } = flaky(...Array.from({ length: 99 }, () => "down"))
      const inner = effect.pipe(RetryBudget.retryWith(other, { schedule: atOnce }))
      yield* Effect.exit(inner.pipe(Vendor.retry({ schedule: atOnce })))
      expect(calls()).toBe(9)
    }).pipe(Effect.provide(Vendor.layer())))

  it.effect("a schedule made with `limit` ends where an outer retry is at work", () =>
    Effect.gen(function*() {
      const { calls, effect } = flaky(...Array.from({ length: 99 }, () => "down"))
      const inner = Effect.retry(effect, Vendor.limit(atOnce))
      yield* Effect.exit(inner.pipe(Vendor.retry({ schedule: atOnce })))
      expect(calls()).toBe(3)
      yield* Effect.exit(inner.pipe(RetryBudget.withRetrying("vendor")))
      expect(calls()).toBe(4)
      yield* Effect.exit(inner)
      expect(calls()).toBe(7)
    }).pipe(Effect.provide(Vendor.layer())))

  it.effect("reaches into forked fibers and ends with the retry", () =>
    Effect.gen(function*() {
      const seen = Effect.flatMap(Effect.fork(RetryBudget.isRetrying("vendor")), Fiber.join)
      expect(yield* seen).toBe(false)
      expect(yield* seen.pipe(Vendor.retry({ schedule: atOnce }))).toBe(true)
      expect(yield* seen).toBe(false)
    }).pipe(Effect.provide(Vendor.layer())))
})

describe("RetryBudget.limit", () => {
  it.effect("keeps the schedule's delays and ends it where the budget does", () =>
    Effect.gen(function*() {
      const { calls, effect } = flaky(...Array.from({ length: 99 }, () => "down"))
      const backoff = Backoff.make({ base: "1 second", jitter: "none", maxRetries: 10 })
      const fiber = yield* Effect.fork(Effect.exit(Effect.retry(effect, Vendor.limit(backoff))))
      yield* TestClock.adjust("6 seconds")
      expect(calls()).toBe(3)
      yield* TestClock.adjust(Duration.minutes(5))
      expect(yield* Fiber.join(fiber)).toEqual(Exit.fail("down"))
      expect(calls()).toBe(5)
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("a call within a retry of the same budget is not counted again", () =>
    Effect.gen(function*() {
      yield* Effect.exit(Effect.retry(Effect.fail("down"), Vendor.limit(Schedule.forever)))
      const call = Effect.void.pipe(RetryBudget.counted(Vendor), Vendor.retry({ schedule: atOnce }))
      for (let i = 0; i < 5; i++) yield* call
      expect(yield* stats).toMatchObject({ available: 1 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))

  it.effect("is filled again by the calls that are counted", () =>
    Effect.gen(function*() {
      yield* Effect.exit(Effect.retry(Effect.fail("down"), Vendor.limit(Schedule.forever)))
      expect(yield* stats).toMatchObject({ available: 0 })
      for (let i = 0; i < 5; i++) yield* Effect.void.pipe(RetryBudget.counted(Vendor))
      expect(yield* stats).toMatchObject({ available: 1 })
    }).pipe(Effect.provide(Vendor.layer({ allowance: small }))))
})

describe("an interrupt storm", () => {
  it.effect("leaves no retry paid for that was not made", () =>
    Effect.gen(function*() {
      const budget = yield* Vendor
      const retry = { schedule: Schedule.spaced("1 second"), while: () => true }
      const limits: RateLimit.Options["limits"] = [{ rate: 1, per: "1 hour" }]
      // alone, in a policy, in one that drives a plan, and in one whose retry waits for its turn
      const ways = [
        () => Effect.succeed(Vendor.retry(retry)),
        () => Effect.succeed(Policy.make({ retry: { ...retry, budget } })),
        () => Effect.succeed(Policy.make({ retry: { ...retry, schedule: Backoff.make(), budget } })),
        () =>
          Effect.map(
            RateLimit.make({ name: "vendor", limits, maxWait: "1 day" }),
            (rateLimit) => Policy.make({ retry: { ...retry, schedule: Backoff.make({ base: 0 }), budget }, rateLimit })
          )
      ]
      for (let ops = 12; ops <= 64; ops++) {
        for (let yields = 0; yields < 12 * ways.length; yields++) {
          let attempts = 0
          const way = yield* ways[yields % ways.length]!()
          const call = way(Effect.suspend(() => Effect.fail(++attempts)))
          const before = yield* budget.stats
          const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(call, ops))
          for (let i = 0; i < Math.floor(yields / ways.length); i++) yield* Effect.yieldNow()
          yield* Fiber.interrupt(fiber)
          const after = yield* budget.stats
          const granted = after.granted - before.granted
          const retries = Math.max(0, attempts - 1)
          expect(granted - (after.refunded - before.refunded)).toBe(retries)
        }
      }
    }).pipe(Effect.provide(Vendor.layer())))
})
