import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import * as Fleet from "../../src/sandbox/Fleet.js"
import * as Telemetry from "../../src/sandbox/Telemetry.js"

const start = 1_700_000_000_000
const fleet = Fleet.make(1, start)

const restart = (service: string, at: number): Step => [{ _tag: "Restart", service }, at]
const reboot = (cluster: string, at: number): Step => [{ _tag: "RebootCache", cluster, nodes: ["0001"] }, at]
const scaleTo = (service: string, replicas: number, at: number): Step => [{ _tag: "Scale", service, replicas }, at]

type Step = readonly [command: Fleet.Command, at: number]
const after = (...steps: ReadonlyArray<Step>) =>
  steps.reduce((state, [command, at]) => Fleet.step(state, command, start + at), fleet)
const errorRate = (state: Fleet.Fleet, service: string, at: number) =>
  Telemetry.value(state, service, "errorRate", start + at)

const services = fc.constantFrom(...Object.keys(fleet.workloads))
const command: fc.Arbitrary<Fleet.Command> = fc.oneof(
  services.map((service) => ({ _tag: "Restart" as const, service })),
  services.map((service) => ({ _tag: "RebootCache" as const, cluster: `${service}-cache`, nodes: ["0001"] })),
  fc.tuple(services, fc.integer({ min: 0, max: 9 })).map(([service, replicas]) => ({
    _tag: "Scale" as const,
    service,
    replicas
  }))
)

describe("Fleet", () => {
  it("fails 5 % of payment-api's requests since the onset, and under 1 % before", () => {
    expect(errorRate(fleet, "payment-api", -400_000)).toBeLessThan(0.01)
    expect(errorRate(fleet, "payment-api", -200_000)).toBeCloseTo(0.05, 2)
    expect(errorRate(fleet, "payment-api", 0)).toBeCloseTo(0.05, 2)
  })

  it("recovers payment-api within a second of the later of restart and cache reboot", () => {
    const state = after(restart("payment-api", 1_000), reboot("payment-api-cache", 2_000))
    expect(errorRate(state, "payment-api", 2_400)).toBeGreaterThan(0.01)
    expect(errorRate(state, "payment-api", 3_000)).toBeLessThan(0.01)
  })

  it("does not recover payment-api by one of the two alone, nor by either on another service", () => {
    const wrong = [
      after(restart("payment-api", 0)),
      after(reboot("payment-api-cache", 0)),
      after(restart("payment-api", 0), reboot("checkout-api-cache", 0)),
      after(restart("checkout-api", 0), reboot("payment-api-cache", 0)),
      after(scaleTo("payment-api", 9, 0))
    ]
    for (const state of wrong) expect(errorRate(state, "payment-api", 60_000)).toBeGreaterThan(0.01)
  })

  it("recovers orders-api only while it has 6 replicas", () => {
    expect(errorRate(after(restart("orders-api", 0)), "orders-api", 5_000)).toBeGreaterThan(0.01)
    expect(errorRate(after(scaleTo("orders-api", 5, 0)), "orders-api", 5_000)).toBeGreaterThan(0.01)
    const state = after(scaleTo("orders-api", 6, 0), scaleTo("orders-api", 3, 10_000))
    expect(errorRate(state, "orders-api", 5_000)).toBeLessThan(0.01)
    expect(errorRate(state, "orders-api", 15_000)).toBeGreaterThan(0.01)
  })

  it.prop(
    "search-api never recovers, checkout-api never fails",
    [fc.array(command, { maxLength: 12 })],
    ([commands]) => {
      const state = after(...commands.map((command, i): Step => [command, i * 700]))
      expect(errorRate(state, "search-api", 60_000)).toBeGreaterThan(0.01)
      expect(errorRate(state, "checkout-api", 60_000)).toBeLessThan(0.01)
    }
  )

  it.prop(
    "what was measured does not change by what is done later",
    [fc.array(command, { maxLength: 8 }), services, fc.integer({ min: -600_000, max: -1 })],
    ([commands, service, at]) => {
      const state = after(...commands.map((command): Step => [command, 0]))
      for (const metric of ["errorRate", "cpu", "cacheHitRate"] as const) {
        expect(Telemetry.value(state, service, metric, start + at)).toBe(
          Telemetry.value(fleet, service, metric, start + at)
        )
      }
      expect(Telemetry.logs(state, service, start + at - 10_000, start + at)).toEqual(
        Telemetry.logs(fleet, service, start + at - 10_000, start + at)
      )
    }
  )

  it("returns the same object when a command changes nothing", () => {
    const annotations = { restartedAt: "a" }
    const once = Fleet.step(fleet, { _tag: "Restart", service: "payment-api", annotations }, start)
    expect(once).not.toBe(fleet)
    expect(Fleet.step(once, { _tag: "Restart", service: "payment-api", annotations }, start + 1)).toBe(once)
    expect(Fleet.step(fleet, { _tag: "Scale", service: "payment-api", replicas: 3 }, start)).toBe(fleet)
    expect(Fleet.step(fleet, { _tag: "Restart", service: "constructor" }, start)).toBe(fleet)
  })

  it("pages once for a key until it is resolved", () => {
    const page = { dedupKey: "k", summary: "s", severity: "critical", source: "payment-api" }
    const paged = Fleet.step(fleet, { _tag: "Page", page }, start)
    expect(Fleet.step(paged, { _tag: "Page", page }, start)).toBe(paged)
    const resolved = Fleet.step(paged, { _tag: "SettlePage", dedupKey: "k", status: "resolved" }, start)
    expect(Fleet.step(resolved, { _tag: "Page", page }, start).pages).toHaveLength(2)
  })

  it.prop("noise is in [0, 1)", [fc.integer(), fc.string(), fc.integer()], ([seed, name, second]) => {
    const value = Fleet.noise(seed, name, second)
    expect(value).toBeGreaterThanOrEqual(0)
    expect(value).toBeLessThan(1)
  })
})

describe("Telemetry", () => {
  it.prop("a search of two halves finds what a search of the whole finds", [
    fc.integer({ min: 0, max: 120_000 }),
    fc.integer({ min: 0, max: 120_000 })
  ], ([before, length]) => {
    const from = start - 300_000 + before
    const middle = from + Math.floor(length / 2)
    const whole = Telemetry.logs(fleet, "payment-api", from, from + length)
    expect([
      ...Telemetry.logs(fleet, "payment-api", from, middle),
      ...Telemetry.logs(fleet, "payment-api", middle, from + length)
    ]).toEqual(whole)
    expect(new Set(whole.map((line) => line.id)).size).toBe(whole.length)
  })

  it("logs the causes after the onset and nothing but requests before it", () => {
    const before = Telemetry.logs(fleet, "payment-api", start - 900_000, start - 300_000)
    const since = Telemetry.logs(fleet, "payment-api", start - 285_000, start).map((line) => line.message).join("\n")
    expect(before.length).toBeGreaterThan(10)
    expect(before.every((line) => line.level === "info")).toBe(true)
    expect(since).toContain("Connection timeout")
    expect(since).toContain("Database deadlock")
    expect(since).toContain("Stale cache entry")
  })

  it("alerts on what is wrong and on nothing else", () => {
    const alerts = Telemetry.monitors(fleet, start).filter((monitor) => monitor.status === "Alert")
    expect(alerts.map((monitor) => monitor.name)).toContain("High error rate on payment-api")
    expect(alerts.some((monitor) => monitor.service === "checkout-api")).toBe(false)
    const state = after(restart("payment-api", 0), reboot("payment-api-cache", 0))
    expect(
      Telemetry.monitors(state, start + 1_000).filter(({ service }) => service === "payment-api").map(({ status }) =>
        status
      )
    ).toEqual(["OK", "OK", "OK"])
  })
})
