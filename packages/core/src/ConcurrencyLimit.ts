/**
 * A limit on calls in flight that finds its own height: it falls when the dependency gets slower or fails, and rises
 * again when it does not. Nothing waits; what finds the limit reached is turned away, the least important first.
 *
 * The rules are in `LimitStrategy`; this is the shell around them. A call costs two readings of the clock. The limit is
 * looked at when a call ends, once a window: there is no timer and no fiber.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as Events from "./Events.js"
import { locally } from "./internal/ambient.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import { stackless } from "./internal/stackless.js"
import * as Stage from "./internal/stage.js"
import * as Time from "./internal/time.js"
import { type Verdict as Verdict_, verdictOf } from "./internal/verdict.js"
import * as LimitStrategy from "./LimitStrategy.js"
import * as Rejection from "./Rejection.js"
import * as Telemetry from "./Telemetry.js"

export {
  /**
   * Adds to the limit, and multiplies it down.
   *
   * @since 0.1.0
   * @category strategies
   */
  aimd,
  /**
   * Follows the latency.
   *
   * @since 0.1.0
   * @category strategies
   */
  gradient2
} from "./LimitStrategy.js"

/**
 * What a finished call says about its dependency: `ignore` counts for nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = Verdict_

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How the limit moves. Default `gradient2()`. */
  readonly strategy?: LimitStrategy.LimitStrategy<any> | undefined
  /** How often the limit is looked at. Default 1 second. */
  readonly every?: Duration.DurationInput | undefined
  /** Finished calls without which it is not looked at. Default 10. */
  readonly minimumCalls?: number | undefined
  /**
   * The share of the limit that each priority may use, from priority 0 on; a priority beyond them has that of the last.
   * Default 1, 0.8, 0.6, 0.4.
   */
  readonly shares?: readonly [number, ...ReadonlyArray<number>] | undefined
  /**
   * What a typed error says about the dependency: a `failure` lowers the limit, a `success` teaches its latency.
   * Default: `failure`. Defects are failures, interruptions and `Rejection`s are ignored, whatever it says.
   */
  readonly classify?: ((error: unknown) => Verdict) | undefined
}

/**
 * A look every second that saw 10 calls; a fifth of the limit less for each step of priority.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { every: "1 second", minimumCalls: 10, shares: [1, 0.8, 0.6, 0.4] } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Calls that may be in flight at once now. */
  readonly limit: number
  readonly inFlight: number
  /** Calls turned away since it was made. */
  readonly rejected: number
  /** Mean latency of the last window that had a success; zero before there was one. */
  readonly latency: Duration.Duration
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ConcurrencyLimit extends Stage.Staged {
  readonly name: string
  /** Runs the effect unless the limit is reached, and learns from how long it took and how it ended. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LimitExceeded, R>
  readonly stats: Effect.Effect<Stats>
}

/**
 * As many calls are in flight as the call's priority may bring about: it was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class LimitExceeded extends Data.TaggedError("LimitExceeded")<{
  readonly limiter: string
  /** Calls that might be in flight at once, those of priority 0 included. */
  readonly limit: number
  readonly inFlight: number
  readonly priority: number
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    return `Concurrency limit "${this.limiter}" is reached for priority ${this.priority} ` +
      `(${this.inFlight} in flight, limit ${this.limit}); the call was not started`
  }
}

/**
 * How important the calls of a fiber are, as incidents are numbered: 0 is the most important and the default.
 *
 * @since 0.1.0
 * @category tags
 */
export class Priority extends Context.Reference<Priority>()("@firebreak/core/ConcurrencyLimit/Priority", {
  defaultValue: (): number => 0
}) {}

/**
 * Makes a concurrency limit.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const limit = yield* ConcurrencyLimit.make({
 *     name: "search",
 *     strategy: ConcurrencyLimit.gradient2({ initial: 10, max: 100 })
 *   })
 *   return yield* Effect.succeed("found").pipe(limit.protect)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<ConcurrencyLimit> => {
  Check.known("ConcurrencyLimit", options, {
    name: true,
    strategy: true,
    every: true,
    minimumCalls: true,
    shares: true,
    classify: true
  })
  const name = Check.name("ConcurrencyLimit", "name", options.name)
  const settings: Settings = {
    strategy: options.strategy ?? LimitStrategy.gradient2(),
    every: Check.millis("ConcurrencyLimit", "every", options.every ?? defaults.every),
    minimumCalls: Check.whole("ConcurrencyLimit", "minimumCalls", options.minimumCalls ?? defaults.minimumCalls, {
      min: 1
    }),
    shares: (options.shares ?? defaults.shares).map((share) =>
      Check.between("ConcurrencyLimit", "shares", share, { min: 0, max: 1 })
    ),
    classify: options.classify
  }
  if (settings.shares.length === 0) {
    throw new Check.InvalidOption("ConcurrencyLimit: shares must hold at least one share, got none")
  }
  return Telemetry.observed(
    Effect.map(Events.Events, (events) => new Adaptive(name, settings, events)),
    Adaptive.measures
  )
}

/**
 * The class of a concurrency limit's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/ConcurrencyLimit/${Name}`, ConcurrencyLimit>
{
  /** Builds this concurrency limit. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Runs the effect unless this limit is reached. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LimitExceeded, R | Self>
}

/**
 * Declares the concurrency limit of one dependency.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends ConcurrencyLimit.Tag("search")<Search>() {}
 *
 * const SearchLive = Search.layer()
 *
 * const program = Effect.succeed("found").pipe(Search.protect, Effect.provide(SearchLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("ConcurrencyLimit", name, make)
  return Object.assign(tag, { protect: protect(tag) })
}

/**
 * Runs the effect unless the limit of a tag is reached; the same as the tag's own `protect`.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends ConcurrencyLimit.Tag("search")<Search>() {}
 *
 * const call = Effect.succeed("found").pipe(ConcurrencyLimit.protect(Search))
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect: <I>(
  tag: Context.Tag<I, ConcurrencyLimit>
) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LimitExceeded, R | I> = Stage.protectBy

/**
 * Says how important the calls within the effect are: 0 the most, and each number above it less. The less important are
 * turned away while the limit still has room for others.
 *
 * @example
 * import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends ConcurrencyLimit.Tag("search")<Search>() {}
 *
 * const prefetch = Effect.succeed("found").pipe(Search.protect, ConcurrencyLimit.withPriority(2))
 *
 * @since 0.1.0
 * @category combinators
 */
export const withPriority: {
  (priority: number): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, priority: number): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, priority: number): Effect.Effect<A, E, R> =>
  locally(
    effect,
    Priority,
    Check.whole("ConcurrencyLimit", "priority", priority, { min: 0 })
  ))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Settings {
  readonly strategy: LimitStrategy.LimitStrategy<any>
  readonly every: number
  readonly minimumCalls: number
  readonly shares: ReadonlyArray<number>
  readonly classify: ((error: unknown) => Verdict) | undefined
}

class Adaptive implements ConcurrencyLimit, Stage.Stage {
  static readonly measures: ReadonlyArray<Telemetry.Measure<Adaptive>> = [
    ["firebreak_concurrency_limit", {}, ({ limit }) => limit],
    ["firebreak_concurrency_limit_in_flight", {}, ({ inFlight }) => inFlight],
    ["firebreak_concurrency_limit_shed_total", {}, ({ rejected }) => rejected]
  ]

  readonly [Stage.StageId]: Stage.Stage = this
  readonly holds = true
  private state: unknown
  private limit: number
  private inFlight = 0
  private rejected = 0
  private latency = 0

  // the window that is under way
  private since: number | undefined
  private successes = 0
  private failures = 0
  private elapsed = 0
  private maxInFlight = 0

  constructor(
    readonly name: string,
    private readonly settings: Settings,
    private readonly events: Events.Service
  ) {
    this.state = settings.strategy.initial
    this.limit = this.wholeLimit()
  }

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LimitExceeded, R> =>
    Stage.protect<A, E, R, LimitExceeded>(this, effect)

  get stats(): Effect.Effect<Stats> {
    return Effect.sync(() => ({
      limit: this.limit,
      inFlight: this.inFlight,
      rejected: this.rejected,
      latency: Duration.millis(this.latency)
    }))
  }

  /** The ticket is the time of the start. */
  enter(fiber: Stage.Running): unknown {
    const priority = Context.unsafeGet(fiber.currentContext, Priority)
    if (this.inFlight >= this.open(priority)) return new Stage.Refused(this.rejection(priority, fiber))
    this.inFlight++
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight)
    const now = Time.monotonicMillis(fiber)
    this.since ??= now
    return now
  }

  leave(start: number, cause: Cause.Cause<unknown> | undefined, fiber: Stage.Running): void {
    this.inFlight--
    const verdict = cause === undefined ? "success" : verdictOf(cause, this.settings.classify)
    if (verdict === "ignore") return
    const now = Time.monotonicMillis(fiber)
    if (verdict === "failure") this.failures++
    else {
      this.successes++
      this.elapsed += now - start
    }
    const { every, minimumCalls } = this.settings
    if (now - this.since! >= every && this.successes + this.failures >= minimumCalls) this.look(now, fiber)
  }

  private look(now: number, fiber: Stage.Running): void {
    const { failures, maxInFlight, settings, successes } = this
    const latency = this.elapsed / successes
    if (successes > 0) this.latency = latency
    this.state = settings.strategy.next(this.state, { latency, successes, failures, maxInFlight })
    this.since = now
    this.successes = 0
    this.failures = 0
    this.elapsed = 0
    this.maxInFlight = this.inFlight
    const from = this.limit
    const to = this.limit = this.wholeLimit()
    if (from !== to && this.events.isActive()) {
      this.events.unsafePublish({ _tag: "ConcurrencyLimitMoved", limiter: this.name, from, to }, Time.wallMillis(fiber))
    }
  }

  private wholeLimit(): number {
    return Math.max(1, Math.floor(this.settings.strategy.limit(this.state)))
  }

  /** How many calls of this priority may bring about: at least one, so that none starves when all is quiet. */
  private open(priority: number): number {
    const { shares } = this.settings
    return Math.max(1, Math.floor(this.limit * shares[Math.min(priority, shares.length - 1)]!))
  }

  private rejection(priority: number, fiber: Stage.Running): LimitExceeded {
    this.rejected++
    const refusal = { limiter: this.name, limit: this.limit, inFlight: this.inFlight, priority }
    if (this.events.isActive()) {
      this.events.unsafePublish({ _tag: "CallShed", ...refusal }, Time.wallMillis(fiber))
    }
    return stackless(() => new LimitExceeded(refusal))
  }
}
