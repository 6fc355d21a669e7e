/**
 * The protection of every call the agent makes to a vendor, in the one order that Policy knows:
 * deadline > bulkhead > retry with budget > throttle > rate limit > breaker > attempt timeout.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Backoff from "@firebreak/core/Backoff"
import * as Policy from "@firebreak/core/Policy"
import * as Rejection from "@firebreak/core/Rejection"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as RetryAfter from "@firebreak/http/RetryAfter"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { isPostponed, isTransient, retryAfter, VendorError } from "../VendorError.js"
import { defaults, figures, type Name, type Parts, type Vendor } from "./VendorParts.js"

/**
 * Protects the calls of a vendor that are made by its own SDK. What is to be sent `once` is sent again only where the
 * vendor said that nothing was done: what an answer that got lost has done is for the caller to find out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <N extends Name>(vendor: Vendor<N>, sent: "repeatedly" | "once" = "repeatedly") => {
  const policyOf = eachOperation((operation) =>
    Policy.make({
      ...partsOf(vendor),
      retry: {
        schedule: Backoff.make<VendorError | Policy.AttemptTimeout>({
          ...defaults.backoff,
          name: vendor.name,
          operation,
          retryAfter: (error) => error._tag === "VendorError" ? retryAfter(error) : Option.none()
        }),
        while: sent === "once" ? isPostponed : isTransient,
        whenTimedOut: sent === "once" ? "fail" : "retry",
        budget: vendor.retryBudget
      },
      // a vendor that refuses is a vendor that works
      classify: ({ kind }: VendorError, part) =>
        kind === "refused" ? "success" : kind === "throttled" && part === "breaker" ? "ignore" : "failure"
    })
  )
  return (operation: string) => {
    const policy = policyOf(operation)
    return <A, R>(effect: Effect.Effect<A, VendorError, R>): Effect.Effect<A, VendorError, R | Parts<N>> =>
      Effect.mapError(
        policy(effect),
        (error) => error._tag === "VendorError" ? error : lost(vendor.name, operation, error)
      )
  }
}

/**
 * Protects the calls of a vendor that are HTTP requests, and reads their JSON answers. All of them may be sent twice:
 * they read, or say by themselves what they mean (an annotation, a dedup key).
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeHttp = <N extends Name>(vendor: Vendor<N>) => {
  const { name, retryBudget } = vendor
  const protectFor = eachOperation((operation) =>
    ResilientClient.protect({
      ...partsOf(vendor),
      backoff: { ...defaults.backoff, name, operation },
      retryBudget,
      repeatable: () => true,
      buffered: true
    })
  )
  return <A, J, R>(
    operation: string,
    request: Effect.Effect<HttpClientRequest.HttpClientRequest, never, R>,
    schema: Schema.Schema<A, J>
  ): Effect.Effect<A, VendorError, HttpClient.HttpClient | Parts<N> | R> => {
    const protect = protectFor(operation)
    const read = HttpClientResponse.schemaBodyJson(schema)
    return Effect.gen(function*() {
      const client = protect(yield* HttpClient.HttpClient)
      const response = yield* Effect.catchAll(
        client.execute(yield* request),
        (error): Effect.Effect<never, VendorError> =>
          !HttpClientError.isHttpClientError(error)
            ? lost(name, operation, error)
            : error._tag === "ResponseError"
            ? Effect.flatMap(refusal(name, operation, error.response), Effect.fail)
            : new VendorError({ vendor: name, operation, kind: "unavailable", detail: error.message })
      )
      if (response.status >= 400) return yield* Effect.flatMap(refusal(name, operation, response), Effect.fail)
      return yield* Effect.mapError(
        read(response),
        ({ message }) => new VendorError({ vendor: name, operation, kind: "garbled", detail: message.slice(0, 300) })
      )
    })
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Every call's parts, but for the retries. */
const partsOf = <N extends Name>({ breaker, bulkhead, name, rateLimit, throttle }: Vendor<N>) => ({
  deadline: figures[name].deadline,
  bulkhead,
  throttle,
  rateLimit,
  breaker,
  attemptTimeout: defaults.attemptTimeout
})

/** Compiles once for each operation, when it is first called. */
const eachOperation = <A>(compile: (operation: string) => A) => {
  const compiled = new Map<string, A>()
  return (operation: string): A => {
    const known = compiled.get(operation) ?? compile(operation)
    compiled.set(operation, known)
    return known
  }
}

/** What ended a call that the vendor has not answered. */
type Lost = Policy.Added<ReturnType<typeof partsOf>>

const lost = (vendor: string, operation: string, error: Lost) => {
  const wait = error._tag === "CircuitOpen" || error._tag === "RateLimited" ? error.retryAfter : undefined
  return new VendorError({
    vendor,
    operation,
    kind: Rejection.isRejection(error) ? "not-started" : "timeout",
    detail: error.message,
    ...(wait !== undefined && Duration.isFinite(wait) && { retryAfterMillis: Duration.toMillis(wait) })
  })
}

/** What a vendor's own answer of status 400 or more says. */
const refusal = (vendor: string, operation: string, response: HttpClientResponse.HttpClientResponse) =>
  Effect.gen(function*() {
    const { headers, status } = response
    const text = yield* Effect.orElseSucceed(response.text, () => "")
    const asked = RetryAfter.fromHeaders(headers, yield* Clock.currentTimeMillis)
    return new VendorError({
      vendor,
      operation,
      kind: status === 429 ? "throttled" : status >= 500 || status === 408 ? "unavailable" : "refused",
      status,
      detail: text.replace(/\s+/g, " ").slice(0, 300),
      ...(Option.isSome(asked) && { retryAfterMillis: Duration.toMillis(asked.value) })
    })
  })
