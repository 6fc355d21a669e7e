/**
 * The decisions of a rate limit: the generic cell rate algorithm over several limits at once. No Effect; times are
 * milliseconds from any origin.
 *
 * Each limit keeps one number, the time at which it would be unused again if nothing else came (the "theoretical arrival
 * time" of ITU-T I.371). A start of cost c at time s puts it to `max(tat, s) + c * interval`, and is allowed where it then
 * lies no more than `max(burst, c) * interval` behind s. Hence, of all starts within any window of length w, the costs sum
 * to at most `max(burst, c) + w / interval`, c being the cost of the last of them.
 */

export interface Limit {
  /** Milliseconds that a cost of 1 takes. */
  readonly interval: number
  readonly burst: number
}

/** The theoretical arrival time of each limit. */
export type State = ReadonlyArray<number>

export const unused = (limits: ReadonlyArray<Limit>): State => limits.map(() => -Infinity)

/** When a start of this cost is allowed by every limit: a time that may have passed long ago. */
export const allowedAt = (limits: ReadonlyArray<Limit>, state: State, cost: number): number => {
  let at = -Infinity
  for (let i = 0; i < limits.length; i++) {
    at = Math.max(at, state[i]! - Math.max(0, limits[i]!.burst - cost) * limits[i]!.interval)
  }
  return at
}

/** Charges every limit for a start at time `at`. */
export const charge = (limits: ReadonlyArray<Limit>, state: State, cost: number, at: number): State =>
  state.map((tat, i) => Math.max(tat, at) + cost * limits[i]!.interval)

/**
 * When a start will be allowed at the earliest if a cost of `ahead` comes before it: exactly then with one limit. With
 * several it may be later, if the one that is the bottleneck changes on the way.
 */
export const forecast = (
  limits: ReadonlyArray<Limit>,
  state: State,
  cost: number,
  ahead: number,
  now: number
): number => {
  const queued = state.map((tat, i) => ahead === 0 ? tat : Math.max(tat, now) + ahead * limits[i]!.interval)
  return Math.max(now, allowedAt(limits, queued, cost))
}

/** What may start at once. */
export const available = (limits: ReadonlyArray<Limit>, state: State, now: number): number => {
  let least = Infinity
  for (let i = 0; i < limits.length; i++) {
    least = Math.min(least, limits[i]!.burst - Math.max(0, state[i]! - now) / limits[i]!.interval)
  }
  return Math.max(0, least)
}
