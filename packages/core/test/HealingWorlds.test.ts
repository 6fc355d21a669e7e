import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import type * as Remedy from "@firebreak/core/Remedy"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import { shellRuns } from "./support/runs.js"
import * as SimulatedClock from "./support/simulatedClock.js"

// A world: checks that fail in every way there is, remedies that do, people who cannot be reached, and listeners that
// throw. Whatever comes of it, everything that is done is told before and after, nothing is done beyond its limits, and
// the loop goes on.

const names = ["a", "b", "c"] as const
type Name = (typeof names)[number]

const ways = ["up", "down", "dies", "hangs", "sticks"] as const
type Way = (typeof ways)[number]

const stuck = Effect.uninterruptible(Effect.never)

const inTheWay = (way: Way): Effect.Effect<void, string> => {
  switch (way) {
    case "up":
      return Effect.void
    case "down":
      return Effect.fail("down")
    case "dies":
      return Effect.die("bug")
    case "hangs":
      return Effect.never
    case "sticks":
      return stuck
  }
}

const effects = ["cures", "cures slowly", "is useless", "fails", "throws", "hangs", "sticks"] as const

const remedies = fc.record({
  effect: fc.constantFrom(...effects),
  attempts: fc.integer({ min: 1, max: 3 }),
  cooldown: fc.integer({ min: 0, max: 40_000 }),
  timeout: fc.integer({ min: 1, max: 5_000 }),
  verifyAfter: fc.integer({ min: 0, max: 2_000 }),
  enabled: fc.constantFrom(true, true, true, false)
})

/** Two and a half minutes, in milliseconds. */
const lifetime = 150_000

const at = fc.integer({ min: 0, max: lifetime })

const worlds = fc.record({
  faults: fc.array(fc.record({ at, check: fc.constantFrom(...names), way: fc.constantFrom(...ways) }), {
    maxLength: 12
  }),
  // b needs a, so that some failures are only symptoms
  linked: fc.boolean(),
  own: fc.record({ a: fc.array(remedies, { maxLength: 2 }), b: fc.array(remedies, { maxLength: 2 }) }),
  ladder: fc.array(remedies, { maxLength: 1 }),
  pages: fc.array(fc.constantFrom("gets through", "fails", "throws", "hangs"), { maxLength: 6 }),
  resumes: fc.array(at, { maxLength: 3 }),
  maxConsecutiveFailures: fc.integer({ min: 1, max: 6 }),
  dryRun: fc.constantFrom(false, false, false, true)
})

type World = typeof worlds extends fc.Arbitrary<infer W> ? W : never
type Entry =
  | { readonly _tag: "ran"; readonly remedy: string }
  | { readonly _tag: "paged"; readonly way: string }
  | Events.Published

/** Two and a half minutes of a world: what was done and what was told, in order. */
const live = (world: World) =>
  Effect.gen(function*() {
    const log: Array<Entry> = []
    const events = Events.make()
    events.unsafeListen(() => {
      throw new Error("a listener's bug")
    })
    events.unsafeListen((event) => void log.push(event))
    const simulated = SimulatedClock.make()
    const state: Record<Name, Way> = { a: "up", b: "up", c: "up" }
    const check = (name: Name, dependsOn: ReadonlyArray<Name>): HealthCheck.HealthCheck =>
      HealthCheck.make(Effect.suspend(() => inTheWay(state[name])), { dependsOn })

    const remedyOf = (name: string, { effect, ...options }: World["ladder"][number]) => {
      const cure = Effect.sync(() => {
        for (const name of names) if (state[name] !== "sticks") state[name] = "up"
      })
      const cures: Record<(typeof effects)[number], Effect.Effect<void, string>> = {
        "cures": cure,
        "cures slowly": Effect.delay(cure, "2 seconds"),
        "is useless": Effect.void,
        "fails": Effect.fail("refused"),
        "throws": Effect.suspend(() => {
          throw new Error("bug")
        }),
        "hangs": Effect.never,
        "sticks": stuck
      }
      return Healing.remedy(
        name,
        Effect.suspend(() => {
          log.push({ _tag: "ran", remedy: name })
          return cures[effect]
        }),
        options
      )
    }
    const own = {
      a: world.own.a.map((remedy, i) => remedyOf(`a${i}`, remedy)),
      b: world.own.b.map((remedy, i) => remedyOf(`b${i}`, remedy))
    }
    const ladder = world.ladder.map((remedy, i) => remedyOf(`ladder${i}`, remedy))
    let page = 0

    const scope = yield* Scope.make()
    const healing = yield* Healing.make({
      every: "15 seconds",
      checks: { a: check("a", []), b: check("b", world.linked ? ["a"] : []), c: check("c", []) },
      remedies: own,
      onStatus: { unhealthy: ladder },
      escalate: () => {
        const way = world.pages[page++] ?? "gets through"
        log.push({ _tag: "paged", way })
        if (way === "throws") throw new Error("no pager")
        return way === "fails" ? Effect.fail("pager down") : way === "hangs" ? Effect.never : Effect.void
      },
      maxConsecutiveFailures: world.maxConsecutiveFailures,
      dryRun: world.dryRun
    }).pipe(Scope.extend(scope), Effect.provideService(Events.Events, events))

    yield* Effect.gen(function*() {
      for (const { at, check, way } of world.faults) {
        yield* Effect.forkIn(Effect.delay(Effect.sync(() => state[check] = way), at), scope)
      }
      for (const at of world.resumes) yield* Effect.forkIn(Effect.delay(healing.resume, at), scope)
      yield* Effect.forkIn(healing.run, scope)
      yield* simulated.runUntil(lifetime)
    }).pipe(Effect.withClock(simulated.clock))
    const stats = yield* healing.stats
    yield* Scope.close(scope, Exit.void)
    return { log, stats, own, ladder, sleeping: simulated.sleeping() }
  })

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`broken: ${what}`)
}

const triggersOf = (own: Record<"a" | "b", ReadonlyArray<Remedy.Remedy>>, name: string): Name | undefined =>
  (["a", "b"] as const).find((check) => own[check].some((remedy) => remedy.name === name))

describe("Healing, in any world", () => {
  it.effect.prop(
    "does nothing untold and nothing beyond its limits, and goes on",
    [worlds],
    ([world]) =>
      Effect.gen(function*() {
        const { ladder, log, own, sleeping, stats } = yield* live(world)
        const byName = new Map([...own.a, ...own.b, ...ladder].map((remedy) => [remedy.name, remedy]))
        let announced: Events.Of<"RemedyApplied"> | undefined
        let running: Events.Of<"RemedyApplied"> | undefined
        let escalated = false
        let escalations = 0
        const attempts = new Map<string, number>()
        const last = new Map<string, number>()
        let failed: ReadonlyArray<string> = []
        const paged: Array<string> = []
        let [applied, told] = [0, 0]

        for (const entry of log) {
          switch (entry._tag) {
            case "HealthChecked": {
              must(announced === undefined && running === undefined, "a round ends what it began")
              failed = entry.failed
              for (const name of attempts.keys()) {
                const check = triggersOf(own, name)
                if (check === undefined ? entry.status === "healthy" : !failed.includes(check)) attempts.set(name, 0)
              }
              if (world.dryRun && entry.status === "healthy") escalated = false
              break
            }
            case "RemedyApplied": {
              const { at, attempt, remedy } = entry
              const limits = byName.get(remedy)!
              must(announced === undefined && running === undefined, "one remedy at a time")
              must(!escalated, "nothing is done once people were called")
              must(limits.enabled && attempt <= limits.attempts, "attempts")
              must(at - (last.get(remedy) ?? -Infinity) >= limits.cooldown, "cooldown")
              must(failed.includes(entry.trigger) || entry.trigger === "unhealthy", "a remedy is for what fails")
              // what fails only because of another is not treated
              must(!(world.linked && entry.trigger === "b" && failed.includes("a")), "a symptom is not treated")
              attempts.set(remedy, (attempts.get(remedy) ?? 0) + 1)
              must(attempts.get(remedy)! <= limits.attempts, "attempts of a spell")
              last.set(remedy, at)
              must(entry.dryRun === world.dryRun, "dryRun")
              if (!entry.dryRun) {
                announced = entry
                applied++
              }
              break
            }
            case "ran":
              must(announced?.remedy === entry.remedy, "told before it runs")
              running = announced
              announced = undefined
              break
            case "RemedyVerified":
            case "RemedyFailed":
              must(running?.remedy === entry.remedy && running.attempt === entry.attempt, "told of what ran")
              running = undefined
              told++
              break
            case "Escalated":
              must(!escalated, "people are called once")
              escalated = true
              if (!entry.dryRun) escalations++
              break
            case "HealingResumed":
              escalated = false
              attempts.clear()
              break
            case "paged":
              paged.push(entry.way)
              break
            case "EscalationFailed":
              paged.push("told")
              break
          }
        }
        // each remedy that ran was told of before and after, but for the one under way at the end
        expect(applied - told).toBe(running === undefined && announced === undefined ? 0 : 1)
        expect(stats).toMatchObject({ applied, failed: applied - stats.succeeded })
        expect(stats.mode === "escalated").toBe(escalated)
        // every try to call people that failed was told of; one alone may be under way
        const tries = paged.filter((way) => way !== "told")
        expect(tries.filter((way) => way === "gets through").length).toBeLessThanOrEqual(escalations)
        expect(escalations === 0 ? tries.length : 0).toBe(0)
        const lost = tries.filter((way) => way !== "gets through").length
        const heard = paged.filter((way) => way === "told").length
        expect(heard).toBeGreaterThanOrEqual(lost - stats.undelivered)
        // however long everything takes, rounds come: each check a second, each remedy its time, twice
        const slowest = 15_000 + 1_000 +
          [...byName.values()].reduce((all, r) => all + r.timeout + r.verifyAfter + 1_000, 0)
        expect(stats.rounds).toBeGreaterThanOrEqual(Math.floor(lifetime / slowest))
        expect(sleeping).toBe(0)
      }),
    shellRuns
  )

  it.effect("a listener that blocks or throws is told of, and holds up nothing", () =>
    Effect.gen(function*() {
      const heard = new Set<string>()
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push([message].flat().map(String).join(" ")))
      const blocks = EventSink.make(() => Effect.never, { patience: "1 second" })
      const dies = EventSink.make(() => Effect.die("a listener's bug"))
      const hears = EventSink.make(({ _tag }) => Effect.sync(() => heard.add(_tag)))
      const program = Effect.gen(function*() {
        const healing = yield* Healing.make({
          checks: { a: HealthCheck.make(Effect.fail("down")), hung: HealthCheck.make(stuck) },
          remedies: { a: [Healing.remedy("useless", Effect.void, { attempts: 2, cooldown: 0 })] },
          escalate: () => Effect.fail("pager down")
        })
        yield* Effect.forkScoped(healing.run)
        yield* Effect.sleep("5 minutes")
        return yield* healing.stats
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.mergeAll(blocks, dies, hears).pipe(Layer.provideMerge(Events.layer))),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      const simulated = SimulatedClock.make()
      const running = yield* Effect.fork(Effect.withClock(program, simulated.clock))
      yield* simulated.runUntil(600_000)
      const stats = yield* Fiber.join(running)
      expect(stats).toMatchObject({ mode: "escalated", rounds: 10, applied: 2, failed: 2, undelivered: 1 })
      expect(heard).toEqual(
        new Set(["HealthChecked", "RemedyApplied", "RemedyFailed", "Escalated", "EscalationFailed"])
      )
      expect(logged.filter((line) => line.startsWith("Could not escalate: pager down")).length).toBeGreaterThan(3)
      expect(logged).toContain("An event sink gave up on RemedyApplied")
      expect(logged.filter((line) => line.startsWith("An event sink failed on RemedyApplied")).length).toBe(0)
    }))
})
