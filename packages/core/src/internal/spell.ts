/** Begins and ends the spells of a component, and tells of their end. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { DegradationSpells } from "../DegradationSpells.js"
import * as Events from "../Events.js"

/** Since when the component is not fresh, in wall-clock milliseconds: `at`, by default now, if that is news. */
export const began = (component: string, at?: number): Effect.Effect<number> =>
  Effect.flatMap(DegradationSpells, (spells) =>
    at === undefined
      ? Effect.map(Clock.currentTimeMillis, (now) => spells.unsafeFailed(component, now))
      : Effect.sync(() => spells.unsafeFailed(component, at)))

/** The primary has answered. */
export const ended = (component: string): Effect.Effect<void> =>
  Effect.flatMap(DegradationSpells, (spells) => {
    const since = spells.unsafeSucceeded(component)
    if (Option.isNone(since)) return Effect.void
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Events.publish({ _tag: "ComponentRecovered", component, afterMillis: now - since.value }))
  })
