/**
 * Breakers by key, for dependencies that are known only at run time: one per host, per tenant, per shard. A breaker that
 * is closed and has not been asked for in a while is forgotten, so that keys from outside cannot fill the memory.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as CircuitBreaker from "./CircuitBreaker.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"
import * as Telemetry from "./Telemetry.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options extends CircuitBreaker.Options {
  /** Names the breakers: `name/key`. */
  readonly name: string
  /** How long a closed breaker is kept after it was last asked for. Default 1 hour. */
  readonly idleFor?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { idleFor: "1 hour" } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Registry {
  /** The breaker of the key, made if there is none. Ask each time: a breaker held for longer may be forgotten here. */
  readonly get: (key: string) => Effect.Effect<CircuitBreaker.CircuitBreaker>
  /** Runs the effect through the breaker of the key. */
  readonly protect: (
    key: string
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreaker.CircuitOpen, R>
  /** The breakers there are, by key. */
  readonly all: Effect.Effect<ReadonlyMap<string, CircuitBreaker.CircuitBreaker>>
}

/**
 * Makes a registry.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const breakers = yield* CircuitBreakerRegistry.make({ name: "webhooks", trip: CircuitBreaker.consecutive(3) })
 *   return yield* Effect.succeed("delivered").pipe(breakers.protect("customer.example"))
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Registry> => {
  const { idleFor, name, ...rest } = options
  Check.name("CircuitBreakerRegistry", "name", name)
  // the options of the breakers are checked now, not with the first key
  void CircuitBreaker.make({ ...rest, name })
  const idle = Check.millis("CircuitBreakerRegistry", "idleFor", idleFor ?? defaults.idleFor, { min: 1 })
  const entries = new Map<string, { readonly breaker: CircuitBreaker.CircuitBreaker; usedAt: number }>()
  let sweptAt = -Infinity

  const sweep = (now: number) =>
    Effect.gen(function*() {
      for (const [key, { breaker, usedAt }] of entries) {
        if (usedAt <= now - idle && (yield* breaker.stats).state === "closed") entries.delete(key)
      }
    })

  const get = (key: string): Effect.Effect<CircuitBreaker.CircuitBreaker> =>
    Effect.withFiberRuntime((fiber) => {
      const now = Time.monotonicMillis(fiber)
      const found = entries.get(key)
      if (found !== undefined) {
        found.usedAt = now
        if (now < sweptAt + idle / 2) return Effect.succeed(found.breaker)
      }
      const due = now >= sweptAt + idle / 2
      if (due) sweptAt = now
      const ready = found !== undefined ? Effect.succeed(found.breaker) : Effect.map(
        Telemetry.observedAs(name)(CircuitBreaker.make({ ...rest, name: `${name}/${key}` })),
        // who asked at the same time must get the same one
        (breaker) => entries.get(key)?.breaker ?? (entries.set(key, { breaker, usedAt: now }), breaker)
      )
      return due ? Effect.zipLeft(ready, sweep(now)) : ready
    })

  return Effect.succeed({
    get,
    protect: (key) => (effect) => Effect.flatMap(get(key), (breaker) => breaker.protect(effect)),
    all: Effect.sync(() => new Map(Array.from(entries, ([key, { breaker }]) => [key, breaker])))
  })
}
