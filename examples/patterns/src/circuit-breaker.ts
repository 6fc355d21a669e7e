/**
 * The chapter's call fails five times and then works. Three failures open the circuit: from then on calls are rejected
 * at once, and after 10 seconds one of them is let through to see whether the API is back.
 */
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { seconds, timed } from "./internal/print.js"

class ApiError extends Data.TaggedError("ApiError")<{ readonly message: string }> {}

// #region usage
class Api extends CircuitBreaker.Tag("api")<Api>() {}

const ApiLive = Api.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "10 seconds", successThreshold: 2 })
// #endregion

/** Fails five times, then succeeds. */
const makeUnreliableApi = () => {
  let calls = 0
  return Effect.gen(function*() {
    yield* Effect.sleep("100 millis")
    return ++calls <= 5 ? yield* new ApiError({ message: "API error" }) : "success"
  })
}

const report = (number: number, call: Effect.Effect<string, ApiError | CircuitBreaker.CircuitOpen, Api>) => {
  const label = `Call ${String(number).padStart(2)}`
  return call.pipe(
    Effect.matchEffect({
      onSuccess: (status) => timed(`${label}  ✓ ${status}`),
      onFailure: (error) =>
        error._tag === "CircuitOpen"
          ? timed(`${label}  ⛔ rejected, retry in ${seconds(error.retryAfter, 1)}`)
          : timed(`${label}  ✗ ${error.message}`)
    })
  )
}

/** Every change of the circuit is an event. */
const Announcements = EventSink.make((event) => {
  switch (event._tag) {
    case "CircuitOpened":
      return timed(`🔴 circuit OPEN for ${seconds(event.retryAfterMillis, 0)}`)
    case "CircuitHalfOpened":
      return timed("🟡 circuit HALF-OPEN, testing recovery")
    case "CircuitClosed":
      return timed("🟢 circuit CLOSED, recovery successful")
    default:
      return Effect.void
  }
}).pipe(Layer.provideMerge(Events.layer))

export const main: Effect.Effect<void> = Effect.gen(function*() {
  const breaker = yield* Api
  const call = makeUnreliableApi().pipe(Api.protect)
  for (let number = 1; number <= 20; number++) {
    yield* report(number, call)
    yield* Effect.sleep("500 millis")
  }
  // twenty calls took less than the 10 seconds; two probes must fail and two succeed before the circuit closes
  for (let number = 21; number <= 24; number++) {
    yield* Effect.sleep((yield* breaker.stats).timeUntilRetry)
    yield* report(number, call)
    yield* Effect.sleep("500 millis")
  }

  const stats = yield* breaker.stats
  yield* Console.log(
    `\n${stats.calls} calls: ${stats.successes} succeeded, ${stats.failures} failed, ` +
      `${stats.rejected} rejected without touching the API; the circuit is ${stats.state}`
  )
}).pipe(Effect.provide(ApiLive.pipe(Layer.provideMerge(Announcements))))
