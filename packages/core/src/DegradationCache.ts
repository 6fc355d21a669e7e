/**
 * Where `Degradation.orCached` keeps the last good values, by component and key, encoded. Memory is here; a durable
 * store implements the same port.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type Cached, cached } from "./DegradationPart.js"
import * as options from "./internal/options.js"
import type { StoreError } from "./StoreError.js"

/**
 * A stored value: JSON of its schema-encoded form, and the wall-clock time of storing in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  readonly value: string
  readonly storedAt: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly get: (component: string, key: string) => Effect.Effect<Option.Option<Entry>, StoreError>
  readonly set: (component: string, key: string, entry: Entry) => Effect.Effect<void, StoreError>
  readonly remove: (component: string, key: string) => Effect.Effect<void, StoreError>
  /** Removes every key of the component. */
  readonly clear: (component: string) => Effect.Effect<void, StoreError>
  /** Refreshes in the background end with it. Without one each ends by its own `refreshTimeout`. */
  readonly scope?: Scope.Scope | undefined
}

/**
 * The cache of last good values. Required only by chains that use `Degradation.orCached`.
 *
 * @since 0.1.0
 * @category tags
 */
export class DegradationCache extends Context.Tag("@firebreak/core/DegradationCache")<DegradationCache, Service>() {}

/**
 * How a last good value is kept.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<A, I, R> {
  /** Tells apart the values of one component: the service, the tenant, the incident. */
  readonly key: string
  readonly schema: Schema.Schema<A, I, R>
  /** An older value is not used. Default 1 hour. */
  readonly maxAge?: Duration.DurationInput | undefined
  /**
   * A value of at most this age is served without asking the primary, and counts as fresh. Default 0: the primary is
   * always asked.
   */
  readonly ttl?: Duration.DurationInput | undefined
  /**
   * Serves a value between `ttl` and `maxAge` at once and refreshes it in the background, at most once a key at the same
   * time. Such a value counts as cached. Default false: the primary is asked first.
   */
  readonly staleWhileRevalidate?: boolean | undefined
  /** How long a refresh in the background may take. Default 30 seconds. */
  readonly refreshTimeout?: Duration.DurationInput | undefined
  /** How long one read or write may take before the caller goes on without it. Default 1 second. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * `capacity` is how many keys of one component are kept; beyond, the value stored longest ago goes first. `refreshes` is
 * how many refreshes of one cache run at the same time; a stale value served beyond that does not start one.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  maxAge: "1 hour",
  ttl: "0 millis",
  staleWhileRevalidate: false,
  refreshTimeout: "30 seconds",
  timeout: "1 second",
  capacity: 10_000,
  refreshes: 64
} as const

/**
 * Makes a cache in memory.
 *
 * @throws InvalidOption when `capacity` is no whole number of at least 1
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (config: { readonly capacity?: number | undefined } = {}): Service => {
  options.known("DegradationCache", config, { capacity: true })
  const capacity = options.whole("DegradationCache", "capacity", config.capacity ?? defaults.capacity, { min: 1 })
  const components = new Map<string, Map<string, Entry>>()
  return {
    get: (component, key) => Effect.sync(() => Option.fromNullable(components.get(component)?.get(key))),
    set: (component, key, entry) =>
      Effect.sync(() => {
        const entries = components.get(component) ?? new Map<string, Entry>()
        components.set(component, entries)
        // a Map keeps the order of insertion: deleting first makes this key the newest
        entries.delete(key)
        entries.set(key, entry)
        const [oldest] = entries.size > capacity ? entries.keys() : []
        if (oldest !== undefined) entries.delete(oldest)
      }),
    remove: (component, key) => Effect.sync(() => void components.get(component)?.delete(key)),
    clear: (component) => Effect.sync(() => void components.delete(component))
  }
}

/**
 * A cache in memory with the default capacity. It starts empty with every build of the Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<DegradationCache> = Layer.scoped(
  DegradationCache,
  Effect.map(Effect.scope, (scope) => ({ ...makeMemory(), scope }))
)

/**
 * A typed view on one key of a component, for which the cache is a help and never a fault: what fails or hangs is
 * logged and counts as absent. A value that the schema does not decode is dropped; one that is too old is kept, for it
 * may be the last.
 *
 * @throws InvalidOption when a duration is negative or not finite
 * @since 0.1.0
 * @category constructors
 */
export const lastGood = <A, I, R>(component: string, config: Options<A, I, R>): {
  readonly read: Effect.Effect<Option.Option<Cached<A>>, never, R | DegradationCache>
  readonly write: (value: A) => Effect.Effect<void, never, R | DegradationCache>
} => {
  options.known("Degradation.orCached", config, {
    key: true,
    schema: true,
    maxAge: true,
    ttl: true,
    staleWhileRevalidate: true,
    refreshTimeout: true,
    timeout: true
  })
  const { key } = config
  const maxAge = options.millis("Degradation", "maxAge", config.maxAge ?? defaults.maxAge)
  const timeout = options.millis("Degradation", "timeout", config.timeout ?? defaults.timeout, { min: 1 })
  const json = Schema.parseJson(config.schema)
  const decode = Schema.decode(json)
  const encode = Schema.encode(json)

  const orLog = (what: string) => <B, E, R2>(effect: Effect.Effect<Option.Option<B>, E, R2>) =>
    effect.pipe(
      Effect.timeout(timeout),
      Effect.catchAllCause((cause) =>
        Effect.as(
          Effect.logWarning(`Degradation could not ${what} the last good value of "${component}", key "${key}"`, cause),
          Option.none<B>()
        )
      )
    )

  const read = Effect.gen(function*() {
    const cache = yield* DegradationCache
    const entry = yield* cache.get(component, key)
    if (Option.isNone(entry)) return Option.none()
    // a wall clock that was set back makes an age negative: such a value counts as just stored
    const age = Math.max(0, (yield* Clock.currentTimeMillis) - entry.value.storedAt)
    if (age > maxAge) return Option.none()
    return yield* decode(entry.value.value).pipe(
      Effect.map((value) => Option.some(cached(value, entry.value.storedAt, Duration.millis(age)))),
      Effect.tapErrorTag("ParseError", () => cache.remove(component, key))
    )
  })

  const write = Effect.fnUntraced(function*(value: A) {
    const cache = yield* DegradationCache
    const encoded = yield* encode(value)
    yield* cache.set(component, key, { value: encoded, storedAt: yield* Clock.currentTimeMillis })
    return Option.none()
  })

  return { read: orLog("read")(read), write: (value) => Effect.asVoid(orLog("store")(write(value))) }
}
