/**
 * Metrics whose value is read when somebody takes a snapshot: from the live parts of one name, and from what those that
 * are gone had counted.
 *
 * A metric of Effect is a hook in a registry, and a snapshot calls each hook's `get`. For the metrics of parts that
 * function is replaced by one which asks the parts; so a call costs nothing, nothing runs in between, and whoever takes
 * snapshots (OpenTelemetry, Prometheus, a test) sees what is true at that moment.
 */
import type * as Clock from "effect/Clock"
import * as MetricState from "effect/MetricState"
import * as MetricCatalog from "../MetricCatalog.js"
import type { Measure } from "../Telemetry.js"
import { hookOf } from "./metricHooks.js"

/** One part. It is held weakly: whoever made it decides how long it lives. */
interface Entry {
  readonly part: WeakRef<object>
  readonly clock: Clock.Clock
  /** Who measures it. */
  readonly owner: object
  /** What each of its counters said when it was last read. */
  readonly counted: Array<number>
}

/** The parts of one kind and one name: their gauges add up, and their counters never fall. */
class Group {
  private readonly entries = new Set<Entry>()
  private readonly totals: Array<number>
  /** How many parts there may be before those that are gone are looked for. */
  private room = 16

  constructor(name: string, private readonly measures: ReadonlyArray<Measure<any>>) {
    this.totals = measures.map(() => 0)
    measures.forEach(([metric, tags], i) => {
      const hook = hookOf(metric, { name, ...tags })
      hook.get = isCounter(metric)
        ? () => (this.read(i), MetricState.counter(this.totals[i]!) as never)
        : () => MetricState.gauge(this.read(i)) as never
    })
  }

  add(part: object, clock: Clock.Clock, owner: object): void {
    if (this.entries.size >= this.room) {
      this.read(0)
      this.room = 16 + 2 * this.entries.size
    }
    this.entries.add({ part: new WeakRef(part), clock, owner, counted: this.measures.map(() => 0) })
  }

  /** What the owner's parts have counted stays. */
  release(owner: object): void {
    this.measures.forEach((_, i) => this.read(i))
    for (const entry of this.entries) if (entry.owner === owner) this.entries.delete(entry)
  }

  /** The sum over the live parts; of a counter, what is new goes into its total. */
  private read(i: number): number {
    const [metric, , value] = this.measures[i]!
    let sum = 0
    for (const entry of this.entries) {
      const part = entry.part.deref()
      if (part === undefined) {
        this.entries.delete(entry)
        continue
      }
      const now = value(part, Number(entry.clock.unsafeCurrentTimeNanos()) / 1e6)
      sum += now
      if (!isCounter(metric)) continue
      this.totals[i]! += Math.max(0, now - entry.counted[i]!)
      entry.counted[i] = now
    }
    return sum
  }
}

const isCounter = (metric: MetricCatalog.Name): boolean => MetricCatalog.catalog[metric].type === "counter"

/** As Effect's registry of metrics there is one for the process: the groups of each kind by name. */
const kinds = new Map<ReadonlyArray<Measure<any>>, Map<string, Group>>()

/** Lets a part be measured until its owner is released. */
export const observe = <P extends object>(
  part: P,
  name: string,
  measures: ReadonlyArray<Measure<P>>,
  clock: Clock.Clock,
  owner: object
): void => {
  let groups = kinds.get(measures)
  if (groups === undefined) kinds.set(measures, groups = new Map())
  let group = groups.get(name)
  if (group === undefined) groups.set(name, group = new Group(name, measures))
  group.add(part, clock, owner)
}

export const release = (owner: object): void => {
  for (const groups of kinds.values()) for (const group of groups.values()) group.release(owner)
}
