import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Rejection from "@firebreak/core/Rejection"
import * as Throttle from "@firebreak/core/Throttle"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { modelRuns, same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Search extends Throttle.Tag("search")<Search>() {}

const boom = Effect.fail("boom" as const)

/** How many of so many failing calls reached the dependency. */
const storm = (throttle: Throttle.Throttle, calls: number) =>
  Effect.map(
    Effect.forEach(Array.from({ length: calls }), () => Effect.either(throttle.protect(boom))),
    (results) => results.filter((result) => Either.isLeft(result) && result.left === "boom").length
  )

const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ outcome: fc.constantFrom("success" as const, "failure" as const, "ignore" as const) })
  },
  { weight: 1, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 40_000 }) }) }
)

describe("Throttle.probability", () => {
  it("is the formula of the SRE book, capped", () => {
    expect(Throttle.probability(0, 0)).toBe(0)
    expect(Throttle.probability(100, 50)).toBe(0)
    expect(Throttle.probability(100, 40)).toBeCloseTo(20 / 101)
    expect(Throttle.probability(100, 0)).toBe(0.9)
    expect(Throttle.probability(100, 0, { multiplier: 2, maxProbability: 1 })).toBeCloseTo(100 / 101)
    expect(Throttle.probability(100, 90, { multiplier: 1.1, maxProbability: 0.9 })).toBeCloseTo(1 / 101)
  })

  it.prop("lies between 0 and the cap, grows with requests and falls with accepts", [
    fc.integer({ min: 0, max: 10_000 }),
    fc.integer({ min: 0, max: 10_000 }),
    fc.double({ min: 1, max: 10, noNaN: true })
  ], ([requests, accepts, multiplier]) => {
    const options = { multiplier, maxProbability: 0.9 }
    const p = Throttle.probability(requests, accepts, options)
    expect(p).toBeGreaterThanOrEqual(0)
    expect(p).toBeLessThanOrEqual(0.9)
    expect(Throttle.probability(requests + 1, accepts, options)).toBeGreaterThanOrEqual(p)
    expect(Throttle.probability(requests, accepts + 1, options)).toBeLessThanOrEqual(p)
  }, modelRuns)
})

describe("Throttle", () => {
  it.effect("passes success, failure and defect through unchanged", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search", maxProbability: 0 })
      expect(yield* throttle.protect(Effect.succeed(1))).toBe(1)
      expect(yield* Effect.exit(throttle.protect(boom))).toEqual(Exit.fail("boom"))
      expect(yield* Effect.exit(throttle.protect(Effect.die("bug")))).toEqual(Exit.die("bug"))
    }))

  it.live.prop("counts what a list of everything that happened counts", [fc.array(command, { maxLength: 80 })], ([
    commands
  ]) => {
    const { clock, now, runUntil } = SimulatedClock.make()
    return Effect.withClock(
      Effect.gen(function*() {
        const throttle = yield* Throttle.make({
          name: "search",
          classify: (error) => error === "ignore" ? "ignore" : "failure"
        })
        let history: Array<{ readonly at: number; readonly accepted: boolean }> = []
        for (const step of commands) {
          if ("wait" in step) yield* runUntil(now() + step.wait)
          else {
            const call = step.outcome === "success" ? Effect.void : Effect.fail(step.outcome)
            const exit = yield* Effect.either(throttle.protect(call))
            const refused = Either.isLeft(exit) && exit.left instanceof Throttle.Throttled
            if (refused || step.outcome !== "ignore") {
              history.push({ at: now(), accepted: !refused && step.outcome === "success" })
            }
          }
          const young = (at: number) => Math.floor(at / 2_000) > Math.floor(now() / 2_000) - 60
          history = history.filter(({ at }) => young(at))
          const accepts = history.filter(({ accepted }) => accepted).length
          const stats = yield* throttle.stats
          same(stats.requests, history.length, "requests")
          same(stats.accepts, accepts, "accepts")
          same(stats.probability, Throttle.probability(history.length, accepts), "probability")
        }
      }),
      clock
    )
  }, shellRuns)

  it.effect("rejects nothing while half of the calls are accepted", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search" })
      for (let i = 0; i < 500; i++) {
        yield* throttle.protect(Effect.void)
        yield* Effect.exit(throttle.protect(boom))
      }
      expect(yield* throttle.stats).toEqual({ requests: 1_000, accepts: 500, probability: 0, rejected: 0 })
    }))

  it.effect("lets one call in ten probe a dependency that accepts nothing", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search" })
      const sent = yield* storm(throttle, 5_000)
      expect(sent).toBeGreaterThan(400)
      expect(sent).toBeLessThan(700)
      expect((yield* throttle.stats).probability).toBe(0.9)
    }).pipe(Effect.withRandom(Random.make("seed"))))

  it.effect("says which throttle, how likely, and that the call was not started", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search", maxProbability: 1 })
      for (let i = 0; i < 99; i++) yield* Effect.exit(throttle.protect(boom))
      let started = 0
      const error = yield* Effect.flip(throttle.protect(Effect.sync(() => ++started)))
      expect(error).toBeInstanceOf(Throttle.Throttled)
      expect(Rejection.isRejection(error)).toBe(true)
      expect(error.message).toBe(`Throttle "search" rejects 99 % of calls; the call was not started`)
      expect(error.stack ?? "").not.toContain("    at ")
      expect(started).toBe(0)
    }).pipe(Effect.withRandom(Random.fixed([0.01]))))

  it.effect("a seed replays it", () =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        const throttle = yield* Throttle.make({ name: "search" })
        return yield* Effect.forEach(Array.from({ length: 200 }), () =>
          Effect.map(Effect.flip(throttle.protect(boom)), (error) => error === "boom"))
      })
      const [first, second, other] = yield* Effect.all([
        Effect.withRandom(run, Random.make("a")),
        Effect.withRandom(run, Random.make("a")),
        Effect.withRandom(run, Random.make("b"))
      ])
      expect(second).toEqual(first)
      expect(other).not.toEqual(first)
    }))

  it.effect("recovers with the dependency, and forgets everything in two minutes", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search" })
      yield* storm(throttle, 100)
      let calls = 0
      // the share that passes doubles with the share that was accepted, until that is a half
      for (; (yield* throttle.stats).probability > 0; calls++) yield* Effect.ignore(throttle.protect(Effect.void))
      expect(calls).toBeLessThan(5_000)
      yield* storm(throttle, 1_000)
      yield* TestClock.adjust("2 minutes")
      expect(yield* throttle.stats).toMatchObject({ requests: 0, accepts: 0, probability: 0 })
    }).pipe(Effect.withRandom(Random.make("seed"))))

  it.effect("does not count interruptions, nor rejections by others, nor what `classify` ignores", () =>
    Effect.gen(function*() {
      class Full extends Error {
        readonly [Rejection.TypeId] = true
      }
      const throttle = yield* Throttle.make({
        name: "search",
        classify: (error) => error === 404 ? "success" : error === 400 ? "ignore" : "failure"
      })
      const fiber = yield* Effect.fork(throttle.protect(Effect.never))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      yield* Effect.exit(throttle.protect(Effect.fail(new Full())))
      yield* Effect.exit(throttle.protect(Effect.fail(400)))
      expect(yield* throttle.stats).toMatchObject({ requests: 0, accepts: 0 })
      yield* Effect.exit(throttle.protect(Effect.fail(404)))
      yield* Effect.exit(throttle.protect(Effect.fail(503)))
      yield* Effect.exit(throttle.protect(Effect.die("bug")))
      expect(yield* throttle.stats).toMatchObject({ requests: 3, accepts: 1 })
    }))

  it.effect("takes no burst after a quiet time for an overload", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search" })
      const calls = Array.from({ length: 1_000 }, () => throttle.protect(Effect.yieldNow()))
      yield* Effect.all(calls, { concurrency: "unbounded" })
      expect(yield* throttle.stats).toMatchObject({ requests: 1_000, accepts: 1_000, rejected: 0 })
    }))

  it.effect("tells once of a spell, and again of the next", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const throttle = yield* Throttle.make({ name: "search" })
      yield* storm(throttle, 100)
      yield* TestClock.adjust("2 minutes")
      yield* throttle.protect(Effect.void)
      yield* storm(throttle, 100)
      const told = Chunk.toReadonlyArray(yield* Queue.takeAll(events))
      expect(told.map((event) => event._tag)).toEqual(["ThrottlingStarted", "ThrottlingStarted"])
      expect(told[0]).toMatchObject({ throttle: "search", at: 0 })
    }).pipe(Effect.scoped, Effect.provide(Events.layer), Effect.withRandom(Random.make("seed"))))

  it.effect("is a service: the tag builds it and protects with it", () =>
    Effect.gen(function*() {
      yield* Effect.ignore(boom.pipe(Search.protect))
      yield* Effect.void.pipe(Throttle.protect(Search))
      expect(yield* Effect.flatMap(Search, ({ stats }) => stats)).toMatchObject({ requests: 2, accepts: 1 })
    }).pipe(Effect.provide(Search.layer()), Effect.withRandom(Random.fixed([0.99]))))

  it.effect("an interrupt storm leaves it consistent", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search" })
      let [started, ended] = [0, 0]
      for (let ops = 12; ops <= 64; ops++) {
        for (let yields = 0; yields < 8; yields++) {
          started++
          const call = throttle.protect(Effect.zipRight(Effect.yieldNow(), boom))
          const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(Effect.exit(call), ops))
          for (let i = 0; i < yields; i++) yield* Effect.yieldNow()
          const exit = yield* Fiber.interrupt(fiber)
          if (Exit.isSuccess(exit) && !Exit.isInterrupted(exit.value)) ended++
        }
      }
      const { accepts, requests } = yield* throttle.stats
      expect(accepts).toBe(0)
      // one that was counted and then interrupted before it could tell makes the difference
      expect(requests).toBeGreaterThanOrEqual(ended)
      expect(requests).toBeLessThanOrEqual(started)
    }).pipe(Effect.withRandom(Random.make("seed"))))

  it.effect("judges nothing by fewer calls than it is to have seen", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "search", minimumCalls: 3 })
      const call = Effect.flip(throttle.protect(Effect.fail("down")))
      expect(yield* Effect.replicateEffect(call, 3)).toEqual(["down", "down", "down"])
      expect(yield* call).toBeInstanceOf(Throttle.Throttled)
    }).pipe(Effect.withRandom(Random.fixed([0]))))

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => Throttle.make({ name: "" })).toThrow(/name must be a name/)
    expect(() => Throttle.make({ name: "x", multiplier: 0.5 })).toThrow(/multiplier.*got 0.5/)
    expect(() => Throttle.make({ name: "x", maxProbability: 2 })).toThrow(/maxProbability.*got 2/)
    expect(() => Throttle.make({ name: "x", within: -1 })).toThrow(/within.*got -1/)
  })
})
