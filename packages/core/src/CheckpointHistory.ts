/**
 * What a resumed run remembers, pure: for each step it comes to, whether to replay it, to execute it, or to stop because
 * the code is not the one that was begun.
 *
 * The run's own fiber is its main branch: there the order of steps is compared. Steps in fibers forked below it may
 * come in any order and are matched by name alone.
 *
 * @since 0.1.0
 */
import type { Step } from "./CheckpointStore.js"

/**
 * A recorded step and the branch it ran in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recorded extends Step {
  readonly branch: "main" | "side"
}

/**
 * Where a run stands: what was recorded before this attempt, and what has been called in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** Recorded steps not called yet in this attempt, by name, oldest first. */
  readonly pending: ReadonlyMap<string, Recorded>
  /** How often each name was called in this attempt. */
  readonly calls: ReadonlyMap<string, number>
}

/**
 * - `Replay`: the step has ended before, with `step.exit`
 * - `Execute`: the step is new; `name` is what it is recorded as
 * - `Mismatch`: the code asks for `called` where `recorded` was recorded
 * - `Duplicate`: concurrent branches use one name twice, so that nobody could tell them apart after a crash
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Replay"; readonly step: Recorded }
  | { readonly _tag: "Execute"; readonly name: string }
  | { readonly _tag: "Mismatch"; readonly called: string; readonly recorded: Recorded }
  | { readonly _tag: "Duplicate"; readonly name: string }

/**
 * The history of a run at the beginning of an attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (recorded: ReadonlyArray<Recorded>): History => ({
  pending: new Map(recorded.toSorted((a, b) => a.seq - b.seq).map((step) => [step.name, step])),
  calls: new Map()
})

/**
 * What to do when the code comes to a step. In the main branch the second call of a name is recorded as `name#2`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const call = (
  history: History,
  base: string,
  branch: Recorded["branch"]
): readonly [history: History, decision: Decision] => {
  const times = (history.calls.get(base) ?? 0) + 1
  if (branch === "side" && times > 1) return [history, { _tag: "Duplicate", name: base }]
  const name = times === 1 ? base : `${base}#${times}`
  const calls = new Map(history.calls).set(base, times)
  const step = history.pending.get(name)
  if (branch === "main") {
    const due = firstOfMain(history)
    if (due !== undefined && due.name !== name) return [history, { _tag: "Mismatch", called: name, recorded: due }]
  }
  if (step === undefined) return [{ ...history, calls }, { _tag: "Execute", name }]
  const pending = new Map(history.pending)
  pending.delete(name)
  return [{ pending, calls }, { _tag: "Replay", step }]
}

/**
 * A recorded step that the code never came to, if there is one: asked when the run ends.
 *
 * @since 0.1.0
 * @category decisions
 */
export const leftover = (history: History): Recorded | undefined => history.pending.values().next().value

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const firstOfMain = ({ pending }: History): Recorded | undefined => {
  for (const step of pending.values()) {
    if (step.branch === "main") return step
  }
  return undefined
}
