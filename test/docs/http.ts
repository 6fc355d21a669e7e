/** The code of `docs/http.md`. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as Effect from "effect/Effect"

// #region usage
class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}

export const DatadogLive = Datadog.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" })

export const client = Effect.map(HttpClient.HttpClient, (vanilla) =>
  vanilla.pipe(
    HttpClient.mapRequest(HttpClientRequest.prependUrl("https://api.datadoghq.com")),
    ResilientClient.protect({
      breaker: Datadog,
      attemptTimeout: "2 seconds",
      repeatable: (request) => request.url.endsWith("/search"),
      buffered: true
    }),
    HttpClient.filterStatusOk
  ))
// HttpClient.With<HttpClientError | AttemptTimeout | CircuitOpen, Datadog>
// #endregion

// #region usage
class DatadogSlots extends Bulkhead.Tag("datadog")<DatadogSlots>() {}
class DatadogRetries extends RetryBudget.Tag("datadog")<DatadogRetries>() {}
class DatadogQuota extends RateLimit.Tag("datadog")<DatadogQuota>() {}

export const protect = ResilientClient.protect({
  deadline: "20 seconds",
  bulkhead: DatadogSlots,
  retryBudget: DatadogRetries,
  rateLimit: DatadogQuota,
  breaker: Datadog,
  attemptTimeout: "2 seconds",
  sendDeadline: true
})
// adds DeadlineExceeded | BulkheadFull | RateLimited | CircuitOpen | AttemptTimeout | HttpClientError,
// and needs DatadogSlots | DatadogRetries | DatadogQuota | Datadog
// #endregion
