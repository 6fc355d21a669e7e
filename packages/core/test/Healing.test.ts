import { describe, expect, it } from "@effect/vitest"
import * as Escalation from "@firebreak/core/Escalation"
import * as Events from "@firebreak/core/Events"
import * as Failover from "@firebreak/core/Failover"
import * as Healing from "@firebreak/core/Healing"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Remedy from "@firebreak/core/Remedy"
import * as Restartable from "@firebreak/core/Restartable"
import * as SystemCheck from "@firebreak/core/SystemCheck"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { readFileSync } from "node:fs"

/** A thing that is up or down, and its check. */
const switchable = (up = true) => {
  const self: { up: boolean; readonly check: HealthCheck.HealthCheck } = {
    up,
    check: HealthCheck.make(Effect.suspend(() => self.up ? Effect.void : Effect.fail("down")))
  }
  return self
}

const fine = HealthCheck.make(Effect.void)
const fines = { b: fine, c: fine, d: fine }

const taken = (queue: Queue.Dequeue<Events.Published>) =>
  Effect.map(
    Queue.takeAll(queue),
    (events) => [...events].filter((event) => event._tag !== "HealthChecked")
  )

const page = (name: string) => new URL(`../../../docs/${name}.md`, import.meta.url)

/** The default of each option by the last name in its cell, as a page's table says. */
const defaultsOf = (name: string) => {
  const [, section] = /^## Defaults\n([^]*?)(?=^## )/m.exec(readFileSync(page(name), "utf8"))!
  const rows = section!.matchAll(/^\| (?:.*[:,] )?`(\w+)` \| (.*?) \|/gm)
  return Object.fromEntries(Array.from(rows, ([, option, value]) => [option, value]))
}

describe("Healing", () => {
  it.scoped("runs the chapter's story: degraded, one remedy, healthy again", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const connectivity = switchable()
      const healing = yield* Healing.make({
        checks: { connectivity: connectivity.check, ...fines },
        remedies: {
          connectivity: [Healing.remedy("reset connections", Effect.sync(() => connectivity.up = true))]
        }
      })
      expect(yield* healing.status).toBe("unknown")
      yield* healing.runOnce
      connectivity.up = false
      expect((yield* healing.runOnce).status).toBe("degraded")
      yield* healing.runOnce
      expect((yield* healing.history).map((report) => report.status)).toEqual(["healthy", "degraded", "healthy"])
      expect(yield* healing.status).toBe("healthy")
      expect(yield* healing.stats).toMatchObject({
        mode: "healing",
        rounds: 3,
        applied: 1,
        succeeded: 1,
        successRate: 1
      })
      expect(yield* taken(events)).toMatchObject([
        { _tag: "RemedyApplied", remedy: "reset connections", trigger: "connectivity", attempt: 1, dryRun: false },
        { _tag: "RemedyVerified", remedy: "reset connections", trigger: "connectivity", attempt: 1 }
      ])
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("a remedy after which the check still fails has not succeeded", () =>
    Effect.gen(function*() {
      const healing = yield* Healing.make({
        checks: { a: switchable(false).check, ...fines },
        remedies: { a: [Healing.remedy("useless", Effect.void)] }
      })
      yield* healing.runOnce
      expect(yield* healing.stats).toMatchObject({ applied: 1, succeeded: 0, failed: 1, successRate: 0 })
      expect(yield* healing.treatments).toMatchObject([{ remedy: "useless", error: "a still fails: down" }])
    }))

  it.scoped("a remedy that fails, dies or hangs is a failed attempt, and the round goes on", () =>
    Effect.gen(function*() {
      const down = switchable(false).check
      const healing = yield* Healing.make({
        checks: { a: down, b: down, c: down, d: down, e: down },
        remedies: {
          a: [Healing.remedy("fails", Effect.fail(new Error("refused")))],
          b: [Healing.remedy("dies", Effect.die("bug"))],
          c: [Healing.remedy("hangs", Effect.never, { timeout: "5 seconds" })],
          d: [Healing.remedy("sticks", Effect.uninterruptible(Effect.never), { timeout: "5 seconds", cooldown: 0 })],
          e: [Healing.remedy("works", Effect.void)]
        }
      })
      const round = yield* Effect.fork(healing.runOnce)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(round)
      expect((yield* healing.treatments).map(({ error, remedy }) => [remedy, error])).toEqual([
        ["fails", "refused"],
        ["dies", "bug"],
        ["hangs", "no answer within 5s"],
        ["sticks", "no answer within 5s"],
        ["works", "e still fails: down"]
      ])
    }))

  it.scoped("a remedy that has not ended is not started again", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      let starts = 0
      const stuck = Effect.uninterruptible(Effect.suspend(() => {
        starts++
        return Effect.never
      }))
      const healing = yield* Healing.make({
        checks: { a: switchable(false).check, ...fines },
        remedies: { a: [Healing.remedy("stuck", stuck, { timeout: "1 second", cooldown: 0 })] }
      })
      const rounds = yield* Effect.fork(Effect.zipRight(healing.runOnce, healing.runOnce))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(rounds)
      expect(starts).toBe(1)
      expect((yield* taken(events)).at(-1)).toMatchObject({ _tag: "RemedySkipped", reason: "running" })
      expect(yield* healing.stats).toMatchObject({ applied: 1 })
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("waits `verifyAfter` before it asks the checks again", () =>
    Effect.gen(function*() {
      const a = switchable(false)
      const slow = Effect.forkScoped(Effect.delay(Effect.sync(() => a.up = true), "2 seconds"))
      const healing = yield* Healing.make({
        checks: { a: a.check, ...fines },
        remedies: { a: [Healing.remedy("slow", slow, { verifyAfter: "3 seconds" })] }
      })
      const round = yield* Effect.fork(healing.runOnce)
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(round)
      expect(yield* healing.stats).toMatchObject({ applied: 1, succeeded: 1 })
    }))

  it.scoped("climbs to failover only if the check's own remedies did not help", () =>
    Effect.gen(function*() {
      const main = switchable()
      const failover = yield* Failover.make({ name: "backend", primary: main, backups: { replica: switchable() } })
      const backend = HealthCheck.make(failover.use(({ up }) => up ? Effect.void : Effect.fail("down")))
      const other = switchable(false)
      let resets = 0
      let helps = true
      const healing = yield* Healing.make({
        checks: { backend, other: other.check },
        remedies: {
          backend: [Healing.remedy(
            "reset",
            Effect.sync(() => {
              resets++
              if (helps) main.up = true
            }),
            { cooldown: 0 }
          )]
        },
        onStatus: { critical: [failover.remedy] }
      })
      const active = Effect.map(failover.active, ({ name }) => name)
      main.up = false
      yield* healing.runOnce
      expect([resets, yield* active]).toEqual([1, "primary"])
      main.up = helps = false
      yield* healing.runOnce
      expect([resets, yield* active]).toEqual([2, "replica"])
      expect((yield* healing.treatments).at(-1)).toEqual({
        remedy: "fail over backend",
        trigger: "critical",
        attempt: 1,
        at: 0
      })
    }))

  it.scoped("restarts a program that crashes, keeps to the cooldown, and calls people about a crash loop", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      let crashed = false
      const start = Effect.map(Clock.currentTimeMillis, (now) => {
        crashed = false
        times.push(now / 1000)
      })
      const program = yield* Restartable.make(start, { name: "worker" })
      const healing = yield* Healing.make({
        checks: { worker: HealthCheck.make(Effect.suspend(() => crashed ? Effect.fail("crashed") : Effect.void)) },
        remedies: { worker: [program.remedy] }
      })
      yield* Effect.fork(healing.run)
      yield* Effect.gen(function*() {
        crashed = true
        yield* TestClock.adjust("30 seconds")
      }).pipe(Effect.repeatN(9))
      expect(times).toEqual([0, 0, 60, 120])
      expect(yield* healing.stats).toMatchObject({ mode: "escalated", applied: 3, succeeded: 3 })
    }))

  it.scoped("calls people once after five bad rounds, with the history, and heals no more until it is resumed", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const pages: Array<Escalation.Escalation> = []
      const a = switchable(false)
      const healing = yield* Healing.make({
        name: "agent",
        checks: { a: a.check, b: fine },
        remedies: { a: [Healing.remedy("reset", Effect.void, { attempts: 100, cooldown: 0 })] },
        escalate: (escalation) => Effect.sync(() => pages.push(escalation))
      })
      yield* Effect.fork(healing.run)
      yield* TestClock.adjust("10 minutes")
      expect(pages.length).toBe(1)
      expect(pages[0]).toMatchObject({
        name: "agent",
        reason: { _tag: "TooManyFailures", consecutiveFailures: 5 },
        consecutiveFailures: 5,
        report: { status: "unhealthy" }
      })
      expect(pages[0]!.history.length).toBe(5)
      expect(pages[0]!.treatments.length).toBe(4)
      expect(JSON.parse(JSON.stringify(pages[0]))).toEqual(pages[0])
      expect(Escalation.message(pages[0]!)).toBe("agent needs a human: 5 bad rounds in a row; unhealthy, failing: a")
      // the checks went on
      expect(yield* healing.stats).toMatchObject({ mode: "escalated", rounds: 21, applied: 4, undelivered: 0 })

      a.up = true
      yield* TestClock.adjust("30 seconds")
      a.up = false
      yield* TestClock.adjust("30 seconds")
      expect(yield* healing.stats).toMatchObject({ applied: 4 })

      yield* healing.resume
      yield* TestClock.adjust("30 seconds")
      expect(yield* healing.stats).toMatchObject({ mode: "healing", applied: 5, consecutiveFailures: 1 })
      const tags = (yield* taken(events)).map((event) => event._tag)
      expect(tags.filter((tag) => tag === "Escalated").length).toBe(1)
      expect(tags).toContain("HealingResumed")
    }).pipe(Effect.provide(Events.layer)))

  it.scoped("calls people when a degraded system has used up its attempts", () =>
    Effect.gen(function*() {
      const pages: Array<Escalation.Escalation> = []
      const healing = yield* Healing.make({
        checks: { a: switchable(false).check, ...fines },
        remedies: { a: [Healing.remedy("reset", Effect.void, { attempts: 3, cooldown: "1 minute" })] },
        escalate: (escalation) => Effect.sync(() => pages.push(escalation))
      })
      yield* Effect.fork(healing.run)
      yield* TestClock.adjust("10 minutes")
      expect(yield* healing.stats).toMatchObject({ applied: 3, mode: "escalated", consecutiveFailures: 0 })
      expect(pages.map((page) => page.reason)).toEqual([{ _tag: "Exhausted", checks: ["a"] }])
    }))

  it.scoped("an escalation that fails, dies or hangs is tried again until it gets through; the checks go on", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const outcomes = [Effect.fail("pager down"), Effect.die("bug"), Effect.never, Effect.void]
      let attempts = 0
      const healing = yield* Healing.make({
        checks: { a: switchable(false).check },
        maxConsecutiveFailures: 1,
        escalate: () => {
          attempts++
          if (attempts === 1) throw new Error("no pager configured")
          return outcomes[attempts - 2]!
        }
      })
      yield* Effect.fork(healing.run)
      yield* TestClock.adjust("10 seconds")
      expect(yield* healing.stats).toMatchObject({ undelivered: 1 })
      yield* TestClock.adjust("1 hour")
      expect(attempts).toBe(5)
      expect(yield* healing.stats).toMatchObject({ undelivered: 0, rounds: 121 })
      expect((yield* taken(events)).filter((event) => event._tag === "EscalationFailed")).toMatchObject([
        { _tag: "EscalationFailed", name: "healing", error: "no pager configured" },
        { _tag: "EscalationFailed", name: "healing", error: "pager down" },
        { _tag: "EscalationFailed", name: "healing", error: "bug" },
        { _tag: "EscalationFailed", name: "healing", error: "no answer within 30s" }
      ])
    }).pipe(Effect.provide(Events.layer)))

  it.effect("an escalation that is cut off before it got through says so", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const scope = yield* Scope.make()
      const healing = yield* Healing.make({
        checks: { a: switchable(false).check },
        maxConsecutiveFailures: 1,
        escalate: () => Effect.never
      }).pipe(Scope.extend(scope))
      yield* healing.runOnce
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      expect((yield* taken(events)).at(-1)).toMatchObject({
        _tag: "EscalationFailed",
        error: "interrupted before it got through"
      })
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.scoped("does nothing in a dry run, and says what it would do", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const forbidden = Effect.die("it acted")
      let acted = 0
      const act = Effect.zipRight(Effect.sync(() => acted++), forbidden)
      const a = switchable(false)
      const healing = yield* Healing.make({
        checks: { a: a.check },
        remedies: { a: [Healing.remedy("reset", act, { attempts: 1 })] },
        onStatus: { critical: [Healing.remedy("restart", act)] },
        escalate: () => act,
        maxConsecutiveFailures: 2,
        dryRun: true
      })
      yield* Effect.fork(healing.run)
      yield* TestClock.adjust("10 minutes")
      expect(acted).toBe(0)
      expect(yield* taken(events)).toMatchObject([
        { _tag: "RemedyApplied", remedy: "reset", dryRun: true },
        { _tag: "RemedyApplied", remedy: "restart", dryRun: true },
        { _tag: "Escalated", dryRun: true }
      ])
      expect(yield* healing.stats).toMatchObject({ applied: 0 })
      a.up = true
      yield* TestClock.adjust("30 seconds")
      expect(yield* healing.stats).toMatchObject({ mode: "dry-run" })
    }).pipe(Effect.provide(Events.layer)))

  it.effect("its layer checks every 30 seconds, for an hour, and leaves no fiber", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const check = Effect.map(Clock.currentTimeMillis, (now) => {
        times.push(now)
      })
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(
        Healing.layer({ checks: { a: HealthCheck.make(check), hung: HealthCheck.make(Effect.never) } }),
        scope
      )
      yield* TestClock.adjust("1 hour")
      // the hung check takes its second of every round
      expect(times.length).toBe(1 + Math.floor(3_600 / 31))
      expect(times[1]! - times[0]!).toBe(31_000)

      yield* Scope.close(scope, Exit.void)
      const before = times.length
      yield* TestClock.adjust("1 hour")
      expect(times.length).toBe(before)
      expect(yield* TestClock.sleeps()).toMatchObject({ length: 0 })
    }))

  it.scoped("closing its layer while a check hangs interrupts that check and waits for nothing", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const hung = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      const stuck = Effect.uninterruptible(Effect.never)
      yield* Layer.buildWithScope(
        Healing.layer({ checks: { hung: HealthCheck.make(hung), stuck: HealthCheck.make(stuck) } }),
        scope
      )
      yield* TestClock.adjust("500 millis")
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(interrupted)
    }))

  it.effect("its layer provides the health that it watches", () =>
    Effect.gen(function*() {
      const health = yield* Health.Health
      const healing = yield* Healing.Healing
      yield* TestClock.adjust("1 second")
      expect((yield* health.history).length).toBe(1)
      expect(yield* healing.status).toBe("healthy")
    }).pipe(Effect.provide(Healing.layer({ checks: { fine } }))))

  it("refuses remedies without a check, two remedies of one name, and bad numbers", () => {
    const checks: HealthCheck.Checks = { fine }
    const remedy = Healing.remedy("reset", Effect.void)
    expect(() => Healing.layer({ checks, remedies: { other: [remedy] } })).toThrow(/no "other"/)
    expect(() => Healing.layer({ checks, remedies: { fine: [remedy, Healing.remedy("reset", Effect.void)] } }))
      .toThrow(/two different remedies are named "reset"/)
    expect(() => Healing.layer({ checks, remedies: { fine: [remedy] }, onStatus: { critical: [remedy] } })).not
      .toThrow()
    expect(() => Healing.layer({ checks, maxConsecutiveFailures: 0 })).toThrow(/maxConsecutiveFailures.*got 0/)
    expect(() => Healing.layer({ checks, every: 0 })).toThrow(/every.*got 0/)
    expect(() => Healing.remedy("", Effect.void)).toThrow(/name/)
  })

  it("has the defaults that its page tells", () => {
    expect(defaultsOf("self-healing")).toMatchObject({
      every: Healing.defaults.every,
      maxConsecutiveFailures: `${Healing.defaults.maxConsecutiveFailures}`,
      dryRun: `\`${Healing.defaults.dryRun}\``,
      escalate: "the log",
      within: Escalation.defaults.drill,
      attempts: `${Remedy.defaults.attempts}`,
      cooldown: Remedy.defaults.cooldown,
      timeout: Remedy.defaults.timeout,
      verifyAfter: `${Remedy.defaults.verifyAfter}`,
      enabled: `\`${Remedy.defaults.enabled}\``,
      ...Object.fromEntries(Object.entries(Failover.defaults).map(([option, value]) => [option, `${value}`]))
    })
    expect(Duration.decode(Restartable.defaults.cooldown)).toEqual(Duration.decode(Remedy.defaults.cooldown))
  })

  it("has the checks' defaults that their page tells", () => {
    const { critical, eventLoopDelay, fall, heap, queueDepth, responseTime, rise, ...times } = HealthCheck.defaults
    expect(defaultsOf("health")).toMatchObject({
      timeout: times.timeout,
      interval: `${times.interval}`,
      critical: `\`${critical}\``,
      rise: `${fall}, ${rise}`,
      heap: `below ${heap}`,
      eventLoopDelay: `below ${eventLoopDelay.replace("millis", "ms")}`,
      queueDepth: `below ${queueDepth}`,
      responseTime: `below ${responseTime}`
    })
    expect(readFileSync(page("health"), "utf8")).toContain(
      `| \`SystemCheck\`: \`below\` | ${SystemCheck.defaults.below} |`
    )
  })
})
