/**
 * Graceful degradation: a component is a typed chain of fallbacks, and several components together are an answer with a
 * level.
 *
 * A chain asks its primary source first and then each fallback in the order in which it was piped. Only a typed failure
 * falls back: an interruption ends the chain, and so does a defect unless `catchDefects` is set. A chain that ends in a
 * constant is total, so its part always has a value.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Types from "effect/Types"
import * as DegradationCache from "./DegradationCache.js"
import type { Component, ErrorGiven, FailFast, Given, LateWithin, PartGiven } from "./DegradationComponent.js"
import * as DegradationComponent from "./DegradationComponent.js"
import type * as DegradationLevel from "./DegradationLevel.js"
import type { Alternate, Cached, Constant, Fresh, Valued } from "./DegradationPart.js"
import * as DegradationPart from "./DegradationPart.js"
import * as DegradationSpells from "./DegradationSpells.js"
import * as Asking from "./internal/askAll.js"
import { ask } from "./internal/askChain.js"
import * as options from "./internal/options.js"
import * as Revalidate from "./internal/revalidate.js"
import type { StoreError } from "./StoreError.js"

export {
  /**
   * From `DegradationReport`.
   *
   * @since 0.1.0
   * @category reporting
   */
  banner,
  /**
   * From `DegradationReport`.
   *
   * @since 0.1.0
   * @category reporting
   */
  Degraded,
  /**
   * From `DegradationReport`.
   *
   * @since 0.1.0
   * @category reporting
   */
  degraded,
  /**
   * From `DegradationReport`.
   *
   * @since 0.1.0
   * @category errors
   */
  DegradedBeyond
} from "./DegradationReport.js"

export {
  /**
   * From `DegradationPart`.
   *
   * @since 0.1.0
   * @category reporting
   */
  isDegraded,
  /**
   * From `DegradationPart`.
   *
   * @since 0.1.0
   * @category reporting
   */
  value
} from "./DegradationPart.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions<FreshOnly extends boolean> {
  /** Skips cached values and constants, for a caller who asked for a refresh. Default false. */
  readonly freshOnly?: FreshOnly | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface AllOptions<
  Names extends string,
  FreshOnly extends boolean,
  Deadline extends Duration.DurationInput | undefined = undefined
> extends RunOptions<FreshOnly> {
  /** The worst level that is still an answer. Default `moderate`. */
  readonly tolerate?: DegradationLevel.Level | undefined
  /** How much each component counts: positive and finite. Default 1. */
  readonly weights?: { readonly [Name in Names]?: number | undefined } | undefined
  /**
   * When the answer is given: a live source that has not answered by then is interrupted with `SourceTimeout`, and what
   * answers at once stands in for it, a cached value or a constant; else the part is missing. Reading a cache takes its own
   * `timeout` at most. Default: when every component has answered.
   */
  readonly deadline?: Deadline | undefined
  /**
   * Under which `DegradationSlo` counts the answers. It is a tag of metrics: no tenants or requests. Default: the names of
   * the components, in the order of the alphabet, such as `"logs+metrics"`.
   */
  readonly name?: string | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { tolerate: "moderate", weight: 1, freshOnly: false } as const

/**
 * Begins a chain with its primary source. Components that can fail apart need names that differ: the cache and the
 * beginning of a spell go by the name.
 *
 * @throws InvalidOption when the name is empty
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 *
 * const errorRate = Degradation.component("error-rate", Effect.fail("datadog is down")).pipe(
 *   Degradation.orElse("prometheus", Effect.succeed(0.05)),
 *   Degradation.orConstant(0)
 * )
 *
 * // level "slight": there is a value, live, but not from the primary
 * const program = Effect.map(Degradation.all({ errorRate }), ({ level, parts }) => [level, parts.errorRate.value])
 *
 * @since 0.1.0
 * @category constructors
 */
export const component = <
  A,
  E,
  R,
  Defects extends boolean | undefined = undefined,
  Timeout extends Duration.DurationInput | undefined = undefined
>(
  name: string,
  primary: Effect.Effect<A, E, R>,
  config: DegradationComponent.Options & {
    readonly catchDefects?: Defects | undefined
    readonly timeout?: Timeout | undefined
  } = {}
): Component<
  Fresh<A>,
  E | (Defects extends true ? DegradationComponent.SourceDefect : never) | LateWithin<Timeout>,
  R
> => {
  options.known("Degradation.component", config, {
    advice: true,
    contact: true,
    recovery: true,
    catchDefects: true,
    timeout: true
  })
  const at = { component: options.name("Degradation", "name", name), source: "primary" }
  const guarded = DegradationComponent.guard(primary, at, config)
  const chain = DegradationComponent.make({
    name,
    primary: Effect.map(guarded, (value) => ({ part: DegradationPart.fresh(value), keep: Effect.void })),
    fallbacks: [],
    options: config,
    ahead: Effect.succeedNone
  })
  // the guard adds exactly the errors that the options ask for
  return chain as Component<
    Fresh<A>,
    E | (Defects extends true ? DegradationComponent.SourceDefect : never) | LateWithin<Timeout>,
    R
  >
}

/**
 * Falls back on another source of live data. The chain keeps the error of its primary; what the alternate failed with
 * is told in events and in `Outage.error`.
 *
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 *
 * const latency = Degradation.component("latency", Effect.fail("datadog is down")).pipe(
 *   Degradation.orElse("prometheus", Effect.succeed(120))
 * )
 *
 * // 120, an `Alternate` of the source "prometheus"
 * export const program = Degradation.run(latency)
 *
 * @since 0.1.0
 * @category fallbacks
 */
export const orElse: {
  <B, E2, R2>(
    source: string,
    effect: Effect.Effect<B, E2, R2>
  ): <P, E, R, S>(self: Component<P, E, R, S>) => Component<P | Alternate<B>, E, R | R2, S>
  <P, E, R, S, B, E2, R2>(
    self: Component<P, E, R, S>,
    source: string,
    effect: Effect.Effect<B, E2, R2>
  ): Component<P | Alternate<B>, E, R | R2, S>
} = dual(3, <P, E, R, S, B, E2, R2>(
  self: Component<P, E, R, S>,
  source: string,
  effect: Effect.Effect<B, E2, R2>
): Component<P | Alternate<B>, E, R | R2, S> => {
  const at = { component: self.name, source: options.name("Degradation", "source", source) }
  const guarded = DegradationComponent.guard(effect, at, self.options)
  return DegradationComponent.append<P | Alternate<B>, E, R | R2, S>(self, {
    source,
    quality: "alternate",
    ask: Effect.map(guarded, (value) => Option.some(DegradationPart.alternate(value, source)))
  })
})

/**
 * Falls back on the last success of the primary, if it is no older than `maxAge`. A value that the schema no longer
 * decodes is dropped; a cache that fails or hangs is logged and never fails the chain.
 *
 * With `ttl` a value that is no older is served without asking the primary; with `staleWhileRevalidate` an older one is,
 * too, and refreshed in the background. A refresh that fails is told by `RefreshFailed` and leaves the value as it is. The
 * primary of such a chain must not use what ends with its caller.
 *
 * @throws InvalidOption when a duration is negative or not finite, or `ttl` longer than `maxAge`
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const owners = (service: string) =>
 *   Degradation.component("owners", Effect.succeed(["ada"])).pipe(
 *     Degradation.orCached({ key: service, schema: Schema.Array(Schema.String), maxAge: "1 hour" })
 *   )
 *
 * export const program = Degradation.run(owners("payment-api")).pipe(Effect.provide(Degradation.layerMemory))
 *
 * @since 0.1.0
 * @category fallbacks
 */
export const orCached: {
  <A, I, R2>(
    config: DegradationCache.Options<A, I, R2>
  ): <P extends From<A>, E, R, S>(
    self: Component<P, E, R, S>
  ) => Component<P | Cached<A>, E, R | R2 | DegradationCache.DegradationCache, S>
  <P extends From<A>, E, R, S, A, I, R2>(
    self: Component<P, E, R, S>,
    config: DegradationCache.Options<A, I, R2>
  ): Component<P | Cached<A>, E, R | R2 | DegradationCache.DegradationCache, S>
} = dual(2, <P extends From<A>, E, R, S, A, I, R2>(
  self: Component<P, E, R, S>,
  config: DegradationCache.Options<A, I, R2>
): Component<P | Cached<A>, E, R | R2 | DegradationCache.DegradationCache, S> => {
  const { read, write } = DegradationCache.lastGood(self.name, config)
  const primary = Effect.map(
    self.primary,
    ({ keep, part }): Given<P, R | R2 | DegradationCache.DegradationCache> => ({
      part,
      keep: part._tag === "Fresh" ? write(part.value) : keep
    })
  )
  const ahead = Revalidate.ahead({ name: self.name, primary }, read, config)
  return DegradationComponent.append<P | Cached<A>, E, R | R2 | DegradationCache.DegradationCache, S>(
    DegradationComponent.make<P | Cached<A>, E, R | R2 | DegradationCache.DegradationCache, S>(
      { ...self, primary, ahead }
    ),
    { source: "cache", quality: "cached", ask: read }
  )
})

/**
 * Ends the chain in a value that is always there: the chain cannot fail any more.
 *
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 *
 * const hints = Degradation.component("hints", Effect.fail("search is down")).pipe(Degradation.orConstant([]))
 *
 * // cannot fail
 * export const program = Degradation.run(hints)
 *
 * @since 0.1.0
 * @category fallbacks
 */
export const orConstant: {
  <B>(value: B): <P, E, R, S>(self: Component<P, E, R, S>) => Component<P | Constant<B>, never, R, S>
  <P, E, R, S, B>(self: Component<P, E, R, S>, value: B): Component<P | Constant<B>, never, R, S>
} = dual(
  2,
  <P, E, R, S, B>(self: Component<P, E, R, S>, value: B): Component<P | Constant<B>, never, R, S> =>
    DegradationComponent.append<P | Constant<B>, never, R, S>(self, {
      source: "constant",
      quality: "constant",
      ask: Effect.succeed(Option.some(DegradationPart.constant(value)))
    })
)

/**
 * Ends the chain in failure: when all of it failed, `all` fails at once with its error and interrupts the others.
 * Without it the part is `Missing`.
 *
 * @example
 * import * as Degradation from "@firebreak/core/Degradation"
 * import * as Effect from "effect/Effect"
 *
 * const logs = Degradation.component("logs", Effect.succeed(["OOMKilled"]))
 * const hints = Degradation.component("hints", Effect.fail("search is down"))
 *
 * // without the logs there is no answer; without the hints there is one, in which they are `Missing`
 * export const program = Degradation.all({ logs: Degradation.failFast(logs), hints })
 *
 * @since 0.1.0
 * @category fallbacks
 */
export const failFast = <P, E, R, S>(self: Component<P, E, R, S>): FailFast<P, E, R, S> => ({
  _tag: "FailFast",
  component: self
})

/**
 * Runs one component by itself.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <P extends Valued<unknown>, E, R, S, FreshOnly extends boolean = false>(
  self: Component<P, E, R, S>,
  config: RunOptions<FreshOnly> = {}
): Effect.Effect<PartGiven<P, FreshOnly>, ErrorGiven<E, S, FreshOnly>, R> => {
  options.known("Degradation.run", config, { freshOnly: true })
  return Effect.flatMap(ask(self, { freshOnly: config.freshOnly ?? defaults.freshOnly }), ({ part }) =>
    // which parts and which error are possible follows from the sources that were asked
    part._tag === "Missing"
      ? Effect.fail(part.error as ErrorGiven<E, S, FreshOnly>)
      : Effect.succeed(part as PartGiven<P, FreshOnly>))
}

/**
 * Runs the components side by side and returns their parts with the level of the whole. Fails with `DegradedBeyond`
 * when the level is worse than `tolerate`, and with the error of a `failFast` component when that fails.
 *
 * @throws InvalidOption when there is no component, when a weight is of none or not positive and finite, and when the
 * deadline is no finite duration of at least 1 ms
 * @since 0.1.0
 * @category running
 */
export const all = <
  const C extends Readonly<Record<string, DegradationComponent.Any>>,
  FreshOnly extends boolean = false,
  Deadline extends Duration.DurationInput | undefined = undefined
>(
  components: C,
  config: AllOptions<Extract<keyof Types.NoInfer<C>, string>, FreshOnly, Deadline> = {}
): DegradationComponent.Answer<C, FreshOnly, Deadline> => {
  options.known("Degradation.all", config, {
    freshOnly: true,
    tolerate: { full: true, slight: true, moderate: true, minimal: true, failed: true },
    weights: true,
    deadline: true,
    name: true
  })
  const entries = Object.entries<DegradationComponent.Any>(components)
  const names = Object.keys(components)
  const weights = Asking.checkWeights(names, config.weights ?? {})
  const report = Asking.askAll(entries, {
    name: options.name("Degradation.all", "name", config.name ?? names.toSorted().join("+")),
    freshOnly: config.freshOnly ?? defaults.freshOnly,
    tolerate: config.tolerate ?? defaults.tolerate,
    weightOf: (name) => weights.get(name) ?? defaults.weight,
    deadline: config.deadline
  })
  // entries lose which part and which error belongs to which name; the mapped types above say it again
  return report as DegradationComponent.Answer<C, FreshOnly, Deadline>
}

/**
 * Drops the last good value of one key of a component, or of all its keys.
 *
 * @since 0.1.0
 * @category running
 */
export const invalidate = (
  component: string,
  key?: string | undefined
): Effect.Effect<void, StoreError, DegradationCache.DegradationCache> =>
  Effect.flatMap(
    DegradationCache.DegradationCache,
    (cache) => key === undefined ? cache.clear(component) : cache.remove(component, key)
  )

/**
 * What degradation remembers, in memory: the last good values and since when each component has been failing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<DegradationCache.DegradationCache> = Layer.merge(
  DegradationCache.layerMemory,
  DegradationSpells.layer
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The parts of a chain whose primary gives an `A`. */
type From<A> = Fresh<A> | Alternate<unknown> | Cached<unknown> | Constant<unknown>
