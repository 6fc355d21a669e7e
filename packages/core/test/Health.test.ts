import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"

const pass = HealthCheck.make(Effect.void)
const fail = HealthCheck.make(Effect.fail("down"))
const errors = (report: Health.Report) =>
  Object.fromEntries(
    report.checks.map(({ latest, name }) => [name, latest._tag === "Failed" ? latest.error : "passed"])
  )

/** Runs until the clock has moved by `time`. */
const within = <A, E, R>(time: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(time as "1 second")
    return yield* Fiber.join(fiber)
  })

describe("Health.status", () => {
  it.each([
    [4, 4, "healthy"],
    [3, 4, "degraded"],
    [7, 10, "unhealthy"],
    [2, 4, "unhealthy"],
    [1, 4, "critical"],
    [0, 1, "critical"],
    [0, 0, "healthy"]
  ])("%s of %s passing is %s", (passing, total, status) => {
    const checks = Array.from({ length: total }, (_, i) => ({ passing: i < passing, critical: false }))
    expect(Health.status(checks)).toBe(status)
  })

  it("a critical check that fails makes the whole critical", () => {
    const checks = Array.from({ length: 20 }, (_, i) => ({ passing: i > 0, critical: i === 0 }))
    expect(Health.status(checks)).toBe("critical")
  })

  const results = fc.array(fc.record({ passing: fc.boolean(), critical: fc.boolean() }), { maxLength: 30 })

  it.prop("one more passing check never worsens it", [results, fc.nat()], ([checks, at]) => {
    const before = Health.status(checks)
    const better = checks.map((check, i) => i === at % checks.length ? { ...check, passing: true } : check)
    const more = [...checks, { passing: true, critical: true }]
    expect(Health.isAtLeast(before, Health.status(better))).toBe(true)
    expect(Health.isAtLeast(before, Health.status(more))).toBe(true)
  }, { fastCheck: { numRuns: 1_000 } })

  it.prop("is healthy exactly when every check passes", [results], ([checks]) => {
    expect(Health.status(checks) === "healthy").toBe(checks.every((check) => check.passing))
  })
})

describe("Health", () => {
  it.scoped("a typed failure, a defect, an interruption and false are failed checks with their message", () =>
    Effect.gen(function*() {
      const health = yield* Health.make({
        fine: pass,
        failure: fail,
        error: HealthCheck.make(Effect.fail(new Error("refused"))),
        defect: HealthCheck.make(Effect.die(new TypeError("bug"))),
        thrown: HealthCheck.make(Effect.sync(() => {
          throw new Error("thrown")
        })),
        interrupted: HealthCheck.make(Effect.interrupt),
        false: HealthCheck.make(Effect.succeed(false))
      })
      const report = yield* health.check
      expect(errors(report)).toMatchObject({
        fine: "passed",
        failure: "down",
        error: "refused",
        defect: "bug",
        thrown: "thrown",
        false: "answered false"
      })
      expect(Health.failing(report)).toContain("interrupted")
      expect(Health.message(report)).toBe("1/7 checks passing")
    }))

  it.scoped("checks run side by side", () =>
    Effect.gen(function*() {
      const slow = HealthCheck.make(Effect.sleep("900 millis"))
      const health = yield* Health.make({ a: slow, b: slow, c: slow })
      const report = yield* within("900 millis", health.check)
      expect(report.status).toBe("healthy")
    }))

  it.scoped("a check that hangs, even uninterruptibly, fails and stalls nothing", () =>
    Effect.gen(function*() {
      const release = yield* Deferred.make<void>()
      let runs = 0
      const health = yield* Health.make({
        hung: HealthCheck.make(Effect.never),
        stuck: HealthCheck.make(Effect.uninterruptible(Effect.suspend(() => {
          runs++
          return Deferred.await(release)
        }))),
        fine: pass
      })
      const report = yield* within("1 second", health.check)
      expect(errors(report)).toEqual({ hung: "no answer within 1s", stuck: "no answer within 1s", fine: "passed" })
      // a stuck run is not joined by a second one
      const next = yield* within("1 second", health.check)
      expect(errors(next)).toMatchObject({ stuck: "the last run has not ended" })
      expect(runs).toBe(1)
      yield* Deferred.succeed(release, undefined)
      expect(errors(yield* within("1 second", health.check))).toMatchObject({ stuck: "passed" })
    }))

  it.scoped("a hung check fails in time even where the caller is uninterruptible", () =>
    Effect.gen(function*() {
      const health = yield* Health.make({ hung: HealthCheck.make(Effect.never) })
      const report = yield* within("1 second", Effect.uninterruptible(health.recheck(["hung"])))
      expect(report.checks.length).toBe(1)
    }))

  it.scoped("uses a result again within its interval, unless asked to look now", () =>
    Effect.gen(function*() {
      let runs = 0
      const health = yield* Health.make({
        rare: HealthCheck.make(Effect.sync(() => runs++), { interval: "1 minute" })
      })
      yield* health.check
      yield* TestClock.adjust("59 seconds")
      yield* health.check
      expect(runs).toBe(1)
      yield* TestClock.adjust("1 second")
      yield* health.check
      expect(runs).toBe(2)
      yield* health.recheck(["rare"])
      expect(runs).toBe(3)
    }))

  it.scoped("callers at the same time share one run, and one of them may leave", () =>
    Effect.gen(function*() {
      let runs = 0
      const health = yield* Health.make({
        slow: HealthCheck.make(Effect.zipRight(Effect.sync(() => runs++), Effect.sleep("500 millis")))
      })
      const [first, second] = yield* Effect.all([Effect.fork(health.check), Effect.fork(health.check)])
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("500 millis")
      expect((yield* Fiber.join(second)).status).toBe("healthy")
      expect(runs).toBe(1)
    }))

  it.scoped("current reads the last report while it is young", () =>
    Effect.gen(function*() {
      let runs = 0
      const health = yield* Health.make({ a: HealthCheck.make(Effect.sync(() => runs++)) })
      expect(yield* health.latest).toEqual(Option.none())
      yield* health.current("1 second")
      yield* TestClock.adjust("999 millis")
      yield* health.current("1 second")
      expect(runs).toBe(1)
      yield* TestClock.adjust("1 millis")
      yield* health.current("1 second")
      expect(runs).toBe(2)
    }))

  it.scoped("turns after `fall` failed and `rise` passed runs in a row", () =>
    Effect.gen(function*() {
      let up = true
      const flaky = Effect.suspend(() => up ? Effect.void : Effect.fail("down"))
      const health = yield* Health.make({ flaky: HealthCheck.make(flaky, { fall: 3, rise: 2 }) })
      const run = (now: boolean) => {
        up = now
        return Effect.map(health.check, (report) => report.status)
      }
      const seen = yield* Effect.forEach([true, false, false, true, false, false, false, true, true], run)
      expect(seen.map((status) => status === "healthy")).toEqual(
        [true, true, true, true, true, true, false, false, true]
      )
    }))

  it.scoped("keeps the last 100 reports and publishes each", () =>
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const health = yield* Health.make({ up: pass, down: fail })
      for (let i = 0; i < 103; i++) yield* health.check
      expect((yield* health.history).length).toBe(100)
      const published = yield* Queue.takeAll(events)
      expect(published.length).toBe(103)
      expect([...published][0]).toMatchObject(
        { _tag: "HealthChecked", status: "unhealthy", passing: 1, total: 2, failed: ["down"] }
      )
    }).pipe(Effect.provide(Events.layer)))
})

describe("HealthCheck", () => {
  const run = (check: HealthCheck.HealthCheck) => Effect.flatMap(HealthCheck.runner(check), (runner) => runner)

  it.prop("a standing turns only after enough contrary runs in a row", [
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 4 }),
    fc.array(fc.boolean(), { minLength: 1, maxLength: 40 })
  ], ([fall, rise, runs]) => {
    let standing: HealthCheck.Standing | undefined
    for (const [i, passed] of runs.entries()) {
      const before = standing
      standing = HealthCheck.observe({ fall, rise }, standing, passed)
      if (before === undefined) expect(standing.passing).toBe(passed)
      else {
        const needed = before.passing ? fall : rise
        const contrary = i + 1 > needed && runs.slice(i + 1 - needed, i + 1).every((run) => run !== before.passing)
        if (standing.passing !== before.passing) expect(contrary || i < needed).toBe(true)
        if (contrary) expect(standing.passing).toBe(!before.passing)
      }
    }
  })

  it.effect("queueDepth and responseTime compare with their limits", () =>
    Effect.gen(function*() {
      expect(yield* run(HealthCheck.queueDepth(Effect.succeed(999)))).toMatchObject({ _tag: "Passed" })
      expect(yield* run(HealthCheck.queueDepth(Effect.succeed(1000)))).toMatchObject({
        error: "queue holds 1000, limit 1000"
      })
      const slow = HealthCheck.responseTime(Effect.sleep("150 millis"), { below: "100 millis" })
      expect(yield* within("150 millis", run(slow))).toMatchObject({
        _tag: "Failed",
        elapsed: 150,
        error: "answered in 150 ms, limit 100 ms"
      })
    }))

  it.effect("heap compares what is used with V8's limit or the one given", () =>
    Effect.gen(function*() {
      expect(yield* run(HealthCheck.heap())).toMatchObject({ _tag: "Passed" })
      expect(yield* run(HealthCheck.heap({ limit: 1024 }))).toMatchObject({ _tag: "Failed" })
    }))

  it.live("eventLoopDelay passes on an idle loop and fails on a blocked one", () =>
    Effect.gen(function*() {
      expect(yield* run(HealthCheck.eventLoopDelay({ below: "5 seconds", timeout: "10 seconds" }))).toMatchObject({
        _tag: "Passed"
      })
      const block = Effect.sync(() => {
        const until = performance.now() + 60
        while (performance.now() < until);
      })
      const [outcome] = yield* Effect.all(
        [run(HealthCheck.eventLoopDelay({ below: "30 millis" })), Effect.delay(block, "1 millis")],
        { concurrency: 2 }
      )
      expect(outcome).toMatchObject({ _tag: "Failed" })
    }))

  it("refuses bad options", () => {
    expect(() => HealthCheck.make(Effect.void, { timeout: 0 })).toThrow(/timeout.*got 0/)
    expect(() => HealthCheck.make(Effect.void, { fall: 0 })).toThrow(/fall.*got 0/)
    expect(() => HealthCheck.heap({ below: 2 })).toThrow(/below.*got 2/)
  })
})
