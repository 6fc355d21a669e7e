import { describe, expect, it } from "@effect/vitest"
import * as Deadline from "@firebreak/core/Deadline"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import * as DegradationLevel from "@firebreak/core/DegradationLevel"
import * as DegradationPart from "@firebreak/core/DegradationPart"
import * as Events from "@firebreak/core/Events"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

class Down extends Data.TaggedError("Down") {
  override get message() {
    return "datadog answered 503"
  }
}

/** A primary that counts, can be down, and takes its time. */
const makeSource = () => {
  const source = {
    asked: 0,
    running: 0,
    isUp: true,
    takes: Duration.zero as Duration.Duration,
    interrupted: 0,
    hasDeadline: false
  }
  const effect = Effect.suspend(() => {
    const value = ++source.asked
    source.running++
    return (Duration.equals(source.takes, Duration.zero) ? Effect.void : Effect.sleep(source.takes)).pipe(
      Effect.zipRight(Deadline.remaining),
      Effect.tap((left) => Effect.sync(() => void (source.hasDeadline = Option.isSome(left)))),
      Effect.flatMap(() => source.isUp ? Effect.succeed(value) : Effect.fail(new Down())),
      Effect.onInterrupt(() => Effect.sync(() => void source.interrupted++)),
      Effect.ensuring(Effect.sync(() => void source.running--))
    )
  })
  return { source, effect }
}

const cpu = { key: "payment-api", schema: Schema.Number, maxAge: "1 hour", ttl: "1 minute" } as const
const stale = { ...cpu, staleWhileRevalidate: true } as const

const chainOf = (config: DegradationCache.Options<number, number, never>, name = "cpu") => {
  const { effect, source } = makeSource()
  return { source, chain: Degradation.component(name, effect).pipe(Degradation.orCached(config)) }
}

const tagged = (
  effect: Effect.Effect<DegradationPart.Part<number, unknown>, unknown, DegradationCache.DegradationCache>
) => Effect.map(effect, (part) => [DegradationPart.quality(part), Option.getOrUndefined(DegradationPart.value(part))])

const run = <A, E>(effect: Effect.Effect<A, E, DegradationCache.DegradationCache | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(Layer.merge(Degradation.layerMemory, Events.layer)))

describe("a value within its ttl", () => {
  it.effect("is served without asking the primary, and counts as fresh", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(cpu)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("1 minute")
      expect(yield* Degradation.run(chain)).toEqual(DegradationPart.cached(1, 0, Duration.minutes(1), true))
      const report = yield* Degradation.all({ chain })
      expect([report.level, report.outages, Degradation.banner(report)]).toEqual(["full", [], Option.none()])
      expect(source.asked).toBe(1)
    })))

  it.effect("is not served when it is older, nor to who wants fresh values only", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(cpu)
      yield* Degradation.run(chain)
      yield* Degradation.run(chain, { freshOnly: true })
      expect(source.asked).toBe(2)
      yield* TestClock.adjust("60001 millis")
      expect(yield* Degradation.run(chain)).toEqual(DegradationPart.fresh(3))
    })))

  it.effect("is off by default: the primary is always asked", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf({ ...cpu, ttl: undefined })
      yield* Degradation.run(chain)
      yield* Degradation.run(chain)
      expect(source.asked).toBe(2)
    })))

  it.effect("counts as cached where it stands in for a primary that failed", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(cpu)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("2 minutes")
      source.isUp = false
      expect(yield* Degradation.run(chain)).toEqual(DegradationPart.cached(1, 0, Duration.minutes(2)))
      expect((yield* Degradation.all({ chain })).level).toBe("moderate")
    })))

  it("is no older than what may be used", () => {
    expect(() => chainOf({ ...cpu, ttl: "2 hours" }))
      .toThrow(`Degradation "cpu": ttl must be at most maxAge, got 7200000 ms and 3600000 ms`)
    expect(() => chainOf({ ...cpu, ttl: -1 })).toThrow(/ttl must be a finite duration/)
    expect(() => chainOf({ ...cpu, refreshTimeout: 0 })).toThrow(/refreshTimeout must be a finite duration/)
  })
})

describe("a stale value", () => {
  it.effect("is served at once, counts as cached, and is refreshed in the background", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(stale)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.seconds(10)
      const report = yield* Degradation.all({ cpu: chain })
      expect(report.level).toBe("moderate")
      expect(report.parts.cpu).toEqual(DegradationPart.cached(1, 0, Duration.minutes(2)))
      expect(report.outages).toEqual([
        { component: "cpu", quality: "cached", error: "stale, and being refreshed", since: 60_000 }
      ])
      yield* TestClock.adjust("10 seconds")
      expect(yield* tagged(Degradation.run(chain))).toEqual(["fresh", 2])
      expect(source.asked).toBe(2)
    })))

  it.effect("is refreshed once by many who ask at the same time, each key for itself", () =>
    run(Effect.gen(function*() {
      const { effect, source } = makeSource()
      const chain = (key: string) => Degradation.component("cpu", effect).pipe(Degradation.orCached({ ...stale, key }))
      for (const key of ["a", "b"]) yield* Degradation.run(chain(key))
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.seconds(10)
      const parts = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, i) => i % 2 === 0 ? "a" : "b"),
        (key) => tagged(Degradation.run(chain(key))),
        { concurrency: "unbounded" }
      )
      expect(new Set(parts.map(([quality]) => quality))).toEqual(new Set(["cached"]))
      yield* Effect.yieldNow()
      expect(source.running).toBe(2)
      yield* TestClock.adjust("10 seconds")
      expect([source.asked, source.running]).toEqual([4, 0])
    })))

  it.effect("stays when its refresh fails, which is told and is nobody's failure", () =>
    run(Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { chain, source } = chainOf(stale)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("2 minutes")
      source.isUp = false
      expect(yield* tagged(Degradation.run(chain))).toEqual(["cached", 1])
      yield* TestClock.adjust("1 minute")
      expect(yield* tagged(Degradation.run(chain))).toEqual(["cached", 1])
      yield* TestClock.adjust("1 minute")
      source.isUp = true
      expect(yield* tagged(Degradation.run(chain))).toEqual(["cached", 1])
      yield* TestClock.adjust("1 millis")
      expect(yield* tagged(Degradation.run(chain))).toEqual(["fresh", 4])

      const degraded = {
        _tag: "ComponentDegraded",
        component: "cpu",
        quality: "cached",
        source: "cache",
        error: "stale, and being refreshed"
      }
      const failed = { _tag: "RefreshFailed", component: "cpu", error: "datadog answered 503" }
      expect([...(yield* Queue.takeAll(queue))].map(({ at: _, ...event }) => event)).toEqual([
        degraded,
        failed,
        degraded,
        failed,
        degraded,
        // since it was stale, a minute after it was stored
        { _tag: "ComponentRecovered", component: "cpu", afterMillis: 180_000 }
      ])
    })))

  it.effect("is not used beyond maxAge: then the primary is asked first, and its failure is the caller's", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(stale)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("61 minutes")
      source.isUp = false
      expect(yield* Effect.flip(Degradation.run(chain))).toEqual(new Down())
    })))

  it.effect("is refreshed past a defect, and past a refresh that hangs", () =>
    run(Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { chain, source } = chainOf({ ...stale, refreshTimeout: "5 seconds" })
      yield* Degradation.run(chain)
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.infinity
      yield* Degradation.run(chain)
      yield* TestClock.adjust("5 seconds")
      const errors = [...(yield* Queue.takeAll(queue))].flatMap((_) => _._tag === "RefreshFailed" ? [_.error] : [])
      expect(errors).toEqual([`Source "primary" of component "cpu" gave no answer within 5s`])
      source.takes = Duration.zero
      yield* Degradation.run(chain)
      yield* TestClock.adjust("1 millis")
      expect(yield* tagged(Degradation.run(chain))).toEqual(["fresh", 3])

      const buggy = Degradation.component("cpu", Effect.die(new Error("bug"))).pipe(Degradation.orCached(stale))
      yield* TestClock.adjust("2 minutes")
      expect(yield* tagged(Degradation.run(buggy))).toEqual(["cached", 3])
      yield* TestClock.adjust("1 millis")
      expect([...(yield* Queue.takeAll(queue))].at(-1)).toMatchObject({ _tag: "RefreshFailed", error: "bug" })
    })))

  it.effect("goes on being refreshed when its caller is gone, interrupted or out of time", () =>
    run(Effect.gen(function*() {
      const { chain, source } = chainOf(stale)
      yield* Degradation.run(chain)
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.seconds(10)
      const caller = yield* Effect.fork(
        Effect.zipRight(Degradation.run(chain), Effect.never).pipe(Deadline.within("1 second"), Effect.exit)
      )
      yield* TestClock.adjust("10 seconds")
      expect(Exit.isFailure(yield* caller.await.pipe(Effect.flatten))).toBe(true)
      expect([source.asked, source.interrupted, source.hasDeadline]).toEqual([2, 0, false])
      expect(yield* tagged(Degradation.run(chain))).toEqual(["fresh", 2])
    })))

  it.effect("is refreshed within the scope of the cache, which ends what is under way", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Degradation.layerMemory, scope)
      const { chain, source } = chainOf(stale)
      const ask = Effect.provide(tagged(Degradation.run(chain)), context)
      yield* ask
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.seconds(10)
      yield* ask
      yield* Effect.yieldNow()
      expect(source.running).toBe(1)
      yield* Scope.close(scope, Exit.void)
      expect([source.running, source.interrupted]).toEqual([0, 1])
    }))

  it.effect("beyond the bound of refreshes is served all the same, and refreshed by who asks later", () =>
    run(Effect.gen(function*() {
      const { effect, source } = makeSource()
      const chain = (key: number) =>
        Degradation.component("cpu", effect).pipe(Degradation.orCached({ ...stale, key: `${key}` }))
      const keys = Array.from({ length: DegradationCache.defaults.refreshes + 10 }, (_, key) => key)
      const ask = Effect.forEach(keys, (key) => tagged(Degradation.run(chain(key))), { concurrency: "unbounded" })
      yield* ask
      yield* TestClock.adjust("2 minutes")
      source.takes = Duration.seconds(10)
      const parts = yield* ask
      expect(parts.every(([quality]) => quality === "cached")).toBe(true)
      yield* Effect.yieldNow()
      expect(source.running).toBe(DegradationCache.defaults.refreshes)
      yield* TestClock.adjust("10 seconds")
      expect((yield* ask).filter(([quality]) => quality === "cached").length).toBe(10)
    })))
})

describe("the level", () => {
  it.effect.prop(
    "never gets better by a value getting older, and a last good value is there until maxAge whatever failed",
    [FastCheck.array(FastCheck.nat(30 * 60), { minLength: 1, maxLength: 8 }), FastCheck.boolean()],
    ([seconds, staleWhileRevalidate]) => {
      const { clock, runUntil } = SimulatedClock.make()
      return run(Effect.gen(function*() {
        const { chain, source } = chainOf({ ...cpu, staleWhileRevalidate })
        yield* Degradation.run(chain)
        source.isUp = false
        let before: DegradationLevel.Level = "full"
        let age = 0
        for (const gap of seconds) {
          age += gap
          yield* runUntil(1_000 * age)
          const { level, parts } = yield* Degradation.all({ chain }, { tolerate: "failed" })
          same(DegradationLevel.isBeyond(before, level), false, "a better level")
          same(level, age <= 60 ? "full" : age <= 3600 ? "moderate" : "failed", `the level at ${age} s`)
          same(parts.chain._tag, age <= 3600 ? "Cached" : "Missing", `the part at ${age} s`)
          before = level
        }
      })).pipe(Effect.withClock(clock))
    },
    shellRuns
  )
})
