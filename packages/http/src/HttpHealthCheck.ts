/**
 * A check that asks an HTTP endpoint: whether it answers, in time, with the status and the body it should.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Check from "@firebreak/core/InvalidOption"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<D extends string = string> extends HealthCheck.Options<D> {
  /** When an answer, its body included, is too slow. Default 1 second; the check's `timeout` is twice that. */
  readonly below?: Duration.DurationInput | undefined
  /** Which statuses are right. Default 200 to 299. */
  readonly status?: ((status: number) => boolean) | undefined
  /** Whether the body, as text, is right. Default: any, and it is not read. */
  readonly body?: ((text: string) => boolean) | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { below: "1 second" } as const

/**
 * Passes while the request is answered in less than `below` with a right status and body. A URL is asked with GET. The
 * client is the one of the context: without retries, or a check says how well the retries are.
 *
 * @example
 * import * as HttpHealthCheck from "@firebreak/http/HttpHealthCheck"
 *
 * export const search = HttpHealthCheck.endpoint("http://search.example/ping", {
 *   below: "300 millis",
 *   body: (text) => text.includes("pong"),
 *   interval: "10 seconds"
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint = <const D extends string = never>(
  request: string | URL | HttpClientRequest.HttpClientRequest,
  options: Options<D> = {}
): HealthCheck.HealthCheck<HttpClient.HttpClient, D> => {
  Check.known("HttpHealthCheck", options, { ...HealthCheck.known, below: true, status: true, body: true })
  const { below: limit = defaults.below, body, status = isSuccess, ...rest } = options
  const below = Check.millis("HttpHealthCheck", "below", limit, { min: 1 })
  const question = typeof request === "string" || request instanceof URL ? HttpClientRequest.get(request) : request

  /** What is wrong with the answer, or `undefined`. */
  const ask = Effect.gen(function*() {
    const response = yield* HttpClient.execute(question)
    if (!status(response.status)) return `answered ${response.status}`
    if (body === undefined || body(yield* response.text)) return undefined
    return "answered with a wrong body"
  })
  return HealthCheck.make(
    // a request whose body was not read is given up with the scope
    Effect.map(Effect.timed(Effect.scoped(ask)), ([elapsed, wrong]) => {
      const millis = Duration.toMillis(elapsed)
      const slow = millis < below ? undefined : `answered in ${Math.round(millis)} ms, limit ${below} ms`
      return new HealthCheck.Observation(millis, "ms", wrong ?? slow)
    }),
    { componentType: "component", ...rest, timeout: rest.timeout ?? below * 2 }
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const isSuccess = (status: number): boolean => status >= 200 && status < 300
