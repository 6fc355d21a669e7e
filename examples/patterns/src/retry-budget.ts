/**
 * The API is down for good and ten retries are allowed, but the caller has 10 seconds for waiting. The wait that would
 * go past them is never begun, and what the caller sees is the API's own error.
 */
import * as Backoff from "@firebreak/core/Backoff"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { seconds, timed } from "./internal/print.js"

class ApiDown extends Data.TaggedError("ApiDown")<{ readonly attempt: number }> {
  override get message(): string {
    return `API unavailable (attempt ${this.attempt})`
  }
}

const budget = Duration.seconds(10)

export const main: Effect.Effect<void> = Effect.gen(function*() {
  let attempt = 0
  let waited = Duration.zero
  const call = Effect.suspend(() => Effect.fail(new ApiDown({ attempt: ++attempt })))

  // #region usage
  const withinBudget = Backoff.make<ApiDown>({
    base: "2 seconds",
    cap: "60 seconds",
    jitter: "full",
    maxRetries: 10,
    maxTotalDelay: budget,
    onRetry: ({ delay, error, totalDelay }) => {
      waited = totalDelay
      return timed(`✗ ${error.message}, retrying in ${seconds(delay)}`)
    }
  })
  // #endregion

  const error = yield* Effect.flip(Effect.retry(call, withinBudget))
  yield* timed(`✗ ${error.message}`)
  yield* timed(`⏱ the next wait would pass the budget: gave up after ${attempt} attempts`)
  yield* timed(`  waited ${seconds(waited)} of ${seconds(budget)}; the error is the API's: ${error._tag}`)
}).pipe(Effect.withRandom(Random.make("chapter 21")))
