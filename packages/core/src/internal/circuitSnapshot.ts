/**
 * A circuit's state by the wall clock, for a successor in another process: what of it outlives the monotonic clock, and
 * how it is taken up again.
 */
import type { Snapshot } from "../CircuitBreaker.js"
import * as CircuitState from "../CircuitState.js"

/** The state as of `now`, which on the wall is `wall`. A circuit that is probed is one that may be probed. */
export const of = (state: CircuitState.State<unknown>, now: number, wall: number): Snapshot => {
  const openings = "openings" in state ? state.openings : 0
  switch (state._tag) {
    case "Open":
      return { state: "open", openings, retryAt: wall + state.retryAt - now }
    case "HalfOpen":
      return { state: "open", openings, retryAt: wall }
    case "Forced":
      return { state: state.as === "open" ? "forced-open" : "forced-closed", openings, retryAt: 0 }
    case "Closed":
    case "Recovering":
      return { state: "closed", openings, retryAt: 0 }
  }
}

/** The state that a snapshot stands for, in the given epoch. */
export const restored = <C>(
  snapshot: Snapshot,
  machine: CircuitState.Config<C>,
  epoch: number,
  at: { readonly now: number; readonly wall: number; readonly draw: number }
): CircuitState.State<C> => {
  switch (snapshot.state) {
    case "open": {
      const openings = Math.max(1, snapshot.openings)
      // however far off the other clock was, never longer than this breaker would stay open itself
      const longest = machine.resetAfter(openings, at.draw)
      const left = Math.min(longest, Math.max(0, snapshot.retryAt - at.wall))
      return { _tag: "Open", epoch, retryAt: at.now + left, openings }
    }
    case "forced-open":
      return { _tag: "Forced", epoch, as: "open" }
    case "forced-closed":
      return { _tag: "Forced", epoch, as: "closed" }
    case "closed":
      return CircuitState.closed(machine, epoch)
  }
}
