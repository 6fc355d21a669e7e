/** What is told to the trace of a call, where it has one: only what is out of the ordinary. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** An event on the span the fiber is in. */
export const note = (
  fiber: Fiber.RuntimeFiber<any, any>,
  name: string,
  attributes: { readonly [key: string]: unknown }
): void => {
  const span = fiber.currentSpan
  if (span === undefined || span._tag !== "Span") return
  const clock = Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock)
  span.event(`firebreak.${name}`, clock.unsafeCurrentTimeNanos(), { ...attributes })
}

/** A span of its own for a part of a traced call. Untraced calls run the effect as it is. */
export const within = <A, E, R>(
  fiber: Fiber.RuntimeFiber<any, any>,
  name: string,
  attributes: { readonly [key: string]: unknown },
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  fiber.currentSpan === undefined
    ? effect
    : Effect.withSpan(effect, name, { attributes: { ...attributes }, captureStackTrace: false }) as Effect.Effect<
      A,
      E,
      R
    >
