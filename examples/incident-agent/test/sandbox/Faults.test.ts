import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import type { Fault } from "../../src/sandbox/Faults.js"
import * as Faults from "../../src/sandbox/Faults.js"

const call = { vendor: "datadog", operation: "queryMetrics" } as const

const fault: fc.Arbitrary<Fault> = fc.record({
  vendor: fc.constantFrom("datadog" as const, "loki" as const),
  kind: fc.constant("hang" as const),
  rate: fc.double({ min: 0, max: 1, noNaN: true }),
  count: fc.integer({ min: 1, max: 3 })
})

describe("Faults.strike", () => {
  it("takes the first that fits vendor and operation", () => {
    const faults: ReadonlyArray<Fault> = [
      { vendor: "loki", kind: "hang" },
      { vendor: "datadog", operation: "searchLogs", kind: "hang" },
      { vendor: "datadog", operation: "queryMetrics", kind: "reset" },
      { vendor: "datadog", kind: "hang" }
    ]
    expect(Faults.strike(faults, call, [0, 0, 0, 0])).toEqual([faults, faults[2]])
  })

  it("strikes as often as its count says", () => {
    let faults: ReadonlyArray<Fault> = [{ vendor: "datadog", kind: "reset", count: 2 }]
    const struck: Array<boolean> = []
    for (let i = 0; i < 4; i++) {
      const [remaining, fault] = Faults.strike(faults, call, [0])
      struck.push(fault !== undefined)
      faults = remaining
    }
    expect(struck).toEqual([true, true, false, false])
    expect(faults).toEqual([])
  })

  it("strikes when the draw is below its rate, and passes on to the next when not", () => {
    const faults: ReadonlyArray<Fault> = [
      { vendor: "datadog", kind: "hang", rate: 0.3 },
      { vendor: "datadog", kind: "reset", rate: 0.3 }
    ]
    expect(Faults.strike(faults, call, [0.29, 0])[1]).toBe(faults[0])
    expect(Faults.strike(faults, call, [0.3, 0.29])[1]).toBe(faults[1])
    expect(Faults.strike(faults, call, [0.3, 0.3])[1]).toBeUndefined()
  })

  it.prop("uses up exactly one strike of one fitting fault", [
    fc.array(fault, { maxLength: 5 }),
    fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 5, maxLength: 5 })
  ], ([faults, draws]) => {
    const total = (all: ReadonlyArray<Fault>) => all.reduce((sum, fault) => sum + (fault.count ?? 0), 0)
    const [remaining, struck] = Faults.strike(faults, call, draws)
    expect(total(faults) - total(remaining)).toBe(struck === undefined ? 0 : 1)
    expect(remaining.every((fault) => (fault.count ?? 1) > 0)).toBe(true)
    if (struck !== undefined) expect(struck.vendor).toBe("datadog")
  })
})
