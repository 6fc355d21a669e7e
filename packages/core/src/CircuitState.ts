/**
 * The circuit breaker's state machine, pure: every decision of `CircuitBreaker` and nothing else.
 *
 *     Closed --trips--> Open --resetAfter, next call--> HalfOpen --successThreshold successes--> Closed
 *                         ^                                |
 *                         +------ one failed probe --------+      Forced: by hand, until reset
 *
 * With a ramp, the circuit is Recovering for a while before it is Closed: it lets a growing share of the calls through.
 *
 * Every state has an epoch, which grows with each transition. A permit carries the epoch in which it was acquired, and
 * a result that comes back in another epoch changes nothing. Times are milliseconds of the monotonic clock; `draw` is a
 * uniform number in [0, 1).
 *
 * @since 0.1.0
 */
import type { TripStrategy } from "./TripStrategy.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Config<C> {
  readonly trip: TripStrategy<C>
  /** Milliseconds to stay open, given how often the circuit has opened without closing (from 1). */
  readonly resetAfter: (openings: number, draw: number) => number
  readonly successThreshold: number
  readonly halfOpenPermits: number
  /** Milliseconds after which an unsettled probe counts as failed. */
  readonly halfOpenTimeout: number
  /** After closing, the share of calls admitted grows from `from` to 1 over `over` milliseconds. */
  readonly ramp: { readonly from: number; readonly over: number } | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type State<C> = Closed<C> | Recovering<C> | Open | HalfOpen | Forced

/**
 * Calls pass and are counted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Closed<C> {
  readonly _tag: "Closed"
  readonly epoch: number
  readonly counter: C
}

/**
 * A growing share of the calls passes; those that do are counted as in Closed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recovering<C> {
  readonly _tag: "Recovering"
  readonly epoch: number
  readonly counter: C
  readonly since: number
  /** Kept, so that a relapse stays open longer than a first failure. */
  readonly openings: number
}

/**
 * Calls are rejected until `retryAt`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Open {
  readonly _tag: "Open"
  readonly epoch: number
  readonly retryAt: number
  /** How often the circuit has opened since it was last closed. */
  readonly openings: number
}

/**
 * A few probes pass, the other calls are rejected.
 *
 * @since 0.1.0
 * @category models
 */
export interface HalfOpen {
  readonly _tag: "HalfOpen"
  readonly epoch: number
  readonly openings: number
  readonly successes: number
  /** Probes in flight, oldest first. */
  readonly probes: ReadonlyArray<{ readonly id: number; readonly expiresAt: number }>
  readonly nextId: number
}

/**
 * Held open or closed by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface Forced {
  readonly _tag: "Forced"
  readonly epoch: number
  readonly as: "open" | "closed"
}

/**
 * The right to make one call: given by `acquire`, given back by `settle`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Permit {
  readonly epoch: number
  /** The probe's number in a half-open circuit. */
  readonly probe: number | undefined
  /** When the call began, where the strategy reads how long calls take; else NaN. */
  readonly startedAt: number
}

/**
 * What a finished call says about its dependency. `ignore` gives the permit back and counts for nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "success" | "failure" | "ignore"

/**
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Admit"; readonly permit: Permit }
  | { readonly _tag: "Reject"; readonly retryAfter: number }

/**
 * A closed circuit of the given epoch.
 *
 * @example
 * import * as CircuitState from "@firebreak/core/CircuitState"
 * import * as TripStrategy from "@firebreak/core/TripStrategy"
 *
 * const config: CircuitState.Config<number> = {
 *   trip: TripStrategy.consecutive(1),
 *   resetAfter: () => 30_000,
 *   successThreshold: 2,
 *   halfOpenPermits: 1,
 *   halfOpenTimeout: 30_000,
 *   ramp: undefined
 * }
 *
 * const [state, decision] = CircuitState.acquire(config, CircuitState.closed(config, 0), 0, 0)
 *
 * export const after = decision._tag === "Admit"
 *   ? CircuitState.settle(config, state, decision.permit, "failure", 10, 0) // open until 30,010
 *   : state
 *
 * @since 0.1.0
 * @category constructors
 */
export const closed = <C>(config: Config<C>, epoch: number): Closed<C> => ({
  _tag: "Closed",
  epoch,
  counter: config.trip.initial
})

/**
 * What time alone does: a probe that has hung for `halfOpenTimeout` failed then, even if nobody looked, and a ramp that is
 * over is closed. Returns the same reference when nothing is due.
 *
 * @since 0.1.0
 * @category transitions
 */
export const expire = <C>(config: Config<C>, state: State<C>, now: number, draw: number): State<C> => {
  switch (state._tag) {
    case "HalfOpen": {
      const hung = state.probes.find((probe) => probe.expiresAt <= now)
      return hung === undefined ? state : open(config, state.epoch, state.openings + 1, hung.expiresAt, draw)
    }
    case "Recovering":
      // no new epoch: the calls that began on the ramp still count
      return config.ramp !== undefined && now < state.since + config.ramp.over
        ? state
        : { _tag: "Closed", epoch: state.epoch, counter: state.counter }
    default:
      return state
  }
}

/**
 * Asks for a permit.
 *
 * @since 0.1.0
 * @category transitions
 */
export const acquire = <C>(
  config: Config<C>,
  state: State<C>,
  now: number,
  draw: number
): readonly [state: State<C>, decision: Decision] => {
  switch (state._tag) {
    case "Closed":
      return [state, admit(config, state.epoch, undefined, now)]
    case "Recovering":
      return [
        state,
        draw < shareOf(config, state, now)
          ? admit(config, state.epoch, undefined, now)
          : reject(Math.max(0, state.since + (config.ramp?.over ?? 0) - now))
      ]
    case "Forced":
      return [state, state.as === "closed" ? admit(config, state.epoch, undefined, now) : reject(Infinity)]
    case "Open":
      return now < state.retryAt
        ? [state, reject(state.retryAt - now)]
        : acquire(config, halfOpen(state), now, draw)
    case "HalfOpen": {
      if (state.probes.length >= config.halfOpenPermits) {
        return [state, reject(Math.max(0, state.probes[0]!.expiresAt - now))]
      }
      const probe = { id: state.nextId, expiresAt: now + config.halfOpenTimeout }
      return [
        { ...state, probes: [...state.probes, probe], nextId: probe.id + 1 },
        admit(config, state.epoch, probe.id, now)
      ]
    }
  }
}

/**
 * The share of calls that a recovering circuit admits at `now`.
 *
 * @since 0.1.0
 * @category transitions
 */
export const shareOf = <C>(config: Config<C>, state: Recovering<C>, now: number): number => {
  if (config.ramp === undefined) return 1
  const { from, over } = config.ramp
  return Math.min(1, from + (1 - from) * Math.max(0, now - state.since) / over)
}

/**
 * Gives a permit back with what the call said. Returns the same reference when that changes nothing.
 *
 * @since 0.1.0
 * @category transitions
 */
export const settle = <C>(
  config: Config<C>,
  state: State<C>,
  permit: Permit,
  verdict: Verdict,
  now: number,
  draw: number
): State<C> => {
  if (permit.epoch !== state.epoch) return state
  switch (state._tag) {
    case "Open":
    case "Forced":
      return state
    case "Closed":
    case "Recovering": {
      if (verdict === "ignore") return state
      const { trip } = config
      const elapsed = now - permit.startedAt
      const counter = verdict === "success"
        ? trip.onSuccess(state.counter, now, elapsed)
        : trip.onFailure(state.counter, now, elapsed)
      if ((verdict === "failure" || trip.reads === "elapsed") && trip.trips(counter, now)) {
        return open(config, state.epoch, state._tag === "Closed" ? 1 : state.openings + 1, now, draw)
      }
      return counter === state.counter ? state : { ...state, counter }
    }
    case "HalfOpen": {
      const probes = state.probes.filter((probe) => probe.id !== permit.probe)
      if (probes.length === state.probes.length) return state
      if (verdict === "ignore") return { ...state, probes }
      if (verdict === "failure") return open(config, state.epoch, state.openings + 1, now, draw)
      const successes = state.successes + 1
      if (successes < config.successThreshold) return { ...state, probes, successes }
      const { counter, epoch } = closed(config, state.epoch + 1)
      return config.ramp === undefined
        ? { _tag: "Closed", epoch, counter }
        : { _tag: "Recovering", epoch, counter, since: now, openings: state.openings }
    }
  }
}

/**
 * Holds the circuit open or closed whatever happens.
 *
 * @since 0.1.0
 * @category transitions
 */
export const force = <C>(state: State<C>, as: "open" | "closed"): State<C> => ({
  _tag: "Forced",
  epoch: state.epoch + 1,
  as
})

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const admit = <C>(config: Config<C>, epoch: number, probe: number | undefined, now: number): Decision => ({
  _tag: "Admit",
  permit: { epoch, probe, startedAt: config.trip.reads === "elapsed" ? now : NaN }
})

const reject = (retryAfter: number): Decision => ({ _tag: "Reject", retryAfter })

const open = <C>(config: Config<C>, epoch: number, openings: number, now: number, draw: number): Open => ({
  _tag: "Open",
  epoch: epoch + 1,
  retryAt: now + config.resetAfter(openings, draw),
  openings
})

const halfOpen = (state: Open): HalfOpen => ({
  _tag: "HalfOpen",
  epoch: state.epoch + 1,
  openings: state.openings,
  successes: 0,
  probes: [],
  nextId: 0
})
