/**
 * What reached the world, held by another process than those that are killed: a line of JSON for each thing told, in the
 * order of arrival. `effect` is something done to the world under a key; `saw` says that the program has been given a
 * step's result, `ended` that of the run. From their order follows whether anything was lost or done twice.
 */
export type Entry =
  | {
    readonly op: "effect"
    readonly run: string
    readonly step: string
    readonly key: string
    readonly value: string
    readonly by: number
  }
  | { readonly op: "saw"; readonly run: string; readonly step: string; readonly value: string }
  | { readonly op: "ended"; readonly run: string; readonly values: ReadonlyArray<string> }

/**
 * What a ledger can be asked: the value that arrived under a key, all entries, how many others are connected; and to hold
 * back its answers once so many effects have arrived (`waiting` says how many those are), to answer what comes after
 * (`pass`), and to release what it held.
 */
export type Request =
  | Entry
  | { readonly op: "find"; readonly key: string }
  | { readonly op: "entries" }
  | { readonly op: "others" }
  | { readonly op: "hold"; readonly after: number }
  | { readonly op: "waiting" }
  | { readonly op: "pass" }
  | { readonly op: "release" }

/** What is wrong with the entries of runs that should all have ended; nothing if all is well. */
export const violations = (
  entries: ReadonlyArray<Entry>,
  runs: ReadonlyArray<string>,
  steps: ReadonlyArray<{ readonly name: string; readonly probed: boolean }>
): ReadonlyArray<string> => {
  const found: Array<string> = []
  const seen = new Map<string, string>()
  const keys = new Map<string, string>()
  const arrivals = new Map<string, number>()
  const ended = new Map<string, string>()
  for (const entry of entries) {
    if (entry.op === "ended") {
      const values = entry.values.join()
      const before = ended.get(entry.run)
      if (before !== undefined && before !== values) found.push(`${entry.run} ended twice, differently`)
      const saw = steps.map(({ name }) => seen.get(`${entry.run}/${name}`)).join()
      if (saw !== values) found.push(`${entry.run} ended with other results than its steps had`)
      ended.set(entry.run, values)
      continue
    }
    const step = `${entry.run}/${entry.step}`
    const before = seen.get(step)
    if (entry.op === "saw") {
      if (before !== undefined && before !== entry.value) found.push(`${step} was lost: it had another result before`)
      seen.set(step, entry.value)
      continue
    }
    if (before !== undefined) found.push(`${step} was repeated after its end`)
    const owner = keys.get(entry.key)
    if (owner !== undefined && owner !== step) found.push(`${owner} and ${step} have one key`)
    keys.set(entry.key, step)
    arrivals.set(step, (arrivals.get(step) ?? 0) + 1)
  }
  const keysOf = new Map<string, number>()
  for (const step of keys.values()) keysOf.set(step, (keysOf.get(step) ?? 0) + 1)
  for (const run of runs) {
    if (!ended.has(run)) found.push(`${run} never ended`)
    for (const { name, probed } of steps) {
      const step = `${run}/${name}`
      if (keysOf.get(step) !== 1) found.push(`${step} has ${keysOf.get(step) ?? 0} keys in the ledger, not one`)
      if (probed && arrivals.get(step) !== 1) found.push(`${step} arrived ${arrivals.get(step) ?? 0} times, not once`)
    }
  }
  return found
}
