/** What is served ahead of a primary: a value within its ttl, or a stale one that is refreshed in the background. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Deadline from "../Deadline.js"
import * as DegradationCache from "../DegradationCache.js"
import { type Ahead, type Component, SourceTimeout } from "../DegradationComponent.js"
import type { Cached } from "../DegradationPart.js"
import * as Events from "../Events.js"
import { errorText } from "./errorText.js"
import * as Check from "./options.js"
import * as Spell from "./spell.js"
import * as Timer from "./timer.js"

/** `read` gives the last good value if it is no older than `maxAge`; `primary` stores what it gives. */
export const ahead = <P, E, R, S, A, I, R2>(
  { name, primary }: Pick<Component<P, E, R, S>, "name" | "primary">,
  read: Effect.Effect<Option.Option<Cached<A>>, never, R2>,
  config: DegradationCache.Options<A, I, R2>
): Effect.Effect<Option.Option<Ahead<Cached<A>>>, never, R | R2 | DegradationCache.DegradationCache> => {
  const { defaults } = DegradationCache
  const module = `Degradation "${name}"`
  const ttl = Check.millis(module, "ttl", config.ttl ?? defaults.ttl)
  const maxAge = Check.millis(module, "maxAge", config.maxAge ?? defaults.maxAge)
  const timeout = Check.millis(module, "refreshTimeout", config.refreshTimeout ?? defaults.refreshTimeout, { min: 1 })
  if (ttl > maxAge) {
    throw new Check.InvalidOption(`${module}: ttl must be at most maxAge, got ${ttl} ms and ${maxAge} ms`)
  }
  const revalidates = config.staleWhileRevalidate ?? defaults.staleWhileRevalidate
  if (ttl === 0 && !revalidates) return Effect.succeedNone

  const refresh = Effect.matchCauseEffect(
    Timer.within(
      primary,
      timeout,
      () => new SourceTimeout({ component: name, source: "primary", after: Duration.millis(timeout) })
    ),
    {
      onSuccess: ({ keep }) => Effect.zipRight(keep, Spell.ended(name)),
      onFailure: (cause) =>
        Cause.isInterruptedOnly(cause)
          ? Effect.void
          : Effect.zipRight(
            Spell.began(name),
            Events.publish({ _tag: "RefreshFailed", component: name, error: errorText(Cause.squash(cause)) })
          )
    }
  )

  return Effect.flatMap(read, (found) => {
    if (Option.isNone(found)) return Effect.succeedNone
    const { age, storedAt } = found.value
    if (ttl > 0 && Duration.toMillis(age) <= ttl) {
      return Effect.succeedSome({ part: { ...found.value, isWithinTtl: true }, staleSince: Option.none() })
    }
    if (!revalidates) return Effect.succeedNone
    const stale = Option.some({ part: found.value, staleSince: Option.some(storedAt + ttl) })
    return Effect.as(inBackground(name, config.key, Deadline.without(refresh)), stale)
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The refreshes under way, by cache, component and key. */
const underway = new WeakMap<DegradationCache.Service, Map<string, Set<string>>>()

/** Starts the refresh in the cache's scope, unless the key has one or the cache too many. */
const inBackground = <R>(
  component: string,
  key: string,
  refresh: Effect.Effect<void, never, R>
): Effect.Effect<void, never, R | DegradationCache.DegradationCache> =>
  Effect.flatMap(DegradationCache.DegradationCache, (cache) => {
    const components = underway.get(cache) ?? new Map<string, Set<string>>()
    underway.set(cache, components)
    const keys = components.get(component) ?? new Set<string>()
    let count = 0
    for (const { size } of components.values()) count += size
    if (keys.has(key) || count >= DegradationCache.defaults.refreshes) return Effect.void
    components.set(component, keys.add(key))
    const leave = Effect.sync(() => {
      keys.delete(key)
      if (keys.size === 0) components.delete(component)
    })
    const run = Effect.ensuring(Effect.interruptible(refresh), leave)
    // from the start uninterruptible: a fiber that is interrupted before it runs would leave its key taken
    return Effect.asVoid(Effect.uninterruptible(
      cache.scope === undefined ? Effect.forkDaemon(run) : Effect.forkIn(run, cache.scope)
    ))
  })
