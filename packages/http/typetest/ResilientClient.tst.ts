import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import type * as Policy from "@firebreak/core/Policy"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import type * as Effect from "effect/Effect"
import { describe, expect, test } from "tstyche"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

declare const client: HttpClient.HttpClient
declare const signed: HttpClient.HttpClient.With<HttpClientError.HttpClientError | "no token", "tokens">
declare const report: (
  retry: { readonly error: HttpClientError.HttpClientError | Policy.AttemptTimeout }
) => Effect.Effect<void, never, "reports">

type Added = HttpClientError.HttpClientError | Policy.AttemptTimeout | CircuitBreaker.CircuitOpen

describe("ResilientClient", () => {
  test("adds exactly its own errors and the breaker", () => {
    expect(ResilientClient.protect(client, { breaker: Vendor })).type.toBe<HttpClient.HttpClient.With<Added, Vendor>>()
    expect(client.pipe(ResilientClient.protect({ breaker: Vendor }))).type.toBe<
      HttpClient.HttpClient.With<Added, Vendor>
    >()
  })

  test("keeps the errors and requirements of the client", () => {
    expect(signed.pipe(ResilientClient.protect({ breaker: Vendor }))).type.toBe<
      HttpClient.HttpClient.With<Added | "no token", Vendor | "tokens">
    >()
  })

  test("needs what onRetry needs, and tells it how the attempt failed", () => {
    expect(client.pipe(ResilientClient.protect({ breaker: Vendor, backoff: { onRetry: report } }))).type.toBe<
      HttpClient.HttpClient.With<Added, Vendor | "reports">
    >()
  })

  test("is not a client without a breaker", () => {
    expect(ResilientClient.protect).type.not.toBeCallableWith({})
  })
})
