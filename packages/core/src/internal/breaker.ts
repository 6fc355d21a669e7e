/** The shell around `CircuitState`: takes the clock, asks, does, counts, tells. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CircuitBreaker, Options, Snapshot, Stats, Transition, Verdict } from "../CircuitBreaker.js"
import { CircuitOpen } from "../CircuitBreakerError.js"
import * as CircuitState from "../CircuitState.js"
import * as Deadline from "../Deadline.js"
import * as Events from "../Events.js"
import { catalog } from "../MetricCatalog.js"
import type { Measure } from "../Telemetry.js"
import { eventOf, labelOf } from "./circuitEvent.js"
import * as CircuitSnapshot from "./circuitSnapshot.js"
import { stackless } from "./stackless.js"
import * as Stage from "./stage.js"
import * as Time from "./time.js"
import * as Traced from "./traced.js"
import { verdictOf } from "./verdict.js"

/** Options with their defaults, in milliseconds. */
export interface Settings {
  readonly machine: CircuitState.Config<any>
  readonly classify: ((error: unknown) => Verdict) | undefined
  readonly observeOnly: boolean
}

/** How a call admitted while closed is settled: bound once per epoch, so that a call allocates no closure. */
interface Handlers {
  readonly onSuccess: <A>(value: A) => Effect.Effect<A>
  readonly onFailure: <E>(cause: Cause.Cause<E>) => Effect.Effect<never, E>
}

export class Breaker implements CircuitBreaker, Stage.Stage {
  static readonly measures: ReadonlyArray<Measure<Breaker>> = [
    ["firebreak_circuit_breaker_calls_total", { outcome: "success" }, ({ successes }) => successes],
    ["firebreak_circuit_breaker_calls_total", { outcome: "failure" }, ({ failures }) => failures],
    ["firebreak_circuit_breaker_calls_total", { outcome: "rejected" }, ({ rejected }) => rejected],
    ...catalog.firebreak_circuit_breaker_state.tags.state.map((state): Measure<Breaker> => [
      "firebreak_circuit_breaker_state",
      { state },
      (breaker, now) => breaker.label(now) === state ? 1 : 0
    ])
  ]

  private state: CircuitState.State<any>
  private permit: CircuitState.Permit
  /** Made at the first call. */
  private handlers: Handlers | undefined
  private lastRefusal: {
    readonly state: CircuitState.Open
    readonly at: number
    readonly exit: Exit.Exit<never, CircuitOpen>
  } | undefined
  private calls = 0
  private successes = 0
  private failures = 0
  private rejected = 0
  private isolations = 0
  private lastFailure: Option.Option<unknown> = Option.none()
  private bus: Events.Service | undefined
  /** Closed, and no call's duration is asked for: a call needs neither clock nor permit of its own. */
  private plain: boolean
  /** Whether `draw` has been used since it was drawn. */
  private spent = false

  constructor(
    readonly name: string,
    private settings: Settings,
    private readonly events: Events.Service,
    private readonly resolve: (options: Options) => Settings,
    /** A uniform number for the next decision that needs one. */
    private draw: number
  ) {
    this.plain = settings.machine.trip.reads !== "elapsed"
    this.state = CircuitState.closed(settings.machine, 0)
    this.permit = firstPermit
  }

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CircuitOpen, R> =>
    Effect.withFiberRuntime((fiber) => this.run(effect, fiber))

  /** The call as the fiber runs it: what is inside `protect`, for who has the fiber at hand. */
  run<A, E, R>(effect: Effect.Effect<A, E, R>, fiber: Stage.Running): Effect.Effect<A, E | CircuitOpen, R> {
    if (!this.plain) {
      const refusal = this.refusal(fiber)
      return refusal === undefined ? Stage.protect<A, E, R, CircuitOpen>(this, effect) : refusal
    }
    if (Deadline.unsafeIsSet(fiber)) return Stage.protect<A, E, R, CircuitOpen>(this, effect)
    this.calls++
    // an interrupted call skips both handlers and so counts for nothing, which is what a closed circuit wants
    return watch(effect, this.handlers ??= this.handlersOf(this.permit))
  }

  /**
   * The rejection of a circuit that is plainly open, and nothing else. Building the error is most of what it costs, so
   * calls of the same millisecond share one.
   */
  private refusal(fiber: Stage.Running): Exit.Exit<never, CircuitOpen> | undefined {
    const { state } = this
    if (state._tag !== "Open" || this.isolations > 0 || this.settings.observeOnly) return undefined
    const now = Time.monotonicMillis(fiber)
    if (now >= state.retryAt) return undefined
    this.calls++
    this.rejected++
    if (this.lastRefusal === undefined || this.lastRefusal.state !== state || now - this.lastRefusal.at >= 1) {
      this.lastRefusal = { state, at: now, exit: Exit.fail(this.rejection(state.retryAt - now)) }
    }
    return this.lastRefusal.exit
  }

  // --- as a stage

  get [Stage.StageId](): Stage.Stage {
    return this
  }

  get holds(): boolean {
    return this.state._tag !== "Closed" || this.isolations > 0
  }

  isShut(fiber: Stage.Running): boolean {
    const { state } = this
    if (this.settings.observeOnly) return false
    if (this.isolations > 0) return true
    return state._tag === "Open"
      ? Time.monotonicMillis(fiber) < state.retryAt
      : state._tag === "Forced" && state.as === "open"
  }

  enter(fiber: Stage.Running): unknown {
    this.calls++
    if (this.plain) return this.permit
    if (!this.spent && this.state._tag !== "Recovering") return this.ask(fiber)
    return new Stage.Waiting(Effect.flatMap(Random.next, (draw) => {
      this.draw = draw
      this.spent = false
      const answer = this.ask(fiber)
      return answer instanceof Stage.Refused ? Effect.fail(answer.error) : Effect.succeed(answer)
    }))
  }

  private ask(fiber: Stage.Running): CircuitState.Permit | Stage.Refused {
    if (this.isolations > 0) {
      this.rejected++
      return this.settings.observeOnly ? untracked : new Stage.Refused(this.rejection(Infinity, "forced"))
    }
    const now = this.advance(fiber)
    const [state, decision] = CircuitState.acquire(this.settings.machine, this.state, now, this.draw)
    this.become(state, fiber)
    if (decision._tag === "Admit") {
      if (decision.permit.probe !== undefined) Traced.note(fiber, "CircuitProbed", { breaker: this.name })
      return decision.permit
    }
    this.rejected++
    return this.settings.observeOnly ? untracked : new Stage.Refused(this.rejection(decision.retryAfter))
  }

  leave(permit: CircuitState.Permit, cause: Cause.Cause<unknown> | undefined, fiber: Stage.Running): void {
    const verdict = cause === undefined ? "success" : verdictOf(cause, this.settings.classify)
    if (verdict === "ignore" && permit.probe === undefined) return
    if (verdict === "success") this.successes++
    if (verdict === "failure") this.failures++
    const { trip } = this.settings.machine
    const untimed = verdict === "success" && permit === this.permit && this.untimed
    const now = untimed ? NaN : this.advance(fiber)
    const previous = this.state
    const next = CircuitState.settle(this.settings.machine, previous, permit, verdict, now, this.draw)
    if (next._tag === "Open" && next !== previous) {
      this.lastFailure = cause === undefined ? Option.none() : Option.some(Cause.squash(cause))
      const elapsed = now - permit.startedAt
      const failures = !("counter" in previous) ? 1 : trip.recentFailures(
        cause === undefined
          ? trip.onSuccess(previous.counter, now, elapsed)
          : trip.onFailure(previous.counter, now, elapsed),
        now
      )
      return this.become(next, fiber, failures)
    }
    this.become(next, fiber)
  }

  // --- looking

  get stats(): Effect.Effect<Stats> {
    return Effect.withFiberRuntime((fiber) => {
      const now = this.advance(fiber)
      const { state } = this
      const completed = this.successes + this.failures
      return Effect.succeed({
        state: this.label(now),
        calls: this.calls,
        successes: this.successes,
        failures: this.failures,
        rejected: this.rejected,
        successRate: completed === 0 ? 0 : this.successes / completed,
        recentFailures: "counter" in state ? this.settings.machine.trip.recentFailures(state.counter, now) : 0,
        timeUntilRetry: state._tag === "Open" ? Duration.millis(Math.max(0, state.retryAt - now)) : Duration.zero
      })
    })
  }

  get transitions(): Stream.Stream<Transition> {
    return Stream.unwrapScoped(Effect.suspend(() => {
      this.bus ??= Events.make()
      return Effect.map(Events.subscribeTo(this.bus), (queue) => Stream.fromQueue(queue) as Stream.Stream<Transition>)
    }))
  }

  get snapshot(): Effect.Effect<Snapshot> {
    return Effect.withFiberRuntime((fiber) => {
      const now = this.advance(fiber)
      return Effect.succeed(CircuitSnapshot.of(this.state, now, Time.wallMillis(fiber)))
    })
  }

  /** The state at that time, without moving there. */
  private label(now: number): Stats["state"] {
    if (this.isolations > 0) return "forced-open"
    const state = CircuitState.expire(this.settings.machine, this.state, now, this.draw)
    return labelOf(state)
  }

  // --- by hand

  get forceOpen(): Effect.Effect<void> {
    return this.transit((state) => CircuitState.force(state, "open"))
  }

  get forceClosed(): Effect.Effect<void> {
    return this.transit((state) => CircuitState.force(state, "closed"))
  }

  get reset(): Effect.Effect<void> {
    return this.transit((state) => CircuitState.closed(this.settings.machine, state.epoch + 1))
  }

  get isolate(): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.withFiberRuntime((fiber) => {
        if (this.isolations++ === 0) this.renew(fiber, { _tag: "CircuitForced", breaker: this.name, state: "open" })
        return Effect.void
      }),
      () =>
        Effect.withFiberRuntime((fiber) => {
          if (--this.isolations === 0) this.renew(fiber, { _tag: "CircuitReleased", breaker: this.name })
          return Effect.void
        })
    )
  }

  get restore(): (snapshot: Snapshot) => Effect.Effect<void> {
    return (snapshot) =>
      Effect.withFiberRuntime((fiber) => {
        const [now, wall] = [Time.monotonicMillis(fiber), Time.wallMillis(fiber)]
        const restored = CircuitSnapshot.restored(snapshot, this.settings.machine, this.state.epoch + 1, {
          now,
          wall,
          draw: this.draw
        })
        this.become(restored, fiber)
        return Effect.void
      })
  }

  get reconfigure(): (options: Options) => Effect.Effect<void> {
    return (options) => {
      const settings = this.resolve(options)
      return Effect.sync(() => this.take(settings))
    }
  }

  private take(settings: Settings): void {
    const { trip } = this.settings.machine
    this.settings = settings
    this.refresh()
    // another strategy cannot read the counter of this one; the state and its epoch stay
    if (settings.machine.trip !== trip && "counter" in this.state) {
      this.state = { ...this.state, counter: settings.machine.trip.initial }
    }
  }

  // --- internal

  private handlersOf(permit: CircuitState.Permit): Handlers {
    return {
      onSuccess: (value) => {
        if (!this.untimed) return this.settled(permit, undefined, Exit.succeed(value))
        this.successes++
        this.state = CircuitState.settle(this.settings.machine, this.state, permit, "success", NaN, 0)
        return Exit.succeed(value)
      },
      onFailure: (cause) => this.settled(permit, cause, Exit.failCause(cause))
    }
  }

  private settled<A, E>(
    permit: CircuitState.Permit,
    cause: Cause.Cause<unknown> | undefined,
    exit: Exit.Exit<A, E>
  ): Effect.Effect<A, E> {
    return Effect.withFiberRuntime<A, E>((fiber) => {
      this.leave(permit, cause, fiber)
      return exit
    })
  }

  private rejection(
    retryAfter: number,
    reason: CircuitOpen["reason"] = reasons[this.state._tag as keyof typeof reasons] ?? "forced"
  ): CircuitOpen {
    const lastFailure = reason === "forced" ? Option.none() : this.lastFailure
    const error = { breaker: this.name, reason, retryAfter: Duration.millis(retryAfter), lastFailure } as const
    return stackless(() => new CircuitOpen(error))
  }

  private transit(next: (state: CircuitState.State<any>) => CircuitState.State<any>): Effect.Effect<void> {
    return Effect.withFiberRuntime((fiber) => {
      this.become(next(this.state), fiber)
      return Effect.void
    })
  }

  /** Whether a success can be counted without reading the clock. */
  private get untimed(): boolean {
    return (this.settings.machine.trip.reads ?? "nothing") === "nothing"
  }

  /** Lets time do its part; returns the time. */
  private advance(fiber: Stage.Running): number {
    const now = Time.monotonicMillis(fiber)
    this.become(CircuitState.expire(this.settings.machine, this.state, now, this.draw), fiber, 1)
    return now
  }

  private become(next: CircuitState.State<any>, fiber: Stage.Running, failures = 0): void {
    const previous = this.state
    if (next === previous) return
    this.state = next
    this.refresh()
    if (next.epoch === previous.epoch) return
    if (next._tag === "Open") this.spent = true
    if (next._tag === "Closed" || next._tag === "Recovering") {
      this.reissue()
      this.lastFailure = Option.none()
    }
    this.tell(() => eventOf(this.name, previous, next, Time.monotonicMillis(fiber), failures), fiber)
  }

  /** The same state in a new epoch, so that what is under way counts for nothing; probes are begun anew. */
  private renew(fiber: Stage.Running, event: Events.Event): void {
    const epoch = this.state.epoch + 1
    this.state = this.state._tag === "HalfOpen"
      ? { _tag: "Open", epoch, retryAt: Time.monotonicMillis(fiber), openings: this.state.openings }
      : { ...this.state, epoch }
    this.refresh()
    this.reissue()
    this.tell(() => event, fiber)
  }

  private refresh(): void {
    this.plain = this.isolations === 0 && this.state._tag === "Closed" && this.settings.machine.trip.reads !== "elapsed"
  }

  private reissue(): void {
    this.permit = permitOf(this.state.epoch)
    this.handlers = undefined
  }

  private tell(event: () => Events.Event, fiber: Stage.Running): void {
    if (!this.events.isActive() && this.bus?.isActive() !== true) return
    const told = event()
    const at = Time.wallMillis(fiber)
    this.events.unsafePublish(told, at)
    this.bus?.unsafePublish(told, at)
  }
}

const permitOf = (epoch: number): CircuitState.Permit => ({ epoch, probe: undefined, startedAt: NaN })

/** Breakers that have never opened share it. */
const firstPermit = permitOf(0)

/** The permit of a call that would have been rejected: it is of no epoch, so its result moves nothing. */
const untracked: CircuitState.Permit = { epoch: -1, probe: undefined, startedAt: NaN }

const watch = <A, E, R>(effect: Effect.Effect<A, E, R>, handlers: Handlers): Effect.Effect<A, E, R> => {
  const bound: {
    readonly onSuccess: (value: A) => Effect.Effect<A>
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<never, E>
  } = handlers
  return Effect.matchCauseEffect(effect, bound)
}

const reasons = { Open: "open", HalfOpen: "probing", Recovering: "recovering" } as const
