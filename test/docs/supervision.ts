/** The code of `docs/supervision.md`. */
import * as Supervision from "@firebreak/core/Supervision"
import * as Effect from "effect/Effect"

declare const connect: Effect.Effect<never, Error>
declare const consume: Effect.Effect<never, Error>
declare const warmUp: Effect.Effect<void, Error>
declare const page: (text: string) => Effect.Effect<void>

// #region usage
export const workers = Supervision.run({
  name: "workers",
  strategy: "rest-for-one",
  children: {
    connection: Supervision.child(connect),
    consumer: Supervision.child(consume),
    warmUp: Supervision.child(warmUp, { restart: "transient" })
  }
}).pipe(
  Effect.catchTag("RestartsExceeded", (error) => page(error.message))
)
// #endregion
