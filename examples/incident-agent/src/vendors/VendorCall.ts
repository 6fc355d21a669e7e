/**
 * The protection of every call the agent makes to a vendor, in the one order that Policy knows:
 * retry with backoff > breaker > attempt timeout.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as RetryAfter from "@firebreak/http/RetryAfter"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { isPostponed, isTransient, retryAfter, VendorError } from "../VendorError.js"

/**
 * One breaker per vendor.
 *
 * @since 0.1.0
 * @category breakers
 */
export class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
/**
 * @since 0.1.0
 * @category breakers
 */
export class Prometheus extends CircuitBreaker.Tag("prometheus")<Prometheus>() {}
/**
 * @since 0.1.0
 * @category breakers
 */
export class Loki extends CircuitBreaker.Tag("loki")<Loki>() {}
/**
 * @since 0.1.0
 * @category breakers
 */
export class PagerDuty extends CircuitBreaker.Tag("pagerduty")<PagerDuty>() {}
/**
 * @since 0.1.0
 * @category breakers
 */
export class Aws extends CircuitBreaker.Tag("aws")<Aws>() {}
/**
 * @since 0.1.0
 * @category breakers
 */
export class Kubernetes extends CircuitBreaker.Tag("kubernetes")<Kubernetes>() {}

/**
 * @since 0.1.0
 * @category breakers
 */
export type Breakers = Datadog | Prometheus | Loki | PagerDuty | Aws | Kubernetes

/**
 * The chapter's figures: 3 failures in a row open a circuit for 30 seconds. A vendor that refuses is a vendor that works.
 *
 * @since 0.1.0
 * @category options
 */
export const breakerOptions = {
  trip: CircuitBreaker.consecutive(3),
  resetAfter: Duration.seconds(30),
  classify: (error) =>
    !(error instanceof VendorError)
      ? "failure"
      : error.kind === "refused"
      ? "success"
      : error.kind === "throttled"
      ? "ignore"
      : "failure"
} satisfies CircuitBreaker.Options

/**
 * All breakers, which stay open for `resetAfter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const breakers = (resetAfter: Duration.DurationInput): Layer.Layer<Breakers> => {
  const options = { ...breakerOptions, resetAfter }
  return Layer.mergeAll(
    Datadog.layer(options),
    Prometheus.layer(options),
    Loki.layer(options),
    PagerDuty.layer(options),
    Aws.layer(options),
    Kubernetes.layer(options)
  )
}

/**
 * All breakers with the chapter's figures.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBreakers: Layer.Layer<Breakers> = breakers(breakerOptions.resetAfter)

/**
 * The chapter's figures for retries, and how long one attempt may take.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  base: "1 second",
  cap: "32 seconds",
  maxRetries: 3,
  attemptTimeout: "5 seconds"
} as const

/**
 * Protects the calls of a vendor that are made by its own SDK. What is to be sent `once` is sent again only where the
 * vendor said that nothing was done: what an answer that got lost has done is for the caller to find out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <I>(
  vendor: string,
  breaker: Context.Tag<I, CircuitBreaker.CircuitBreaker>,
  sent: "repeatedly" | "once" = "repeatedly"
) => {
  const policy = Policy.make({
    retry: {
      schedule: Backoff.make<VendorError>({ ...backoff, name: vendor, retryAfter }),
      while: sent === "once" ? isPostponed : isTransient
    },
    breaker
  })
  return (operation: string) =>
  <A, R>(effect: Effect.Effect<A, VendorError, R>): Effect.Effect<A, VendorError, R | I> =>
    effect.pipe(
      // here and not in the policy, which would repeat it always
      Effect.timeoutFail({
        duration: attemptTimeout,
        onTimeout: () =>
          lost(vendor, operation, new Policy.AttemptTimeout({ timeout: Duration.decode(attemptTimeout) }))
      }),
      policy,
      Effect.catchTag("CircuitOpen", (error) => lost(vendor, operation, error))
    )
}

/**
 * Protects the calls of a vendor that are HTTP requests, and reads their JSON answers. All of them may be sent twice:
 * they read, or say by themselves what they mean (an annotation, a dedup key).
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeHttp = <I>(vendor: string, breaker: Context.Tag<I, CircuitBreaker.CircuitBreaker>) => {
  const protect = ResilientClient.protect({
    breaker,
    backoff: { ...backoff, name: vendor },
    attemptTimeout,
    repeatable: () => true,
    buffered: true
  })
  return <A, J, R>(
    operation: string,
    request: Effect.Effect<HttpClientRequest.HttpClientRequest, never, R>,
    schema: Schema.Schema<A, J>
  ): Effect.Effect<A, VendorError, HttpClient.HttpClient | I | R> => {
    const read = HttpClientResponse.schemaBodyJson(schema)
    return Effect.gen(function*() {
      const client = protect(yield* HttpClient.HttpClient)
      const response = yield* Effect.catchAll(
        client.execute(yield* request),
        (error): Effect.Effect<never, VendorError> =>
          error._tag === "CircuitOpen" || error._tag === "AttemptTimeout"
            ? lost(vendor, operation, error)
            : error._tag === "ResponseError"
            ? Effect.flatMap(refusal(vendor, operation, error.response), Effect.fail)
            : new VendorError({ vendor, operation, kind: "unavailable", detail: error.message })
      )
      if (response.status >= 400) return yield* Effect.flatMap(refusal(vendor, operation, response), Effect.fail)
      return yield* Effect.mapError(
        read(response),
        ({ message }) => new VendorError({ vendor, operation, kind: "garbled", detail: message.slice(0, 300) })
      )
    })
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const { attemptTimeout, ...backoff } = defaults

const lost = (vendor: string, operation: string, error: CircuitBreaker.CircuitOpen | Policy.AttemptTimeout) =>
  error._tag === "AttemptTimeout"
    ? new VendorError({ vendor, operation, kind: "timeout", detail: error.message })
    : new VendorError({
      vendor,
      operation,
      kind: "not-started",
      detail: error.message,
      ...(Duration.isFinite(error.retryAfter) && { retryAfterMillis: Duration.toMillis(error.retryAfter) })
    })

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
