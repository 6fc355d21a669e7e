/**
 * What a resumed run remembers, pure: for each step it comes to, whether to replay it, to execute it, or to stop because
 * the code is not the one that was begun.
 *
 * The run's own fiber is its main branch: there the order of steps is compared. Steps in fibers forked below it may
 * come in any order (a bounded pool hands out its work by who is free) and are matched by name alone.
 *
 * @since 0.1.0
 */
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import type { Step } from "./CheckpointStore.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Recorded = Step

/**
 * Where a run stands: what was recorded before this attempt, and what has been called in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** All recorded steps by `seq`, and those of the main branch. */
  readonly steps: ReadonlyArray<Recorded>
  readonly main: ReadonlyArray<Recorded>
  readonly byName: ReadonlyMap<string, Recorded>
  /** Names of the recorded steps that were called in this attempt. */
  readonly replayed: HashSet.HashSet<string>
  /** How many of `main` were, from its beginning. */
  readonly passed: number
  /** How often each name was called in this attempt, and in which branch. */
  readonly calls: HashMap.HashMap<string, { readonly times: number; readonly branch: Recorded["branch"] }>
}

/**
 * - `Replay`: the step has ended before, with `step.exit`
 * - `Execute`: the step is new; `name` is what it is recorded as
 * - `Mismatch`: the code asks for `called` where `recorded` was recorded
 * - `Duplicate`: a name is used twice where branches are concurrent, so that nobody could tell the two apart
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
 * A call of a step. `settled` says that every fiber forked so far has ended by itself: what they have recorded must have
 * been called.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly name: string
  readonly branch: Recorded["branch"]
  readonly settled: boolean
}

/**
 * The history of a run at the beginning of an attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (recorded: ReadonlyArray<Recorded>): History => {
  const steps = recorded.toSorted((a, b) => a.seq - b.seq)
  return {
    steps,
    main: steps.filter((step) => step.branch === "main"),
    byName: new Map(steps.map((step) => [step.name, step])),
    replayed: HashSet.empty(),
    passed: 0,
    calls: HashMap.empty()
  }
}

/**
 * What to do when the code comes to a step. In the main branch the second call of a name is recorded as `name#2`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const call = (
  history: History,
  { branch, name: base, settled }: Call
): readonly [history: History, decision: Decision] => {
  const before = Option.getOrUndefined(HashMap.get(history.calls, base))
  if (before !== undefined && (before.branch === "side" || branch === "side")) {
    return [history, { _tag: "Duplicate", name: base }]
  }
  const times = (before?.times ?? 0) + 1
  const name = times === 1 ? base : `${base}#${times}`
  const next = { ...history, calls: HashMap.set(history.calls, base, { times, branch }) }

  const due = history.main[history.passed]
  const found = history.byName.get(name)
  if (due !== undefined && due !== found && (branch === "main" || found?.branch === "main")) {
    return [history, { _tag: "Mismatch", called: name, recorded: due }]
  }
  if (found !== undefined) {
    return [{
      ...next,
      replayed: HashSet.add(history.replayed, name),
      passed: history.passed + (found === due ? 1 : 0)
    }, { _tag: "Replay", step: found }]
  }
  const left = leftover(history, settled)
  if (branch === "main" && left !== undefined) return [history, { _tag: "Mismatch", called: name, recorded: left }]
  return [next, { _tag: "Execute", name }]
}

/**
 * Takes back a call whose step ended without a record, so that it may be called again under its name.
 *
 * @since 0.1.0
 * @category decisions
 */
export const forget = (history: History, base: string): History => ({
  ...history,
  calls: HashMap.modifyAt(
    history.calls,
    base,
    Option.flatMap(({ branch, times }) => times > 1 ? Option.some({ branch, times: times - 1 }) : Option.none())
  )
})

/**
 * A recorded step that the code should have come to by now and did not, if there is one. Asked when the run ends.
 *
 * @since 0.1.0
 * @category decisions
 */
export const leftover = (history: History, settled: boolean): Recorded | undefined => {
  if (HashSet.size(history.replayed) === history.steps.length) return undefined
  return history.main[history.passed] ??
    (settled ? history.steps.find((step) => !HashSet.has(history.replayed, step.name)) : undefined)
}
