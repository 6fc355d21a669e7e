import { describe, expect, it } from "@effect/vitest"
import * as Deadline from "@firebreak/core/Deadline"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Rejection from "@firebreak/core/Rejection"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

/** The exit of an effect, and the milliseconds it took. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.timed(Effect.exit(effect)))
    yield* TestClock.adjust("1 hour")
    const [took, exit] = yield* Fiber.join(fiber)
    return [exit, Duration.toMillis(took)] as const
  })

const exceeded = (exit: Exit.Exit<unknown, unknown>): Deadline.DeadlineExceeded => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  expect(error).toBeInstanceOf(Deadline.DeadlineExceeded)
  return error as Deadline.DeadlineExceeded
}

describe("Deadline.within", () => {
  it.effect("passes success, failure and defect through unchanged", () =>
    Effect.gen(function*() {
      expect(yield* Effect.succeed(1).pipe(Deadline.within("1 second"))).toBe(1)
      expect(yield* Effect.exit(Effect.fail("boom").pipe(Deadline.within("1 second")))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(Effect.die("bug").pipe(Deadline.within("1 second")))).toEqual(Exit.die("bug"))
    }))

  it.effect("interrupts what takes longer, and waits until it has ended", () =>
    Effect.gen(function*() {
      let cleaned = 0
      const slow = Effect.never.pipe(
        Effect.onInterrupt(() => Effect.zipRight(Effect.sleep("3 seconds"), Effect.sync(() => ++cleaned)))
      )
      const [exit, took] = yield* timed(slow.pipe(Deadline.within("10 seconds")))
      const error = exceeded(exit)
      expect(error).toMatchObject({ started: true, after: Duration.seconds(10) })
      expect(error.message).toBe("The deadline passed after 10s; the call was interrupted, its outcome is unknown")
      expect(Rejection.isRejection(error)).toBe(false)
      expect([cleaned, took]).toEqual([1, 13_000])
    }))

  it.effect("does not start what has no time left, and says so", () =>
    Effect.gen(function*() {
      let started = 0
      let inner: Exit.Exit<number, Deadline.DeadlineExceeded> = Exit.succeed(0)
      const call = Effect.sync(() => ++started).pipe(Deadline.within("1 second"))
      const late = Effect.zipRight(Effect.sleep("2 seconds"), Effect.map(Effect.exit(call), (exit) => inner = exit))
      yield* timed(Deadline.within(Effect.uninterruptible(late), "1 second"))
      const error = exceeded(inner)
      expect(error).toMatchObject({ started: false, after: Duration.zero })
      expect(error.message).toBe("The deadline had passed before the call; it was not started")
      expect(Rejection.isRejection(error)).toBe(true)
      expect(error.stack ?? "").not.toContain("    at ")
      expect(started).toBe(0)
    }))

  it.live.prop("the nearest of nested deadlines counts", [
    fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 5 }),
    fc.integer({ min: 1, max: 5_000 })
  ], ([limits, work]) =>
    Effect.gen(function*() {
      const call: Effect.Effect<void, Deadline.DeadlineExceeded> = limits.reduce(
        (effect: Effect.Effect<void, Deadline.DeadlineExceeded>, limit) => Deadline.within(effect, limit),
        Effect.sleep(work)
      )
      const nearest = Math.min(...limits)
      const { clock, runUntil } = SimulatedClock.make()
      const fiber = yield* Effect.fork(Effect.withClock(Effect.timed(Effect.exit(call)), clock))
      yield* runUntil(60_000)
      const [took, exit] = yield* Fiber.join(fiber)
      if (work < nearest) expect(exit).toEqual(Exit.void)
      if (work > nearest) expect(Duration.toMillis(exceeded(exit).after)).toBe(nearest)
      expect(Duration.toMillis(took)).toBe(Math.min(work, nearest))
    }), shellRuns)

  it.effect("an outer deadline goes on through the calls within", () =>
    Effect.gen(function*() {
      const call = Effect.sleep("2 seconds").pipe(Deadline.within("3 seconds"))
      const [exit, took] = yield* timed(Effect.forever(call).pipe(Deadline.within("7 seconds")))
      expect(exceeded(exit).started).toBe(true)
      expect(took).toBe(7_000)
    }))

  it.effect("an interruption from outside is an interruption", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(Deadline.within(Effect.never, "1 second"))
      yield* Effect.yieldNow()
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
    }))

  it("refuses a duration that makes no sense", () => {
    expect(() => Deadline.within(Effect.void, -1)).toThrow(/duration.*got -1/)
    expect(() => Deadline.within(Effect.void, Duration.infinity)).toThrow(/duration/)
  })
})

describe("Deadline.remaining", () => {
  it.effect("is what is left, in forked fibers too, and nothing outside", () =>
    Effect.gen(function*() {
      expect(yield* Deadline.remaining).toEqual(Option.none())
      const look = Effect.flatMap(Effect.fork(Deadline.remaining), Fiber.join)
      const [exit] = yield* timed(Deadline.within(Effect.zipRight(Effect.sleep("4 seconds"), look), "10 seconds"))
      expect(exit).toEqual(Exit.succeed(Option.some(Duration.seconds(6))))
      expect(yield* Deadline.remaining).toEqual(Option.none())
    }))

  it.effect("is the outer one's again after an inner region, however that ended", () =>
    Effect.gen(function*() {
      const inner = Effect.exit(Deadline.within(Effect.never, "1 second"))
      const [exit] = yield* timed(Deadline.within(Effect.zipRight(inner, Deadline.remaining), "10 seconds"))
      expect(exit).toEqual(Exit.succeed(Option.some(Duration.seconds(9))))
    }))

  it.effect("is never negative", () =>
    Effect.gen(function*() {
      let left: Option.Option<Duration.Duration> = Option.none()
      const late = Effect.zipRight(Effect.sleep("2 seconds"), Effect.map(Deadline.remaining, (now) => left = now))
      yield* timed(Deadline.within(Effect.uninterruptible(late), "1 second"))
      expect(left).toEqual(Option.some(Duration.zero))
    }))
})

describe("Deadline.dropExpired", () => {
  it.effect("starts what has time left, or no deadline, and drops the rest", () =>
    Effect.gen(function*() {
      let started = 0
      const job = Deadline.dropExpired(Effect.sync(() => ++started))
      yield* job
      yield* Deadline.within(job, "1 second")
      expect(started).toBe(2)
      let dropped: Exit.Exit<number, Deadline.DeadlineExceeded> | undefined
      const waited = Effect.zipRight(Effect.sleep("2 seconds"), Effect.map(Effect.exit(job), (exit) => dropped = exit))
      yield* timed(Deadline.within(Effect.uninterruptible(waited), "1 second"))
      expect(exceeded(dropped!).started).toBe(false)
      expect(started).toBe(2)
    }))
})

describe("Deadline.without", () => {
  it.effect("has no deadline for what is inside, and is interrupted all the same", () =>
    Effect.gen(function*() {
      let inside: Option.Option<Duration.Duration> | undefined
      const work = Effect.zipRight(Effect.map(Deadline.remaining, (left) => inside = left), Effect.never)
      const [exit, took] = yield* timed(Deadline.within(Deadline.without(work), "1 second"))
      expect(exceeded(exit).started).toBe(true)
      expect(inside).toEqual(Option.none())
      expect(took).toBe(1_000)
    }))

  it.effect("a single flight does not inherit the deadline of its first caller", () =>
    Effect.gen(function*() {
      const deadlines: Array<Option.Option<Duration.Duration>> = []
      const body = Effect.zipRight(
        Effect.map(Deadline.remaining, (left) => deadlines.push(left)),
        Effect.sleep("5 seconds").pipe(Deadline.within("10 seconds"), Effect.orDie)
      )
      const action = Idempotency.once({ operation: "restart", key: "key" }, body)
      const hasty = yield* Effect.fork(Effect.exit(Deadline.within(action, "1 second")))
      const patient = yield* Effect.fork(Effect.exit(action))
      yield* TestClock.adjust("1 minute")
      expect(exceeded(yield* Fiber.join(hasty)).after).toEqual(Duration.seconds(1))
      expect(Exit.isSuccess(yield* Fiber.join(patient))).toBe(true)
      expect(deadlines).toEqual([Option.none()])
    }).pipe(Effect.provide(Idempotency.layerMemory)))
})

describe("an interrupt storm", () => {
  it.effect("leaves no deadline behind, and nothing running", () =>
    Effect.gen(function*() {
      let running = 0
      const work = Effect.acquireUseRelease(
        Effect.sync(() => ++running),
        () => Effect.sleep("1 second"),
        () => Effect.sync(() => --running)
      )
      for (let ops = 12; ops <= 64; ops++) {
        for (let yields = 0; yields < 10; yields++) {
          const call = Effect.onExit(Deadline.within(work, "2 seconds"), () =>
            Effect.map(Deadline.remaining, (left) => expect(left).toEqual(Option.none())))
          const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(call, ops))
          for (let i = 0; i < yields; i++) {
            yield* Effect.yieldNow()
          }
          const exit = yield* Fiber.interrupt(fiber)
          expect(Exit.isFailure(exit) && Option.isNone(Cause.dieOption(exit.cause))).toBe(true)
          expect(running).toBe(0)
        }
      }
    }), 20_000)
})
