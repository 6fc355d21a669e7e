/**
 * A retry gets over a blip, a breaker ends an outage. In a policy the breaker is inside, so that it sees every attempt;
 * an open circuit ends the retry without a further wait, with the API's own error.
 */
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { timed } from "./internal/print.js"

class ApiDown extends Data.TaggedError("ApiDown")<{ readonly message: string }> {}

class Api extends CircuitBreaker.Tag("api")<Api>() {}

const ApiLive = Api.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "10 seconds", successThreshold: 2 })

/** Down for its first four calls. */
const makeApi = () => {
  let calls = 0
  return Effect.suspend(() =>
    ++calls <= 4 ? Effect.fail(new ApiDown({ message: "API unavailable" })) : Effect.succeed("200 OK")
  ).pipe(Effect.tapError((error) => timed(`   ✗ ${error.message}`)))
}

// #region usage
const resilient = Policy.make({
  retry: {
    schedule: Backoff.make({ base: "1 second", maxRetries: 5 }),
    while: (error: ApiDown) => error._tag === "ApiDown"
  },
  breaker: Api
})
// #endregion

const lights: Record<string, string> = { "closed": "🟢", "open": "🔴", "half-open": "🟡" }

export const main: Effect.Effect<void> = Effect.gen(function*() {
  const breaker = yield* Api
  const api = makeApi()

  const request = Effect.fnUntraced(function*(number: number) {
    yield* timed(`Request ${number}`)
    yield* Effect.matchEffect(resilient(api), {
      onSuccess: (answer) => timed(`   ✓ ${answer}`),
      onFailure: (error) => timed(`   ${error._tag === "CircuitOpen" ? "⛔" : "✗"} gave up: ${error.message}`)
    })
    const { state } = yield* breaker.stats
    yield* timed(`${lights[state]} the circuit is ${state}`)
  })

  yield* request(1) // three failures, the third opens the circuit: no further attempt is waited for
  yield* request(2) // fails at once
  yield* Effect.sleep("10 seconds")
  yield* request(3) // the probe fails: open again
  yield* Effect.sleep("10 seconds")
  yield* request(4) // a probe succeeds
  yield* request(5) // and a second one closes the circuit
}).pipe(Effect.provide(ApiLive), Effect.withRandom(Random.make("chapter 21")))
