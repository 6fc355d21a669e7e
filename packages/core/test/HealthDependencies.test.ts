import { describe, expect, it } from "@effect/vitest"
import * as Healing from "@firebreak/core/Healing"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Effect from "effect/Effect"
import * as fc from "effect/FastCheck"
import { modelRuns } from "./support/runs.js"

/** A check that passes while its name is not in `down`. */
const checkOf = <const D extends string = never>(
  down: ReadonlySet<string>,
  name: string,
  options?: HealthCheck.Options<D>
) => HealthCheck.make(Effect.suspend(() => down.has(name) ? Effect.fail(`${name} is down`) : Effect.void), options)

const shop = (down: ReadonlySet<string>) => ({
  database: checkOf(down, "database", { componentType: "datastore" }),
  search: checkOf(down, "search"),
  catalog: checkOf(down, "catalog", { dependsOn: ["database", "search"] }),
  checkout: checkOf(down, "checkout", { dependsOn: ["catalog"], critical: true })
})

const becauseOf = (report: Health.Report) =>
  Object.fromEntries(report.checks.filter(({ passing }) => !passing).map(({ because, name }) => [name, because]))

describe("Health.causes", () => {
  /** Checks of which each depends on some that come before it, and which of them fail by themselves. */
  const graphs = fc.array(
    fc.record({ passing: fc.boolean(), on: fc.array(fc.nat({ max: 9 }), { maxLength: 3 }) }),
    { minLength: 1, maxLength: 10 }
  ).map((nodes) =>
    nodes.map(({ on, passing }, i) => ({
      name: `c${i}`,
      passing,
      dependsOn: on.filter((j) => j < i).map((j) => `c${j}`)
    }))
  )

  it.prop("names the failing checks below each that have none failing below themselves", [graphs], ([checks]) => {
    const causes = Health.causes(checks)
    const byName = new Map(checks.map((check) => [check.name, check]))
    // all that a check needs, found by walking until nothing is new
    const below = (name: string): ReadonlySet<string> => {
      const found = new Set<string>()
      const todo = [name]
      for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
        for (const needed of byName.get(next)!.dependsOn) {
          if (!found.has(needed)) todo.push(needed)
          found.add(needed)
        }
      }
      return found
    }
    const failingBelow = (name: string) => [...below(name)].filter((needed) => !byName.get(needed)!.passing)
    for (const { name } of checks) {
      const roots = failingBelow(name).filter((needed) => failingBelow(needed).length === 0)
      expect(new Set(causes.get(name) ?? [])).toEqual(new Set(roots))
      // a cause is never itself caused: there is always something to treat
      for (const root of causes.get(name) ?? []) expect(causes.has(root)).toBe(false)
      if (failingBelow(name).length > 0) expect(causes.get(name)!.length).toBeGreaterThan(0)
    }
  }, modelRuns)

  it("ends where checks depend on each other in a circle", () => {
    const a = { name: "a", passing: false, dependsOn: ["b"] }
    const b = { name: "b", passing: true, dependsOn: ["a"] }
    expect(Health.causes([a, b]).get("b")).toEqual(["a"])
  })
})

describe("checks that depend on others", () => {
  it.scoped("fail because of what is at the root, even where their own run passed", () =>
    Effect.gen(function*() {
      const down = new Set<string>()
      const health = yield* Health.make(shop(down))
      expect((yield* health.check).status).toBe("healthy")
      down.add("database").add("catalog")
      const report = yield* health.check
      expect(report.status).toBe("critical")
      expect(becauseOf(report)).toEqual({ database: undefined, catalog: ["database"], checkout: ["database"] })
      expect(report.checks.find(({ name }) => name === "checkout")!.latest._tag).toBe("Passed")
      expect(report.checks[0]).toMatchObject({ componentType: "datastore" })
      down.clear()
      expect((yield* health.check).status).toBe("healthy")
    }))

  it.scoped("are not treated: the cause is", () =>
    Effect.gen(function*() {
      const down = new Set(["database", "catalog", "checkout"])
      const ran: Array<string> = []
      const remedy = (name: string, works: () => void) =>
        Healing.remedy(name, Effect.sync(() => (ran.push(name), works())), { cooldown: 0 })
      let helps = false
      const healing = yield* Healing.make({
        checks: shop(down),
        remedies: {
          database: [remedy("reset", () => helps ? down.clear() : undefined)],
          catalog: [remedy("rebuild", () => down.delete("catalog"))],
          checkout: [remedy("restart", () => down.delete("checkout"))]
        }
      })
      yield* healing.runOnce
      expect(ran).toEqual(["reset"])
      helps = true
      yield* healing.runOnce
      // what depends on it was asked again with it
      expect((yield* healing.health.latest).pipe((latest) => latest._tag === "Some" && latest.value.status)).toBe(
        "healthy"
      )
      expect(ran).toEqual(["reset", "reset"])
      // when the cause is gone, what fails by itself is treated
      down.add("checkout")
      yield* healing.runOnce
      expect(ran).toEqual(["reset", "reset", "restart"])
    }))

  it.scoped("a remedy by status has helped only when what it was for is well, with all it depends on", () =>
    Effect.gen(function*() {
      const down = new Set(["database"])
      const healing = yield* Healing.make({
        checks: shop(down),
        onStatus: { critical: [Healing.remedy("useless", Effect.void)] }
      })
      yield* healing.runOnce
      expect(yield* healing.treatments).toMatchObject([{ trigger: "critical", error: "still critical" }])
    }))

  it("refuses what is not there and what depends on itself", () => {
    const on = (...dependsOn: ReadonlyArray<string>) => HealthCheck.make(Effect.void, { dependsOn })
    expect(() => Health.make({ a: on("b") })).toThrow(/for "a" there is no "b"/)
    expect(() => Health.make({ a: on("a") })).toThrow(/themselves, got a > a/)
    expect(() => Health.layer({ a: on(), b: on("c", "a"), c: on("d"), d: on("b") })).toThrow(/got b > c > d > b/)
    expect(() => Healing.layer({ checks: { a: on("b") } })).toThrow(/no "b"/)
    expect(() => Health.make({ a: on("toString") })).toThrow(/no "toString"/)
  })
})
