import { describe, expect, it } from "@effect/vitest"
import type * as Escalation from "@firebreak/core/Escalation"
import * as Events from "@firebreak/core/Events"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"

class Pager extends Context.Tag("test/Pager")<Pager, { readonly number: string }>() {}

const make = <R = never>(page: (escalation: Escalation.Escalation) => Effect.Effect<unknown, unknown, R>) =>
  Healing.make({
    name: "shop",
    checks: { a: HealthCheck.make(Effect.fail("down")), b: HealthCheck.make(Effect.void) },
    remedies: { a: [Healing.remedy("reset", Effect.void)] },
    escalate: page
  })

const drilled = (healing: Healing.Service, time: Duration.DurationInput, within?: Duration.DurationInput) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(healing.drill(within))
    yield* TestClock.adjust(time)
    return yield* Fiber.join(fiber)
  })

const told = (events: Queue.Dequeue<Events.Published>) =>
  Effect.map(Queue.takeAll(events), (all) => [...all].filter(({ _tag }) => _tag.startsWith("Escalat")))

describe("Healing.drill", () => {
  it.scoped("calls people by the same road, marked as a drill, and says that it got through", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const pages: Array<Escalation.Escalation> = []
      const healing = yield* make((escalation) =>
        Effect.map(Pager, ({ number }) => pages.push({ ...escalation, name: number }))
      ).pipe(Effect.provideService(Pager, { number: "555" }))
      yield* healing.runOnce
      const before = yield* healing.stats
      expect(yield* healing.drill()).toEqual({ delivered: true, elapsed: 0, failures: 0 })
      expect(pages).toMatchObject([{ name: "555", reason: { _tag: "Drill" }, report: { status: "unhealthy" } }])
      expect(pages[0]!.history.length).toBe(1)
      expect(pages[0]!.treatments.length).toBe(1)
      // it is no escalation: healing goes on as before
      expect(yield* healing.stats).toEqual(before)
      expect(yield* told(events)).toEqual([
        { _tag: "EscalationDrilled", name: "shop", outcome: "success", elapsedMillis: 0, error: undefined, at: 0 }
      ])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("needs no round before it", () =>
    Effect.gen(function*() {
      const healing = yield* make((escalation) =>
        escalation.report.checks.length === 2 ? Effect.void : Effect.fail("no report")
      )
      expect(yield* healing.drill()).toMatchObject({ delivered: true })
    }))

  it.scoped("tries again as an escalation does, and tells of the tries that failed", () =>
    Effect.gen(function*() {
      let tries = 0
      const healing = yield* make(() => {
        if (++tries === 1) throw new Error("no pager")
        return tries === 2 ? Effect.fail("busy") : Effect.void
      })
      expect(yield* drilled(healing, "3 seconds")).toEqual({
        delivered: true,
        elapsed: 3_000,
        failures: 2,
        error: "busy"
      })
    }))

  it.scoped.each<readonly [string, Effect.Effect<unknown, string>, string]>([
    ["fails", Effect.fail("pager down"), "pager down"],
    ["dies", Effect.die("bug"), "bug"],
    ["hangs", Effect.never, "no answer within 10s"],
    ["sticks", Effect.uninterruptible(Effect.never), "no answer within 10s"]
  ])("says so in time when the road %s", ([, page, error]) =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const healing = yield* make(() => page)
      const drill = yield* drilled(healing, "10 seconds", "10 seconds")
      expect(drill).toMatchObject({ delivered: false, elapsed: 10_000, error })
      expect(yield* told(events)).toMatchObject([
        { _tag: "EscalationDrilled", outcome: "failure", elapsedMillis: 10_000, error }
      ])
      // and tries no more
      yield* TestClock.adjust("10 minutes")
      expect(yield* TestClock.sleeps()).toMatchObject({ length: 0 })
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("goes through while people have been called and nothing is healed", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      const healing = yield* Healing.make({
        checks: { a: HealthCheck.make(Effect.fail("down")) },
        maxConsecutiveFailures: 1,
        escalate: ({ reason }) => Effect.sync(() => reasons.push(reason._tag))
      })
      yield* healing.runOnce
      yield* Effect.yieldNow()
      expect(yield* healing.drill()).toMatchObject({ delivered: true })
      expect(reasons).toEqual(["TooManyFailures", "Drill"])
      expect(yield* healing.stats).toMatchObject({ mode: "escalated" })
    }))

  it.scoped("refuses a time that is none", () =>
    Effect.gen(function*() {
      const healing = yield* make(() => Effect.void)
      expect(() => healing.drill(0)).toThrow(/within.*got 0/)
    }))
})
