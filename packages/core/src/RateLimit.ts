/**
 * Starts calls no faster than a dependency allows, under one limit or several at once ("10 a second and 1,000 an hour"):
 * a call starts when all of them agree, and is charged to all of them or to none.
 *
 * A call that comes too soon waits its turn, first in, first out, or is rejected with the time to come back. Waiting
 * reserves nothing: a waiter that is interrupted has cost nothing and delays nobody. There is no fiber and no timer but
 * that of the first waiter.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as Events from "./Events.js"
import { locally } from "./internal/ambient.js"
import { durationText } from "./internal/durationText.js"
import * as Gcra from "./internal/gcra.js"
import { Line, Waiter } from "./internal/line.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import { stackless } from "./internal/stackless.js"
import * as Stage from "./internal/stage.js"
import * as Time from "./internal/time.js"
import * as Traced from "./internal/traced.js"
import * as Rejection from "./Rejection.js"
import * as Telemetry from "./Telemetry.js"

/**
 * One limit: `rate` calls in every span `per`, evenly spaced.
 *
 * @since 0.1.0
 * @category options
 */
export interface Limit {
  readonly rate: number
  readonly per: Duration.DurationInput
  /**
   * Calls that may start at once after a pause. Default 1. In any window of `per` at most `burst + rate` start: where the
   * dependency allows no more than N in any window, let the two add up to N.
   */
  readonly burst?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** All of them must agree. */
  readonly limits: readonly [Limit, ...ReadonlyArray<Limit>]
  /** What becomes of a call that may not start yet. Default `wait`. */
  readonly onLimit?: "wait" | "reject" | undefined
  /** A call that would have to wait longer is rejected at once. Default 30 seconds. */
  readonly maxWait?: Duration.DurationInput | undefined
}

/**
 * No bursts; calls wait up to 30 seconds.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { burst: 1, onLimit: "wait", maxWait: "30 seconds" } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly waiting: number
  /** Calls turned away since it was made. */
  readonly rejected: number
  /** The cost that may start at once, by the strictest limit. */
  readonly available: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RateLimit extends Stage.Staged {
  readonly name: string
  /** Runs the effect when every limit allows it. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RateLimited, R>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The rate is used up: the call was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimited extends Data.TaggedError("RateLimited")<{
  /** The name of the rate limit. */
  readonly limit: string
  /** When a call of the same cost may start, if those that wait now all do. */
  readonly retryAfter: Duration.Duration
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    return `Rate limit "${this.limit}" is used up; the call was not started; retry in ${durationText(this.retryAfter)}`
  }
}

/**
 * What a call counts for against the limits it meets: 1 unless `withCost` says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Cost extends Context.Reference<Cost>()("@firebreak/core/RateLimit/Cost", {
  defaultValue: (): number => 1
}) {}

/**
 * Makes a rate limit.
 *
 * @example
 * import * as RateLimit from "@firebreak/core/RateLimit"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const limit = yield* RateLimit.make({
 *     name: "search",
 *     limits: [{ rate: 10, per: "1 second", burst: 5 }, { rate: 1_000, per: "1 hour" }]
 *   })
 *   return yield* Effect.succeed("found").pipe(limit.protect)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<RateLimit> => {
  Check.known("RateLimit", options, { name: true, limits: true, onLimit: { wait: true, reject: true }, maxWait: true })
  const name = Check.name("RateLimit", "name", options.name)
  const limits = options.limits.map((limit) => {
    Check.known("RateLimit.limits", limit, { rate: true, per: true, burst: true })
    return {
      interval: Check.millis("RateLimit", "per", limit.per, { min: 1 }) / positive("rate", limit.rate),
      burst: Check.whole("RateLimit", "burst", limit.burst ?? defaults.burst, { min: 1 })
    }
  })
  if (limits.length === 0) throw new Check.InvalidOption("RateLimit: limits must hold at least one limit, got none")
  const maxWait = Check.millis("RateLimit", "maxWait", options.maxWait ?? defaults.maxWait)
  const waits = (options.onLimit ?? defaults.onLimit) === "wait"
  return Telemetry.observed(
    Effect.map(Events.Events, (events) => new Live(name, limits, waits ? maxWait : 0, events)),
    Live.measures
  )
}

/**
 * The class of a rate limit's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/RateLimit/${Name}`, RateLimit>
{
  /** Builds this rate limit. */
  readonly layer: (options: Options) => Layer.Layer<Self>
  /** Runs the effect when this rate limit allows it. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RateLimited, R | Self>
}

/**
 * Declares the rate limit of one dependency.
 *
 * @example
 * import * as RateLimit from "@firebreak/core/RateLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends RateLimit.Tag("search")<Search>() {}
 *
 * const SearchLive = Search.layer({ limits: [{ rate: 10, per: "1 second" }] })
 *
 * const program = Effect.succeed("found").pipe(Search.protect, Effect.provide(SearchLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("RateLimit", name, make)
  return Object.assign(tag, { protect: protect(tag) })
}

/**
 * Runs the effect when a tag's rate limit allows it; the same as the tag's own `protect`.
 *
 * @example
 * import * as RateLimit from "@firebreak/core/RateLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends RateLimit.Tag("search")<Search>() {}
 *
 * const call = Effect.succeed("found").pipe(RateLimit.protect(Search))
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect: <I>(
  tag: Context.Tag<I, RateLimit>
) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RateLimited, R | I> = Stage.protectBy

/**
 * Says what the calls within the effect count for: tokens of a model, rows of a batch. A cost above a limit's burst
 * starts when the limit is wholly unused, and is then paid off.
 *
 * @example
 * import * as RateLimit from "@firebreak/core/RateLimit"
 * import * as Effect from "effect/Effect"
 *
 * class Tokens extends RateLimit.Tag("tokens")<Tokens>() {}
 *
 * const answer = Effect.succeed("42").pipe(Tokens.protect, RateLimit.withCost(1_200))
 *
 * @since 0.1.0
 * @category combinators
 */
export const withCost: {
  (cost: number): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, cost: number): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, cost: number): Effect.Effect<A, E, R> =>
  locally(
    effect,
    Cost,
    positive("cost", cost)
  ))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const positive = (option: string, value: number) =>
  Check.between("RateLimit", option, value, { min: Number.MIN_VALUE, max: Number.MAX_SAFE_INTEGER })

/**
 * A waiter whose turn comes late, because its timer did or the one before it gave up, is charged for when it might have
 * started, up to so many milliseconds ago. Without that, timers of whole milliseconds would cost rate; with more, calls
 * would pile up behind a long pause.
 */
const lateness = 10

/** The longest sleep a timer can do. */
const maxSleep = 2 ** 31 - 1

const ticket = "started"

class Call extends Waiter {
  constructor(readonly cost: number, readonly latest: number) {
    super()
  }
}

class Live implements RateLimit, Stage.Stage {
  static readonly measures: ReadonlyArray<Telemetry.Measure<Live>> = [
    ["firebreak_rate_limit_waiting", {}, ({ line }) => line.size],
    ["firebreak_rate_limit_available", {}, (limit, now) => limit.available(now)],
    ["firebreak_rate_limit_rejected_total", {}, ({ rejected }) => rejected]
  ]

  readonly [Stage.StageId]: Stage.Stage = this
  readonly holds = false
  private state: Gcra.State
  private origin: number | undefined
  private rejected = 0
  private readonly line = new Line<Call>()
  /** What the line will cost. */
  private ahead = 0

  constructor(
    readonly name: string,
    private readonly limits: ReadonlyArray<Gcra.Limit>,
    private readonly maxWait: number,
    private readonly events: Events.Service
  ) {
    this.state = Gcra.unused(limits)
  }

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | RateLimited, R> =>
    Stage.protect<A, E, R, RateLimited>(this, effect)

  get stats(): Effect.Effect<Stats> {
    return Effect.withFiberRuntime((fiber) =>
      Effect.succeed({
        waiting: this.line.size,
        rejected: this.rejected,
        available: this.available(Time.monotonicMillis(fiber))
      })
    )
  }

  private available(monotonic: number): number {
    return this.line.size > 0 ? 0 : Gcra.available(this.limits, this.state, this.since(monotonic))
  }

  enter(fiber: Stage.Running, restore: Stage.Restore): unknown {
    const now = this.now(fiber)
    const cost = Context.unsafeGet(fiber.currentContext, Cost)
    if (this.line.size === 0 && Gcra.allowedAt(this.limits, this.state, cost) <= now) {
      this.state = Gcra.charge(this.limits, this.state, cost, now)
      return ticket
    }
    const wait = Gcra.forecast(this.limits, this.state, cost, this.ahead, now) - now
    return wait > this.maxWait
      ? new Stage.Refused(this.rejection(wait, fiber))
      : new Stage.Waiting(
        Traced.within(fiber, `RateLimit/${this.name}/wait`, {}, this.wait(new Call(cost, now + this.maxWait), restore))
      )
  }

  leave(): void {}

  private wait(call: Call, restore: Stage.Restore): Effect.Effect<unknown, RateLimited> {
    return Effect.uninterruptibleMask((own) =>
      Effect.suspend(() => {
        const isFirst = this.line.size === 0
        this.line.join(call)
        this.ahead += call.cost
        return Effect.matchCauseEffect(
          own(restore(isFirst ? this.due(call) : Effect.zipRight(call.woken, this.due(call)))),
          {
            onFailure: (cause) => {
              this.quit(call)
              return Exit.failCause(cause)
            },
            onSuccess: (at) => {
              this.state = Gcra.charge(this.limits, this.state, call.cost, at)
              this.quit(call)
              return Exit.succeed(ticket)
            }
          }
        )
      })
    )
  }

  /** Sleeps until the first in line may start; the time it is to be charged for. */
  private due(call: Call): Effect.Effect<number, RateLimited> {
    return Effect.withFiberRuntime((fiber) => {
      const now = this.now(fiber)
      const at = Gcra.allowedAt(this.limits, this.state, call.cost)
      if (at <= now) return Exit.succeed(Math.max(at, now - lateness))
      // the forecast may have been too good, see `Gcra.forecast`
      if (at > call.latest + lateness) return Exit.fail(this.rejection(at - now, fiber))
      // whole microseconds: a timer's rounding must not wake it too soon over and over
      const sleep = Duration.millis(Math.min(Math.ceil((at - now) * 1_000) / 1_000, maxSleep))
      return Effect.zipRight(Effect.sleep(sleep), this.due(call))
    })
  }

  private quit(call: Call): void {
    const wasFirst = this.line.first === call
    this.line.leave(call)
    this.ahead = this.line.size === 0 ? 0 : this.ahead - call.cost
    if (wasFirst) this.line.first?.wake()
  }

  private now(fiber: Stage.Running): number {
    return this.since(Time.monotonicMillis(fiber))
  }

  /** Small numbers keep their fractions: intervals of nanoseconds add up without drift. */
  private since(monotonic: number): number {
    this.origin ??= monotonic
    return monotonic - this.origin
  }

  private rejection(wait: number, fiber: Stage.Running): RateLimited {
    this.rejected++
    if (this.events.isActive()) {
      const event = { _tag: "RateLimitReached", limit: this.name, retryAfterMillis: wait } as const
      this.events.unsafePublish(event, Time.wallMillis(fiber))
    }
    const refusal = { limit: this.name, retryAfter: Duration.millis(wait) }
    return stackless(() => new RateLimited(refusal))
  }
}
