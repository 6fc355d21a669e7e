/**
 * When a supervisor restarts a child, how long it waits before, and when it gives up: the decisions of `Supervision`, pure.
 * Times are milliseconds of the monotonic clock.
 *
 * @since 0.1.0
 */

/**
 * Which children are restarted when one has ended: that one, all of them, or that one and those after it.
 *
 * @see https://www.erlang.org/doc/system/sup_princ.html#restart-strategy
 * @since 0.1.0
 * @category options
 */
export type Strategy = "one-for-one" | "one-for-all" | "rest-for-one"

/**
 * After which end a child is restarted: `permanent` after any, `transient` only after one that was not a success,
 * `temporary` never.
 *
 * @since 0.1.0
 * @category options
 */
export type Restart = "permanent" | "transient" | "temporary"

/**
 * @since 0.1.0
 * @category options
 */
export interface Settings {
  readonly strategy: Strategy
  /** The children in the order of their start, and when each is restarted. */
  readonly children: ReadonlyMap<string, Restart>
  /** Restarts within `within` that are granted; one more and the supervisor gives up. */
  readonly maxRestarts: number
  readonly within: number
  /** The wait before the second restart of a child in a row; the first is at once. */
  readonly base: number
  readonly factor: number
  readonly cap: number
  /** A child that ran for so long begins anew. */
  readonly resetAfter: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface State {
  /** When the restarts within `within` were granted. */
  readonly granted: ReadonlyArray<number>
  /** Restarts in a row of each child that has had one. */
  readonly inARow: ReadonlyMap<string, number>
}

/**
 * - `Restart`: these children, in this order, after so many milliseconds; those that still run are stopped first, in
 *   reverse order
 * - `Leave`: the child has ended for good
 * - `GiveUp`: too many restarts within the time
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Restart"; readonly children: ReadonlyArray<string>; readonly after: number }
  | { readonly _tag: "Leave" }
  | { readonly _tag: "GiveUp"; readonly restarts: number }

/**
 * No child has ended yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial: State = { granted: [], inARow: new Map() }

/**
 * What to do when a child has ended by itself after it ran for `ran` milliseconds.
 *
 * @since 0.1.0
 * @category decisions
 */
export const ended = (
  state: State,
  { child, failed, now, ran }: {
    readonly child: string
    readonly failed: boolean
    readonly ran: number
    readonly now: number
  },
  settings: Settings
): readonly [state: State, decision: Decision] => {
  const kind = settings.children.get(child)
  if (kind === undefined || kind === "temporary" || (kind === "transient" && !failed)) {
    return [state, { _tag: "Leave" }]
  }
  const recent = state.granted.filter((at) => now - at < settings.within)
  if (recent.length >= settings.maxRestarts) {
    return [{ ...state, granted: recent }, { _tag: "GiveUp", restarts: recent.length }]
  }
  const before = ran >= settings.resetAfter ? 0 : state.inARow.get(child) ?? 0
  return [
    { granted: [...recent, now], inARow: new Map(state.inARow).set(child, before + 1) },
    { _tag: "Restart", children: affected(child, settings), after: delay(before, settings) }
  ]
}

/**
 * The wait before a restart that follows so many in a row: none, then `base`, growing by `factor`, at most `cap`. It is
 * the back-off of Kubernetes' CrashLoopBackOff.
 *
 * @see https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
 * @since 0.1.0
 * @category decisions
 */
export const delay = (
  inARow: number,
  { base, cap, factor }: Pick<Settings, "base" | "cap" | "factor">
): number => inARow === 0 ? 0 : Math.min(cap, base * factor ** (inARow - 1))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const affected = (child: string, { children, strategy }: Settings): ReadonlyArray<string> => {
  const names = Array.from(children.keys())
  switch (strategy) {
    case "one-for-one":
      return [child]
    case "rest-for-one":
      return names.slice(names.indexOf(child))
    case "one-for-all":
      return names
  }
}
