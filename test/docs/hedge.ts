/** The code of `docs/hedge.md`. */
import * as Hedge from "@firebreak/core/Hedge"
import * as Idempotency from "@firebreak/core/Idempotency"
import type * as Effect from "effect/Effect"

declare const query: (text: string) => Effect.Effect<ReadonlyArray<string>, "down">
declare const sendRestart: (service: string) => Effect.Effect<void>

// #region usage
class Search extends Hedge.Tag("search")<Search>() {}

export const SearchLive = Search.layer({ delay: Hedge.quantile(0.95), share: 0.05 })

export const search = (text: string) => query(text).pipe(Search.safe)
// #endregion

// #region usage
export const restart = (service: string) =>
  Idempotency.once({ operation: "restart", key: service }, sendRestart(service).pipe(Search.keyed))
// #endregion
