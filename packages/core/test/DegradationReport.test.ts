import { describe, expect, it } from "@effect/vitest"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationCache from "@firebreak/core/DegradationCache"
import * as DegradationPart from "@firebreak/core/DegradationPart"
import * as DegradationSlo from "@firebreak/core/DegradationSlo"
import * as Events from "@firebreak/core/Events"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { readFileSync } from "node:fs"
import { type Down, down, script } from "./support/sources.js"

const { alternate, cached, constant, fresh, missing } = DegradationPart

const cpu = { key: "payment-api", schema: Schema.Number, maxAge: "1 hour" } as const

describe("DegradedBeyond", () => {
  const metrics = (primary: Effect.Effect<number, Down>) =>
    Degradation.component("metrics", primary, {
      advice: "read the graphs on the node itself",
      contact: "#observability",
      recovery: "within 15 minutes"
    })

  it.effect("says what failed, since when, and what a user can do", () =>
    Effect.gen(function*() {
      const flaky = metrics(script(down("datadog"), Effect.succeed(1), down("datadog")))
      const logs = Degradation.component("logs", down("loki")).pipe(Degradation.orElse("s3", Effect.fail("denied")))
      const both = Degradation.all({ metrics: flaky, logs })

      yield* Effect.flip(both)
      yield* TestClock.adjust("1 minute")
      // metrics recovers and its spell ends; logs goes on failing
      yield* Effect.flip(both)
      yield* TestClock.adjust("1 minute")
      yield* Effect.flip(both)
      yield* TestClock.adjust("1 minute")
      const error = yield* Effect.flip(both)

      expect(error.failed.map(({ component, since }) => [component, since])).toEqual([["metrics", 120_000], [
        "logs",
        0
      ]])
      expect(error.advice).toEqual([
        "Expected back: metrics within 15 minutes.",
        "What you can do: read the graphs on the node itself.",
        "Contact: #observability."
      ])
      expect(error.message).toBe(
        `Degraded to "failed" since 1970-01-01T00:00:00.000Z, beyond the tolerated "moderate": ` +
          `metrics is absent since 1970-01-01T00:02:00.000Z (datadog answered 503), ` +
          `logs is absent since 1970-01-01T00:00:00.000Z (loki answered 503; s3: denied). ` +
          `Expected back: metrics within 15 minutes. What you can do: read the graphs on the node itself. ` +
          `Contact: #observability.`
      )
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("says each kind of advice once for all that failed", () =>
    Effect.gen(function*() {
      const logs = Degradation.component("logs", down("loki"), {
        advice: "read the logs on the node itself",
        contact: "#observability"
      })
      const error = yield* Effect.flip(Degradation.all({ metrics: metrics(down("datadog")), logs }))
      expect(error.advice).toEqual([
        "Expected back: metrics within 15 minutes.",
        "What you can do: read the graphs on the node itself; read the logs on the node itself.",
        "Contact: #observability."
      ])
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("is beyond since the failure that crossed the tolerated level, not since the first one", () =>
    Effect.gen(function*() {
      const up = Degradation.component("up", Effect.succeed(1))
      const first = Degradation.component("first", down("a"))
      const second = Degradation.component("second", script(Effect.succeed(1), down("b")))
      const all = Degradation.all({ up, first, second })
      expect((yield* all).level).toBe("moderate")
      yield* TestClock.adjust("5 minutes")
      const error = yield* Effect.flip(all)
      expect(error.level).toBe("minimal")
      expect(error.since).toBe(300_000)
      expect(error.failed.map(({ since }) => since)).toEqual([0, 300_000])
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it.effect("without a tracker of spells begins with this failure", () =>
    Effect.gen(function*() {
      const all = Degradation.all({ metrics: metrics(down("datadog")) })
      yield* Effect.flip(all)
      yield* TestClock.adjust("5 minutes")
      expect((yield* Effect.flip(all)).since).toBe(300_000)
    }))

  it.effect("can be stored and sent", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Degradation.all({ metrics: metrics(down("datadog")) }))
      const encoded = yield* Schema.encode(Schema.parseJson(Degradation.DegradedBeyond))(error)
      const decoded = yield* Schema.decode(Schema.parseJson(Degradation.DegradedBeyond))(encoded)
      expect(decoded.message).toBe(error.message)
    }))
})

describe("what is told", () => {
  it.effect("publishes what degraded and what recovered", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const metrics = Degradation.component("metrics", script(down("datadog"), down("datadog"), Effect.succeed(1)))
        .pipe(
          Degradation.orElse("prometheus", Effect.succeed(1))
        )
      for (let call = 0; call < 3; call++) {
        yield* Degradation.all({ now: metrics })
        yield* TestClock.adjust("1 minute")
      }
      const degraded = {
        component: "metrics",
        quality: "alternate",
        source: "prometheus",
        error: "datadog answered 503"
      }
      expect([...(yield* Queue.takeAll(queue))]).toEqual([
        { _tag: "ComponentDegraded", ...degraded, at: 0 },
        { _tag: "ResponseDegraded", level: "slight", components: ["now"], at: 0 },
        { _tag: "ComponentDegraded", ...degraded, at: 60_000 },
        { _tag: "ResponseDegraded", level: "slight", components: ["now"], at: 60_000 },
        { _tag: "ComponentRecovered", component: "metrics", afterMillis: 120_000, at: 120_000 }
      ])
    }).pipe(Effect.scoped, Effect.provide([Degradation.layerMemory, Events.layer])))

  it("has a banner for users unless all is fresh", () => {
    const parts = {
      metrics: fresh(1),
      traces: alternate(1, "tempo"),
      logs: cached("", 0, Duration.millis(725_400)),
      pods: cached(3, 0, Duration.millis(80)),
      quota: constant(10),
      alerts: missing("down")
    }
    expect(Degradation.banner({ level: "moderate", parts, outages: [] })).toEqual(Option.some(
      "Limited functionality: traces from tempo, logs 12m 5s old, pods less than 1s old, quota a default, " +
        "alerts unavailable. Try again later."
    ))
    expect(Degradation.banner({ level: "full", parts: { metrics: fresh(1) }, outages: [] })).toEqual(Option.none())
  })

  it.effect("has a value for users, which can be sent as JSON and says nothing of errors", () =>
    Effect.gen(function*() {
      const told = { advice: "read the logs on the node", contact: "#observability", recovery: "within 15 minutes" }
      const metrics = Degradation.component("m", script(Effect.succeed(1), down("datadog")), told).pipe(
        Degradation.orCached(cpu)
      )
      const logs = Degradation.component("l", down("loki"), { contact: "#observability" }).pipe(
        Degradation.orElse("s3", Effect.succeed(1))
      )
      const traces = Degradation.component("t", Effect.succeed(1))
      const all = Degradation.all({ metrics, logs, traces })
      yield* all
      yield* TestClock.adjust("1 minute")
      const banner = Option.getOrThrow(Degradation.degraded(yield* all))
      const encoded = yield* Schema.encode(Schema.parseJson(Degradation.Degraded))(banner)
      expect(JSON.parse(encoded)).toEqual({
        level: "moderate",
        parts: [
          { name: "metrics", quality: "cached", ageMillis: 60_000, since: 60_000, text: "1m old" },
          { name: "logs", quality: "alternate", source: "s3", since: 0, text: "from s3" }
        ],
        since: 0,
        advice: ["read the logs on the node"],
        contact: ["#observability"],
        recovery: ["metrics within 15 minutes"],
        text: "Limited functionality: metrics 1m old, logs from s3. Try again later."
      })
      const decoded = yield* Schema.decode(Schema.parseJson(Degradation.Degraded))(encoded)
      expect(decoded).toEqual(banner)
      expect(Degradation.degraded(yield* Degradation.all({ traces }))).toEqual(Option.none())
    }).pipe(Effect.provide(Degradation.layerMemory)))

  it("has the defaults that its page says", () => {
    const page = readFileSync(new URL("../../../docs/degradation.md", import.meta.url), "utf8")
    const { freshOnly, tolerate, weight } = Degradation.defaults
    const { capacity, maxAge, refreshTimeout, refreshes, staleWhileRevalidate, timeout, ttl } =
      DegradationCache.defaults
    for (
      const row of [
        `| \`all\`: \`tolerate\` | \`"${tolerate}"\` |`,
        `| \`all\`: \`weights\` | ${weight} each |`,
        `| \`all\`, \`run\`: \`freshOnly\` | \`${freshOnly}\` |`,
        `| \`orCached\`: \`maxAge\` | ${maxAge} |`,
        `| \`orCached\`: \`ttl\` | ${ttl} |`,
        `| \`orCached\`: \`staleWhileRevalidate\` | \`${staleWhileRevalidate}\` |`,
        `| \`orCached\`: \`refreshTimeout\` | ${refreshTimeout} |`,
        `one refresh a key at a time, however many ask, and ${refreshes} a cache`,
        ...Object.entries(DegradationSlo.defaults).map(([option, value]) =>
          `| \`DegradationSlo.layer\`: \`${option}\` | ${value} |`
        ),
        `| \`orCached\`: \`timeout\` | ${timeout} |`,
        `| \`DegradationCache.makeMemory\`: \`capacity\` | ${capacity.toLocaleString("en")} keys a component |`
      ]
    ) {
      expect(page).toContain(row)
    }
  })

  it("gives the value of a part, if it has one", () => {
    expect([fresh(1), missing("down")].map(Degradation.value)).toEqual([Option.some(1), Option.none()])
    expect([fresh(1), constant(1)].map(Degradation.isDegraded)).toEqual([false, true])
  })
})
