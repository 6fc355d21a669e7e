/** What a healer has tried, for a successor in another process: by the wall clock, and how it is taken up again. */
import * as HealingState from "../HealingState.js"
import type { Snapshot } from "../HealingStore.js"

/** What a healer has tried, and why it calls people as long as that has not got through. */
export interface Tried {
  readonly state: HealingState.State
  readonly undelivered: HealingState.Reason | undefined
}

export const nothing: Tried = { state: HealingState.initial, undelivered: undefined }

/** As of `now`, which on the wall is `wall`. */
export const of = ({ state, undelivered }: Tried, now: number, wall: number): Snapshot => ({
  state: state._tag === "Escalated" ? "escalated" : "healing",
  consecutiveFailures: state.consecutiveFailures,
  used: Array.from(state.used, ([remedy, { attempts, lastAt }]) => ({
    remedy,
    attempts,
    lastAt: wall - (now - lastAt)
  })),
  undelivered
})

/**
 * What a snapshot stands for, with what this process has tried before it could read it. What was done at a time that is
 * still to come by this clock was done now.
 */
export const restored = (snapshot: Snapshot, own: Tried, now: number, wall: number): Tried => {
  const used = new Map(own.state.used)
  for (const { attempts, lastAt, remedy } of snapshot.used) {
    const mine = used.get(remedy) ?? { attempts: 0, lastAt: -Infinity }
    used.set(remedy, {
      attempts: mine.attempts + attempts,
      lastAt: Math.max(mine.lastAt, now - Math.max(0, wall - lastAt))
    })
  }
  return {
    state: {
      _tag: snapshot.state === "escalated" ? "Escalated" : own.state._tag,
      consecutiveFailures: Math.max(own.state.consecutiveFailures, snapshot.consecutiveFailures),
      used
    },
    undelivered: own.undelivered ?? snapshot.undelivered
  }
}

export const isSame = (one: Tried, other: Tried): boolean =>
  one.undelivered === other.undelivered &&
  one.state._tag === other.state._tag &&
  one.state.consecutiveFailures === other.state.consecutiveFailures &&
  one.state.used.size === other.state.used.size &&
  Array.from(one.state.used).every(([remedy, { attempts, lastAt }]) => {
    const use = other.state.used.get(remedy)
    return use?.attempts === attempts && use.lastAt === lastAt
  })
