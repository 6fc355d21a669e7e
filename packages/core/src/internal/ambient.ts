/** Sets an ambient value for an effect and what it forks. A reference is never a requirement, so R stays as it is. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"

export const locally = <A, E, R, I, S>(
  effect: Effect.Effect<A, E, R>,
  reference: Context.Reference<I, S>,
  value: S
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    Effect.locally(effect, FiberRef.currentContext, Context.add(fiber.currentContext, reference, value))
  )
