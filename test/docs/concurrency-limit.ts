/** The code of `docs/concurrency-limit.md`. */
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

class SearchError extends Data.TaggedError("SearchError")<{ readonly status: number }> {}

declare const query: (text: string) => Effect.Effect<ReadonlyArray<string>, SearchError>

// #region usage
class Search extends ConcurrencyLimit.Tag("search")<Search>() {}

export const SearchLive = Search.layer({
  strategy: ConcurrencyLimit.gradient2({ max: 100 }),
  classify: (error) => error instanceof SearchError && error.status < 500 ? "success" : "failure"
})

export const search = (text: string) =>
  query(text).pipe(
    Effect.timeout("2 seconds"),
    Search.protect
  )

export const suggestions = (text: string) => search(text).pipe(ConcurrencyLimit.withPriority(2))
// #endregion
