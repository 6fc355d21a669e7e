import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import type * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import type * as Deadline from "@firebreak/core/Deadline"
import type * as Policy from "@firebreak/core/Policy"
import type * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import type * as Throttle from "@firebreak/core/Throttle"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
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

  test("without any part adds its own errors and needs nothing", () => {
    expect(client.pipe(ResilientClient.protect({}))).type.toBe<
      HttpClient.HttpClient.With<HttpClientError.HttpClientError | Policy.AttemptTimeout>
    >()
  })

  test("each part adds its own error, and its tag or nothing", () => {
    class Slots extends Bulkhead.Tag("slots")<Slots>() {}
    class Budget extends RetryBudget.Tag("budget")<Budget>() {}
    const parts = ResilientClient.protect({
      deadline: "10 seconds",
      bulkhead: Slots,
      retryBudget: Budget,
      throttle: null! as Throttle.Throttle,
      rateLimit: null! as RateLimit.RateLimit,
      concurrencyLimit: null! as ConcurrencyLimit.ConcurrencyLimit,
      breaker: Vendor
    })
    expect(client.pipe(parts)).type.toBe<
      HttpClient.HttpClient.With<
        | Added
        | Deadline.DeadlineExceeded
        | Bulkhead.BulkheadFull
        | Throttle.Throttled
        | RateLimit.RateLimited
        | ConcurrencyLimit.LimitExceeded,
        Slots | Budget | Vendor
      >
    >()
  })

  test("an attempt that sends its deadline may find that it has passed", () => {
    type Sending = HttpClient.HttpClient.With<
      HttpClientError.HttpClientError | Policy.AttemptTimeout | Deadline.DeadlineExceeded
    >
    expect(ResilientClient.protect(client, { sendDeadline: true })).type.toBe<Sending>()
    expect(ResilientClient.protect(client, { sendDeadline: true as boolean | undefined })).type.toBe<Sending>()
    expect(ResilientClient.protect(client, { sendDeadline: false })).type.toBe<
      HttpClient.HttpClient.With<HttpClientError.HttpClientError | Policy.AttemptTimeout>
    >()
  })

  test("knows what its functions are given", () => {
    ResilientClient.protect({
      isTransient: (response) => {
        expect(response).type.toBe<HttpClientResponse.HttpClientResponse>()
        return false
      },
      repeatable: (request) => {
        expect(request).type.toBe<HttpClientRequest.HttpClientRequest>()
        return false
      },
      backoff: {
        retryAfter: (failure) => {
          expect(failure).type.toBe<ResilientClient.Failure>()
          return Option.none()
        }
      }
    })
  })

  test("refuses a mistyped option beside a right one, in `backoff` as well", () => {
    expect(ResilientClient.protect).type.not.toBeCallableWith({ breaker: Vendor, retries: 3 })
    expect(ResilientClient.protect).type.not.toBeCallableWith({ breaker: Vendor, backoff: { base: 1, retries: 3 } })
    expect(ResilientClient.protect).type.toBeCallableWith({ breaker: Vendor, backoff: { base: 1 } })
  })
})
