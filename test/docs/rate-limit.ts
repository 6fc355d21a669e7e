/** The code of `docs/rate-limit.md`. */
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"

class ModelError extends Data.TaggedError("ModelError")<{ readonly status: number }> {}

interface Prompt {
  readonly text: string
  readonly tokens: number
}

declare const complete: (prompt: Prompt) => Effect.Effect<string, ModelError>

// #region usage
class Requests extends RateLimit.Tag("requests")<Requests>() {}
class Tokens extends RateLimit.Tag("tokens")<Tokens>() {}

export const RequestsLive = Requests.layer({
  limits: [{ rate: 10, per: "1 second", burst: 5 }, { rate: 1_000, per: "1 hour", burst: 100 }]
})

export const TokensLive = Tokens.layer({
  limits: [{ rate: 40_000, per: "1 minute", burst: 10_000 }],
  maxWait: "10 seconds"
})

export const answer = (prompt: Prompt) =>
  complete(prompt).pipe(
    Tokens.protect,
    RateLimit.withCost(prompt.tokens),
    Requests.protect
  )
// Effect<string, ModelError | RateLimited, Tokens | Requests>
// #endregion
