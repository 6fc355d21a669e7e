/**
 * An `HttpClient` that survives its dependency: a `Policy` around every request, and what HTTP adds to one. Which responses
 * are failures, and what they say to a breaker; how long a response asks to wait; which requests may be repeated; their
 * idempotency key; the body as part of the attempt.
 *
 * The order is that of `Policy`: deadline > bulkhead > retry with budget > throttle > rate limit > concurrency limit >
 * breaker > attempt timeout > request. Failed is an attempt that broke off, took too long or brought a transient status;
 * when the retries are spent that is the error. Every other response is returned as it came. An attempt ends when the head
 * of the response is there: reading the body is the caller's, unless `buffered` makes it part of the attempt.
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
import type * as Deadline from "@firebreak/core/Deadline"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Check from "@firebreak/core/InvalidOption"
import * as Policy from "@firebreak/core/Policy"
import type * as RetryBudget from "@firebreak/core/RetryBudget"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as DeadlineHttp from "./DeadlineHttp.js"
import * as StructuredString from "./internal/structuredString.js"
import * as RetryAfter from "./RetryAfter.js"

/**
 * How an attempt can fail in a way that another one might not.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure = HttpClientError.HttpClientError | Policy.AttemptTimeout

/**
 * The parts of a `Policy`, all of them optional, and what HTTP adds. Without any, a client retries and limits each attempt
 * in time.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<R = never> extends Omit<Policy.Options<never, never>, "retry" | "classify"> {
  /**
   * What differs from `defaults.backoff`. What a response asks for by its headers is a floor for the delay, unless
   * `retryAfter` is given. `name` defaults to that of the breaker, else of the budget.
   */
  readonly backoff?: Backoff.Options<Failure, R> | undefined
  /** Shared by all callers of the dependency; within a retry of the same budget this client does not retry. */
  readonly retryBudget?: Policy.Part<any, RetryBudget.RetryBudget> | undefined
  /** What to do when the circuit turns an attempt away: `fail` at once (default), or `wait`; then set a `deadline`. */
  readonly whenOpen?: "fail" | "wait" | undefined
  /** The longest time of one attempt. Default 10 seconds. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /**
   * Which responses are failed attempts. Default: those of status 408, 429 and 5xx, and a 409 with `Retry-After` to a
   * request with a key: an earlier attempt of it is still being carried out.
   */
  readonly isTransient?: ((response: HttpClientResponse.HttpClientResponse) => boolean) | undefined
  /**
   * What a 429 says to the breaker. Default `ignore`: who asks callers to slow down is not down. To a throttle and a
   * concurrency limit it is a failure always.
   */
  readonly rateLimited?: "ignore" | "failure" | undefined
  /** Other requests that may be sent twice, such as a search by POST. Default: none. */
  readonly repeatable?: ((request: HttpClientRequest.HttpClientRequest) => boolean) | undefined
  /**
   * The header that carries the idempotency key: the request's own, else `Idempotency.currentKey`. Default
   * `idempotency-key`; `false` for a dependency that does not heed keys, nothing is then sent or repeated on their behalf.
   */
  readonly idempotencyHeader?: string | false | undefined
  /**
   * Whether `Idempotency.currentKey` is sent in double quotes, as a structured-field string. Default: true in the header
   * `idempotency-key`, as its IETF draft has it, and false in any other. A key that the request has is sent as it is.
   */
  readonly quotedKey?: boolean | undefined
  /**
   * Reads the body as part of the attempt, so that its timeout, breaker and retry cover the body too, and holds it in
   * memory. Default false.
   */
  readonly buffered?: boolean | undefined
  /** Sends with every attempt what is left of the deadline around it, as `DeadlineHttp.send` does. Default false. */
  readonly sendDeadline?: boolean | undefined
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
  buffered: false,
  sendDeadline: false
} as const

/**
 * The errors that a client of these options adds: its own, and those of the parts it was given.
 *
 * @since 0.1.0
 * @category models
 */
export type Added<O> =
  | Failure
  | Policy.Added<O>
  | ([Exclude<Policy.Given<O, "sendDeadline">, false>] extends [never] ? never : Deadline.DeadlineExceeded)

/**
 * The services that a client of these options needs: those of the parts it was given by their tags, and what `onRetry`
 * needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Needed<O> =
  | Policy.Needed<O>
  | Policy.TagOf<Policy.Given<O, "retryBudget">>
  | HookContext<Policy.Given<Policy.Given<O, "backoff">, "onRetry">>

/**
 * The services that a hook needs.
 *
 * @since 0.1.0
 * @category models
 */
export type HookContext<F> = F extends (...args: any) => Effect.Effect<any, any, infer R> ? R : never

/**
 * Refuses what is no option, so that a mistyped one does not pass beside a right one.
 *
 * @since 0.1.0
 * @category models
 */
export type Known<O> =
  & { readonly [K in Exclude<keyof O, keyof Options>]: never }
  & {
    readonly backoff?:
      | { readonly [K in Exclude<Policy.Keys<Policy.Given<O, "backoff">>, keyof Backoff.Options>]: never }
      | undefined
  }

/**
 * Protects a client. Repeated are only requests that may be: GET, HEAD, OPTIONS, PUT and DELETE, those that carry an
 * idempotency key, and what `repeatable` names. Its policy is compiled once for all clients that `protect(options)` is
 * applied to.
 *
 * @example
 * import * as HttpClient from "@effect/platform/HttpClient"
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as RetryBudget from "@firebreak/core/RetryBudget"
 * import * as ResilientClient from "@firebreak/http/ResilientClient"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 * class DatadogRetries extends RetryBudget.Tag("datadog")<DatadogRetries>() {}
 *
 * const protect = ResilientClient.protect({
 *   deadline: "30 seconds",
 *   retryBudget: DatadogRetries,
 *   breaker: Datadog,
 *   attemptTimeout: "2 seconds"
 * })
 *
 * const program = Effect.gen(function*() {
 *   const client = protect(yield* HttpClient.HttpClient)
 *   return yield* client.get("https://api.datadoghq.com/api/v1/query")
 * })
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect: {
  <const O extends Options<any>>(
    options: O & Known<O>
  ): <E, R>(self: HttpClient.HttpClient.With<E, R>) => HttpClient.HttpClient.With<E | Added<O>, R | Needed<O>>
  <E, R, const O extends Options<any>>(
    self: HttpClient.HttpClient.With<E, R>,
    options: O & Known<O>
  ): HttpClient.HttpClient.With<E | Added<O>, R | Needed<O>>
  // which errors and services a client gains follows from the options, by the types above and not by inference
} = (...args: ReadonlyArray<unknown>) =>
  args.length === 1
    ? compile(args[0] as Options<any>) as never
    : compile(args[1] as Options<any>)(args[0] as Client) as never

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Client = HttpClient.HttpClient.With<any, any>
type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

const known: Check.Shape<Options<any>> = {
  backoff: true,
  retryBudget: true,
  whenOpen: { fail: true, wait: true },
  attemptTimeout: true,
  isTransient: true,
  rateLimited: { ignore: true, failure: true },
  repeatable: true,
  idempotencyHeader: true,
  quotedKey: true,
  buffered: true,
  sendDeadline: true,
  deadline: true,
  bulkhead: true,
  throttle: true,
  rateLimit: true,
  concurrencyLimit: true,
  breaker: true,
  timeoutBy: { timer: true, fiber: true }
}

const compile = (options: Options<any>): (self: Client) => Client => {
  Check.known("ResilientClient", options, known)
  const {
    backoff,
    buffered = defaults.buffered,
    idempotencyHeader: header = defaults.idempotencyHeader,
    isTransient = (response) => isTransientStatus(response) || isInFlight(response),
    quotedKey = header !== false && header.toLowerCase() === defaults.idempotencyHeader,
    rateLimited = defaults.rateLimited,
    repeatable = () => false,
    retryBudget: budget,
    sendDeadline = defaults.sendDeadline,
    whenOpen,
    ...parts
  } = options
  const hasKey = (request: Request) => header !== false && request.headers[header.toLowerCase()] !== undefined
  /** The server has not ended an earlier attempt with this key, and says when to ask for its response. */
  const isInFlight = ({ headers, request, status }: Response) =>
    status === 409 && headers["retry-after"] !== undefined && hasKey(request)
  const schedule = Backoff.make<any, any>({
    ...defaults.backoff,
    ...backoff,
    retryAfter: backoff?.retryAfter ?? askedBy
  })
  /** The policy of what may be repeated or not; the budget hears of all calls. */
  const policy = (repeats: boolean) =>
    Policy.make({
      ...parts,
      attemptTimeout: parts.attemptTimeout ?? defaults.attemptTimeout,
      classify: (error: unknown, part) => verdictOf(error, isTransient, part === "breaker" ? rateLimited : "failure"),
      retry: {
        schedule,
        while: (error: unknown) => repeats && isRetryable(error, isTransient),
        whenTimedOut: repeats ? "retry" : "fail",
        whenOpen,
        budget
      }
    })
  const repeated = policy(true)
  const once = policy(false)
  const isRepeatable = (request: Request) =>
    !isSpentOnce(request) &&
    (idempotentMethods.has(request.method) || hasKey(request) || repeatable(request))

  return (self) =>
    (sendDeadline ? DeadlineHttp.send(self) : self).pipe(
      HttpClient.mapRequestEffect((request) =>
        header === false ? Effect.succeed(request) : withKey(request, header, quotedKey)
      ),
      HttpClient.transform((response: Effect.Effect<Response, any, any>, request) => {
        const judged = Effect.flatMap(
          response,
          (response): Effect.Effect<Response, HttpClientError.HttpClientError> =>
            isTransient(response) ? failWith(response) : buffered ? buffer(response) : Effect.succeed(response)
        )
        return isRepeatable(request) ? repeated(judged) : once(judged)
      })
    )
}

/** Methods that RFC 9110 (section 9.2) calls safe, and those it calls idempotent. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])
const idempotentMethods: ReadonlySet<string> = new Set([...safeMethods, "PUT", "DELETE"])

const isTransientStatus = ({ status }: Response): boolean =>
  status === 408 || status === 429 || (status >= 500 && status <= 599)

/** A stream handed over as it is can be read once only; an Effect Stream starts anew. */
const isSpentOnce = ({ body }: Request): boolean =>
  body._tag === "Raw" && Predicate.hasProperty(body.body, Symbol.asyncIterator)

const withKey = (request: Request, header: string, quoted: boolean): Effect.Effect<Request> =>
  safeMethods.has(request.method) || request.headers[header.toLowerCase()] !== undefined
    ? Effect.succeed(request)
    : Effect.map(
      Idempotency.currentKey,
      Option.match({
        onNone: () => request,
        onSome: (key) => HttpClientRequest.setHeader(request, header, quoted ? StructuredString.serialize(key) : key)
      })
    )

const isRetryable = (error: unknown, isTransient: (response: Response) => boolean): boolean => {
  if (!HttpClientError.isHttpClientError(error)) return false
  return error._tag === "RequestError"
    ? error.reason === "Transport"
    : error.reason === "StatusCode" && isTransient(error.response)
}

const askedBy = (failure: Failure, now: number): Option.Option<Duration.Duration> =>
  failure._tag === "ResponseError" ? RetryAfter.fromHeaders(failure.response.headers, now) : Option.none()

const verdictOf = (
  error: unknown,
  isTransient: (response: Response) => boolean,
  rateLimited: "ignore" | "failure"
): CircuitBreaker.Verdict => {
  if (!HttpClientError.isHttpClientError(error)) return "failure"
  // a request that cannot be encoded never reached the dependency
  if (error._tag === "RequestError") return error.reason === "Transport" ? "failure" : "ignore"
  if (error.response.status === 429) return rateLimited
  // a dependency that answers of what it is at work on is up
  if (error.response.status === 409) return "success"
  return error.reason === "StatusCode" && isTransient(error.response) ? "failure" : "success"
}

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
