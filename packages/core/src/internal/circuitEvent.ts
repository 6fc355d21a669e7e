/** What is told of a circuit: the name of its state, and what has happened when that changes. */
import type { Stats } from "../CircuitBreaker.js"
import type * as CircuitState from "../CircuitState.js"
import type * as Events from "../Events.js"

export const labelOf = (state: CircuitState.State<unknown>): Stats["state"] =>
  labels[state._tag === "Forced" ? state.as : state._tag]

const labels = {
  Closed: "closed",
  Recovering: "recovering",
  Open: "open",
  HalfOpen: "half-open",
  open: "forced-open",
  closed: "forced-closed"
} as const

/** `failures` is how many calls opened it, where it has opened. */
export const eventOf = (
  breaker: string,
  previous: CircuitState.State<unknown>,
  next: CircuitState.State<unknown>,
  now: number,
  failures: number
): Events.Event => {
  switch (next._tag) {
    case "Open":
      return { _tag: "CircuitOpened", breaker, failures, retryAfterMillis: Math.max(0, next.retryAt - now) }
    case "HalfOpen":
      return { _tag: "CircuitHalfOpened", breaker }
    case "Closed":
    case "Recovering":
      return { _tag: previous._tag === "Forced" ? "CircuitReleased" : "CircuitClosed", breaker }
    case "Forced":
      return { _tag: "CircuitForced", breaker, state: next.as }
  }
}
