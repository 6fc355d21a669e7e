/** That the check of the ledger finds what it is there for. */
import { expect, it } from "vitest"
import { type Arrived, type Entry, journeySteps, type Step, violations, voyageSteps } from "./ledger.js"

const run = "run-0"

/** The entries of a run to which nothing happened. */
const whole = (steps: ReadonlyArray<Step>): ReadonlyArray<Arrived> => {
  const entries = steps.flatMap(({ effect, name, seen }): ReadonlyArray<Entry> => {
    const value = `value of ${name}`
    return [
      ...(effect === "none" ? [] : [{ op: "effect", run, step: name, key: `key of ${name}`, value, by: 1 } as const]),
      ...(seen ? [{ op: "saw", run, step: name, value } as const] : [])
    ]
  })
  const values = entries.flatMap((entry) => entry.op === "saw" ? [entry.value] : [])
  return [...entries, { op: "ended", run, values } as const].map((entry, i) => ({ ...entry, at: 100 * i }))
}

const indexOf = (entries: ReadonlyArray<Arrived>, op: Entry["op"], step: string) =>
  entries.findIndex((entry) => entry.op === op && "step" in entry && entry.step === step)

for (const steps of [journeySteps, voyageSteps]) {
  const first = steps[0]!.name
  const entries = whole(steps)
  const found = (entries: ReadonlyArray<Arrived>) => violations(entries, [run], steps).join("; ")

  it(`ledger: a run of ${steps.length} steps to which nothing happened is whole`, () => {
    expect(found(entries)).toBe("")
    // each result given again and again
    expect(found(entries.flatMap((entry): ReadonlyArray<Arrived> => entry.op === "saw" ? [entry, entry] : [entry])))
      .toBe("")
  })

  it(`ledger: in a run of ${steps.length} steps finds a step repeated, lost, under two keys, left out`, () => {
    const effect = entries[indexOf(entries, "effect", first)]!
    expect(found([...entries, effect])).toContain(`${run}/${first} was repeated after its end`)
    expect(
      found(
        entries.flatMap((entry): ReadonlyArray<Arrived> =>
          entry.op === "saw" ? [entry, { ...entry, value: "other" }] : [entry]
        )
      )
    )
      .toContain(`${run}/${first} was lost`)
    expect(found([{ ...effect, key: "another" } as Arrived, ...entries])).toContain("has 2 keys in the ledger, not 1")
    expect(found(entries.filter((entry) => !("step" in entry) || entry.step !== first))).toContain("came before")
    expect(found(entries.slice(0, -1))).toBe(`${run} never ended`)
  })

  it(`ledger: in a run of ${steps.length} steps finds an effect twice where it asks first`, () => {
    for (const { effect, name } of steps) {
      const at = indexOf(entries, "effect", name)
      const twice = entries.flatMap((entry, i) => i === at ? [entry, entry] : [entry])
      expect(found(twice)).toBe(effect === "once" ? `${run}/${name} arrived 2 times, not once` : "")
    }
  })
}

it("ledger: in a voyage finds compensations out of order or repeated, a sleep cut short, a signal not heard", () => {
  const entries = whole(voyageSteps)
  const found = (entries: ReadonlyArray<Arrived>) => violations(entries, [run], voyageSteps).join("; ")
  const [sail, load] = ["storm/undo-sail", "storm/undo-load"].map((name) => indexOf(entries, "effect", name))
  const swapped = entries.map((entry, i) => entries[i === sail ? load! : i === load ? sail! : i]!)
  expect(found(swapped)).toContain(`${run}/storm/undo-load came before storm/undo-sail`)
  expect(found(entries.toSpliced(load! + 1, 0, entries[sail!]!)))
    .toBe(`${run}/storm/undo-sail was repeated after storm/undo-load had begun`)
  expect(found(entries.map((entry, i) => ({ ...entry, at: i })))).toContain(`${run}/rest lasted 1 ms only`)
  const sent = (value: string): Arrived => ({ op: "sent", run, step: "depart", value, at: 0 })
  expect(found([...entries, sent("value of depart")])).toBe("")
  expect(found([...entries, sent("other")])).toBe(`${run} did not hear what was sent`)
  expect(found([...entries, sent("value of depart"), sent("value of depart")])).toBe(`${run}/depart was sent twice`)
})
