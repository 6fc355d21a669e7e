/**
 * Which of several implementations is active: the decisions of `Failover`, pure. Implementations are numbered in their
 * order, 0 being the primary; times are milliseconds of the monotonic clock.
 *
 * A failing implementation is left as soon as it is known to fail. The way back to the primary is slow: it must be well so
 * many times in a row, the backup must have been active for a while, and that while doubles each time the primary fails
 * again soon after it was taken back. So a primary that comes and goes is not followed.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category options
 */
export interface Settings {
  /** How many there are, the primary included. */
  readonly implementations: number
  /** Failed probes in a row after which the active one is left; `Infinity` if only somebody else says so. */
  readonly failoverAfter: number
  /** Healthy probes of the primary in a row after which it may be active again. */
  readonly failbackAfter: number
  /** Least time on a backup before the way back. */
  readonly holdFor: number
  /** The longest that it grows to. */
  readonly maxHold: number
  /** A primary that was well for so long after it was taken back begins anew. */
  readonly resetAfter: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly active: number
  /** Of each: healthy probes in a row, or failed ones as a negative number; 0 is unknown. */
  readonly streaks: ReadonlyArray<number>
  readonly switchedAt: number
  /** When the primary was last taken back. */
  readonly failedBackAt: number
  /** How often in a row the primary failed soon after it was taken back. */
  readonly flaps: number
}

/**
 * The primary is active, and nothing is known.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initial = (implementations: number, now: number): State => ({
  active: 0,
  streaks: Array.from({ length: implementations }, () => 0),
  switchedAt: now,
  failedBackAt: -Infinity,
  flaps: 0
})

/**
 * The state after probes; `undefined` is an implementation that was not probed.
 *
 * @since 0.1.0
 * @category decisions
 */
export const probed = (
  before: State,
  healthy: ReadonlyArray<boolean | undefined>,
  now: number,
  settings: Settings
): State => {
  const streaks = before.streaks.map((streak, i) => {
    const well = healthy[i]
    return well === undefined ? streak : well ? Math.max(streak, 0) + 1 : Math.min(streak, 0) - 1
  })
  const state = { ...before, streaks }
  const primaryIsWell = streaks[0]! >= settings.failbackAfter
  if (-streaks[state.active]! >= settings.failoverAfter) {
    const next = streaks.findIndex((streak, i) => i !== state.active && (i === 0 ? primaryIsWell : streak > 0))
    return next === -1 ? state : next === 0 ? failback(state, now) : leave(state, next, now, settings)
  }
  const held = now - state.switchedAt >= hold(state, settings)
  return state.active !== 0 && primaryIsWell && held ? failback(state, now) : state
}

/**
 * The state after somebody asked to leave the active implementation: the next one that is not known to fail. `undefined`
 * if there is none.
 *
 * @since 0.1.0
 * @category decisions
 */
export const failover = (state: State, now: number, settings: Settings): State | undefined => {
  const next = state.streaks.findIndex((streak, i) => i > state.active && streak >= 0)
  return next === -1 ? undefined : leave(state, next, now, settings)
}

/**
 * The primary is active.
 *
 * @since 0.1.0
 * @category decisions
 */
export const failback = (state: State, now: number): State =>
  state.active === 0 ? state : { ...state, active: 0, switchedAt: now, failedBackAt: now }

/**
 * How long a backup is held before the way back.
 *
 * @since 0.1.0
 * @category decisions
 */
export const hold = (
  { flaps }: Pick<State, "flaps">,
  { holdFor, maxHold }: Pick<Settings, "holdFor" | "maxHold">
): number => Math.min(maxHold, holdFor * 2 ** flaps)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const leave = (state: State, next: number, now: number, { resetAfter }: Settings): State => {
  const flapped = state.active === 0 && now - state.failedBackAt < resetAfter
  const flaps = state.active !== 0 ? state.flaps : flapped ? state.flaps + 1 : 0
  // what was known of the primary before the switch is no reason to go back to it
  const streaks = state.streaks.map((streak, i) => i === 0 ? Math.min(streak, 0) : streak)
  return { ...state, active: next, streaks, switchedAt: now, flaps }
}
