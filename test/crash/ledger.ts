/**
 * What reached the world, held by another process than those that are killed: a line of JSON for each thing told, in the
 * order of arrival. `effect` is something done to the world under a key; `saw` says that the program has been given a
 * step's result, `ended` that of the run, `sent` that somebody was told his signal was heard. From their order follows
 * whether anything was lost or done twice.
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
  | { readonly op: "sent"; readonly run: string; readonly step: string; readonly value: string }
  | { readonly op: "ended"; readonly run: string; readonly values: ReadonlyArray<string> }

/** An entry with the time it came, in milliseconds of the ledger's own monotonic clock. */
export type Arrived = Entry & { readonly at: number }

/**
 * What a ledger can be asked: the value that arrived under a key, all entries or how many, how many others are connected; and to hold
 * back its answers once so many effects have arrived (`waiting` says how many those are), to answer what comes after
 * (`pass`), and to release what it held.
 */
export type Request =
  | Entry
  | { readonly op: "find"; readonly key: string }
  | { readonly op: "entries" }
  | { readonly op: "count" }
  | { readonly op: "others" }
  | { readonly op: "hold"; readonly after: number }
  | { readonly op: "waiting" }
  | { readonly op: "pass" }
  | { readonly op: "release" }

/** What is to be found of a step. */
export interface Step {
  readonly name: string
  /** Whether its effect arrives: once, at least once under one key, or not at all, for it has none. */
  readonly effect: "once" | "some" | "none"
  /** Whether the program is given its result, which a compensation has not. */
  readonly seen: boolean
  /** Milliseconds from the step before it to its end, at least. */
  readonly lasts?: number
}

/** Ten plain steps; every third asks first whether it happened. */
export const journeySteps: ReadonlyArray<Step> = Array.from({ length: 10 }, (_, i) => ({
  name: `step-${i}`,
  effect: i % 3 === 2 ? "once" : "some",
  seen: true
}))

/** How long a voyage rests. */
export const restMillis = 20

/** One step of every kind, in the order in which they must come. */
export const voyageSteps: ReadonlyArray<Step> = [
  { name: "pack", effect: "some", seen: true },
  { name: "book", effect: "none", seen: true },
  // timers have whole milliseconds
  { name: "rest", effect: "none", seen: true, lasts: restMillis - 2 },
  { name: "depart", effect: "none", seen: true },
  { name: "calm/load", effect: "some", seen: true },
  { name: "calm/sail", effect: "some", seen: true },
  { name: "calm", effect: "none", seen: true },
  { name: "storm/load", effect: "some", seen: true },
  { name: "storm/sail", effect: "some", seen: true },
  { name: "storm/undo-sail", effect: "some", seen: false },
  { name: "storm/undo-load", effect: "some", seen: false },
  { name: "storm", effect: "none", seen: true },
  { name: "unpack", effect: "some", seen: true }
]

/** What is wrong with the entries of runs of these steps that should all have ended; nothing if all is well. */
export const violations = (
  entries: ReadonlyArray<Arrived>,
  runs: ReadonlyArray<string>,
  steps: ReadonlyArray<Step>
): ReadonlyArray<string> => {
  const place = new Map(steps.map(({ name }, i) => [name, i]))
  const histories = new Map(runs.map((run) => [run, new History(run, steps, place)]))
  const keys = new Map<string, string>()
  const found: Array<string> = []
  for (const entry of entries) {
    if (entry.op === "effect") {
      const step = `${entry.run}/${entry.step}`
      const owner = keys.get(entry.key)
      if (owner !== undefined && owner !== step) found.push(`${owner} and ${step} have one key`)
      keys.set(entry.key, step)
    }
    histories.get(entry.run)?.add(entry)
  }
  for (const history of histories.values()) found.push(...history.end())
  return found
}

/** What has become known of one run. */
class History {
  private readonly found: Array<string> = []
  private readonly seen = new Map<string, Arrived & { readonly op: "saw" }>()
  private readonly keys = new Map<string, Set<string>>()
  private readonly arrivals = new Map<string, number>()
  /** The last step that anything is known of. It has begun, so all before it have ended. */
  private latest = -1
  private ended: string | undefined
  private sent: string | undefined

  constructor(
    private readonly run: string,
    private readonly steps: ReadonlyArray<Step>,
    private readonly place: ReadonlyMap<string, number>
  ) {}

  add(entry: Arrived): void {
    const { found, run, seen, steps } = this
    if (entry.op === "ended") {
      const values = entry.values.join()
      if (this.ended !== undefined && this.ended !== values) found.push(`${run} ended twice, differently`)
      const saw = steps.filter((step) => step.seen).map(({ name }) => seen.get(name)?.value).join()
      if (saw !== values) found.push(`${run} ended with other results than its steps had`)
      this.ended = values
      return
    }
    if (entry.op === "sent") {
      if (this.sent !== undefined) found.push(`${run}/${entry.step} was sent twice`)
      this.sent = entry.value
      return
    }
    const { step } = entry
    const at = this.place.get(step)
    if (at === undefined) {
      found.push(`${run}/${step} is no step`)
      return
    }
    if (at > this.latest + 1) found.push(`${run}/${step} came before ${steps[this.latest + 1]?.name}`)
    const before = seen.get(step)
    if (entry.op === "saw") {
      if (before !== undefined && before.value !== entry.value) {
        found.push(`${run}/${step} was lost: it had another result before`)
      }
      if (before === undefined) {
        seen.set(step, entry)
        const lasted = entry.at - (seen.get(steps[at - 1]?.name ?? "")?.at ?? -Infinity)
        if (lasted < (steps[at]?.lasts ?? 0)) found.push(`${run}/${step} lasted ${lasted} ms only`)
      }
    } else {
      if (before !== undefined) found.push(`${run}/${step} was repeated after its end`)
      else if (at < this.latest) found.push(`${run}/${step} was repeated after ${steps[this.latest]?.name} had begun`)
      this.keys.set(step, (this.keys.get(step) ?? new Set()).add(entry.key))
      this.arrivals.set(step, (this.arrivals.get(step) ?? 0) + 1)
    }
    this.latest = Math.max(this.latest, at)
  }

  end(): ReadonlyArray<string> {
    const { found, run, seen, sent } = this
    if (this.ended === undefined) found.push(`${run} never ended`)
    for (const { effect, name } of this.steps) {
      const [keys, arrivals] = [this.keys.get(name)?.size ?? 0, this.arrivals.get(name) ?? 0]
      const expected = effect === "none" ? 0 : 1
      if (keys !== expected) found.push(`${run}/${name} has ${keys} keys in the ledger, not ${expected}`)
      if (effect === "once" && arrivals !== 1) found.push(`${run}/${name} arrived ${arrivals} times, not once`)
    }
    if (sent !== undefined && seen.get("depart")?.value !== sent) found.push(`${run} did not hear what was sent`)
    return found
  }
}
