/**
 * Asks a second time where the first answer is slow, and takes whichever comes first: the hedged requests of Dean and
 * Barroso's "The Tail at Scale". For a few per cent more calls the slowest ones become as fast as the usual.
 *
 * Two attempts run at once, so a call must be safe to repeat, and who hedges has to say why it is: `keyed` hedges calls
 * that carry an idempotency key and leaves others alone, `safe` takes the caller's word. There is no third way.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Events from "./Events.js"
import { currentKey } from "./internal/action.js"
import { Latencies } from "./internal/latencies.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import { Signal } from "./internal/singleFlight.js"
import type { Running } from "./internal/stage.js"
import * as Time from "./internal/time.js"
import * as Traced from "./internal/traced.js"
import * as Telemetry from "./Telemetry.js"

/**
 * A delay that follows how long calls take.
 *
 * @since 0.1.0
 * @category models
 */
export interface Quantile {
  readonly _tag: "Quantile"
  readonly of: number
  readonly last: number
  readonly minimum: number
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How long an attempt may take before another is started. Default: `quantile(0.95)`. */
  readonly delay?: Duration.DurationInput | Quantile | undefined
  /** Attempts beside the first, one delay apart. Default 1. */
  readonly maxHedges?: number | undefined
  /** Hedges per call, in the long run. Default 0.1. */
  readonly share?: number | undefined
  /** Hedges that may be saved up for when much is slow at once. Default 10. */
  readonly burst?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { quantile: 0.95, last: 128, minimum: 20, maxHedges: 1, share: 0.1, burst: 10 } as const

/**
 * The time within which this share of the `last` successful calls (default 128) had their answer. Before there are
 * `minimum` of them (default 20) nothing is hedged. A first attempt that was overtaken counts with the time it had taken.
 *
 * @example
 * import * as Hedge from "@firebreak/core/Hedge"
 *
 * // a second attempt when the first takes longer than 99 of 100 did
 * const hedge = Hedge.make({ name: "search", delay: Hedge.quantile(0.99, { last: 1_000, minimum: 100 }) })
 *
 * @since 0.1.0
 * @category constructors
 */
export const quantile = (
  of: number,
  options: { readonly last?: number | undefined; readonly minimum?: number | undefined } = {}
): Quantile => {
  Check.known("Hedge.quantile", options, { last: true, minimum: true })
  const last = Check.whole("Hedge.quantile", "last", options.last ?? defaults.last, { min: 1 })
  return {
    _tag: "Quantile",
    of: Check.between("Hedge.quantile", "of", of, { min: 0, max: 1 }),
    last,
    minimum: Check.whole("Hedge.quantile", "minimum", options.minimum ?? Math.min(last, defaults.minimum), { min: 1 })
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly calls: number
  /** Attempts beside the first that were started. */
  readonly hedges: number
  /** Calls that a hedge answered. */
  readonly wins: number
  /** Hedges that the budget did not allow. */
  readonly refused: number
  /** After which the next call is hedged; none while a quantile has too few samples. */
  readonly delay: Option.Option<Duration.Duration>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Hedge {
  readonly name: string
  /** Hedges the effect, which the caller declares safe to run twice at once, such as a read. */
  readonly safe: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Hedges the effect where it runs as an action with `Idempotency.currentKey`; else it runs once. */
  readonly keyed: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly stats: Effect.Effect<Stats>
}

/**
 * Makes a hedge. The first success is the result; the other attempts are interrupted and waited for. If all fail the
 * error is that of the first attempt. A first attempt that fails before its delay is not repeated: that is for a retry.
 *
 * @example
 * import * as Hedge from "@firebreak/core/Hedge"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const hedge = yield* Hedge.make({ name: "search", delay: "50 millis" })
 *   return yield* Effect.succeed("found").pipe(hedge.safe)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<Hedge> => {
  Check.known("Hedge", options, { name: true, delay: true, maxHedges: true, share: true, burst: true })
  const name = Check.name("Hedge", "name", options.name)
  const delay = options.delay ?? quantile(defaults.quantile)
  const settings: Settings = {
    delay: isQuantile(delay) ? delay : Check.millis("Hedge", "delay", delay),
    maxHedges: Check.whole("Hedge", "maxHedges", options.maxHedges ?? defaults.maxHedges, { min: 1 }),
    share: Check.between("Hedge", "share", options.share ?? defaults.share, { min: 0, max: 100 }),
    burst: Check.whole("Hedge", "burst", options.burst ?? defaults.burst, { min: 1 })
  }
  return Telemetry.observed(Effect.map(Events.Events, (events) => new Hedger(name, settings, events)), Hedger.measures)
}

/**
 * The class of a hedge's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/Hedge/${Name}`, Hedge>
{
  /** Builds this hedge. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Hedges the effect, which the caller declares safe to run twice at once. */
  readonly safe: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Self>
  /** Hedges the effect where it carries an idempotency key. */
  readonly keyed: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Self>
}

/**
 * Declares the hedge of one dependency.
 *
 * @example
 * import * as Hedge from "@firebreak/core/Hedge"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends Hedge.Tag("search")<Search>() {}
 *
 * const program = Effect.succeed("found").pipe(Search.safe, Effect.provide(Search.layer({ delay: "50 millis" })))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("Hedge", name, make)
  return Object.assign(tag, {
    safe: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.flatMap(tag, (hedge) => hedge.safe(effect)),
    keyed: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.flatMap(tag, (hedge) => hedge.keyed(effect))
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Settings {
  readonly delay: number | Quantile
  readonly maxHedges: number
  readonly share: number
  readonly burst: number
}

const isQuantile = (delay: Duration.DurationInput | Quantile): delay is Quantile =>
  typeof delay === "object" && "_tag" in delay && delay._tag === "Quantile"

class Hedger implements Hedge {
  static readonly measures: ReadonlyArray<Telemetry.Measure<Hedger>> = [
    ["firebreak_hedge_calls_total", {}, ({ calls }) => calls],
    ["firebreak_hedges_total", {}, ({ hedges }) => hedges],
    ["firebreak_hedge_wins_total", {}, ({ wins }) => wins],
    ["firebreak_hedge_refused_total", {}, ({ refused }) => refused]
  ]

  private readonly latencies: Latencies | undefined
  private tokens: number
  private calls = 0
  private hedges = 0
  private wins = 0
  private refused = 0
  /** Whether the last hedge that was due was refused: one event tells of a whole dry spell. */
  private exhausted = false

  constructor(
    readonly name: string,
    private readonly settings: Settings,
    private readonly events: Events.Service
  ) {
    const { burst, delay } = settings
    this.tokens = burst
    this.latencies = typeof delay === "number" ? undefined : new Latencies(delay.last, delay.of, delay.minimum)
  }

  readonly safe = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime<A, E, R>((fiber) => {
      this.calls++
      this.tokens = Math.min(this.settings.burst, this.tokens + this.settings.share)
      const delay = this.delay
      return delay === undefined ? this.learning(effect, fiber) : this.race(effect, delay, fiber)
    })

  readonly keyed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const hedged = this.safe(effect)
    return Effect.withFiberRuntime<A, E, R>((fiber) =>
      Option.isSome(Context.unsafeGet(fiber.currentContext, currentKey)) ? hedged : effect
    )
  }

  get stats(): Effect.Effect<Stats> {
    return Effect.sync(() => {
      const { calls, delay, hedges, refused, wins } = this
      return { calls, hedges, wins, refused, delay: Option.map(Option.fromNullable(delay), Duration.millis) }
    })
  }

  private get delay(): number | undefined {
    return this.latencies === undefined ? this.settings.delay as number : this.latencies.quantile()
  }

  /** Takes the price of a hedge, or tells that there is too little. */
  private admit(fiber: Running): boolean {
    // a share that is added ten times may fall short of one by a rounding error
    if (this.tokens > 1 - 1e-9) {
      this.tokens = Math.max(0, this.tokens - 1)
      this.hedges++
      this.exhausted = false
      return true
    }
    this.refused++
    if (!this.exhausted && this.events.isActive()) {
      this.events.unsafePublish({ _tag: "HedgeBudgetExhausted", hedge: this.name }, Time.wallMillis(fiber))
    }
    this.exhausted = true
    return false
  }

  private learn(startedAt: number, fiber: Running): void {
    this.latencies?.add(Time.monotonicMillis(fiber) - startedAt)
  }

  private learning<A, E, R>(effect: Effect.Effect<A, E, R>, fiber: Running): Effect.Effect<A, E, R> {
    const startedAt = Time.monotonicMillis(fiber)
    return Effect.map(effect, (value) => {
      this.learn(startedAt, fiber)
      return value
    })
  }

  private race<A, E, R>(effect: Effect.Effect<A, E, R>, delay: number, fiber: Running): Effect.Effect<A, E, R> {
    const startedAt = Time.monotonicMillis(fiber)
    const attempts = new Attempts<A, E>()
    return Effect.uninterruptibleMask((restore) => {
      const start = (attempt: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.forkDaemon(restore(attempt)), (running) => attempts.add(running))
      const hedge = start(Traced.within(fiber, `Hedge/${this.name}/hedge`, {}, effect))
      return Effect.gen(this, function*() {
        yield* start(effect)
        const starter = yield* Effect.forkDaemon(this.backups(hedge, delay, attempts))
        const decided = yield* Effect.exit(restore(attempts.decided.await))
        // the starter first: what it has started by then is among the attempts
        yield* Fiber.interrupt(starter)
        yield* Fiber.interruptAll(attempts.all)
        if (Exit.isFailure(decided)) return yield* Exit.failCause(decided.cause)
        const [winner, exit] = decided.value
        if (Exit.isSuccess(exit)) {
          if (winner !== attempts.all[0]) this.wins++
          if (!attempts.firstFailed) this.learn(startedAt, fiber)
          yield* winner.inheritAll
        }
        return yield* exit
      })
    })
  }

  /** Starts the hedges, one delay apart. Nothing can come between a start and its being known, only between two. */
  private backups<A, E, R>(
    start: Effect.Effect<void, never, R>,
    delay: number,
    attempts: Attempts<A, E>
  ): Effect.Effect<void, never, R> {
    const { maxHedges } = this.settings
    const wait = Effect.exit(Effect.interruptible(Effect.sleep(delay)))
    const next = (hedge: number): Effect.Effect<void, never, R> =>
      Effect.flatMap(wait, (waited) =>
        Effect.withFiberRuntime<void, never, R>((fiber) => {
          if (Exit.isFailure(waited) || attempts.decided.isDone || !this.admit(fiber)) return Effect.void
          return hedge === maxHedges ? start : Effect.zipRight(start, next(hedge + 1))
        }))
    return next(1)
  }
}

/** The attempts of one call, the first one first, and how the call is decided: by a success, or by the last failure. */
class Attempts<A, E> {
  readonly all: Array<Fiber.RuntimeFiber<A, E>> = []
  readonly decided = new Signal<readonly [Fiber.RuntimeFiber<A, E>, Exit.Exit<A, E>]>()
  firstFailed = false
  private running = 0

  add(attempt: Fiber.RuntimeFiber<A, E>): void {
    this.all.push(attempt)
    this.running++
    attempt.addObserver((exit) => {
      this.running--
      if (Exit.isSuccess(exit)) return this.decided.done([attempt, exit])
      const first = this.all[0]!
      if (attempt === first) this.firstFailed = true
      // all have failed, so the first one has, and its error is the call's
      if (this.running === 0) this.decided.done([first, first.unsafePoll() ?? exit])
    })
  }
}
