/** The code of `docs/throttle.md`. */
import * as Throttle from "@firebreak/core/Throttle"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

class SearchError extends Data.TaggedError("SearchError")<{ readonly status: number }> {}

declare const query: (text: string) => Effect.Effect<ReadonlyArray<string>, SearchError>

// #region usage
class Search extends Throttle.Tag("search")<Search>() {}

export const SearchLive = Search.layer({
  classify: (error) => error instanceof SearchError && error.status < 500 ? "success" : "failure"
})

export const search = (text: string) =>
  query(text).pipe(
    Search.protect,
    Effect.catchTag("Throttled", () => Effect.succeed([]))
  )
// #endregion
