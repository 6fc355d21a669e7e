import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as BackoffCurve from "@firebreak/core/BackoffCurve"
import * as Events from "@firebreak/core/Events"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { modelRuns, same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

const jitters = ["none", "full", "equal", "proportional", "decorrelated", "decorrelated-v2"] as const

const curve = fc.record({
  base: fc.integer({ min: 0, max: 5_000 }),
  factor: fc.double({ min: 1, max: 10, noNaN: true }),
  cap: fc.integer({ min: 0, max: 100_000 }),
  jitter: fc.constantFrom(...jitters)
})
const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

/** The delays between the attempts of a call that never succeeds, in milliseconds. */
const delaysOf = <Out, R>(schedule: Schedule.Schedule<Out, string, R>) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    const call = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      times.push(now)
      return Effect.fail("down")
    })
    const fiber = yield* Effect.fork(Effect.exit(Effect.retry(call, schedule)))
    yield* TestClock.adjust("30 days")
    expect(yield* Fiber.join(fiber)).toEqual(Exit.fail("down"))
    return times.slice(1).map((time, i) => time - times[i]!)
  })

describe("Backoff formulas", () => {
  it.prop("no delay is negative, not a number or above the cap, up to attempt 10,000", [
    curve,
    fc.oneof(fc.integer({ min: 0, max: 60 }), fc.constantFrom(1_000, 1_014, 1_015, 10_000)),
    draw,
    draw
  ], ([curve, retries, u, v]) => {
    const [, warm] = BackoffCurve.delayAfter(curve, BackoffCurve.start(curve), v, 0)
    const [delay, next] = BackoffCurve.delayAfter(curve, { ...warm, retries }, u, 0)
    expect(delay).toBeGreaterThanOrEqual(0)
    expect(delay).toBeLessThanOrEqual(curve.cap)
    expect(next.waited).toBe(warm.waited + delay)
  }, modelRuns)

  it.prop("each jitter stays within its own bounds", [fc.integer({ min: 1, max: 5_000 }), fc.nat(12), draw], (
    [base, retries, u]
  ) => {
    const cap = 60_000
    const d = Math.min(cap, base * 2 ** retries)
    const bounds = {
      none: [d, d],
      full: [0, d],
      equal: [d / 2, d],
      proportional: [d / 2, Math.min(cap, 1.5 * d)]
    } as const
    for (const jitter of ["none", "full", "equal", "proportional"] as const) {
      const curve = { base, factor: 2, cap, jitter }
      const [delay] = BackoffCurve.delayAfter(curve, { ...BackoffCurve.start(curve), retries }, u, 0)
      expect(delay).toBeGreaterThanOrEqual(bounds[jitter][0])
      expect(delay).toBeLessThanOrEqual(bounds[jitter][1])
    }
  }, modelRuns)

  it.prop(
    "decorrelated draws between the base and three times the previous delay",
    [fc.array(draw, { minLength: 1 })],
    (
      [draws]
    ) => {
      const curve = { base: 100, factor: 2, cap: 8_000, jitter: "decorrelated" } as const
      let state = BackoffCurve.start(curve)
      let previous: number = curve.base
      for (const u of draws) {
        const [delay, next] = BackoffCurve.delayAfter(curve, state, u, 0)
        const expected = Math.min(8_000, 100 + u * (3 * previous - 100))
        if (Math.abs(delay - expected) > 1e-6) same(delay, expected, "delay")
        previous = delay
        state = next
      }
    },
    modelRuns
  )

  it("stays at the cap at attempt 10,000", () => {
    const curve = { base: 1_000, factor: 2, cap: 32_000, jitter: "none" } as const
    const [delay] = BackoffCurve.delayAfter(curve, { ...BackoffCurve.start(curve), retries: 10_000 }, 0, 0)
    expect(delay).toBe(32_000)
  })
})

describe("Backoff", () => {
  it.effect("waits 1, 2, 4, 8, 16 seconds by default, without jitter", () =>
    Effect.gen(function*() {
      expect(yield* delaysOf(Backoff.make({ jitter: "none" }))).toEqual([1_000, 2_000, 4_000, 8_000, 16_000])
    }))

  it.effect("a seed replays its delays", () =>
    Effect.gen(function*() {
      const run = Effect.suspend(() =>
        delaysOf(Backoff.make({ jitter: "full" })).pipe(Effect.withRandom(Random.make("seed")))
      ).pipe(Effect.map((delays) => delays.map(Math.round)))
      const first = yield* run
      expect(yield* run).toEqual(first)
      expect(first).toHaveLength(5)
      expect(first.every((delay, i) => delay >= 0 && delay <= 1_000 * 2 ** i)).toBe(true)
    }))

  it.effect("stops before the coming delay would overshoot the budget, and fails with the call's own error", () =>
    Effect.gen(function*() {
      const delays = yield* delaysOf(Backoff.make({ jitter: "none", maxRetries: 9, maxTotalDelay: "10 seconds" }))
      expect(delays).toEqual([1_000, 2_000, 4_000])
      expect(yield* delaysOf(Backoff.make({ jitter: "none", maxTotalDelay: "7 seconds" }))).toEqual([
        1_000,
        2_000,
        4_000
      ])
    }))

  it.live.prop("never waits longer than its budget", [
    fc.integer({ min: 0, max: 60_000 }),
    fc.constantFrom(...jitters),
    fc.integer()
  ], ([budget, jitter, seed]) =>
    Effect.gen(function*() {
      const schedule = Backoff.make({ base: 700, jitter, maxRetries: 8, maxTotalDelay: budget })
      const { clock, now, runUntil } = SimulatedClock.make()
      const call = Effect.retry(Effect.fail("down"), schedule).pipe(Effect.exit, Effect.withClock(clock))
      const ended = yield* Effect.fork(Effect.map(call, now))
      yield* runUntil(1e9)
      expect(yield* Fiber.join(ended)).toBeLessThanOrEqual(budget + 0.001)
    }).pipe(Effect.withRandom(Random.make(seed))), shellRuns)

  it.effect("runs at the same time do not disturb each other", () =>
    Effect.gen(function*() {
      const schedule = Backoff.make({ jitter: "decorrelated", maxRetries: 4, maxTotalDelay: "1 hour" })
      const retries: Array<number> = []
      const run = Effect.ignore(Effect.retry(
        Effect.fail("down"),
        Schedule.onDecision(schedule, (retry) => Effect.sync(() => retries.push(retry.retry)))
      ))
      const fiber = yield* Effect.fork(Effect.all([run, run, run], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(fiber)
      for (const n of [1, 2, 3]) expect(retries.filter((retry) => retry === n)).toHaveLength(3)
    }))

  it.effect("an interrupt during the wait ends it at once, without another attempt", () =>
    Effect.gen(function*() {
      let attempts = 0
      const call = Effect.suspend(() => {
        attempts++
        return Effect.fail("down")
      })
      const fiber = yield* Effect.fork(Effect.retry(call, Backoff.make({ jitter: "none" })))
      yield* TestClock.adjust("1500 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 hour")
      expect(attempts).toBe(2)
    }))

  it.effect("takes Retry-After as a floor, clamped to the cap, and ignores nonsense", () =>
    Effect.gen(function*() {
      const asked = [
        Option.some(Duration.seconds(5)),
        Option.some(Duration.infinity),
        Option.none(),
        Option.some(Duration.hours(9))
      ]
      const retryAfter = () => asked.shift() ?? Option.none()
      const schedule = Backoff.make({ jitter: "none", cap: "30 seconds", maxRetries: 4, retryAfter })
      expect(yield* delaysOf(schedule)).toEqual([5_000, 2_000, 4_000, 30_000])
    }))

  it.effect("counts what Retry-After asks for against the budget", () =>
    Effect.gen(function*() {
      const retryAfter = () => Option.some(Duration.seconds(20))
      expect(yield* delaysOf(Backoff.make({ retryAfter, maxTotalDelay: "30 seconds" }))).toEqual([20_000])
    }))

  it.effect("ends at an error that `while` refuses, and tells nobody of a retry", () =>
    Effect.gen(function*() {
      const heard: Array<number> = []
      const events = yield* Events.subscribe
      const schedule = Backoff.make<string>({
        jitter: "none",
        while: (error) => error === "down",
        onRetry: ({ retry }) => Effect.sync(() => heard.push(retry))
      })
      const errors = ["down", "forbidden", "down"]
      const call = Effect.suspend(() => Effect.fail(errors.shift()!))
      const fiber = yield* Effect.fork(Effect.exit(Effect.retry(call, schedule)))
      yield* TestClock.adjust("1 hour")
      expect(yield* Fiber.join(fiber)).toEqual(Exit.fail("forbidden"))
      expect(errors).toEqual(["down"])
      expect(heard).toEqual([1])
      expect(Array.from(yield* Queue.takeAll(events), ({ _tag }) => _tag)).toEqual(["RetryScheduled"])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("tells the hook and the events about each retry before it waits", () =>
    Effect.gen(function*() {
      const seen: Array<readonly [number, number, string]> = []
      const events = yield* Events.subscribe
      yield* delaysOf(Backoff.make<string>({
        name: "datadog",
        jitter: "none",
        maxRetries: 2,
        onRetry: ({ delay, error, retry }) => Effect.sync(() => seen.push([retry, Duration.toMillis(delay), error]))
      }))
      expect(seen).toEqual([[1, 1_000, "down"], [2, 2_000, "down"]])
      expect(Array.from(yield* Queue.takeAll(events))).toMatchObject([
        { _tag: "RetryScheduled", name: "datadog", retry: 1, delayMillis: 1_000, error: "down" },
        { retry: 2, at: 1_000 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("the presets have the chapter's figures", () =>
    Effect.gen(function*() {
      const longest = Effect.withRandom(Random.fixed([1 - Number.EPSILON]))
      const round = Effect.map((delays: ReadonlyArray<number>) => delays.map((delay) => Math.round(delay / 500) / 2))
      expect(yield* delaysOf(Backoff.production).pipe(longest, round)).toEqual([1, 2, 4])
      expect(yield* delaysOf(Backoff.rateLimited).pipe(longest, round)).toEqual([2, 6, 18, 54, 120])
      expect(yield* delaysOf(Backoff.userFacing).pipe(longest, round)).toEqual([0.5, 1])
    }))

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => Backoff.make({ base: -1 })).toThrow(/base.*got -1/)
    expect(() => Backoff.make({ factor: 0.5 })).toThrow(/factor.*between 1.*got 0.5/)
    expect(() => Backoff.make({ cap: Infinity })).toThrow(/cap.*finite.*got Infinity/)
    expect(() => Backoff.make({ maxRetries: 1.5 })).toThrow(/maxRetries.*got 1.5/)
    expect(() => Backoff.make({ maxTotalDelay: NaN })).toThrow(/maxTotalDelay.*got NaN/)
  })
})

describe("Backoff combinators", () => {
  it.effect("capped holds any schedule below its cap for ever", () =>
    Effect.gen(function*() {
      const schedule = Schedule.exponential("1 second").pipe(
        Backoff.capped("10 seconds"),
        Schedule.intersect(Schedule.recurs(6))
      )
      expect(yield* delaysOf(schedule)).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
    }))

  it.effect("withinTotalDelay and withinElapsed stop before sleeping, not after", () =>
    Effect.gen(function*() {
      expect(yield* delaysOf(Schedule.spaced("10 seconds").pipe(Backoff.withinElapsed("15 seconds")))).toEqual([10_000])
      expect(yield* delaysOf(Schedule.spaced("4 seconds").pipe(Backoff.withinTotalDelay("10 seconds")))).toEqual([
        4_000,
        4_000
      ])
    }))

  it.effect("jittered spreads over the whole delay", () =>
    Effect.gen(function*() {
      const schedule = Schedule.spaced("10 seconds").pipe(
        Backoff.jittered("full"),
        Schedule.intersect(Schedule.recurs(50))
      )
      const delays = yield* delaysOf(schedule)
      expect(Math.min(...delays)).toBeLessThan(1_500)
      expect(Math.max(...delays)).toBeGreaterThan(8_500)
    }).pipe(Effect.withRandom(Random.make(1))))

  it.effect("respectingRetryAfter is a floor for any schedule", () =>
    Effect.gen(function*() {
      const schedule = Schedule.recurs(2).pipe(
        Backoff.respectingRetryAfter((error: string) =>
          error === "down" ? Option.some(Duration.seconds(3)) : Option.none()
        )
      )
      expect(yield* delaysOf(schedule)).toEqual([3_000, 3_000])
    }))
})
