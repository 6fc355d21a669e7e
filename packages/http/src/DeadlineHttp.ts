/**
 * The deadline of a call, carried over HTTP: the client sends how much time is left, the server gives up when it has
 * passed.
 *
 * The header `x-deadline-remaining-ms` holds whole milliseconds. It is a span and no point in time, so the clocks of the
 * two need not agree; the time on the wire is not in it, and the server gives up that much later than the client.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Deadline from "@firebreak/core/Deadline"
import * as Check from "@firebreak/core/InvalidOption"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The longest time that a request may ask for; more is clamped. Default 5 minutes. */
  readonly max?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { max: "5 minutes" } as const

/**
 * The header's name.
 *
 * @since 0.1.0
 * @category constants
 */
export const header = "x-deadline-remaining-ms"

/**
 * Sends what is left of the deadline with every request, if there is one; a request without any time left is not sent.
 * Under retries, apply it to the client first: each attempt then sends what is left of its own.
 *
 * @example
 * import * as HttpClient from "@effect/platform/HttpClient"
 * import * as Deadline from "@firebreak/core/Deadline"
 * import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const client = DeadlineHttp.send(yield* HttpClient.HttpClient)
 *   return yield* client.get("http://search.internal/")
 * }).pipe(Deadline.within("2 seconds"))
 *
 * @since 0.1.0
 * @category combinators
 */
export const send = <E, R>(
  self: HttpClient.HttpClient.With<E, R>
): HttpClient.HttpClient.With<E | Deadline.DeadlineExceeded, R> =>
  // all of the client is behind this, its own changes to the request too, so that a retry around it stamps anew
  HttpClient.makeWith<never, never, E | Deadline.DeadlineExceeded, R>(
    Effect.flatMap((request) =>
      Deadline.dropExpired(Effect.flatMap(Deadline.remaining, (left) => self.execute(stamp(request, left))))
    ),
    Effect.succeed
  )

/**
 * Gives an app the time that the request's header says, and answers 504 as problem+json (RFC 9457) when it has passed:
 * without starting the app if none is left, else interrupting it. A request without the header, or with one that is no
 * number, has no deadline. A `max` that makes no sense throws. For an app or for the routes of a router; as a middleware of `HttpServer.serve` it would cut
 * off responses that are being written.
 *
 * @example
 * import * as HttpRouter from "@effect/platform/HttpRouter"
 * import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
 * import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
 *
 * const router = HttpRouter.empty.pipe(
 *   HttpRouter.get("/", HttpServerResponse.text("hello")),
 *   HttpRouter.use(DeadlineHttp.receive({ max: "30 seconds" }))
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const receive = (options: Options = {}) => {
  Check.known("DeadlineHttp.receive", options, { max: true })
  const max = Check.millis("DeadlineHttp.receive", "max", options.max ?? defaults.max, { min: 1 })
  return <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<Exclude<E, Deadline.DeadlineExceeded>, R> =>
    Effect.catchAll(
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
        Option.match(parse(request.headers[header]), {
          onNone: () => app,
          // the platform runs apps uninterruptibly unless they are routes
          onSome: (left) => Deadline.within(Effect.interruptible(app), Duration.min(left, max))
        })),
      (error) =>
        error instanceof Deadline.DeadlineExceeded
          ? Effect.succeed(timedOut(error))
          : Effect.fail(error as Exclude<E, Deadline.DeadlineExceeded>)
    )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const stamp = (
  request: HttpClientRequest.HttpClientRequest,
  remaining: Option.Option<Duration.Duration>
): HttpClientRequest.HttpClientRequest =>
  Option.match(remaining, {
    onNone: () => request,
    onSome: (left) => HttpClientRequest.setHeader(request, header, `${Math.floor(Duration.toMillis(left))}`)
  })

/** Digits alone; what `Number` would also take is not what a client means. */
const parse = (value: string | undefined): Option.Option<Duration.Duration> =>
  value !== undefined && /^\d{1,15}$/.test(value) ? Option.some(Duration.millis(Number(value))) : Option.none()

const timedOut = (error: Deadline.DeadlineExceeded): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(
    { type: "about:blank", title: "Gateway Timeout", status: 504, detail: error.message },
    { status: 504, contentType: "application/problem+json" }
  )
