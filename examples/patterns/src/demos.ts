/** Every demo by name. A demo is loaded only when it is run, so that the list is there at once. */
import type * as Effect from "effect/Effect"

export interface Demo {
  /** One line that says what it shows. */
  readonly about: string
  readonly load: () => Promise<{ readonly main: Effect.Effect<void> }>
  /** Waits for more than time (a disk), and so cannot be fast-forwarded. */
  readonly realTime?: true
}

export const demos: Readonly<Record<string, Demo>> = {
  "circuit-breaker": {
    about: "three failures open the circuit; it probes, and closes when the API is back",
    load: () => import("./circuit-breaker.js")
  },
  "idempotency": {
    about: "a crash between two actions; the first is not done twice",
    load: () => import("./idempotency.js"),
    realTime: true
  },
  "checkpoint": {
    about: "a crash in the fourth of five steps; the run is taken up where it was left",
    load: () => import("./checkpoint.js"),
    realTime: true
  },
  "jitter": {
    about: "the same retries with every jitter, for one client and for a thousand",
    load: () => import("./jitter.js")
  },
  "retry-budget": {
    about: "retries that never wait longer than 10 seconds in all",
    load: () => import("./retry-budget.js")
  },
  "retry-breaker": {
    about: "retry and breaker together: over a blip, and out of an outage",
    load: () => import("./retry-breaker.js")
  },
  "degradation": {
    about: "three unreliable services: cached answers fill in, and the response says so",
    load: () => import("./degradation.js")
  },
  "degradation-levels": {
    about: "one outage under three tolerances: accepted, or refused",
    load: () => import("./degradation-levels.js")
  },
  "self-healing": {
    about: "a remedy, a failover, and in the end a human: an agent that looks after itself",
    load: () => import("./self-healing.js")
  },
  "supervision": {
    about: "a consumer that crashes: restarted more slowly each time, and given up in the end",
    load: () => import("./supervision.js")
  },
  "loop-guard": {
    about: "three agents that run in circles at night, and what stops each",
    load: () => import("./loop-guard.js")
  },
  "herd": {
    about: "a thousand clients and an outage: what jitter does to the moment they all come back",
    load: () => import("./herd.js")
  },
  "metastable": {
    about: "ten slow seconds that retries turn into an outage, and what prevents it",
    load: () => import("./metastable.js")
  }
}
