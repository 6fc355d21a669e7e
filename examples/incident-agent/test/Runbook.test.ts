import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import { type Cause, CauseName, Diagnosis, type Symptom } from "../src/Diagnosis.js"
import * as Runbook from "../src/Runbook.js"

const cause = (name: CauseName, confidence = 1): Cause => ({ name, confidence, evidence: [] })

const diagnosis = (causes: ReadonlyArray<Cause>, symptoms: ReadonlyArray<Symptom> = []) =>
  new Diagnosis({ onset: null, symptoms, causes })

const causes = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom(...CauseName.literals),
    confidence: fc.double({ min: 0, max: 1, noNaN: true }),
    evidence: fc.constant([])
  }),
  { selector: ({ name }) => name }
)

describe("Runbook", () => {
  it("restarts pods for dead connections, clears the cache for a stale one", () => {
    expect(Runbook.plan(diagnosis([cause("dead-connections")]), 7)).toEqual(
      new Runbook.Plan({ decidedAt: 7, finding: "dead-connections (100 %)", actions: ["restart_pods"] })
    )
    expect(Runbook.plan(diagnosis([cause("stale-cache", 0.7)]), 7)).toMatchObject({
      finding: "stale-cache (70 %)",
      actions: ["clear_cache"]
    })
  })

  it("restarts pods before it clears the cache, whichever cause is surer", () => {
    const both = diagnosis([cause("stale-cache"), cause("dead-connections", 0.8)])
    expect(Runbook.plan(both, 0).actions).toEqual(["restart_pods", "clear_cache"])
  })

  it("says what is unusual when it knows no cause", () => {
    expect(Runbook.plan(diagnosis([]), 0)).toMatchObject({ finding: "nothing unusual in the data", actions: [] })
    const symptom: Symptom = { metric: "memory", before: 50, after: 90, score: 12.3 }
    expect(Runbook.plan(diagnosis([], [symptom]), 0)).toMatchObject({
      finding: "no known cause; worst symptom memory (score 12.3)",
      actions: []
    })
  })

  it.prop("does nothing where any cause asks for a human, and else what each cause asks for, once", [causes], (
    [found]
  ) => {
    const { actions } = Runbook.plan(diagnosis(found), 0)
    const remedies = found.map(({ name }) => Runbook.runbooks[name])
    expect(new Set(actions)).toEqual(new Set(remedies.includes("ask-a-human") ? [] : remedies))
    expect(new Set(actions).size).toBe(actions.length)
  })
})
