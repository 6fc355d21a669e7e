import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Hedge from "@firebreak/core/Hedge"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { Latencies } from "../src/internal/latencies.js"
import { modelRuns, same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Search extends Hedge.Tag("search")<Search>() {}

type Answer =
  & { readonly after: number }
  & ({ readonly value: string } | { readonly error: string } | { readonly bug: string })

/** A dependency whose n-th call answers by the list, or never; it counts calls and interruptions. */
const fake = (...answers: ReadonlyArray<Answer>) => {
  const seen = { calls: 0, interrupted: 0, running: 0 }
  const effect: Effect.Effect<string, string> = Effect.suspend(() => {
    const answer = answers[seen.calls++]
    seen.running++
    return answer === undefined ? Effect.never : Effect.delay(
      "value" in answer
        ? Effect.succeed(answer.value)
        : "error" in answer
        ? Effect.fail(answer.error)
        : Effect.die(answer.bug),
      answer.after
    )
  }).pipe(
    Effect.onInterrupt(() => Effect.sync(() => seen.interrupted++)),
    Effect.ensuring(Effect.sync(() => seen.running--))
  )
  return { effect, seen }
}

/** The exit of an effect, and the milliseconds it took. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.timed(Effect.exit(effect)))
    yield* TestClock.adjust("1 minute")
    const [took, exit] = yield* Fiber.join(fiber)
    return [exit, Duration.toMillis(took)] as const
  })

const fixed = { name: "search", delay: "100 millis" } as const

describe("Hedge", () => {
  it.effect("does not ask twice where the answer is quick, nor after a quick failure or defect", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      for (
        const [answer, exit] of [
          [{ after: 99, value: "a" }, Exit.succeed("a")],
          [{ after: 99, error: "down" }, Exit.fail("down")],
          [{ after: 99, bug: "bug" }, Exit.die("bug")]
        ] as const
      ) {
        const { effect, seen } = fake(answer)
        expect(yield* timed(hedge.safe(effect))).toEqual([exit, 99])
        expect(seen).toEqual({ calls: 1, interrupted: 0, running: 0 })
      }
      expect(yield* hedge.stats).toMatchObject({ calls: 3, hedges: 0, wins: 0, refused: 0 })
    }))

  it.effect("takes the hedge's answer where it comes first, and interrupts the slow attempt", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const { effect, seen } = fake({ after: 10_000, value: "slow" }, { after: 20, value: "quick" })
      expect(yield* timed(hedge.safe(effect))).toEqual([Exit.succeed("quick"), 120])
      expect(seen).toEqual({ calls: 2, interrupted: 1, running: 0 })
      expect(yield* hedge.stats).toMatchObject({ hedges: 1, wins: 1 })
    }))

  it.effect("takes the first attempt's answer where that comes first, and interrupts the hedge", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const { effect, seen } = fake({ after: 150, value: "first" })
      expect(yield* timed(hedge.safe(effect))).toEqual([Exit.succeed("first"), 150])
      expect(seen).toEqual({ calls: 2, interrupted: 1, running: 0 })
      expect(yield* hedge.stats).toMatchObject({ hedges: 1, wins: 0 })
    }))

  it.effect("waits for the interruption of the losers", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      let calls = 0
      const effect = Effect.suspend(() => ++calls === 1 ? Effect.never : Effect.succeed("quick")).pipe(
        Effect.onInterrupt(() => Effect.sleep("1 second"))
      )
      expect(yield* timed(hedge.safe(effect))).toEqual([Exit.succeed("quick"), 1_100])
    }))

  it.effect("a failure waits for the attempt that is still running", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const first = fake({ after: 200, error: "down" }, { after: 500, value: "late" })
      expect(yield* timed(hedge.safe(first.effect))).toEqual([Exit.succeed("late"), 600])
      const second = fake({ after: 900, value: "late" }, { after: 50, error: "down" })
      expect(yield* timed(hedge.safe(second.effect))).toEqual([Exit.succeed("late"), 900])
    }))

  it.effect("fails with the first attempt's error if all fail", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      for (const after of [110, 500]) {
        const { effect, seen } = fake({ after, error: "first" }, { after: 100, error: "second" })
        expect((yield* timed(hedge.safe(effect)))[0]).toEqual(Exit.fail("first"))
        expect(seen.calls).toBe(2)
      }
    }))

  it.effect("starts up to `maxHedges`, one delay apart", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ ...fixed, maxHedges: 3 })
      const { effect, seen } = fake()
      const fiber = yield* Effect.fork(hedge.safe(effect))
      const calls: Array<number> = []
      for (let i = 0; i < 6; i++) {
        yield* TestClock.adjust("100 millis")
        calls.push(seen.calls)
      }
      expect(calls).toEqual([2, 3, 4, 4, 4, 4])
      yield* Fiber.interrupt(fiber)
      expect(seen).toEqual({ calls: 4, interrupted: 4, running: 0 })
    }))

  it.effect("an exhausted budget stops hedging, does not fail the call, and is told once", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const hedge = yield* Hedge.make({ ...fixed, share: 0.1, burst: 2 })
      for (let i = 0; i < 40; i++) {
        const { effect } = fake({ after: 200, value: "ok" })
        expect((yield* timed(hedge.safe(effect)))[0]).toEqual(Exit.succeed("ok"))
      }
      const { hedges, refused } = yield* hedge.stats
      expect(hedges).toBe(5)
      expect(refused).toBe(35)
      const told = Array.from(yield* Queue.takeAll(events))
      expect(told.length).toBe(4)
      expect(told[0]).toMatchObject({ _tag: "HedgeBudgetExhausted", hedge: "search" })
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("hedges a keyed call only where it carries a key", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const without = fake({ after: 300, value: "ok" })
      expect(yield* timed(hedge.keyed(without.effect))).toEqual([Exit.succeed("ok"), 300])
      expect(without.seen.calls).toBe(1)

      const keys: Array<Option.Option<string>> = []
      const restart = Effect.flatMap(Idempotency.currentKey, (key) => {
        keys.push(key)
        return Effect.sleep(keys.length === 1 ? 300 : 50)
      })
      const action = Idempotency.once({ operation: "restart", key: "a" }, hedge.keyed(restart))
      expect(yield* timed(action)).toEqual([Exit.void, 150])
      expect(keys.length).toBe(2)
      expect(keys[0]).toEqual(keys[1])
    }).pipe(Effect.provide(Idempotency.layerMemory)))

  it.effect("interrupts every attempt when the call is interrupted", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const { effect, seen } = fake()
      const fiber = yield* Effect.fork(hedge.safe(effect))
      yield* TestClock.adjust("200 millis")
      expect(seen.running).toBe(2)
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(seen).toEqual({ calls: 2, interrupted: 2, running: 0 })
    }))

  it.effect("the winner's FiberRefs are the caller's", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make(fixed)
      const ref = yield* FiberRef.make("before")
      yield* hedge.safe(FiberRef.set(ref, "after"))
      expect(yield* FiberRef.get(ref)).toBe("after")
    }).pipe(Effect.scoped))

  it.effect("follows the quantile of how long calls take, once it knows enough of them", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({
        name: "search",
        delay: Hedge.quantile(0.9, { last: 20, minimum: 10 }),
        burst: 100
      })
      const call = (after: number) => {
        const { effect, seen } = fake({ after, value: "slow" }, { after: 1, value: "quick" })
        return Effect.map(timed(hedge.safe(effect)), ([, took]) => [took, seen.calls])
      }
      for (let i = 1; i <= 9; i++) expect(yield* call(i * 10)).toEqual([i * 10, 1])
      expect((yield* hedge.stats).delay).toEqual(Option.none())
      yield* call(1_000)
      expect((yield* hedge.stats).delay).toEqual(Option.some(Duration.millis(90)))
      expect(yield* call(5_000)).toEqual([91, 2])
      // what was overtaken counts with the time it had taken, or the delay would only ever fall
      for (let i = 0; i < 20; i++) yield* call(5_000)
      expect(Option.getOrThrow((yield* hedge.stats).delay)).toSatisfy((delay: Duration.Duration) =>
        Duration.greaterThanOrEqualTo(delay, "90 millis")
      )
    }))

  it.effect("is a service: the tag builds it and hedges with it", () =>
    Effect.gen(function*() {
      const { effect } = fake({ after: 500, value: "slow" }, { after: 10, value: "quick" })
      expect(yield* timed(effect.pipe(Search.safe))).toEqual([Exit.succeed("quick"), 110])
      yield* Effect.void.pipe(Search.keyed)
      expect(yield* Effect.flatMap(Search, (hedge) => hedge.stats)).toMatchObject({ calls: 1, wins: 1 })
    }).pipe(Effect.provide(Search.layer({ delay: "100 millis" }))))

  it.live.prop("the call ends with the earliest success, else with the first attempt's error", [
    fc.array(fc.record({ after: fc.integer({ min: 1, max: 500 }), ok: fc.boolean() }), { minLength: 4, maxLength: 4 })
  ], ([attempts]) =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ ...fixed, maxHedges: 3, burst: 100 })
      const { effect, seen } = fake(
        ...attempts.map(({ after, ok }, i): Answer => ok ? { after, value: `${i}` } : { after, error: `${i}` })
      )
      const { clock, runUntil } = SimulatedClock.make()
      const fiber = yield* Effect.fork(Effect.withClock(Effect.timed(Effect.exit(hedge.safe(effect))), clock))
      yield* runUntil(60_000)
      const [duration, exit] = yield* Fiber.join(fiber)
      const took = Duration.toMillis(duration)

      // the model: attempt i starts at i * 100, as long as the call is not decided by then
      let decided = { at: Infinity, exit: Exit.fail("0") as Exit.Exit<string, string> }
      let lastFailure = 0
      for (const [i, { after, ok }] of attempts.entries()) {
        const start = i * 100
        if (start >= decided.at || (i > 0 && start > lastFailure)) break
        const end = start + after
        if (ok) {
          lastFailure = Infinity
          if (end < decided.at) decided = { at: end, exit: Exit.succeed(`${i}`) }
        } else {
          lastFailure = Math.max(lastFailure, end)
        }
      }
      const ties = attempts.some(({ after }, i) => attempts.some((_, j) => j !== i && i * 100 + after === j * 100)) ||
        new Set(attempts.map(({ after }, i) => i * 100 + after)).size < attempts.length
      if (!ties) {
        expect(exit).toEqual(decided.exit)
        expect(took).toBe(decided.at === Infinity ? lastFailure : decided.at)
      }
      expect(seen.running).toBe(0)
    }), shellRuns)

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => Hedge.make({ name: "" })).toThrow(/name must be a name/)
    expect(() => Hedge.make({ name: "x", maxHedges: 0 })).toThrow(/maxHedges.*got 0/)
    expect(() => Hedge.make({ name: "x", share: -1 })).toThrow(/share.*got -1/)
    expect(() => Hedge.make({ name: "x", delay: -1 })).toThrow(/delay.*got -1/)
    expect(() => Hedge.quantile(1.5)).toThrow(/of.*got 1.5/)
  })
})

describe("Latencies", () => {
  it.prop("has the nearest rank of the latest samples, or of those up to a sixteenth older", [
    fc.array(fc.integer({ min: 0, max: 1_000 }), { maxLength: 100 }),
    fc.integer({ min: 1, max: 48 }),
    fc.double({ min: 0, max: 1, noNaN: true })
  ], ([samples, last, of]) => {
    const latencies = new Latencies(last, of, 1)
    const rank = (end: number) => {
      const kept = samples.slice(Math.max(0, end - last), end).toSorted((a, b) => a - b)
      return kept[Math.max(0, Math.ceil(of * kept.length) - 1)]
    }
    expect(latencies.quantile()).toBeUndefined()
    for (let i = 0; i < samples.length; i++) {
      latencies.add(samples[i]!)
      const fresh = Array.from({ length: 1 + Math.floor(last / 16) }, (_, age) => rank(Math.max(1, i + 1 - age)))
      same(fresh.includes(latencies.quantile()), true, "it is the nearest rank of samples that recent")
    }
  }, modelRuns)
})
