/** The circuit breaker as one would explain it, and what can happen to one: for the state machine and for its shell. */
import type * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import type * as CircuitState from "@firebreak/core/CircuitState"
import * as fc from "effect/FastCheck"

type Mode = CircuitBreaker.Stats["state"]

/** Failures in a row that open it. */
export const threshold = 3
/** How long a probe may take, in milliseconds. */
export const probeTimeout = 700
export const ramp = { from: 0.2, over: 1_500 }
/** How long it stays open, in milliseconds. */
export const growing = (openings: number): number => 1_000 * Math.min(openings, 3)

/** A plain model of the diagram in CircuitState's header, written the slow way: by mode and time, without epochs. */
export class Model {
  mode: Mode = "closed"
  private failures = 0
  private successes = 0
  private openings = 0
  private since = 0
  private period = 0
  private readonly inFlight = new Map<number, { readonly startedAt: number; readonly period: number }>()

  constructor(
    private readonly permits: number,
    private readonly successThreshold: number,
    private readonly ramps: boolean
  ) {}

  /** Calls of the present period that are in flight. */
  get probes(): number {
    return this.startTimes.length
  }

  /** What time alone does. */
  tick(now: number): void {
    if (this.mode === "half-open") {
      const hung = this.startTimes.map((at) => at + probeTimeout).filter((at) => at <= now)
      if (hung.length > 0) this.open(Math.min(...hung))
    }
    if (this.mode === "recovering" && now - this.since >= ramp.over) this.mode = "closed"
  }

  /** Undefined where the call is admitted, else after how long it may come back. */
  call(id: number, now: number, draw: number): number | undefined {
    if (this.mode === "open" && now >= this.retryAt) this.become("half-open", now)
    const retryAfter = this.rejects(now, draw)
    if (retryAfter === undefined) this.inFlight.set(id, { startedAt: now, period: this.period })
    return retryAfter
  }

  settle(id: number, verdict: CircuitState.Verdict, now: number): void {
    const call = this.inFlight.get(id)!
    this.inFlight.delete(id)
    if (call.period !== this.period || verdict === "ignore") return
    if (this.mode === "closed" || this.mode === "recovering") {
      this.failures = verdict === "success" ? 0 : this.failures + 1
      if (this.failures === threshold) this.open(now)
    } else if (this.mode === "half-open") {
      if (verdict === "failure") this.open(now)
      else if (++this.successes === this.successThreshold) this.become(this.ramps ? "recovering" : "closed", now)
    }
  }

  become(mode: Mode, at: number): void {
    this.mode = mode
    this.since = at
    this.failures = 0
    this.successes = 0
    this.period++
  }

  private open(at: number): void {
    this.openings = this.mode === "closed" ? 1 : this.openings + 1
    this.become("open", at)
  }

  private get retryAt(): number {
    return this.since + growing(this.openings)
  }

  private get startTimes(): ReadonlyArray<number> {
    return [...this.inFlight.values()].filter((call) => call.period === this.period).map((call) => call.startedAt)
  }

  private rejects(now: number, draw: number): number | undefined {
    switch (this.mode) {
      case "closed":
      case "forced-closed":
        return undefined
      case "forced-open":
        return Infinity
      case "open":
        return this.retryAt - now
      case "half-open":
        return this.probes < this.permits ? undefined : Math.min(...this.startTimes) + probeTimeout - now
      case "recovering": {
        const share = ramp.from + (1 - ramp.from) * (now - this.since) / ramp.over
        return draw < share ? undefined : this.since + ramp.over - now
      }
    }
  }
}

export type Command =
  | { readonly _tag: "call"; readonly draw: number }
  | { readonly _tag: "settle"; readonly which: number; readonly verdict: CircuitState.Verdict }
  | { readonly _tag: "wait"; readonly millis: number }
  | { readonly _tag: "hand"; readonly what: "open" | "closed" | "reset" }

const verdicts = ["failure", "failure", "failure", "success", "success", "ignore"] as const
const settles = verdicts.flatMap((verdict) =>
  Array.from({ length: 8 }, (_, which) => ({ _tag: "settle" as const, which, verdict }))
)
const waits = [1, 300, 699, 700, 1_000, 1_700, 3_600_000]
// so weighted that the circuit opens and probes several times in a run, and is seldom forced; made of constants, which
// fast-check draws ten times as fast as records
export const commands = fc.array(
  fc.oneof(
    {
      weight: 40,
      arbitrary: fc.constantFrom<Command>(...[0, 0.15, 0.5, 0.95].map((draw) => ({ _tag: "call" as const, draw })))
    },
    { weight: 60, arbitrary: fc.constantFrom<Command>(...settles) },
    {
      weight: 18,
      arbitrary: fc.constantFrom<Command>(...waits.map((millis) => ({ _tag: "wait" as const, millis })))
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Command>(
        ...(["open", "closed", "reset", "reset", "reset"] as const).map((what) => ({ _tag: "hand" as const, what }))
      )
    }
  ),
  { minLength: 30, maxLength: 120, size: "max" }
)
