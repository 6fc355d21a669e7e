import { describe, expect, it } from "@effect/vitest"
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationLevel from "@firebreak/core/DegradationLevel"
import * as DegradationSlo from "@firebreak/core/DegradationSlo"
import * as Events from "@firebreak/core/Events"
import * as Telemetry from "@firebreak/core/Telemetry"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { SloWindow } from "../src/internal/sloWindow.js"
import { valuesOf } from "./support/metrics.js"
import { modelRuns, same, shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

const levels = DegradationLevel.Level.literals

interface Answer {
  readonly gap: number
  readonly level: DegradationLevel.Level
  readonly hasCached: boolean
}

const answer: FastCheck.Arbitrary<Answer> = FastCheck.record({
  gap: FastCheck.oneof(FastCheck.nat(3), FastCheck.nat(30), FastCheck.nat(300)),
  level: FastCheck.oneof(FastCheck.constant("full" as const), FastCheck.constantFrom(...levels)),
  hasCached: FastCheck.boolean()
})

/** All answers ever given, looked through anew for each figure. */
class Model {
  private readonly answers: Array<Answer & { readonly at: number }> = []

  constructor(private readonly width: number, private readonly buckets: number) {}

  add(answer: Answer, at: number): void {
    this.answers.push({ ...answer, at })
  }

  private begin(now: number): number {
    return (Math.floor(now / this.width) - this.buckets + 1) * this.width
  }

  count(now: number, of: (answer: Answer) => boolean): number {
    return this.answers.filter((answer) => answer.at >= this.begin(now) && of(answer)).length
  }

  timeAt(level: DegradationLevel.Level, now: number): number {
    let sum = 0
    this.answers.forEach((answer, i) => {
      const until = this.answers[i + 1]?.at ?? now
      if (answer.level === level) sum += Math.max(0, until - Math.max(answer.at, this.begin(now)))
    })
    return sum
  }

  longestSpell(now: number): number {
    let longest = 0
    let began: number | undefined
    for (const { at, level } of this.answers) {
      if (level !== "full") began ??= at
      else if (began !== undefined) {
        if (at >= this.begin(now)) longest = Math.max(longest, at - began)
        began = undefined
      }
    }
    return began === undefined ? longest : Math.max(longest, now - began)
  }
}

describe("the window", () => {
  it.prop(
    "counts as the list of all answers does",
    [
      FastCheck.integer({ min: 1, max: 8 }),
      FastCheck.integer({ min: 1, max: 20 }),
      FastCheck.nat(1_000),
      FastCheck.array(FastCheck.oneof({ arbitrary: answer, weight: 4 }, FastCheck.nat(200)), { maxLength: 20 })
    ],
    ([buckets, width, start, steps]) => {
      const window = new SloWindow(buckets * width, buckets)
      const model = new Model(width, buckets)
      let now = start
      for (const step of steps) {
        if (typeof step === "number") {
          now += step
        } else {
          now += step.gap
          window.answered(step.level, step.hasCached, now)
          model.add(step, now)
        }
        const counted = window.counted(now)
        same(counted.answers, model.count(now, () => true), "answers")
        same(counted.full, model.count(now, ({ level }) => level === "full"), "full")
        same(counted.cached, model.count(now, ({ hasCached }) => hasCached), "cached")
        same(counted.longestSpell, model.longestSpell(now), "longest spell")
        for (const level of levels) same(window.timeAt(level, now), model.timeAt(level, now), level)
      }
    },
    modelRuns
  )
})

describe("the rule", () => {
  const figures = { answers: 100, full: 1, cached: 0, longestSpell: Duration.zero }
  const violated = (of: Partial<DegradationSlo.Shares>, objectives?: DegradationSlo.Objectives) =>
    DegradationSlo.judge({ ...figures, ...of }, objectives)
      .filter(({ verdict }) => verdict === "violated").map(({ objective }) => objective)

  it("has the book's objectives: 99 % full, under 5 % cached, no spell over 5 minutes", () => {
    expect(violated({ full: 0.99, cached: 0.049, longestSpell: Duration.minutes(5) })).toEqual([])
    expect(violated({ full: 0.9899 })).toEqual(["full"])
    expect(violated({ cached: 0.05 })).toEqual(["cached"])
    expect(violated({ longestSpell: Duration.millis(300_001) })).toEqual(["spell"])
  })

  it("judges no share of fewer answers than the least, but every spell", () => {
    expect(DegradationSlo.judge({ answers: 99, full: 0, cached: 1, longestSpell: Duration.hours(1) })).toEqual([
      { objective: "full", value: 0, limit: 0.99, verdict: "unjudged" },
      { objective: "cached", value: 1, limit: 0.05, verdict: "unjudged" },
      { objective: "spell", value: 3_600_000, limit: 300_000, verdict: "violated" }
    ])
  })

  it("refuses what makes no sense", () => {
    expect(() => DegradationSlo.layer({ full: 1.5 })).toThrow("DegradationSlo: full must be between 0 and 1, got 1.5")
    expect(() => DegradationSlo.layer({ named: { a: { cached: -1 } } })).toThrow(/cached must be between 0 and 1/)
    expect(() => DegradationSlo.layer({ spell: Infinity })).toThrow(/spell must be a finite duration/)
    expect(() => DegradationSlo.layer({ buckets: 0 })).toThrow(/buckets must be a whole number of at least 1/)
    expect(() => DegradationSlo.layer({ minimumAnswers: 0 })).toThrow(/minimumAnswers must be a whole number/)
    expect(() => DegradationSlo.layer({ every: 0 })).toThrow(/every must be a finite duration of at least 1 ms/)
  })
})

let isUp = true
const source = Effect.suspend(() => isUp ? Effect.succeed(1) : Effect.fail("down"))
const logs = Degradation.component("logs", source)
const metrics = Degradation.component("metrics", Effect.succeed(1))
const ask = Effect.either(Degradation.all({ metrics, logs }))
const times = (count: number) => Effect.repeatN(ask, count - 1)
const setUp = (up: boolean) =>
  Effect.sync(() => {
    isUp = up
  })

const run = <A, E>(effect: Effect.Effect<A, E, never>, options?: DegradationSlo.Options) =>
  Effect.zipRight(setUp(true), effect).pipe(
    Effect.provide(
      DegradationSlo.layer(options).pipe(Layer.provideMerge(Telemetry.layer), Layer.provideMerge(Events.layer))
    )
  )

const reportOf = (name: string) => Effect.map(DegradationSlo.report(name), Option.getOrThrow)

describe("DegradationSlo", () => {
  it.effect("counts nothing without its layer", () =>
    Effect.gen(function*() {
      yield* ask
      expect(yield* DegradationSlo.report("logs+metrics")).toEqual(Option.none())
      expect(yield* DegradationSlo.reports).toEqual([])
    }))

  it.effect("reports shares, time at each level and spells under the name of the answer", () =>
    run(Effect.gen(function*() {
      yield* times(3)
      yield* TestClock.adjust("1 minute")
      yield* setUp(false)
      yield* ask
      yield* TestClock.adjust("2 minutes")
      const during = yield* reportOf("logs+metrics")
      expect(during.currentSpell).toEqual(Option.some(Duration.minutes(2)))
      yield* setUp(true)
      yield* ask
      yield* TestClock.adjust("3 minutes")
      const report = yield* reportOf("logs+metrics")
      expect(report).toMatchObject({ answers: 5, full: 0.8, cached: 0, isMet: true })
      expect(report.currentSpell).toEqual(Option.none())
      expect(report.longestSpell).toEqual(Duration.minutes(2))
      expect(Duration.toMinutes(report.timeAt.full)).toBe(4)
      expect(Duration.toMinutes(report.timeAt.minimal)).toBe(2)
      expect((yield* DegradationSlo.reports).map(({ name }) => name)).toEqual(["logs+metrics"])
    })))

  it.effect("takes the name that `all` is given, and objectives for it", () =>
    run(
      Effect.gen(function*() {
        yield* Degradation.all({ metrics }, { name: "context" })
        const { objectives } = yield* reportOf("context")
        expect(objectives.map(({ limit }) => limit)).toEqual([0.9, 0.05, 300_000])
      }),
      { named: { context: { full: 0.9 } } }
    ))

  it.effect("counts an answer with a cached part as such, and none within its ttl", () =>
    run(
      Effect.gen(function*() {
        const chain = (ttl: Duration.DurationInput) =>
          Degradation.component("cpu", source).pipe(
            Degradation.orCached({ key: "k", schema: Schema.Number, ttl })
          )
        yield* Degradation.all({ cpu: chain(0) })
        yield* setUp(false)
        yield* Degradation.all({ cpu: chain("1 minute") })
        expect(yield* reportOf("cpu")).toMatchObject({ answers: 2, full: 1, cached: 0 })
        yield* Degradation.all({ cpu: chain(0) })
        expect(yield* reportOf("cpu")).toMatchObject({ answers: 3, full: 2 / 3, cached: 1 / 3 })
      }).pipe(Effect.provide(Degradation.layerMemory))
    ))

  it.effect("counts what fails as failed, and not what was interrupted", () =>
    run(Effect.gen(function*() {
      const failing = Degradation.failFast(Degradation.component("a", Effect.fail("down")))
      yield* Effect.exit(Degradation.all({ failing }))
      yield* Effect.exit(Degradation.all({ failing: Degradation.component("a", Effect.die("bug")) }))
      const fiber = yield* Effect.fork(Degradation.all({ failing: Degradation.component("a", Effect.never) }))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      expect(yield* reportOf("failing")).toMatchObject({ answers: 2, full: 0 })
    })))

  it.effect("says once that an objective is violated, and once that it is met again", () =>
    run(
      Effect.gen(function*() {
        const told = yield* Effect.fork(Stream.runCollect(Stream.take(DegradationSlo.changes, 2)))
        yield* Effect.yieldNow()
        yield* times(9)
        yield* setUp(false)
        yield* times(3)
        yield* setUp(true)
        yield* times(40)
        yield* ask
        const at = 0
        expect(Chunk.toReadonlyArray(yield* Fiber.join(told))).toEqual([
          { _tag: "SloViolated", name: "logs+metrics", objective: "full", value: 9 / 11, limit: 0.9, at },
          { _tag: "SloMet", name: "logs+metrics", objective: "full", value: 27 / 30, limit: 0.9, at }
        ])
      }),
      { full: 0.9, minimumAnswers: 10 }
    ))

  it.effect("tells of a spell that is too long while nobody asks, and that it has left the window", () =>
    run(
      Effect.gen(function*() {
        const queue = yield* Events.subscribe
        yield* setUp(false)
        yield* ask
        yield* TestClock.adjust("301 seconds")
        expect(yield* slosIn(queue)).toEqual([])
        yield* TestClock.adjust("9 seconds")
        expect(yield* slosIn(queue)).toEqual([["SloViolated", "spell", 310_000]])
        yield* setUp(true)
        yield* ask
        yield* TestClock.adjust("11 minutes")
        expect(yield* slosIn(queue)).toEqual([["SloMet", "spell", 0]])
      }).pipe(Effect.scoped),
      { within: "10 minutes", buckets: 10 }
    ))

  it.effect("is measured", () =>
    run(
      Effect.gen(function*() {
        const name = "slo-t"
        const ask = Effect.either(Degradation.all({ metrics, logs }, { name }))
        yield* ask
        yield* TestClock.adjust("1 minute")
        yield* setUp(false)
        yield* ask
        yield* TestClock.adjust("10 minutes")
        expect(yield* valuesOf("firebreak_slo_answers", name)).toBe(2)
        expect(yield* valuesOf("firebreak_slo_full_ratio", name)).toBe(0.5)
        expect(yield* valuesOf("firebreak_slo_cached_ratio", name)).toBe(0)
        expect(yield* valuesOf("firebreak_degraded_spell_seconds", name)).toBe(600)
        expect(yield* valuesOf("firebreak_slo_level_seconds", name, "level")).toMatchObject({ full: 60, minimal: 600 })
        expect(yield* valuesOf("firebreak_slo_violated", name, "objective")).toEqual({ full: 0, cached: 0, spell: 1 })
      })
    ))

  it.effect.prop(
    "is violated by what was told last, and told only when it changes",
    [FastCheck.array(FastCheck.record({ gap: FastCheck.nat(600), up: FastCheck.boolean() }), { maxLength: 8 })],
    ([steps]) => {
      const { clock, now, runUntil } = SimulatedClock.make()
      return run(
        Effect.gen(function*() {
          const queue = yield* Events.subscribe
          const last = new Map<string, string>()
          for (const { gap, up } of steps) {
            yield* runUntil(now() + 1_000 * gap)
            yield* setUp(up)
            yield* ask
            const { objectives } = yield* reportOf("logs+metrics")
            for (const [tag, objective] of yield* slosIn(queue)) {
              same(tag !== (last.get(objective) ?? "SloMet"), true, "told of a change")
              last.set(objective, tag)
            }
            for (const { objective, verdict } of objectives) {
              if (verdict === "unjudged") continue
              same(last.get(objective) ?? "SloMet", verdict === "met" ? "SloMet" : "SloViolated", objective)
            }
          }
        }).pipe(Effect.scoped),
        { within: "1 hour", buckets: 12, minimumAnswers: 3, every: "1 day" }
      ).pipe(Effect.withClock(clock))
    },
    shellRuns
  )
})

const slosIn = (queue: Queue.Dequeue<Events.Published>) =>
  Effect.map(
    Queue.takeAll(queue),
    (events) =>
      [...events].flatMap((event) =>
        event._tag === "SloViolated" || event._tag === "SloMet"
          ? [[event._tag, event.objective, event.value] as const]
          : []
      )
  )
