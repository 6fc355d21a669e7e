/**
 * Turns calls away before a dependency that is overloaded has to: the adaptive throttling of Google's SRE book, chapter
 * 21, "Handling Overload".
 *
 * Of the last two minutes a throttle counts requests and accepts, and rejects a call with probability
 * `max(0, (requests - K * accepts) / (requests + 1))`. So with K = 2 the dependency gets up to twice what it accepts, and
 * its recovery is seen at once. There are no states, no timer and no fiber.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Events from "./Events.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import { stackless } from "./internal/stackless.js"
import * as Stage from "./internal/stage.js"
import * as Time from "./internal/time.js"
import { type Verdict as Verdict_, verdictOf } from "./internal/verdict.js"
import { Window } from "./internal/window.js"
import * as Rejection from "./Rejection.js"
import * as Telemetry from "./Telemetry.js"

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
  /** K: how many requests are sent for each that is accepted, at least 1. Lower rejects earlier. Default 2. */
  readonly multiplier?: number | undefined
  /** How far back requests count. Default 2 minutes. */
  readonly within?: Duration.DurationInput | undefined
  /**
   * Fewer requests than this within the window tell nothing, and none is rejected. Default 1; more for a caller of few
   * calls, whose first failure says little.
   */
  readonly minimumCalls?: number | undefined
  /** The highest probability of rejection: the rest are probes. Default 0.9. */
  readonly maxProbability?: number | undefined
  /**
   * What a typed error says about the dependency: `success` counts as accepted. Default: `failure`. Defects are
   * failures, interruptions and `Rejection`s are ignored, whatever it says.
   */
  readonly classify?: ((error: unknown) => Verdict) | undefined
}

/**
 * The figures of the SRE book, and a cap so that one call in ten gets through at the worst.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { multiplier: 2, within: "2 minutes", minimumCalls: 1, maxProbability: 0.9 } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Calls of the window: those that ended, and those that were rejected. */
  readonly requests: number
  /** Calls of the window that the dependency accepted. */
  readonly accepts: number
  /** With which the next call is rejected, 0 to 1. */
  readonly probability: number
  /** Calls ever rejected. */
  readonly rejected: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Throttle extends Stage.Staged {
  readonly name: string
  /** Runs the effect unless the throttle turns it away, and learns from how it ended. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Throttled, R>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The dependency is overloaded and the lot fell on this call: it was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class Throttled extends Data.TaggedError("Throttled")<{
  readonly throttle: string
  /** With which it was rejected, 0 to 1. */
  readonly probability: number
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    return `Throttle "${this.throttle}" rejects ${Math.round(this.probability * 100)} % of calls; ` +
      "the call was not started"
  }
}

/**
 * With which a call is to be rejected after so many requests and accepts.
 *
 * @since 0.1.0
 * @category decisions
 */
export const probability = (
  requests: number,
  accepts: number,
  options: { readonly multiplier: number; readonly maxProbability: number } = defaults
): number => Math.min(options.maxProbability, Math.max(0, (requests - options.multiplier * accepts) / (requests + 1)))

/**
 * Makes a throttle.
 *
 * @example
 * import * as Throttle from "@firebreak/core/Throttle"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const throttle = yield* Throttle.make({ name: "search" })
 *   return yield* Effect.succeed("found").pipe(throttle.protect)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<Throttle> => {
  Check.known("Throttle", options, {
    name: true,
    multiplier: true,
    within: true,
    minimumCalls: true,
    maxProbability: true,
    classify: true
  })
  const name = Check.name("Throttle", "name", options.name)
  const settings: Settings = {
    multiplier: Check.between("Throttle", "multiplier", options.multiplier ?? defaults.multiplier, {
      min: 1,
      max: 1_000
    }),
    within: Check.millis("Throttle", "within", options.within ?? defaults.within, { min: buckets }),
    minimumCalls: Check.whole("Throttle", "minimumCalls", options.minimumCalls ?? defaults.minimumCalls, { min: 1 }),
    maxProbability: Check.between("Throttle", "maxProbability", options.maxProbability ?? defaults.maxProbability, {
      min: 0,
      max: 1
    }),
    classify: options.classify
  }
  return Telemetry.observed(
    Effect.map(Events.Events, (events) => new Adaptive(name, settings, events)),
    Adaptive.measures
  )
}

/**
 * The class of a throttle's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/Throttle/${Name}`, Throttle>
{
  /** Builds this throttle. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Runs the effect through this throttle. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Throttled, R | Self>
}

/**
 * Declares the throttle of one dependency.
 *
 * @example
 * import * as Throttle from "@firebreak/core/Throttle"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends Throttle.Tag("search")<Search>() {}
 *
 * const program = Effect.succeed("found").pipe(Search.protect, Effect.provide(Search.layer()))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("Throttle", name, make)
  return Object.assign(tag, { protect: protect(tag) })
}

/**
 * Runs the effect through the throttle of a tag; the same as the tag's own `protect`.
 *
 * @example
 * import * as Throttle from "@firebreak/core/Throttle"
 * import * as Effect from "effect/Effect"
 *
 * class Search extends Throttle.Tag("search")<Search>() {}
 *
 * const call = Effect.succeed("found").pipe(Throttle.protect(Search))
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect =
  <I>(tag: Context.Tag<I, Throttle>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Throttled, R | I> =>
    Stage.protectBy(tag)<A, E, R, Throttled>(effect)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Settings {
  readonly multiplier: number
  readonly within: number
  readonly minimumCalls: number
  readonly maxProbability: number
  readonly classify: ((error: unknown) => Verdict) | undefined
}

const buckets = 60
const requests = 0
const accepts = 1

class Adaptive implements Throttle, Stage.Stage {
  static readonly measures: ReadonlyArray<Telemetry.Measure<Adaptive>> = [
    ["firebreak_throttle_rejected_total", {}, ({ rejected }) => rejected]
  ]

  readonly [Stage.StageId]: Stage.Stage = this
  readonly holds = false
  private readonly window: Window
  private rejected = 0
  /** Whether calls are being turned away: one event tells of a whole spell. */
  private throttling = false

  constructor(
    readonly name: string,
    private readonly settings: Settings,
    private readonly events: Events.Service
  ) {
    this.window = new Window(settings.within, buckets, 2)
  }

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Throttled, R> =>
    Stage.protect<A, E, R, Throttled>(this, effect)

  get stats(): Effect.Effect<Stats> {
    return Effect.withFiberRuntime((fiber) => {
      const probability = this.probabilityAt(Time.monotonicMillis(fiber))
      return Effect.succeed({
        requests: this.window.sum(requests),
        accepts: this.window.sum(accepts),
        probability,
        rejected: this.rejected
      })
    })
  }

  enter(fiber: Stage.Running): unknown {
    // nothing refused: however much of that is too old, the probability is zero, and no clock need be read
    if (this.window.sum(requests) === this.window.sum(accepts)) {
      this.throttling = false
      return admitted
    }
    const now = Time.monotonicMillis(fiber)
    const probability = this.probabilityAt(now)
    if (probability === 0) {
      this.throttling = false
      return admitted
    }
    return new Stage.Waiting(
      Effect.flatMap(
        Random.next,
        (draw) => draw >= probability ? Effect.succeed(admitted) : Effect.fail(this.reject(probability, now, fiber))
      )
    )
  }

  /**
   * Requests count when they end: while they are under way nobody knows whether they are accepted, and a burst after a
   * quiet time must not be taken for an overload.
   */
  leave(_: typeof admitted, cause: Cause.Cause<unknown> | undefined, fiber: Stage.Running): void {
    const verdict = cause === undefined ? "success" : verdictOf(cause, this.settings.classify)
    if (verdict === "ignore") return
    const now = Time.monotonicMillis(fiber)
    this.window.increment(requests, now)
    if (verdict === "success") this.window.increment(accepts, now)
  }

  private probabilityAt(now: number): number {
    this.window.expire(now)
    const seen = this.window.sum(requests)
    return seen < this.settings.minimumCalls ? 0 : probability(seen, this.window.sum(accepts), this.settings)
  }

  private reject(probability: number, now: number, fiber: Stage.Running): Throttled {
    const throttle = this.name
    this.window.increment(requests, now)
    this.rejected++
    if (!this.throttling && this.events.isActive()) {
      this.events.unsafePublish({ _tag: "ThrottlingStarted", throttle, probability }, Time.wallMillis(fiber))
    }
    this.throttling = true
    return stackless(() => new Throttled({ throttle, probability }))
  }
}

const admitted = true
