import { describe, expect, it } from "@effect/vitest"
import * as Chaos from "@firebreak/core/Chaos"
import * as Events from "@firebreak/core/Events"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"

const datadog = Chaos.target<"down", number>("datadog")

/** A call, how often it was started, and what it is when marked. */
const marked = () => {
  let started = 0
  return { call: Effect.sync(() => ++started).pipe(datadog.inject), started: () => started }
}

/** The exit of an effect, and the milliseconds it took. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.timed(Effect.exit(effect)))
    yield* TestClock.adjust("1 minute")
    const [took, exit] = yield* Fiber.join(fiber)
    return [exit, Duration.toMillis(took)] as const
  })

const withRules = (...rules: ReadonlyArray<Chaos.Rule>) => Effect.provide(Chaos.layer(rules))

describe("Chaos", () => {
  it.effect("is off by default, and for targets without a rule", () =>
    Effect.gen(function*() {
      const { call, started } = marked()
      const other = Chaos.target<"late">("other")
      expect(yield* call).toBe(1)
      expect(yield* call.pipe(withRules(other.fault({ error: () => "late" })))).toBe(2)
      expect(yield* Effect.exit(Effect.fail("boom").pipe(datadog.inject))).toEqual(Exit.fail("boom"))
      expect(started()).toBe(2)
    }))

  it.effect("a fault fails with the target's error and does not start the call", () =>
    Effect.gen(function*() {
      const { call, started } = marked()
      expect(yield* Effect.exit(call)).toEqual(Exit.fail("down"))
      expect(started()).toBe(0)
    }).pipe(withRules(datadog.fault({ error: () => "down" }))))

  it.effect("an outcome answers in the call's place", () =>
    Effect.gen(function*() {
      const { call, started } = marked()
      expect(yield* call).toBe(-1)
      expect(started()).toBe(0)
    }).pipe(withRules(datadog.outcome({ value: () => -1 }))))

  it.effect("latency comes before the call, and adds up", () =>
    Effect.gen(function*() {
      const { call } = marked()
      expect(yield* timed(call)).toEqual([Exit.succeed(1), 5_000])
    }).pipe(withRules(datadog.latency({ delay: "2 seconds" }), datadog.latency({ delay: "3 seconds" }))))

  it.effect("a hang never answers and can be interrupted", () =>
    Effect.gen(function*() {
      const { call, started } = marked()
      const fiber = yield* Effect.fork(call)
      yield* TestClock.adjust("1 hour")
      expect(fiber.unsafePoll()).toBeNull()
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(started()).toBe(0)
    }).pipe(withRules(datadog.hang())))

  it.effect("rules are tried in order: latency goes on, the first of the others decides", () =>
    Effect.gen(function*() {
      const { call } = marked()
      expect(yield* timed(call)).toEqual([Exit.succeed(-1), 1_000])
    }).pipe(withRules(
      datadog.fault({ error: () => "down", rate: 0 }),
      datadog.latency({ delay: "1 second" }),
      datadog.outcome({ value: () => -1 }),
      datadog.hang()
    )))

  it.effect("happens within its span of time, counted from when the layer was built", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const exits = yield* Effect.gen(function*() {
        const { call } = marked()
        const failed: Array<boolean> = []
        for (let second = 0; second <= 6; second++) {
          failed.push(Exit.isFailure(yield* Effect.exit(call)))
          yield* TestClock.adjust("1 second")
        }
        return failed
      }).pipe(withRules(datadog.fault({ error: () => "down", from: "2 seconds", until: "5 seconds" })))
      expect(exits).toEqual([false, false, true, true, true, false, false])
    }))

  it.effect("happens to a share of calls, the same ones for the same seed", () =>
    Effect.gen(function*() {
      const run = (seed: string) =>
        Effect.forEach(Array.from({ length: 1_000 }), () => Effect.map(Effect.exit(marked().call), Exit.isFailure))
          .pipe(
            Effect.withRandom(Random.make(seed))
          )
      const first = yield* run("a")
      const hit = first.filter((failed) => failed).length
      expect(hit).toBeGreaterThan(150)
      expect(hit).toBeLessThan(250)
      expect(yield* run("a")).toEqual(first)
      expect(yield* run("b")).not.toEqual(first)
    }).pipe(withRules(datadog.fault({ error: () => "down", rate: 0.2 }))))

  it.effect("reaches into forked fibers; an inner layer takes the place of the outer one", () =>
    Effect.gen(function*() {
      const { call } = marked()
      expect(yield* Effect.flatMap(Effect.fork(call), Fiber.await)).toEqual(Exit.fail("down"))
      expect(yield* call.pipe(withRules())).toBe(1)
    }).pipe(withRules(datadog.fault({ error: () => "down" }))))

  it.effect("tells what it did", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      yield* Effect.ignore(marked().call)
      expect(Array.from(yield* Queue.takeAll(events))).toEqual([
        { _tag: "ChaosInjected", target: "datadog", kind: "fault", at: 0 }
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.merge(Events.layer, Chaos.layer([datadog.fault({ error: () => "down" })])))
    ))

  it("refuses options that make no sense, naming the option and the value", () => {
    expect(() => Chaos.target("")).toThrow(/name must be a name/)
    expect(() => Chaos.layer([datadog.hang({ rate: 1.5 })])).toThrow(/rate.*got 1.5/)
    expect(() => Chaos.layer([datadog.hang({ from: -1 })])).toThrow(/from.*got -1/)
    expect(() => Chaos.layer([datadog.hang({ from: "2 seconds", until: "1 second" })])).toThrow(/until/)
    expect(() => datadog.latency({ delay: -5 })).toThrow(/delay.*got -5/)
  })
})
