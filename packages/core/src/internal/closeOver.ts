/** An effect with all that it requires: `Effect.provide` whose type is also right where the requirements are generic. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export const closeOver =
  <R>(context: Context.Context<R>) => <A, E>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E> =>
    Effect.mapInputContext<A, E, R, never>(effect, () => context)
