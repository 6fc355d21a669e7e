/**
 * An `HttpClient` that survives its dependency: a breaker, retries with backoff that wait as long as a response asks,
 * a time for every attempt, and idempotency keys.
 *
 * The order is that of `Policy`: retry > breaker > attempt timeout > request. Failed is an attempt that broke off, took
 * too long or brought a transient status; when the retries are spent that is the error. Every other response is returned
 * as it came. An attempt ends when the head of the response is there: reading the body is the caller's, unless
 * `buffered` makes it part of the attempt.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Backoff from "@firebreak/core/Backoff"
import type * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Policy from "@firebreak/core/Policy"
import * as Rejection from "@firebreak/core/Rejection"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as RetryAfter from "./RetryAfter.js"

/**
 * How an attempt can fail in a way that another one might not.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure = HttpClientError.HttpClientError | Policy.AttemptTimeout

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<I, R = never> {
  /** The breaker of the dependency; every attempt counts. */
  readonly breaker: Context.Tag<I, CircuitBreaker.CircuitBreaker>
  /**
   * What differs from `defaults.backoff`. What a response asks for by its headers is a floor for the delay, unless
   * `retryAfter` is given. `name` defaults to that of the breaker.
   */
  readonly backoff?: Backoff.Options<Failure, R> | undefined
  /** The longest time of one attempt. Default 10 seconds. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /** Which responses are failed attempts. Default: those of status 408, 429 and 5xx. */
  readonly isTransient?: ((response: HttpClientResponse.HttpClientResponse) => boolean) | undefined
  /** What a 429 says to the breaker. Default `ignore`: who asks callers to slow down is not down. */
  readonly rateLimited?: "ignore" | "failure" | undefined
  /** Other requests that may be sent twice, such as a search by POST. Default: none. */
  readonly repeatable?: ((request: HttpClientRequest.HttpClientRequest) => boolean) | undefined
  /**
   * The header that carries the idempotency key: the request's own, else `Idempotency.currentKey`. Default
   * `idempotency-key`; `false` for a dependency that does not heed keys, nothing is then sent or repeated on their behalf.
   */
  readonly idempotencyHeader?: string | false | undefined
  /**
   * Reads the body as part of the attempt, so that its timeout, breaker and retry cover the body too, and holds it in
   * memory. Default false.
   */
  readonly buffered?: boolean | undefined
}

/**
 * The figures of `Backoff.production`, with 10 seconds for each attempt.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  backoff: {
    base: "1 second",
    factor: 2,
    cap: "60 seconds",
    jitter: "full",
    maxRetries: 3,
    maxTotalDelay: "2 minutes"
  },
  attemptTimeout: "10 seconds",
  rateLimited: "ignore",
  idempotencyHeader: "idempotency-key",
  buffered: false
} as const

/**
 * Protects a client. Repeated are only requests that may be: GET, HEAD, OPTIONS, PUT and DELETE, those that carry an
 * idempotency key, and what `repeatable` names.
 *
 * @example
 * import * as HttpClient from "@effect/platform/HttpClient"
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as ResilientClient from "@firebreak/http/ResilientClient"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const program = Effect.gen(function*() {
 *   const client = (yield* HttpClient.HttpClient).pipe(
 *     ResilientClient.protect({ breaker: Datadog, attemptTimeout: "2 seconds" })
 *   )
 *   return yield* client.get("https://api.datadoghq.com/api/v1/query")
 * })
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect: {
  <I, R2 = never>(
    options: Options<I, R2>
  ): <E, R>(
    self: HttpClient.HttpClient.With<E, R>
  ) => HttpClient.HttpClient.With<E | Failure | CircuitBreaker.CircuitOpen, R | R2 | I>
  <E, R, I, R2 = never>(
    self: HttpClient.HttpClient.With<E, R>,
    options: Options<I, R2>
  ): HttpClient.HttpClient.With<E | Failure | CircuitBreaker.CircuitOpen, R | R2 | I>
} = dual(2, <E, R, I, R2>(self: HttpClient.HttpClient.With<E, R>, options: Options<I, R2>) => {
  const { breaker } = options
  const isTransient = options.isTransient ?? isTransientStatus
  const header = options.idempotencyHeader ?? defaults.idempotencyHeader
  const backoff = { ...defaults.backoff, ...options.backoff }
  const attempt = Policy.make({ breaker, attemptTimeout: options.attemptTimeout ?? defaults.attemptTimeout })
  // built per call below, where the clock is; built here for its faults to show here
  Backoff.make(backoff)

  const retry = <A, E, R>(guarded: Effect.Effect<Either.Either<A, E>, E, R>) =>
    Effect.flatMap(breaker, (breaker) =>
      Effect.clockWith((clock) =>
        Policy.make({
          retry: {
            // it hears only of errors that `isRetryable` calls so, and those are failures
            schedule: Backoff.make<any, R2>({
              ...backoff,
              name: backoff.name ?? breaker.name,
              retryAfter: backoff.retryAfter ?? ((failure) => askedBy(failure, clock.unsafeCurrentTimeMillis()))
            }),
            while: (error: unknown) => isRetryable(error, isTransient)
          }
        })(endIfOpen(guarded, breaker))
      ))

  const verdict = (error: unknown) => verdictOf(error, isTransient, options.rateLimited ?? defaults.rateLimited)
  const isRepeatable = (request: HttpClientRequest.HttpClientRequest) =>
    !isSpentOnce(request) &&
    (idempotentMethods.has(request.method) ||
      (header !== false && request.headers[header.toLowerCase()] !== undefined) ||
      options.repeatable?.(request) === true)

  return self.pipe(
    HttpClient.mapRequestEffect((request) => header === false ? Effect.succeed(request) : withKey(request, header)),
    HttpClient.transform((response, request) => {
      const guarded = response.pipe(
        Effect.flatMap((response) => isTransient(response) ? failWith(response) : Effect.succeed(response)),
        Effect.flatMap((response) => options.buffered === true ? buffer(response) : Effect.succeed(response)),
        tell(verdict),
        attempt,
        Effect.catchIf((error) => error instanceof Untold, ({ error }) => Effect.fail(error))
      )
      return Effect.flatten(isRepeatable(request) ? retry(guarded) : guarded)
    })
  )
})

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

/** Methods that RFC 9110 (section 9.2) calls safe, and those it calls idempotent. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])
const idempotentMethods: ReadonlySet<string> = new Set([...safeMethods, "PUT", "DELETE"])

const isTransientStatus = ({ status }: Response): boolean =>
  status === 408 || status === 429 || (status >= 500 && status <= 599)

/** A stream handed over as it is can be read once only; an Effect Stream starts anew. */
const isSpentOnce = ({ body }: Request): boolean =>
  body._tag === "Raw" && Predicate.hasProperty(body.body, Symbol.asyncIterator)

const withKey = (request: Request, header: string): Effect.Effect<Request> =>
  safeMethods.has(request.method) || request.headers[header.toLowerCase()] !== undefined
    ? Effect.succeed(request)
    : Effect.map(
      Idempotency.currentKey,
      Option.match({ onNone: () => request, onSome: (key) => HttpClientRequest.setHeader(request, header, key) })
    )

const isRetryable = (error: unknown, isTransient: (response: Response) => boolean): boolean => {
  if (!HttpClientError.isHttpClientError(error)) return false
  return error._tag === "RequestError"
    ? error.reason === "Transport"
    : error.reason === "StatusCode" && isTransient(error.response)
}

const askedBy = (failure: Failure, now: number): Option.Option<Duration.Duration> =>
  failure._tag === "ResponseError" ? RetryAfter.fromHeaders(failure.response.headers, now) : Option.none()

// --- what the breaker is told

/** Passes a failure by the breaker without counting; never leaves this module. */
class Untold<E> extends Data.Error<{ readonly error: E }> {
  readonly [Rejection.TypeId] = true as const
}

const verdictOf = (
  error: unknown,
  isTransient: (response: Response) => boolean,
  rateLimited: "ignore" | "failure"
): CircuitBreaker.Verdict => {
  if (!HttpClientError.isHttpClientError(error)) return "failure"
  // a request that cannot be encoded never reached the dependency
  if (error._tag === "RequestError") return error.reason === "Transport" ? "failure" : "ignore"
  if (error.response.status === 429) return rateLimited
  return error.reason === "StatusCode" && isTransient(error.response) ? "failure" : "success"
}

/** Failures that are answers go on as values: they count as successes of the dependency and are not retried. */
const tell =
  (verdict: (error: unknown) => CircuitBreaker.Verdict) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Either.Either<A, E>, E | Untold<E>, R> =>
    Effect.matchEffect(effect, {
      onSuccess: (value) => Effect.succeed(Either.right(value)),
      onFailure: (error): Effect.Effect<Either.Either<never, E>, E | Untold<E>> => {
        switch (verdict(error)) {
          case "failure":
            return Effect.fail(error)
          case "ignore":
            return Effect.fail(new Untold({ error }))
          case "success":
            return Effect.succeed(Either.left(error))
        }
      }
    })

/** The next attempt would be turned away, so the call ends now and not after a wait for nothing. */
const endIfOpen = <A, E, R>(
  guarded: Effect.Effect<Either.Either<A, E>, E, R>,
  breaker: CircuitBreaker.CircuitBreaker
): Effect.Effect<Either.Either<A, E>, E, R> =>
  Effect.catchAll(guarded, (error) =>
    Rejection.isRejection(error)
      ? Effect.fail(error)
      : Effect.flatMap(
        breaker.stats,
        ({ state }) =>
          state === "open" || state === "forced-open" ? Effect.succeed(Either.left(error)) : Effect.fail(error)
      ))

// --- bodies

/** How much of a failed response is read, and for how long: enough for any error message. */
const failedBody = { bytes: 65_536, within: "1 second" } as const

/**
 * Fails with a response that is kept in memory, so that its connection is free at once and not when the garbage
 * collector finds it. A body that is too large or too slow is dropped.
 */
const failWith = (response: Response): Effect.Effect<never, HttpClientError.ResponseError> =>
  response.arrayBuffer.pipe(
    HttpIncomingMessage.withMaxBodySize(Option.some(failedBody.bytes)),
    Effect.timeout(failedBody.within),
    Effect.orElseSucceed(() => undefined),
    Effect.flatMap((body) =>
      Effect.fail(
        new HttpClientError.ResponseError({
          request: response.request,
          response: inMemory(response, body),
          reason: "StatusCode",
          description: "failed attempt"
        })
      )
    )
  )

const buffer = (response: Response): Effect.Effect<Response, HttpClientError.RequestError> =>
  Effect.mapBoth(response.arrayBuffer, {
    onSuccess: (body) => inMemory(response, body),
    onFailure: ({ cause }) =>
      new HttpClientError.RequestError({
        request: response.request,
        reason: "Transport",
        description: `the body of the ${response.status} broke off`,
        cause
      })
  })

const inMemory = (response: Response, body: ArrayBuffer | undefined): Response => {
  const { headers, request, status } = response
  // what the constructor of a web Response refuses
  if (status < 200 || status > 599) return response
  return HttpClientResponse.fromWeb(
    request,
    new globalThis.Response(body === undefined || body.byteLength === 0 ? null : body, { status, headers })
  )
}
