/**
 * When a program runs in circles: the rules of a `LoopGuard`, pure. Times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 */

/**
 * What is allowed before the guard stops the program. `Infinity` switches a limit off.
 *
 * @since 0.1.0
 * @category options
 */
export interface Limits {
  readonly maxSteps: number
  /** Milliseconds since the beginning. */
  readonly maxTime: number
  /** In whatever unit costs are given. */
  readonly maxCost: number
  /** How often one action may be taken within `within`. */
  readonly maxRepeats: number
  /** How often a cycle of states may be gone through, one after the other and within `within`. */
  readonly maxCycles: number
  /** The most states of a cycle that is recognised. */
  readonly longestCycle: number
  /** Actions in a row that may leave the best measure as it was. Nothing is stalled before the first measure. */
  readonly maxStalled: number
  /** Milliseconds; repeats and cycles that are older do not count. */
  readonly within: number
}

/**
 * What the program tells the guard.
 *
 * - `Action`: it is about to do something; `fingerprint` is the same for the same thing
 * - `Spent`: it has spent something
 * - `State`: it is in this state now; the state it is in already says nothing new
 * - `Progress`: how far it has come, more being better
 *
 * @since 0.1.0
 * @category models
 */
export type Observation =
  | { readonly _tag: "Action"; readonly action: string; readonly fingerprint: string; readonly cost: number }
  | { readonly _tag: "Spent"; readonly cost: number }
  | { readonly _tag: "State"; readonly state: string }
  | { readonly _tag: "Progress"; readonly measure: number }

/**
 * Why it was stopped.
 *
 * - `StepsUsedUp`, `TimeUsedUp`, `CostUsedUp`: a budget is spent
 * - `ActionRepeated`: `action` has been taken `times` within `withinMillis` and was about to be taken again
 * - `StatesCycled`: the states of `cycle`, in this order, came `times` in a row
 * - `NoProgress`: the last `steps` actions did not improve on `best`
 *
 * @since 0.1.0
 * @category models
 */
export type Evidence =
  | { readonly _tag: "StepsUsedUp"; readonly steps: number }
  | { readonly _tag: "TimeUsedUp"; readonly elapsedMillis: number; readonly limitMillis: number }
  | { readonly _tag: "CostUsedUp"; readonly cost: number; readonly limit: number }
  | {
    readonly _tag: "ActionRepeated"
    readonly action: string
    readonly fingerprint: string
    readonly times: number
    readonly withinMillis: number
  }
  | { readonly _tag: "StatesCycled"; readonly cycle: ReadonlyArray<string>; readonly times: number }
  | { readonly _tag: "NoProgress"; readonly steps: number; readonly best: number }

/**
 * What a guard remembers.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly startedAt: number
  readonly steps: number
  readonly cost: number
  /** The actions that still count as repeats, the last 1,000 of them, oldest first. */
  readonly actions: ReadonlyArray<{ readonly action: string; readonly fingerprint: string; readonly at: number }>
  /** As many states as the longest cycle needs, oldest first, no two neighbours alike. */
  readonly states: ReadonlyArray<{ readonly state: string; readonly at: number }>
  readonly best: number | undefined
  /** Actions since `best` was reached. */
  readonly stalled: number
  readonly stopped: Evidence | undefined
}

/**
 * How many actions are remembered.
 *
 * @since 0.1.0
 * @category options
 */
export const memory = 1_000

/**
 * Nothing done yet, apart from actions of an earlier run that may count as repeats.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial = (now: number, earlier: State["actions"] = []): State => ({
  startedAt: now,
  steps: 0,
  cost: 0,
  actions: earlier,
  states: [],
  best: undefined,
  stalled: 0,
  stopped: undefined
})

/**
 * The state after an observation, and the evidence if the program has to stop. An action that is refused is not counted;
 * once stopped, everything is refused with the same evidence.
 *
 * @since 0.1.0
 * @category decisions
 */
export const step = (
  state: State,
  observation: Observation,
  now: number,
  limits: Limits
): readonly [state: State, evidence: Evidence | undefined] => {
  if (state.stopped !== undefined) return [state, state.stopped]
  const elapsedMillis = now - state.startedAt
  if (elapsedMillis > limits.maxTime) {
    return stop(state, { _tag: "TimeUsedUp", elapsedMillis, limitMillis: limits.maxTime })
  }
  switch (observation._tag) {
    case "Action":
      return act(state, observation, now, limits)
    case "Spent":
      return spend(state, observation.cost, limits)
    case "State":
      return enter(state, observation.state, now, limits)
    case "Progress":
      return state.best === undefined || observation.measure > state.best
        ? [{ ...state, best: observation.measure, stalled: 0 }, undefined]
        : [state, undefined]
  }
}

/**
 * The shortest block of at least two states that ends the list `times` in a row, if there is one.
 *
 * @since 0.1.0
 * @category decisions
 */
export const cycleOf = (
  states: ReadonlyArray<string>,
  times: number,
  longest: number
): ReadonlyArray<string> | undefined => {
  for (let length = 2; length <= longest; length++) {
    const start = states.length - length * times
    if (start < 0) return undefined
    const repeats = states.slice(start + length).every((state, i) => state === states[start + i])
    if (repeats) return states.slice(start, start + length)
  }
  return undefined
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Answer = readonly [state: State, evidence: Evidence | undefined]

const stop = (state: State, evidence: Evidence): Answer => [{ ...state, stopped: evidence }, evidence]

const act = (
  state: State,
  { action, cost, fingerprint }: Observation & { readonly _tag: "Action" },
  now: number,
  limits: Limits
): Answer => {
  if (state.steps >= limits.maxSteps) return stop(state, { _tag: "StepsUsedUp", steps: state.steps })
  if (state.cost + cost > limits.maxCost) {
    return stop(state, { _tag: "CostUsedUp", cost: state.cost + cost, limit: limits.maxCost })
  }
  if (state.best !== undefined && state.stalled >= limits.maxStalled) {
    return stop(state, { _tag: "NoProgress", steps: state.stalled, best: state.best })
  }
  const recent = state.actions.filter(({ at }) => now - at < limits.within)
  const times = recent.filter((_) => _.fingerprint === fingerprint).length
  if (times >= limits.maxRepeats) {
    return stop(state, { _tag: "ActionRepeated", action, fingerprint, times, withinMillis: limits.within })
  }
  return [{
    ...state,
    steps: state.steps + 1,
    cost: state.cost + cost,
    // where repeats are not limited, nothing has to be remembered
    actions: limits.maxRepeats === Infinity ? [] : [...recent.slice(1 - memory), { action, fingerprint, at: now }],
    stalled: state.stalled + 1
  }, undefined]
}

const spend = (state: State, spent: number, limits: Limits): Answer => {
  const cost = state.cost + spent
  const next = { ...state, cost }
  return cost > limits.maxCost ? stop(next, { _tag: "CostUsedUp", cost, limit: limits.maxCost }) : [next, undefined]
}

const enter = (state: State, entered: string, now: number, limits: Limits): Answer => {
  if (state.states.at(-1)?.state === entered || limits.maxCycles === Infinity) return [state, undefined]
  const states = [...state.states.filter(({ at }) => now - at < limits.within), { state: entered, at: now }]
    .slice(-limits.longestCycle * limits.maxCycles)
  const cycle = cycleOf(states.map((_) => _.state), limits.maxCycles, limits.longestCycle)
  return cycle === undefined
    ? [{ ...state, states }, undefined]
    : stop({ ...state, states }, { _tag: "StatesCycled", cycle, times: limits.maxCycles })
}
