/**
 * Requests that are carried out once, however often the client sends them: the header `Idempotency-Key`, after the
 * IETF draft draft-ietf-httpapi-idempotency-key-header.
 *
 * The first request with a key runs the handler, on a fiber of its own: a client that goes away does not stop it, and
 * finds the response when it asks again. Later requests with the key get that response, marked `Idempotency-Replayed:
 * true`, until the time in `Idempotency-Key-Expires`. What is kept, and by whom it can be read, is up to the
 * `IdempotencyStore`.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Idempotency from "@firebreak/core/Idempotency"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Check from "@firebreak/core/InvalidOption"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as BufferedRequest from "./internal/bufferedRequest.js"
import * as Problems from "./internal/keyProblems.js"
import * as StructuredString from "./internal/structuredString.js"

/**
 * What a response says about the request: `recorded` is the outcome, replayed from now on; after `unknown` it may have
 * taken effect, and `onUnknown` rules; after `not-started` it has not, and the next request runs.
 *
 * @since 0.1.0
 * @category models
 */
export type Classification = "recorded" | "unknown" | "not-started"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The name of these requests in the store; keys mean something within it. Default "http". */
  readonly operation?: string | undefined
  /** The methods that take a key; other requests pass through. Default POST and PATCH. */
  readonly methods?: ReadonlyArray<string> | undefined
  /** Whether a request without a key is refused with 400. Default true; else it passes through. */
  readonly required?: boolean | undefined
  /** Whether a key without quotes is taken too, as many clients send it. Default false: 400. */
  readonly unquoted?: boolean | undefined
  /** Whose key it is, such as the authenticated tenant; never empty. Default: `Idempotency.currentScope`. */
  readonly scope?: ((request: HttpServerRequest.HttpServerRequest) => string) | undefined
  /** For a request that finds its first one running: 409 at once, or `wait` for its response. Default `fail`. */
  readonly inFlight?: "fail" | "wait" | undefined
  /**
   * What a status says. Default: 408, 425 and 429 are `not-started`, 5xx `unknown`, all others `recorded`.
   */
  readonly classify?: ((status: number) => Classification) | undefined
  /**
   * What a failure of the handler says. Default `unknown`, also of a `Rejection`: that a call within the handler was not
   * started says nothing of what the handler did before. With a defect or an interruption in it, it is `unknown` always.
   */
  readonly classifyFailure?: ((error: unknown) => "unknown" | "not-started") | undefined
  /**
   * After an unknown outcome, a crash among them: `retry` runs the handler again, which should send
   * `Idempotency.currentKey` on; `escalate` answers 500 until the key is reset. Default `retry`.
   */
  readonly onUnknown?: "retry" | "escalate" | undefined
  /** How long a claim is held without being renewed. Default 30 seconds. */
  readonly lease?: Duration.DurationInput | undefined
  /** How long a response is kept and replayed. Default 24 hours. */
  readonly retention?: Duration.DurationInput | undefined
  /** In `Retry-After` of a 409 and a 503. Default 1 second. */
  readonly retryAfter?: Duration.DurationInput | undefined
  /** The longest key, in characters. Default 255. */
  readonly maxKeyLength?: number | undefined
  /** The longest request body, in bytes; a longer one is refused with 413 before it is parsed. Default 1 MiB. */
  readonly maxRequestBody?: number | undefined
  /** The longest response body that is kept, in bytes. Default 256 KiB. */
  readonly maxResponseBody?: number | undefined
  /**
   * The response headers that are kept beside status and body, `content-type` in any case and `set-cookie` in none. Default:
   * those that say what the body is.
   */
  readonly headers?: ReadonlyArray<string> | undefined
  /** The URL of a page that explains keys: the problems' `type`, and a `Link` to it. Default none, and `about:blank`. */
  readonly documentation?: string | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  operation: "http",
  methods: ["POST", "PATCH"],
  required: true,
  unquoted: false,
  inFlight: "fail",
  classify: (status: number): Classification =>
    status === 408 || status === 425 || status === 429 ? "not-started" : status >= 500 ? "unknown" : "recorded",
  classifyFailure: (_error: unknown): "unknown" | "not-started" => "unknown",
  onUnknown: "retry",
  lease: "30 seconds",
  retention: "24 hours",
  retryAfter: "1 second",
  maxKeyLength: 255,
  maxRequestBody: 1_048_576,
  maxResponseBody: 262_144,
  headers: ["content-type", "content-language", "content-location", "etag", "link", "location"]
} as const

/**
 * The headers' names, in lower case.
 *
 * @since 0.1.0
 * @category constants
 */
export const headers = {
  /** Request: the key, a structured-field string. */
  key: "idempotency-key",
  /** Response: `true` where it is the kept one. */
  replayed: "idempotency-replayed",
  /** Response: the HTTP date until which it is kept. */
  expires: "idempotency-key-expires",
  /** Response: `?0` where the request counts as carried out but the response is not kept. */
  stored: "idempotency-key-stored"
} as const

/**
 * Lets an app or the routes of a router carry out each keyed request once. Problems are answered as
 * `application/problem+json` (RFC 9457) with a `code`; the table is in `docs/idempotency-key.md`. Options that make no
 * sense throw.
 *
 * Of a request with a key, the handler's scope ends when it has given its response; what passes keeps the app's own.
 * Multipart bodies are refused with 415.
 *
 * @example
 * import * as HttpRouter from "@effect/platform/HttpRouter"
 * import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
 * import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
 *
 * const router = HttpRouter.empty.pipe(
 *   HttpRouter.post("/payments", HttpServerResponse.json({ id: "pay_1" }, { status: 201 })),
 *   HttpRouter.use(IdempotencyKey.make({ scope: (request) => request.headers["x-tenant"] || "anonymous" }))
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const make = (options: Options = {}) => {
  const settings = resolve(options)
  return <E, R>(
    app: HttpApp.Default<E, R>
  ): HttpApp.Default<E | HttpServerError.RequestError, R | IdempotencyStore> =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (
      request
    ): HttpApp.Default<E | HttpServerError.RequestError, R | IdempotencyStore> => {
      if (!settings.methods.has(request.method)) return app
      const field = request.headers[headers.key]
      if (field === undefined) return settings.required ? settings.answer(Problems.missing()) : app
      const key = settings.parse(field)
      if (Either.isLeft(key)) return settings.answer(Problems.invalid(key.left))
      if (/^multipart\//i.test(request.headers["content-type"] ?? "")) {
        return settings.answer(Problems.multipart())
      }
      return Effect.flatMap(BufferedRequest.read(request, settings.maxRequestBody), (body) =>
        body === undefined
          ? settings.answer(Problems.tooLarge(settings.maxRequestBody))
          : carryOut(settings, app, BufferedRequest.withBody(request, body), key.right, body))
    })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const kept = (headers: ReadonlyArray<string>): ReadonlyArray<string> => {
  const names = headers.map((header) => header.toLowerCase())
  // one caller's cookie is no answer to another
  if (names.includes("set-cookie")) {
    throw new Check.InvalidOption("IdempotencyKey.make: headers must not have \"set-cookie\", which is never kept")
  }
  return [...new Set(["content-type", ...names])]
}

type Settings = ReturnType<typeof resolve>

const resolve = (options: Options) => {
  const name = "IdempotencyKey.make"
  Check.known(name, options, {
    operation: true,
    methods: true,
    required: true,
    unquoted: true,
    scope: true,
    inFlight: { fail: true, wait: true },
    classify: true,
    classifyFailure: true,
    onUnknown: { retry: true, escalate: true },
    lease: true,
    retention: true,
    retryAfter: true,
    maxKeyLength: true,
    maxRequestBody: true,
    maxResponseBody: true,
    headers: true,
    documentation: true
  })
  const size = (option: "maxKeyLength" | "maxRequestBody" | "maxResponseBody") =>
    Check.whole(name, option, options[option] ?? defaults[option], { min: option === "maxKeyLength" ? 1 : 0 })
  const longest = size("maxKeyLength")
  const retryAfter = Check.millis(name, "retryAfter", options.retryAfter ?? defaults.retryAfter)
  const again = { "retry-after": `${Math.ceil(retryAfter / 1_000)}` }
  return {
    operation: options.operation ?? defaults.operation,
    methods: new Set((options.methods ?? defaults.methods).map((method) => method.toUpperCase())),
    required: options.required ?? defaults.required,
    scope: options.scope,
    inFlight: options.inFlight ?? defaults.inFlight,
    classify: options.classify ?? defaults.classify,
    classifyFailure: options.classifyFailure ?? defaults.classifyFailure,
    onUnknown: options.onUnknown ?? defaults.onUnknown,
    lease: Check.millis(name, "lease", options.lease ?? defaults.lease, { min: 10 }),
    retention: Check.millis(name, "retention", options.retention ?? defaults.retention, { min: 1 }),
    maxRequestBody: size("maxRequestBody"),
    maxResponseBody: size("maxResponseBody"),
    headers: kept(options.headers ?? defaults.headers),
    parse: (field: string): Either.Either<string, string> => {
      const text = StructuredString.parse(field) ??
        (options.unquoted === true && /^[!#-+\--~]+$/.test(field) ? field : undefined)
      if (text === undefined) return Either.left("it must be a string in double quotes, such as \"8e03978e-40d5\"")
      if (text === "") return Either.left("it is empty")
      return text.length > longest ? Either.left(`it is longer than ${longest} characters`) : Either.right(text)
    },
    /** A problem as a response. */
    answer: ({ retry, ...problem }: Problems.Problem): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
      const { documentation } = options
      const type = documentation === undefined ? "about:blank" : `${documentation}#${problem.code}`
      return Effect.succeed(HttpServerResponse.unsafeJson({ type, ...problem }, {
        status: problem.status,
        contentType: "application/problem+json",
        headers: {
          ...(retry === true ? again : {}),
          ...(documentation === undefined ? {} : { link: `<${documentation}>; rel="describedby"` })
        }
      }))
    }
  }
}

/** What is kept of a response; `body` is null where it was not kept, for its length or because it is a stream. */
const Kept = Schema.Struct({
  status: Schema.Number,
  headers: Schema.Record({ key: Schema.String, value: Schema.String }),
  body: Schema.NullOr(Schema.Uint8ArrayFromBase64),
  at: Schema.Number
})

/** The response is no outcome; never stored. */
class NoOutcome extends Schema.TaggedError<NoOutcome>()("NoOutcome", {
  classification: Schema.Literal("unknown", "not-started")
}) {}

const carryOut = <E, R>(
  settings: Settings,
  app: HttpApp.Default<E, R>,
  request: HttpServerRequest.HttpServerRequest,
  key: string,
  body: Uint8Array
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  E,
  Exclude<R, Scope.Scope> | HttpServerRequest.HttpServerRequest | IdempotencyStore
> =>
  Effect.suspend(() => {
    // what the handler gave, if it was this request that ran it
    let live: Exit.Exit<HttpServerResponse.HttpServerResponse, E> | undefined
    const run = app.pipe(
      Effect.scoped,
      Effect.provideService(HttpServerRequest.HttpServerRequest, request),
      Effect.exit,
      Effect.flatMap((exit) => {
        live = exit
        if (Exit.isFailure(exit)) {
          return Effect.fail(new NoOutcome({ classification: ofCause(exit.cause, settings.classifyFailure) }))
        }
        const classification = settings.classify(exit.value.status)
        return classification === "recorded"
          ? Effect.map(Clock.currentTimeMillis, (at) => keep(settings, exit.value, at))
          : Effect.fail(new NoOutcome({ classification }))
      })
    )
    const once = Effect.flatMap(fingerprint(request, body), (content) =>
      Idempotency.once({
        operation: settings.operation,
        key,
        payload: { method: request.method, target: targetOf(request.originalUrl), content },
        success: Kept,
        error: NoOutcome,
        classify: (error) => error.classification,
        onUnknown: settings.onUnknown,
        inFlight: settings.inFlight,
        lease: settings.lease,
        retention: settings.retention
      }, run))
    const scoped = settings.scope === undefined ? once : Idempotency.scoped(once, settings.scope(request))
    return Effect.matchEffect(scoped, {
      onSuccess: (kept) => {
        const expires = { [headers.expires]: new Date(kept.at + settings.retention).toUTCString() }
        if (live !== undefined) {
          const stored = kept.body === null ? { [headers.stored]: "?0" } : {}
          return Effect.map(live, HttpServerResponse.setHeaders({ ...expires, ...stored }))
        }
        if (kept.body === null) return settings.answer(Problems.notKept(kept.status))
        const replayed = {
          status: kept.status,
          headers: { ...kept.headers, ...expires, [headers.replayed]: "true" }
        }
        return Effect.succeed(
          kept.body.length === 0
            ? HttpServerResponse.empty(replayed)
            : HttpServerResponse.uint8Array(kept.body, replayed)
        )
      },
      onFailure: (error) => {
        // carried out, though not recorded: the client gets what there is
        if (live !== undefined) {
          return error._tag === "StoreError"
            ? Effect.map(live, HttpServerResponse.setHeader(headers.stored, "?0"))
            : live
        }
        return settings.answer(Problems.of(error))
      }
    })
  })

/** Not started is only what failed so in all its parts: one that was interrupted or died may have done something. */
const ofCause = <E>(cause: Cause.Cause<E>, classify: (error: E) => "unknown" | "not-started") => {
  const failures = Chunk.toReadonlyArray(Cause.failures(cause))
  const isWhole = failures.length > 0 && !Cause.isDie(cause) && !Cause.isInterrupted(cause)
  return isWhole && failures.every((error) => classify(error) === "not-started") ? "not-started" : "unknown"
}

const keep = (
  { headers, maxResponseBody }: Settings,
  response: HttpServerResponse.HttpServerResponse,
  at: number
): typeof Kept.Type => {
  const bytes = bytesOf(response.body)
  return {
    status: response.status,
    headers: Object.fromEntries(headers.flatMap((header) => {
      const value = response.headers[header]
      return value === undefined ? [] : [[header, value]]
    })),
    body: bytes !== undefined && bytes.length <= maxResponseBody ? bytes : null,
    at
  }
}

const bytesOf = (body: HttpServerResponse.HttpServerResponse["body"]): Uint8Array | undefined => {
  switch (body._tag) {
    case "Empty":
      return new Uint8Array()
    case "Uint8Array":
      return body.body
    case "Raw":
      return typeof body.body === "string" ? new TextEncoder().encode(body.body) : undefined
    case "FormData":
    case "Stream":
      return undefined
  }
}

/** Path and query of a URL; some servers give the whole of it, and a client may come back by another host's name. */
const targetOf = (url: string): string => {
  const target = url.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, "").replace(/#.*$/, "")
  return target.startsWith("/") ? target : `/${target}`
}

/** The body as a value for the payload: JSON by its value, anything else by its bytes. */
const fingerprint = (request: HttpServerRequest.HttpServerRequest, body: Uint8Array): Effect.Effect<string> => {
  const isJson = /^[^;]*[/+]json *(?:;|$)/i.test(request.headers["content-type"] ?? "")
  const json = isJson
    ? Effect.option(
      Effect.try(() => Idempotency.payloadKey("json")(undefined, JSON.parse(new TextDecoder().decode(body))))
    )
    : Effect.succeedNone
  return Effect.flatMap(
    json,
    Option.match({
      onSome: Effect.succeed,
      onNone: () =>
        Effect.map(
          Effect.promise(() => globalThis.crypto.subtle.digest("SHA-256", body)),
          (digest) => `bytes ${Encoding.encodeHex(new Uint8Array(digest))}`
        )
    })
  )
}
