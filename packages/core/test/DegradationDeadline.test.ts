import { describe, expect, it } from "@effect/vitest"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import { SourceTimeout } from "@firebreak/core/DegradationComponent"
import * as DegradationPart from "@firebreak/core/DegradationPart"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"

const cpu = { key: "payment-api", schema: Schema.Number } as const

const late = (component: string, after: Duration.DurationInput, source = "primary") =>
  new SourceTimeout({ component, source, after: Duration.decode(after) })

/** A source that never answers, and notes that it was interrupted. */
const hanging = () => {
  const source = { interrupted: 0 }
  return { source, effect: Effect.onInterrupt(Effect.never, () => Effect.sync(() => void source.interrupted++)) }
}

/** What the effect gives after this time, and not before. */
const after = <A, E, R>(duration: Duration.DurationInput, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(Duration.subtract(Duration.decode(duration), Duration.millis(1)))
    expect(fiber.unsafePoll()).toBe(null)
    yield* TestClock.adjust("1 millis")
    return yield* Fiber.join(fiber)
  })

describe("the timeout of a component", () => {
  it.effect("interrupts a primary that hangs, which has then failed", () =>
    Effect.gen(function*() {
      const { effect, source } = hanging()
      const chain = Degradation.component("logs", effect, { timeout: "2 seconds" })
      const error = yield* after("2 seconds", Effect.flip(Degradation.run(chain)))
      expect(error).toEqual(late("logs", "2 seconds"))
      expect(error.message).toBe(`Source "primary" of component "logs" gave no answer within 2s`)
      expect(source.interrupted).toBe(1)
    }))

  it.effect("holds for each live source, one after the other", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("logs", Effect.never, { timeout: "2 seconds" }).pipe(
        Degradation.orElse("loki", Effect.never),
        Degradation.orConstant("none")
      )
      const { outages, parts } = yield* after("4 seconds", Degradation.all({ chain }, { tolerate: "failed" }))
      expect(parts.chain).toEqual(DegradationPart.constant("none"))
      expect(outages[0]?.error).toBe(
        `Source "primary" of component "logs" gave no answer within 2s; ` +
          `loki: Source "loki" of component "logs" gave no answer within 2s`
      )
    }))

  it.effect("does not hold up the others", () =>
    Effect.gen(function*() {
      const report = yield* after(
        "2 seconds",
        Degradation.all({
          logs: Degradation.component("logs", Effect.never, { timeout: "2 seconds" }),
          metrics: Degradation.component("metrics", Effect.succeed(1)),
          traces: Degradation.component("traces", Effect.succeed(1))
        })
      )
      expect(report.parts).toEqual({
        logs: DegradationPart.missing(late("logs", "2 seconds")),
        metrics: DegradationPart.fresh(1),
        traces: DegradationPart.fresh(1)
      })
    }))

  it.effect("does not count the time in which the answer is stored", () =>
    Effect.gen(function*() {
      const cache = { ...DegradationCache.makeMemory(), set: () => Effect.never }
      const chain = Degradation.component("cpu", Effect.succeed(1), { timeout: "100 millis" }).pipe(
        Degradation.orCached(cpu)
      )
      const part = yield* after(
        "1 second",
        Effect.provideService(Degradation.run(chain), DegradationCache.DegradationCache, cache)
      )
      expect(part).toEqual(DegradationPart.fresh(1))
    }))

  it("is one that can pass", () => {
    expect(() => Degradation.component("logs", Effect.void, { timeout: 0 }))
      .toThrow(`Degradation "logs": timeout must be a finite duration of at least 1 ms, got 0`)
    expect(() => Degradation.all({ a: Degradation.component("a", Effect.void) }, { deadline: 0 }))
      .toThrow("Degradation.all: deadline must be a finite duration of at least 1 ms, got 0")
    expect(() => Degradation.all({ a: Degradation.component("a", Effect.void) }, { name: " " }))
      .toThrow("Degradation.all: name must be a name that is not empty")
  })
})

describe("the deadline of an answer", () => {
  it.effect("lets what answers at once stand in for what has not answered, or has the part missing", () =>
    Effect.gen(function*() {
      const { effect, source } = hanging()
      let calls = 0
      const slow = Effect.suspend(() => calls++ === 0 ? Effect.succeed(7) : effect)
      const cached = Degradation.component("cached", slow).pipe(
        Degradation.orElse("other", Effect.dieMessage("not to be asked after the deadline")),
        Degradation.orCached(cpu)
      )
      yield* Degradation.run(cached)
      const report = yield* after(
        "3 seconds",
        Degradation.all({
          fast: Degradation.component("fast", Effect.succeed(1)),
          cached,
          constant: Degradation.component("constant", effect).pipe(Degradation.orConstant("unknown")),
          missing: Degradation.component("missing", effect)
        }, { deadline: "3 seconds" })
      )
      expect(report.parts).toEqual({
        fast: DegradationPart.fresh(1),
        cached: DegradationPart.cached(7, 0, Duration.seconds(3)),
        constant: DegradationPart.constant("unknown"),
        missing: DegradationPart.missing(late("missing", "3 seconds"))
      })
      expect(source.interrupted).toBe(3)
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("cuts an alternate short, too", () =>
    Effect.gen(function*() {
      const { effect, source } = hanging()
      const chain = Degradation.component("logs", Effect.fail("down")).pipe(
        Degradation.orElse("loki", effect),
        Degradation.orConstant("none")
      )
      const report = yield* after("1 second", Degradation.all({ chain }, { deadline: "1 second", tolerate: "failed" }))
      expect(report.parts.chain).toEqual(DegradationPart.constant("none"))
      expect(report.outages[0]?.error).toBe(`down; loki: Source "loki" of component "logs" gave no answer within 1s`)
      expect(source.interrupted).toBe(1)
    }))

  it.effect("is kept though a source has a longer timeout of its own, and so is the end by a component that fails", () =>
    Effect.gen(function*() {
      const slow = Degradation.component("slow", Effect.timeout(Effect.never, "1 hour"))
      const up = Degradation.component("up", Effect.succeed(1), {})
      const report = yield* after("1 second", Degradation.all({ slow, a: up, b: up }, { deadline: "1 second" }))
      expect(report.parts.slow).toEqual(DegradationPart.missing(late("slow", "1 second")))

      const failing = Degradation.failFast(Degradation.component("failing", Effect.fail("down")))
      expect(yield* Effect.flip(Degradation.all({ slow, failing }))).toBe("down")
    }))

  it.effect("fails a component that must not be missing", () =>
    Effect.gen(function*() {
      const logs = Degradation.failFast(Degradation.component("logs", Effect.never))
      const error = yield* after("1 second", Effect.flip(Degradation.all({ logs }, { deadline: "1 second" })))
      expect(error).toEqual(late("logs", "1 second"))
    }))

  it.effect("is not waited for when everything has answered", () =>
    Effect.gen(function*() {
      const logs = Degradation.component("logs", Effect.as(Effect.sleep("1 second"), 1))
      const report = yield* after("1 second", Degradation.all({ logs }, { deadline: "1 hour" }))
      expect(report.level).toBe("full")
    }))

  it.effect("gives an answer that came in time though storing it takes longer", () =>
    Effect.gen(function*() {
      const cache = { ...DegradationCache.makeMemory(), set: () => Effect.never }
      const chain = Degradation.component("cpu", Effect.succeed(1)).pipe(Degradation.orCached(cpu))
      const report = yield* after(
        "500 millis",
        Effect.provideService(
          Degradation.all({ chain }, { deadline: "500 millis" }),
          DegradationCache.DegradationCache,
          cache
        )
      )
      expect(report.parts.chain).toEqual(DegradationPart.fresh(1))
    }))
})
