/** The code of `docs/http.md`. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
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
