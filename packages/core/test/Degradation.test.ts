import { describe, expect, it } from "@effect/vitest"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import * as DegradationPart from "@firebreak/core/DegradationPart"
import { StoreError } from "@firebreak/core/StoreError"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { Down, down, script } from "./support/sources.js"

const { alternate, cached, constant, fresh, missing } = DegradationPart

const cpu = { key: "payment-api", schema: Schema.Number, maxAge: "1 hour" } as const

describe("a chain", () => {
  it.effect("asks the primary alone while it works", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", Effect.succeed(1)).pipe(
        Degradation.orElse("prometheus", Effect.dieMessage("not to be asked")),
        Degradation.orConstant(0)
      )
      expect(yield* Degradation.run(chain)).toEqual(fresh(1))
    }))

  it.effect("asks its fallbacks in order and names the one that answered", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", down("datadog")).pipe(
        Degradation.orElse("prometheus", down("prometheus")),
        Degradation.orElse("cloudwatch", Effect.succeed(3)),
        Degradation.orElse("guess", Effect.dieMessage("not to be asked"))
      )
      expect(yield* Degradation.run(chain)).toEqual(alternate(3, "cloudwatch"))
    }))

  it.effect("fails with the error of its primary", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", down("datadog")).pipe(
        Degradation.orElse("prometheus", Effect.fail("refused"))
      )
      expect(yield* Effect.flip(Degradation.run(chain))).toEqual(new Down({ vendor: "datadog" }))
    }))

  it.effect("that ends in a constant cannot fail", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", down("datadog")).pipe(Degradation.orConstant("unknown"))
      expect(yield* Degradation.run(chain)).toEqual(constant("unknown"))
    }))

  it.effect("does not fall back on a defect", () =>
    Effect.gen(function*() {
      const primary = Degradation.component("cpu", Effect.die("bug")).pipe(Degradation.orConstant(0))
      expect(yield* Effect.exit(Degradation.run(primary))).toEqual(Exit.die("bug"))

      const finalizer = Degradation.component("cpu", Effect.ensuring(down("datadog"), Effect.die("bug")))
        .pipe(Degradation.orConstant(0))
      expect(yield* Effect.exit(Degradation.run(finalizer))).toEqual(Exit.die("bug"))
    }))

  it.effect("with catchDefects falls back on the defect of any source, and has it as an error", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", Effect.die(new Error("bug")), { catchDefects: true })
      const error = yield* Effect.flip(Degradation.run(chain))
      expect(error.message).toBe(`Source "primary" of component "cpu" died: bug`)

      const total = chain.pipe(Degradation.orElse("prometheus", Effect.die("bug")), Degradation.orConstant(0))
      expect(yield* Degradation.run(total)).toEqual(constant(0))
    }))

  it.effect("does not fall back on an interruption", () =>
    Effect.gen(function*() {
      const asked = yield* Ref.make(false)
      const chain = (primary: Effect.Effect<number>) =>
        Degradation.component("cpu", primary).pipe(Degradation.orElse("prometheus", Effect.as(Ref.set(asked, true), 2)))

      const started = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Degradation.run(chain(Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)))
      )
      yield* Deferred.await(started)
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)

      // an interruption from within the source
      expect(Exit.isInterrupted(yield* Effect.exit(Degradation.run(chain(Effect.interrupt))))).toBe(true)
      expect(yield* Ref.get(asked)).toBe(false)
    }))

  it.effect("falls back when one of several parallel calls fails and so interrupts the others", () =>
    Effect.gen(function*() {
      const primary = Effect.all([Effect.never, down("datadog")], { concurrency: "unbounded" })
      const chain = Degradation.component("cpu", primary).pipe(Degradation.orConstant(0))
      expect(yield* Degradation.run(chain)).toEqual(constant(0))
    }))

  it("refuses a fallback that could never run", () => {
    const chain = Degradation.component("cpu", down("datadog")).pipe(
      Degradation.orElse("prometheus", Effect.succeed(1))
    )
    expect(() => Degradation.orElse(chain, "prometheus", Effect.succeed(2)))
      .toThrow(`Degradation "cpu": "prometheus" is in the chain already`)
    expect(() => Degradation.orElse(Degradation.orConstant(chain, 0), "cloudwatch", Effect.succeed(2)))
      .toThrow(`Degradation "cpu": "cloudwatch" comes after a constant and would never run`)
    expect(() => Degradation.component(" ", Effect.void)).toThrow(/name must be a name that is not empty/)
    expect(() => Degradation.orCached(Degradation.component("cpu", Effect.succeed(1)), { ...cpu, maxAge: -1 }))
      .toThrow(/maxAge must be a finite duration/)
  })
})

describe("the cache", () => {
  it.effect("gives the last success of the primary until it is older than maxAge", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", script(Effect.succeed(1), Effect.succeed(2), down("datadog"))).pipe(
        Degradation.orCached(cpu)
      )
      yield* Degradation.run(chain)
      yield* TestClock.adjust("10 minutes")
      yield* Degradation.run(chain)
      yield* TestClock.adjust("60 minutes")
      expect(yield* Degradation.run(chain)).toEqual(cached(2, 600_000, Duration.minutes(60)))
      yield* TestClock.adjust("1 millis")
      expect(yield* Effect.flip(Degradation.run(chain))).toEqual(new Down({ vendor: "datadog" }))

      // it is kept for a chain that tolerates more
      const patient = Degradation.component("cpu", down("datadog")).pipe(
        Degradation.orCached({ ...cpu, maxAge: "1 day" })
      )
      expect((yield* Degradation.run(patient)).value).toBe(2)
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("takes a value from before the wall clock was set back as just stored", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", script(Effect.succeed(1), down("datadog"))).pipe(
        Degradation.orCached(cpu)
      )
      yield* TestClock.setTime(3_600_000)
      yield* Degradation.run(chain)
      yield* TestClock.setTime(0)
      expect(yield* Degradation.run(chain)).toEqual(cached(1, 3_600_000, Duration.zero))
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("holds the values of different keys apart", () =>
    Effect.gen(function*() {
      const chain = (key: string, primary: Effect.Effect<number, Down>) =>
        Degradation.component("cpu", primary).pipe(Degradation.orCached({ ...cpu, key }), Degradation.orConstant(0))
      yield* Degradation.run(chain("a", Effect.succeed(1)))
      expect((yield* Degradation.run(chain("a", down("datadog"))))._tag).toBe("Cached")
      expect((yield* Degradation.run(chain("b", down("datadog"))))._tag).toBe("Constant")
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("stores neither alternates nor constants", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", down("datadog")).pipe(
        Degradation.orElse("prometheus", script(Effect.succeed(1), down("prometheus"))),
        Degradation.orCached(cpu),
        Degradation.orConstant(0)
      )
      expect((yield* Degradation.run(chain))._tag).toBe("Alternate")
      expect((yield* Degradation.run(chain))._tag).toBe("Constant")
      expect((yield* Degradation.run(chain))._tag).toBe("Constant")
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("loses one key or all keys of a component by invalidation", () =>
    Effect.gen(function*() {
      const chain = (key: string, primary: Effect.Effect<number, Down>) =>
        Degradation.component("cpu", primary).pipe(Degradation.orCached({ ...cpu, key }), Degradation.orConstant(0))
      const ask = (key: string) => Effect.map(Degradation.run(chain(key, down("datadog"))), ({ _tag }) => _tag)
      for (const key of ["a", "b", "c"]) yield* Degradation.run(chain(key, Effect.succeed(1)))

      yield* Degradation.invalidate("cpu", "a")
      expect(yield* Effect.forEach(["a", "b", "c"], ask)).toEqual(["Constant", "Cached", "Cached"])
      yield* Degradation.invalidate("cpu")
      expect(yield* Effect.forEach(["a", "b", "c"], ask)).toEqual(["Constant", "Constant", "Constant"])
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("keeps what its schema encodes, and drops what it no longer decodes", () =>
    Effect.gen(function*() {
      const cache = yield* DegradationCache.DegradationCache
      const dated = { key: "k", schema: Schema.Struct({ at: Schema.Date }) }
      const value = { at: new Date(0) }
      const chain = Degradation.component("deploys", script(Effect.succeed(value), down("github"))).pipe(
        Degradation.orCached(dated)
      )
      yield* Degradation.run(chain)
      expect(Option.map(yield* cache.get("deploys", "k"), (entry) => entry.value))
        .toEqual(Option.some(`{"at":"1970-01-01T00:00:00.000Z"}`))
      expect((yield* Degradation.run(chain)).value).toEqual(value)

      const renamed = Degradation.component("deploys", down("github")).pipe(
        Degradation.orCached({ key: "k", schema: Schema.Struct({ deployedAt: Schema.Date }) })
      )
      expect(yield* Effect.flip(Degradation.run(renamed))).toEqual(new Down({ vendor: "github" }))
      expect(yield* cache.get("deploys", "k")).toEqual(Option.none())
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("that fails, dies or hangs never fails or stops the chain", () =>
    Effect.gen(function*() {
      const broken = new StoreError({ store: "agent.db", operation: "set", reason: "full", detail: "disk full" })
      const behaviours: ReadonlyArray<Effect.Effect<never, StoreError>> = [
        Effect.fail(broken),
        Effect.die("bug"),
        Effect.never
      ]
      for (const behaviour of behaviours) {
        const layer = Layer.succeed(DegradationCache.DegradationCache, {
          get: () => behaviour,
          set: () => behaviour,
          remove: () => behaviour,
          clear: () => behaviour
        })
        const chain = Degradation.component("cpu", script(Effect.succeed(1), down("datadog"))).pipe(
          Degradation.orCached(cpu),
          Degradation.orConstant(0)
        )
        const twice = Effect.all([Degradation.run(chain), Degradation.run(chain)])
        const fiber = yield* Effect.fork(Effect.provide(twice, layer))
        yield* TestClock.adjust("2 seconds")
        expect(yield* Fiber.join(fiber)).toEqual([fresh(1), constant(0)])
      }
    }))

  it.effect("does not store what its schema cannot encode", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", Effect.succeed(200)).pipe(
        Degradation.orCached({ key: "k", schema: Schema.Number.pipe(Schema.between(0, 100)) })
      )
      expect(yield* Degradation.run(chain)).toEqual(fresh(200))
      const cache = yield* DegradationCache.DegradationCache
      expect(yield* cache.get("cpu", "k")).toEqual(Option.none())
    }).pipe(Effect.provide(Degradation.layerMemory)))
})

describe("all", () => {
  it.effect("returns every part under its name, with the level", () =>
    Effect.gen(function*() {
      const report = yield* Degradation.all({
        metrics: Degradation.component("metrics", Effect.succeed(1)),
        logs: Degradation.component("logs", down("datadog")).pipe(Degradation.orElse("loki", Effect.succeed("line"))),
        alerts: Degradation.component("alerts", down("datadog"))
      })
      expect(report.level).toBe("moderate")
      expect(report.parts).toEqual({
        metrics: fresh(1),
        logs: alternate("line", "loki"),
        alerts: missing(new Down({ vendor: "datadog" }))
      })
      expect(report.outages.map(({ component, error, quality }) => [component, quality, error])).toEqual([
        ["logs", "alternate", "datadog answered 503"],
        ["alerts", "absent", "datadog answered 503"]
      ])
    }))

  it.effect("runs its components side by side", () =>
    Effect.gen(function*() {
      const slow = (name: string) => Degradation.component(name, Effect.sleep("10 seconds"))
      const fiber = yield* Effect.fork(Degradation.all({ a: slow("a"), b: slow("b"), c: slow("c") }))
      yield* TestClock.adjust("10 seconds")
      expect((yield* Fiber.join(fiber)).level).toBe("full")
    }))

  it.effect("interrupts every component when it is interrupted", () =>
    Effect.gen(function*() {
      const ended = yield* Ref.make(0)
      const running = (name: string) =>
        Degradation.component(name, Effect.onInterrupt(Effect.never, () => Ref.update(ended, (n) => n + 1))).pipe(
          Degradation.orConstant(0)
        )
      const fiber = yield* Effect.fork(Degradation.all({ a: running("a"), b: running("b") }))
      yield* TestClock.adjust("1 second")
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(yield* Ref.get(ended)).toBe(2)
    }))

  it.effect("tolerates moderate by default, and what it is told to", () =>
    Effect.gen(function*() {
      const up = Degradation.component("up", Effect.succeed(1))
      const dead = Degradation.component("dead", down("datadog"))
      const error = yield* Effect.flip(Degradation.all({ up, dead }))
      expect([error.level, error.tolerate]).toEqual(["minimal", "moderate"])
      expect((yield* Degradation.all({ up, dead }, { tolerate: "minimal" })).level).toBe("minimal")
      expect((yield* Degradation.all({ up, dead }, { weights: { up: 4 } })).level).toBe("slight")
      expect((yield* Degradation.all({ dead }, { tolerate: "failed" })).level).toBe("failed")
    }))

  it.effect("fails at once with the error of a fail-fast component and interrupts the others", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const logs = Degradation.component(
        "logs",
        Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      )
      const metrics = Degradation.component("metrics", down("datadog")).pipe(Degradation.failFast)
      const exit = yield* Effect.either(Degradation.all({ logs, metrics }, { tolerate: "failed" }))
      expect(exit).toEqual(Either.left(new Down({ vendor: "datadog" })))
      yield* Deferred.await(interrupted)
    }))

  it.effect("a fail-fast component may still fall back", () =>
    Effect.gen(function*() {
      const metrics = Degradation.component("metrics", down("datadog")).pipe(
        Degradation.orElse("prometheus", Effect.succeed(1)),
        Degradation.failFast
      )
      expect((yield* Degradation.all({ metrics })).parts.metrics).toEqual(alternate(1, "prometheus"))
    }))

  it.effect("with freshOnly skips cached values and constants, not alternates", () =>
    Effect.gen(function*() {
      const chain = Degradation.component("cpu", script(Effect.succeed(1), down("datadog"))).pipe(
        Degradation.orCached(cpu),
        Degradation.orConstant(0)
      )
      yield* Degradation.run(chain)
      expect((yield* Degradation.run(chain))._tag).toBe("Cached")
      expect(yield* Effect.flip(Degradation.run(chain, { freshOnly: true }))).toEqual(new Down({ vendor: "datadog" }))

      const other = Degradation.component("ram", down("datadog")).pipe(
        Degradation.orElse("prometheus", Effect.succeed(2))
      )
      const report = yield* Degradation.all({ chain, other }, { freshOnly: true, tolerate: "minimal" })
      expect(report.parts).toEqual({
        chain: missing(new Down({ vendor: "datadog" })),
        other: alternate(2, "prometheus")
      })
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it("refuses weights that make no sense", () => {
    const a = Degradation.component("a", Effect.void)
    for (const weight of [0, -1, NaN, Infinity]) {
      expect(() => Degradation.all({ a }, { weights: { a: weight } }))
        .toThrow(`Degradation: weights.a must be positive and finite, got ${weight}`)
    }
    const weights: Record<string, number> = { b: 1 }
    expect(() => Degradation.all({ a }, { weights })).toThrow("Degradation: weights.b is of no component, there are a")
    expect(() => Degradation.all({})).toThrow("Degradation: all needs at least one component, got none")
  })
})
