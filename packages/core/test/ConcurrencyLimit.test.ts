import { describe, expect, it } from "@effect/vitest"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Events from "@firebreak/core/Events"
import type * as LimitStrategy from "@firebreak/core/LimitStrategy"
import * as Rejection from "@firebreak/core/Rejection"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Search extends ConcurrencyLimit.Tag("search")<Search>() {}

/** A strategy that does not move and remembers what it was shown. */
const fixed = (limit: number) => {
  const windows: Array<LimitStrategy.Window> = []
  const strategy: LimitStrategy.LimitStrategy<number> = {
    initial: limit,
    limit: (state) => state,
    next: (state, window) => {
      windows.push(window)
      return state
    }
  }
  return { strategy, windows }
}

const hold = (limit: ConcurrencyLimit.ConcurrencyLimit, calls: number) =>
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    for (let i = 0; i < calls; i++) yield* Effect.fork(limit.protect(Deferred.await(gate)))
    yield* Effect.yieldNow()
    return gate
  })

const eager = { every: 0, minimumCalls: 1 } as const

describe("ConcurrencyLimit", () => {
  it.effect("passes success, failure and defect through unchanged, and counts none of them as in flight after", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ name: "x" })
      expect(yield* limit.protect(Effect.succeed(1))).toBe(1)
      expect(yield* Effect.exit(limit.protect(Effect.fail("boom")))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(limit.protect(Effect.die("bug")))).toEqual(Exit.die("bug"))
      expect(yield* limit.stats).toEqual({ limit: 20, inFlight: 0, rejected: 0, latency: Duration.zero })
    }))

  it.effect("turns away what finds the limit reached", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ name: "api", strategy: fixed(2.9).strategy })
      const gate = yield* hold(limit, 2)
      const error = yield* Effect.flip(limit.protect(Effect.die("must not start")))
      expect(error).toMatchObject({ limiter: "api", limit: 2, inFlight: 2, priority: 0 })
      expect(error.message).toBe(
        `Concurrency limit "api" is reached for priority 0 (2 in flight, limit 2); the call was not started`
      )
      expect(Rejection.isRejection(error)).toBe(true)
      expect(error.stack ?? "").not.toContain("    at ")
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.yieldNow()
      expect(yield* limit.stats).toMatchObject({ inFlight: 0, rejected: 1 })
    }))

  it.effect("turns the least important away first", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ name: "api", strategy: fixed(10).strategy })
      const gets = (priority: number) =>
        Effect.isSuccess(ConcurrencyLimit.withPriority(limit.protect(Effect.void), priority))
      const admitted = Effect.forEach([0, 1, 2, 3, 9], gets)
      yield* hold(limit, 3)
      expect(yield* admitted).toEqual([true, true, true, true, true])
      yield* hold(limit, 1)
      expect(yield* admitted).toEqual([true, true, true, false, false])
      yield* hold(limit, 2)
      expect(yield* admitted).toEqual([true, true, false, false, false])
      yield* hold(limit, 2)
      expect(yield* admitted).toEqual([true, false, false, false, false])
      yield* hold(limit, 2)
      expect(yield* admitted).toEqual([false, false, false, false, false])
    }))

  it.effect("lets one call through however small its share, while nothing is in flight", () =>
    Effect.gen(function*() {
      const limit = yield* ConcurrencyLimit.make({ name: "x", strategy: fixed(1).strategy, shares: [1, 0] })
      yield* limit.protect(Effect.void).pipe(ConcurrencyLimit.withPriority(1))
    }))

  it.effect("shows its strategy the calls of each window: latency of the successes, failures, most in flight", () =>
    Effect.gen(function*() {
      const { strategy, windows } = fixed(10)
      const limit = yield* ConcurrencyLimit.make({ name: "x", strategy, every: "1 second", minimumCalls: 4 })
      const call = (millis: number, end: Effect.Effect<void, string> = Effect.void) =>
        Effect.fork(limit.protect(Effect.zipRight(Effect.sleep(millis), end)))
      yield* call(100)
      yield* call(300)
      yield* call(900, Effect.fail("down"))
      yield* TestClock.adjust("1 second")
      expect(windows).toEqual([])
      const gone = yield* call(900)
      yield* call(200)
      yield* TestClock.adjust("500 millis")
      expect(windows).toEqual([{ latency: 200, successes: 3, failures: 1, maxInFlight: 3 }])
      yield* Fiber.interrupt(gone) // counts for nothing
      for (let i = 0; i < 3; i++) yield* call(100)
      yield* TestClock.adjust("1 second")
      expect(windows.length).toBe(1)
      yield* call(500)
      yield* TestClock.adjust("1 second")
      expect(windows[1]).toEqual({ latency: 200, successes: 4, failures: 0, maxInFlight: 3 })
      expect(yield* limit.stats).toMatchObject({ latency: Duration.millis(200) })
    }))

  it.effect("a defect is a failure, an interruption or a rejection nothing; about the rest `classify` is asked", () =>
    Effect.gen(function*() {
      const { strategy, windows } = fixed(10)
      const full = yield* ConcurrencyLimit.make({ name: "inner", strategy: fixed(1).strategy })
      yield* hold(full, 1)
      const limit = yield* ConcurrencyLimit.make({
        name: "x",
        strategy,
        ...eager,
        classify: (error) => error === 404 ? "success" : error === 400 ? "ignore" : "failure"
      })
      yield* Effect.exit(limit.protect(Effect.die("bug")))
      yield* Effect.exit(limit.protect(Effect.fail(404)))
      yield* Effect.exit(limit.protect(Effect.fail(503)))
      yield* Effect.exit(limit.protect(Effect.fail(400)))
      yield* Effect.exit(limit.protect(Effect.interrupt))
      yield* Effect.exit(limit.protect(full.protect(Effect.void)))
      expect(windows.map(({ failures, successes }) => [successes, failures])).toEqual([[0, 1], [1, 0], [0, 1]])
    }))

  it.effect("tells when the limit moves and when a call is turned away", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const limit = yield* ConcurrencyLimit.make({
        name: "api",
        strategy: ConcurrencyLimit.aimd({ initial: 2 }),
        ...eager
      })
      yield* hold(limit, 1)
      yield* limit.protect(Effect.void)
      yield* hold(limit, 2)
      yield* Effect.exit(limit.protect(Effect.void).pipe(ConcurrencyLimit.withPriority(2)))
      expect(Array.from(yield* Queue.takeAll(events))).toEqual([
        { _tag: "ConcurrencyLimitMoved", limiter: "api", from: 2, to: 3, at: 0 },
        { _tag: "CallShed", limiter: "api", limit: 3, inFlight: 3, priority: 2, at: 0 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("is a service: the tag builds it and protects with it", () =>
    Effect.gen(function*() {
      yield* hold(yield* Search, 1)
      expect((yield* Effect.flip(Effect.void.pipe(Search.protect))).limiter).toBe("search")
      expect((yield* Effect.flip(Effect.void.pipe(ConcurrencyLimit.protect(Search)))).limiter).toBe("search")
    }).pipe(Effect.provide(Search.layer({ strategy: fixed(1).strategy }))))

  it.live.prop("admits and shows its strategy what a list on paper would, by priority, whoever ends or leaves", [
    fc.array(
      fc.oneof(
        { weight: 5, arbitrary: fc.nat(3).map((priority) => ({ _tag: "call" as const, priority })) },
        {
          weight: 4,
          arbitrary: fc.record({
            which: fc.nat(7),
            ends: fc.constantFrom("success" as const, "success" as const, "failure" as const, "ignore" as const)
          }).map((end) => ({ _tag: "end" as const, ...end }))
        },
        { weight: 2, arbitrary: fc.constantFrom(1, 40, 1_000).map((millis) => ({ _tag: "wait" as const, millis })) }
      ),
      { maxLength: 80, size: "max" }
    ),
    fc.integer({ min: 1, max: 10 })
  ], ([commands, initial]) => {
    const { clock, now, runUntil } = SimulatedClock.make()
    return Effect.withClock(
      Effect.gen(function*() {
        const shown: Array<LimitStrategy.Window> = []
        const strategy: LimitStrategy.LimitStrategy<number> = {
          initial,
          limit: (state) => state,
          next: (state, window) => {
            shown.push(window)
            return window.failures > 0 ? state / 2 : state + 1.5
          }
        }
        const shares = [1, 0.6, 0.3] as const
        const limit = yield* ConcurrencyLimit.make({ name: "x", strategy, every: 100, minimumCalls: 3, shares })
        let state: number = initial
        let since: number | undefined
        let inWindow: Array<{ readonly ok: boolean; readonly elapsed: number }> = []
        let most = 0
        let windows = 0
        let rejected = 0
        const running: Array<{
          readonly at: number
          readonly gate: Deferred.Deferred<void, "down">
          readonly fiber: Fiber.RuntimeFiber<void, "down" | ConcurrencyLimit.LimitExceeded>
        }> = []
        const whole = () => Math.max(1, Math.floor(state))
        for (const step of commands) {
          switch (step._tag) {
            case "call": {
              const gate = yield* Deferred.make<void, "down">()
              const call = limit.protect(Deferred.await(gate)).pipe(ConcurrencyLimit.withPriority(step.priority))
              const fiber = yield* Effect.forkDaemon(call)
              const open = Math.max(1, Math.floor(whole() * (shares[step.priority] ?? shares[2])))
              if (running.length < open) {
                running.push({ at: now(), gate, fiber })
                most = Math.max(most, running.length)
                since ??= now()
              } else rejected++
              break
            }
            case "end": {
              if (running.length === 0) break
              const [{ at, fiber, gate }] = running.splice(step.which % running.length, 1) as [(typeof running)[number]]
              if (step.ends === "ignore") yield* Fiber.interrupt(fiber)
              else {
                Deferred.unsafeDone(gate, step.ends === "success" ? Exit.void : Exit.fail("down"))
                inWindow.push({ ok: step.ends === "success", elapsed: now() - at })
                yield* Fiber.await(fiber)
                if (now() - since! >= 100 && inWindow.length >= 3) {
                  const good = inWindow.filter(({ ok }) => ok)
                  expect(shown[windows++]).toEqual({
                    latency: good.reduce((sum, { elapsed }) => sum + elapsed, 0) / good.length,
                    successes: good.length,
                    failures: inWindow.length - good.length,
                    maxInFlight: most
                  })
                  state = good.length < inWindow.length ? state / 2 : state + 1.5
                  since = now()
                  inWindow = []
                  most = running.length
                }
              }
              break
            }
            case "wait":
              yield* runUntil(now() + step.millis)
          }
          yield* runUntil(now())
          const stats = yield* limit.stats
          same(stats.inFlight, running.length, "in flight")
          same(stats.limit, whole(), "limit")
          same(stats.rejected, rejected, "rejected")
          same(shown.length, windows, "windows")
        }
        yield* Fiber.interruptAll(running.map(({ fiber }) => fiber))
        same((yield* limit.stats).inFlight, 0, "in flight at the end")
      }),
      clock
    )
  }, shellRuns)

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => ConcurrencyLimit.make({ name: "" })).toThrow(`name must be a name that is not empty, got ""`)
    expect(() => ConcurrencyLimit.make({ name: "x", every: -1 })).toThrow(/every.*got -1/)
    expect(() => ConcurrencyLimit.make({ name: "x", minimumCalls: 0 })).toThrow(/minimumCalls.*got 0/)
    expect(() => ConcurrencyLimit.make({ name: "x", shares: [1.5] })).toThrow(/shares.*got 1.5/)
    expect(() => ConcurrencyLimit.withPriority(Effect.void, -1)).toThrow(/priority.*got -1/)
  })

  for (
    const [name, strategy] of [
      ["gradient2", ConcurrencyLimit.gradient2()],
      ["aimd", ConcurrencyLimit.aimd({ slowerThan: "300 millis" })]
    ] as const
  ) {
    it.live(
      `${name}: the limit falls when the dependency slows down, and recovers with it`,
      () =>
        Effect.gen(function*() {
          const { clock, now, runUntil } = SimulatedClock.make()
          // serves `capacity` calls at full speed; above that all get slower together
          let capacity = 40
          let inService = 0
          const server = Effect.suspend(() =>
            Effect.ensuring(
              Effect.sleep(Duration.millis(200 * Math.max(1, ++inService / capacity))),
              Effect.sync(() => inService--)
            )
          )
          const limit = yield* ConcurrencyLimit.make({ name: "search", strategy })
          const client = Effect.forever(Effect.orElse(limit.protect(server), () => Effect.sleep("100 millis")))
          const clients = yield* Effect.forEach(
            Array.from({ length: 120 }),
            () => Effect.fork(Effect.withClock(client, clock))
          )
          const limitAt = (seconds: number) =>
            Effect.zipRight(runUntil(now() + seconds * 1_000), Effect.map(limit.stats, (stats) => stats.limit))

          const before = yield* limitAt(60)
          capacity = 10
          const during = yield* limitAt(30)
          capacity = 40
          const after = yield* limitAt(60)
          yield* Fiber.interruptAll(clients)
          // about what the server can do, with the tolerated queue
          expect(before).toBeGreaterThanOrEqual(35)
          expect(before).toBeLessThanOrEqual(90)
          expect(during).toBeLessThanOrEqual(30)
          expect(after).toBeGreaterThanOrEqual(35)
          expect(yield* limit.stats).toMatchObject({ inFlight: 0 })
        }),
      30_000
    )
  }
})
