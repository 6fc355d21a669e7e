/** A request whose body has been read and can be read again. */
import * as RequestError from "@effect/platform/HttpServerError"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"

/**
 * The body, or undefined if it is longer than `limit` bytes. Of a longer one that did not say so, some more is read and
 * dropped, for the connection ends where reading stops, and most clients would not see the answer.
 */
export const read = (
  request: HttpServerRequest.HttpServerRequest,
  limit: number
): Effect.Effect<Uint8Array | undefined, RequestError.RequestError> => {
  if (Number(request.headers["content-length"] ?? 0) > limit) return Effect.succeed(undefined)
  // a web request without a body has no stream either
  if (Predicate.hasProperty(request.source, "body") && request.source.body === null) {
    return Effect.succeed(new Uint8Array())
  }
  const chunks: Array<Uint8Array> = []
  let length = 0
  return Effect.map(
    Stream.runForEachWhile(request.stream, (chunk) =>
      Effect.sync(() => {
        length += chunk.length
        if (length <= limit) chunks.push(chunk)
        else chunks.length = 0
        return length <= limit * 8
      })),
    () => length > limit ? undefined : concat(chunks, length)
  )
}

/** The request with its body as it was read. */
export const withBody = (
  request: HttpServerRequest.HttpServerRequest,
  body: Uint8Array
): HttpServerRequest.HttpServerRequest => {
  const text = Effect.sync(() => new TextDecoder().decode(body))
  const decode = <A>(f: (text: string) => A) =>
    Effect.tryMap(text, {
      try: f,
      catch: (cause) => new RequestError.RequestError({ request, reason: "Decode", cause })
    })
  return Object.create(request, {
    text: { value: text },
    json: { value: decode((_): unknown => _ === "" ? null : JSON.parse(_)) },
    urlParamsBody: { value: decode((_) => UrlParams.fromInput(new URLSearchParams(_))) },
    arrayBuffer: { value: Effect.sync(() => body.slice().buffer) },
    stream: { get: () => Stream.make(body) },
    modify: {
      value: (options: Parameters<HttpServerRequest.HttpServerRequest["modify"]>[0]) =>
        withBody(request.modify(options), body)
    }
  }) as HttpServerRequest.HttpServerRequest
}

const concat = (chunks: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  const [only] = chunks
  if (only !== undefined && chunks.length === 1) return only
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
