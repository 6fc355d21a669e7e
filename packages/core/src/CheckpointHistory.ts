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
import type { Step, StepKind } from "./CheckpointStore.js"

/**
 * A step of an earlier attempt: recorded at `seq`, or begun and not ended.
 *
 * @since 0.1.0
 * @category models
 */
export type Place = Pick<Step, "seq" | "name" | "kind" | "branch">

/**
 * Where a run stands: what was recorded before this attempt, and what has been called in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** All recorded steps by `seq`, and those of the main branch. */
  readonly steps: ReadonlyArray<Step>
  readonly main: ReadonlyArray<Step>
  readonly byName: ReadonlyMap<string, Step>
  /** Names of the recorded steps that were called in this attempt. */
  readonly replayed: HashSet.HashSet<string>
  /** How many of `main` were, from its beginning. */
  readonly passed: number
  /** Begun and not ended, in whatever attempt. */
  readonly begun: HashMap.HashMap<string, StepKind>
  /** Those of the main branch, begun in an earlier attempt, that this one has not come to. */
  readonly pending: ReadonlyArray<Place>
  /** How often each name was called in this attempt, and in which branch. */
  readonly calls: HashMap.HashMap<string, { readonly times: number; readonly branch: Step["branch"] }>
}

/**
 * - `Replay`: the step has ended before, with `step.exit`
 * - `Resume`: it was begun before, and has not ended; `name` is what it is recorded as
 * - `Execute`: the step is new; `name` is what it is recorded as
 * - `Mismatch`: the code asks for `called` where `recorded` was recorded
 * - `Duplicate`: a name is used twice where branches are concurrent, so that nobody could tell the two apart
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Replay"; readonly step: Step }
  | { readonly _tag: "Resume"; readonly name: string }
  | { readonly _tag: "Execute"; readonly name: string }
  | { readonly _tag: "Mismatch"; readonly called: string; readonly recorded: Place }
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
  readonly kind: StepKind
  readonly branch: Step["branch"]
  readonly settled: boolean
}

/**
 * The history of a run at the beginning of an attempt; `started` in the order in which they were.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  recorded: ReadonlyArray<Step>,
  started: ReadonlyArray<Omit<Place, "seq">> = []
): History => {
  const steps = recorded.toSorted((a, b) => a.seq - b.seq)
  const byName = new Map(steps.map((step) => [step.name, step]))
  const open = started.filter(({ name }) => !byName.has(name))
  return {
    steps,
    main: steps.filter((step) => step.branch === "main"),
    byName,
    replayed: HashSet.empty(),
    passed: 0,
    begun: HashMap.fromIterable(open.map(({ kind, name }) => [name, kind])),
    pending: open
      .filter(({ branch }) => branch === "main")
      .map(({ branch, kind, name }, i) => ({ seq: steps.length + i, name, kind, branch })),
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
  { branch, kind, name: base, settled }: Call
): readonly [history: History, decision: Decision] => {
  const before = Option.getOrUndefined(HashMap.get(history.calls, base))
  if (before !== undefined && (before.branch === "side" || branch === "side")) {
    return [history, { _tag: "Duplicate", name: base }]
  }
  const times = (before?.times ?? 0) + 1
  const name = times === 1 ? base : `${base}#${times}`
  const calls = HashMap.set(history.calls, base, { times, branch })

  const due = history.main[history.passed]
  const found = history.byName.get(name)
  // a step that was begun and never ended may lie before one that has
  const isPending = found === undefined && history.pending[0]?.name === name
  if (due !== undefined && due !== found && !isPending && (branch === "main" || found?.branch === "main")) {
    return [history, { _tag: "Mismatch", called: name, recorded: due }]
  }
  if (found !== undefined) {
    if (found.kind !== kind) return [history, { _tag: "Mismatch", called: name, recorded: found }]
    return [{
      ...history,
      calls,
      replayed: HashSet.add(history.replayed, name),
      passed: history.passed + (found === due ? 1 : 0)
    }, { _tag: "Replay", step: found }]
  }
  const expected = isPending ? history.pending[0] : leftoverStep(history, settled) ?? history.pending[0]
  if (branch === "main" && expected !== undefined && (expected.name !== name || expected.kind !== kind)) {
    return [history, { _tag: "Mismatch", called: name, recorded: expected }]
  }
  const begun = HashMap.get(history.begun, name)
  if (Option.isNone(begun)) return [{ ...history, calls }, { _tag: "Execute", name }]
  if (begun.value !== kind) {
    const recorded: Place = { seq: history.steps.length, name, kind: begun.value, branch }
    return [history, { _tag: "Mismatch", called: name, recorded }]
  }
  const pending = history.pending.filter((place) => place.name !== name)
  return [{ ...history, calls, pending }, { _tag: "Resume", name }]
}

/**
 * Notes that a step was begun durably: until it has ended it is in doubt, in this attempt too.
 *
 * @since 0.1.0
 * @category decisions
 */
export const begin = (history: History, name: string, kind: StepKind): History => ({
  ...history,
  begun: HashMap.set(history.begun, name, kind)
})

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
 * A step of an earlier attempt that the code should have come to by now and did not, if there is one. Asked when the run
 * ends.
 *
 * @since 0.1.0
 * @category decisions
 */
export const leftover = (history: History, settled: boolean): Place | undefined =>
  leftoverStep(history, settled) ?? history.pending[0]

/**
 * Whether every recorded step, or every one before `seq`, has been called in this attempt.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isReplayed = (history: History, seq = Infinity): boolean =>
  HashSet.size(history.replayed) === history.steps.length ||
  history.steps.every((step) => step.seq >= seq || HashSet.has(history.replayed, step.name))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const leftoverStep = (history: History, settled: boolean): Step | undefined => {
  if (HashSet.size(history.replayed) === history.steps.length) return undefined
  return history.main[history.passed] ??
    (settled ? history.steps.find((step) => !HashSet.has(history.replayed, step.name)) : undefined)
}
