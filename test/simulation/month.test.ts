/**
 * A month of the chapter's mix of faults, for a fleet whose services are checked every 10 seconds, and the same month
 * with people alone. `SIMULATED_MONTHS=20` runs so many seeds, `SIMULATION_SEED` begins with another one.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fleet from "./fleet.js"
import * as Simulation from "./Simulation.js"

const days = 30
const months = Number(process.env["SIMULATED_MONTHS"] ?? 2)
const firstSeed = Number(process.env["SIMULATION_SEED"] ?? 1)
const seeds = Array.from({ length: months }, (_, i) => String(firstSeed + i))

const fleet = async (services: number, healing: boolean, seed: string) => {
  const exit = await Simulation.run(
    Effect.forEach(
      Array.from({ length: services }, (_, i) => `service-${i}`),
      (name) => Fleet.service(name, { healing, days, mendable: 8 }),
      { concurrency: "unbounded" }
    ),
    { seed }
  )
  if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
  return exit.value
}

const percent = (share: number) => `${(share * 100).toFixed(4)} %`

describe("a simulated month", () => {
  it.each(seeds)(
    "heals what a remedy can mend within seconds, and calls people once for the rest; seed %s",
    async (seed) => {
      const services = await fleet(2, true, seed)
      const { availability, faults, medianSeconds, mendableAvailability } = Fleet.summary(services, days)
      process.stdout.write(
        `seed ${seed}: ${faults} faults; up ${percent(mendableAvailability)} where a remedy exists ` +
          `(${percent(availability)} in all), median ${medianSeconds.toFixed(0)} s to recover\n`
      )
      expect(mendableAvailability).toBeGreaterThanOrEqual(0.9999)
      expect(medianSeconds).toBeLessThanOrEqual(30)
      const all = services.flat()
      expect(all.length).toBeGreaterThan(10)
      // a fault that lasts to the end may not have been seen yet
      for (
        const { from, kind, pages, remedies, until } of all.filter(({ from }) => from < days * 86_400_000 - 600_000)
      ) {
        expect(pages).toBe(kind === "permanent" ? 1 : 0)
        expect(remedies.get("reset") ?? 0).toBeLessThanOrEqual(Fleet.limits.reset)
        expect(remedies.get("restart") ?? 0).toBeLessThanOrEqual(Fleet.limits.restart)
        expect(until).toBeGreaterThan(from)
      }
    },
    300_000
  )

  it.each(seeds)("without Firebreak waits for people each time; seed %s", async (seed) => {
    const { availability, faults, medianSeconds, mendableAvailability } = Fleet.summary(
      await fleet(200, false, seed),
      days
    )
    process.stdout.write(
      `seed ${seed}, people alone: ${faults} faults of 200 services; up ${
        percent(mendableAvailability)
      } where a remedy ` +
        `would exist (${percent(availability)} in all), median ${(medianSeconds / 60).toFixed(0)} min to recover\n`
    )
    expect(mendableAvailability).toBeLessThan(0.996)
    expect(medianSeconds).toBeGreaterThan(15 * 60)
  })

  it("repeats itself by its seed", async () => {
    const run = () => fleet(20, false, "7")
    expect(await run()).toEqual(await run())
  })
})
