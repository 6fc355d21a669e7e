import { describe, expect, it } from "@effect/vitest"
import * as HealingState from "@firebreak/core/HealingState"
import * as Health from "@firebreak/core/Health"
import * as fc from "effect/FastCheck"

const reportOf = (checks: Record<string, boolean>, critical: ReadonlyArray<string> = []): Health.Report => {
  const results = Object.entries(checks).map(([name, passing]): Health.CheckResult => ({
    name,
    passing,
    critical: critical.includes(name),
    latest: passing ? { _tag: "Passed", elapsed: 1 } : { _tag: "Failed", elapsed: 1, error: "no" },
    at: 0
  }))
  return { status: Health.status(results), checks: results, at: 0 }
}

const remedy = (name: string, limits: Partial<HealingState.Limits> = {}): HealingState.Limits => ({
  name,
  attempts: 3,
  cooldown: 60,
  enabled: true,
  ...limits
})

const configOf = (options: {
  readonly remedies?: Record<string, ReadonlyArray<HealingState.Limits>>
  readonly ladder?: Partial<Record<HealingState.Rung, ReadonlyArray<HealingState.Limits>>>
  readonly maxConsecutiveFailures?: number
  readonly dryRun?: boolean
}): HealingState.Config => ({
  remedies: new Map(Object.entries(options.remedies ?? {})),
  ladder: new Map(Object.entries(options.ladder ?? {}) as Array<[HealingState.Rung, Array<HealingState.Limits>]>),
  maxConsecutiveFailures: options.maxConsecutiveFailures ?? 5,
  dryRun: options.dryRun ?? false
})

/** Runs reports through both moves, as the loop does when no remedy helps. */
const play = (config: HealingState.Config, reports: ReadonlyArray<readonly [now: number, report: Health.Report]>) => {
  let state = HealingState.initial
  return reports.map(([now, report]) => {
    const [stepped, first] = HealingState.step(config, state, report, now)
    const [climbed, second] = HealingState.climb(config, stepped, report, now)
    state = climbed
    return [...first, ...second]
  })
}

const shown = (action: HealingState.Action): string =>
  action._tag === "Escalate"
    ? `Escalate ${action.reason._tag}`
    : `${action._tag} ${action.remedy.name}${action._tag === "Skip" ? ` ${action.reason}` : ` ${action.attempt}`}`

const ill = reportOf({ a: false, b: true, c: true, d: true })
const well = reportOf({ a: true, b: true, c: true, d: true })

describe("HealingState", () => {
  it("tries the remedies of a check in order, then calls people", () => {
    const config = configOf({
      remedies: { a: [remedy("first", { attempts: 2, cooldown: 0 }), remedy("second", { attempts: 1 })] }
    })
    expect(play(config, [[0, ill], [1, ill], [2, ill], [3, ill], [4, ill]]).map((round) => round.map(shown))).toEqual([
      ["Apply first 1"],
      ["Apply first 2"],
      ["Skip first exhausted", "Apply second 1"],
      ["Escalate Exhausted"],
      []
    ])
  })

  it("goes on to the next remedy while the first cools down", () => {
    const config = configOf({ remedies: { a: [remedy("first", { cooldown: 60 }), remedy("second")] } })
    expect(play(config, [[0, ill], [30, ill], [60, ill]]).map((round) => round.map(shown))).toEqual([
      ["Apply first 1"],
      ["Skip first cooldown", "Apply second 1"],
      ["Apply first 2"]
    ])
  })

  it("what was decided on before healing was resumed and starts after it is the first of the fresh attempts", () => {
    const config = configOf({ remedies: { a: [remedy("only", { attempts: 1, cooldown: 0 })] } })
    const [decided] = HealingState.step(config, HealingState.initial, reportOf({ a: false }), 0)
    const begun = HealingState.begin(HealingState.resume(decided), "only", 1)
    expect(HealingState.step(config, begun, reportOf({ a: false }), 2)[1].map(shown)).toEqual(["Escalate Exhausted"])
  })

  it("gives fresh attempts once the check was well, but no shorter cooldown", () => {
    const config = configOf({ remedies: { a: [remedy("only", { attempts: 1, cooldown: 60 })] } })
    expect(play(config, [[0, ill], [10, well], [20, ill], [70, well], [80, ill]]).map((round) => round.map(shown)))
      .toEqual([["Apply only 1"], [], ["Skip only cooldown"], [], ["Apply only 1"]])
  })

  it("climbs the ladder as far as the status reaches", () => {
    const config = configOf({
      ladder: { degraded: [remedy("shed")], unhealthy: [remedy("fail over")], critical: [remedy("restart")] }
    })
    const degraded = reportOf({ a: false, b: true, c: true, d: true })
    const unhealthy = reportOf({ a: false, b: true })
    const critical = reportOf({ a: false })
    expect(play(config, [[0, degraded]])[0]!.map(shown)).toEqual(["Apply shed 1"])
    expect(play(config, [[0, unhealthy]])[0]!.map(shown)).toEqual(["Apply shed 1", "Apply fail over 1"])
    expect(play(config, [[0, critical]])[0]!.map(shown)).toEqual([
      "Apply shed 1",
      "Apply fail over 1",
      "Apply restart 1"
    ])
  })

  it("does not call people for a check while the ladder still has something to try", () => {
    const config = configOf({
      remedies: { a: [remedy("reset", { attempts: 1 })] },
      ladder: { degraded: [remedy("fail over", { attempts: 1, cooldown: 0 })] }
    })
    const rounds = play(config, [[0, ill], [100, ill]]).map((round) => round.map(shown))
    expect(rounds).toEqual([["Apply reset 1", "Apply fail over 1"], ["Escalate Exhausted"]])
  })

  it("does not treat a check whose latest run passed and that only waits for more passes", () => {
    const rising = reportOf({ a: false, b: true, c: true, d: true })
    const [check] = rising.checks
    const report = { ...rising, checks: [{ ...check!, latest: { _tag: "Passed", elapsed: 1 } as const }] }
    expect(play(configOf({ remedies: { a: [remedy("reset")] } }), [[0, report]])).toEqual([[]])
  })

  it("one run serves two triggers that share a remedy", () => {
    const restart = remedy("restart", { cooldown: 0 })
    const config = configOf({ remedies: { a: [restart], b: [restart] } })
    expect(play(config, [[0, reportOf({ a: false, b: false })]])[0]!.map(shown)).toEqual(["Apply restart 1"])
  })

  it("fails closed: a limit that is no number, or a clock that went back, is no leave to run", () => {
    const unknown = undefined as unknown as number
    const broken = [
      remedy("attempts", { attempts: NaN }),
      remedy("attempts?", { attempts: unknown }),
      remedy("cooldown", { cooldown: NaN }),
      remedy("cooldown?", { cooldown: unknown }),
      remedy("enabled?", { enabled: unknown as unknown as boolean })
    ]
    for (const one of broken) {
      // beside one that may run, so that it is not only the escalation that keeps it from running
      const config = configOf({ remedies: { a: [one, remedy("other", { cooldown: 0 })] }, ladder: { degraded: [one] } })
      const ran = play(config, [[0, ill], [90, ill]]).flat().filter(({ _tag }) => _tag === "Apply")
      expect([one, ran.map(shown)]).toEqual([one, ["Apply other 1", "Apply other 2"]])
    }
    // who can never run calls people at once
    const [, first] = HealingState.step(configOf({ remedies: { a: [broken[0]!] } }), HealingState.initial, ill, 0)
    expect(first.map(shown)).toEqual(["Escalate Exhausted"])
    const config = configOf({ remedies: { a: [remedy("only", { cooldown: 60 })] } })
    expect(play(config, [[1_000, ill], [0, ill]]).map((round) => round.map(shown))).toEqual([
      ["Apply only 1"],
      ["Skip only cooldown"]
    ])
  })

  it("says so when a remedy is switched off, and calls nobody for it", () => {
    const config = configOf({ remedies: { a: [remedy("off", { enabled: false })] } })
    const rounds = play(config, Array.from({ length: 10 }, (_, i) => [i, ill] as const))
    expect(new Set(rounds.flat().map(shown))).toEqual(new Set(["Skip off disabled"]))
  })

  // reports of three checks with remedies, gaps between them, and people who resume now and then
  const story = fc.array(
    fc.record({
      gap: fc.integer({ min: 0, max: 100 }),
      checks: fc.record({ a: fc.boolean(), b: fc.boolean(), c: fc.boolean(), d: fc.boolean() }),
      resume: fc.constantFrom(false, false, false, true)
    }),
    { maxLength: 60 }
  )
  const limits = (name: string) =>
    fc.record({
      name: fc.constant(name),
      attempts: fc.integer({ min: 1, max: 4 }),
      cooldown: fc.integer({ min: 0, max: 150 }),
      enabled: fc.constantFrom(true, true, false)
    })
  const configs = fc.record({
    first: limits("first"),
    second: limits("second"),
    shared: limits("shared"),
    failover: limits("failover"),
    maxConsecutiveFailures: fc.integer({ min: 1, max: 6 }),
    dryRun: fc.boolean()
  }).map(({ failover, first, second, shared, ...rest }) => ({
    config: configOf({
      ...rest,
      remedies: { a: [first, shared], b: [second, shared] },
      ladder: { unhealthy: [failover] }
    }),
    remedies: [first, second, shared, failover]
  }))

  it.prop("no story takes more than the limits, and every spell calls people at most once", [configs, story], (
    [{ config, remedies }, rounds]
  ) => {
    let state = HealingState.initial
    let now = 0
    let escalated = false
    let bad = 0
    const attempts = new Map<string, number>()
    const last = new Map<string, number>()
    for (const { checks, gap, resume } of rounds) {
      now += gap
      if (resume) {
        state = HealingState.resume(state)
        escalated = false
        bad = 0
        attempts.clear()
      }
      const report = reportOf(checks)
      bad = Health.isAtLeast(report.status, "unhealthy") ? bad + 1 : 0
      if (checks.a) attempts.set("first", 0)
      if (checks.b) attempts.set("second", 0)
      if (checks.a && checks.b) attempts.set("shared", 0)
      if (report.status === "healthy") attempts.set("failover", 0)
      if (config.dryRun && report.status === "healthy") escalated = false
      const wasEscalated = escalated

      const [stepped, first] = HealingState.step(config, state, report, now)
      const [climbed, second] = HealingState.climb(config, stepped, report, now)
      state = climbed
      const actions = [...first, ...second]
      for (const action of actions) {
        if (action._tag === "Escalate") {
          expect(wasEscalated).toBe(false)
          expect(action.dryRun).toBe(config.dryRun)
          if (action.reason._tag === "Exhausted") {
            const applicable = [
              ...action.reason.checks.flatMap((check) => config.remedies.get(check) ?? []),
              ...Health.isAtLeast(report.status, "unhealthy") ? config.ladder.get("unhealthy")! : []
            ].filter((remedy) => remedy.enabled)
            expect(applicable.length).toBeGreaterThan(0)
            for (const remedy of applicable) expect(attempts.get(remedy.name)).toBe(remedy.attempts)
          } else expect(bad).toBe(config.maxConsecutiveFailures)
          escalated = true
        }
        if (action._tag === "Apply" || action._tag === "Propose") {
          const { name } = action.remedy
          expect(action._tag).toBe(config.dryRun ? "Propose" : "Apply")
          expect(action.remedy.enabled).toBe(true)
          expect(now - (last.get(name) ?? -Infinity)).toBeGreaterThanOrEqual(action.remedy.cooldown)
          last.set(name, now)
          attempts.set(name, (attempts.get(name) ?? 0) + 1)
          expect(action.attempt).toBe(attempts.get(name))
        }
      }
      for (const remedy of remedies) expect(attempts.get(remedy.name) ?? 0).toBeLessThanOrEqual(remedy.attempts)
      // people are called as soon as the limit is reached, and from then on nothing is done
      if (bad >= config.maxConsecutiveFailures) expect(escalated).toBe(true)
      if (escalated) expect(actions.filter((action) => action._tag !== "Escalate")).toEqual([])
      expect(state._tag).toBe(escalated ? "Escalated" : "Healing")
    }
  }, { fastCheck: { numRuns: 1_000 } })
})
