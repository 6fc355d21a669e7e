import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Idempotency from "@firebreak/core/Idempotency"
import { IdempotencyStore, makeMemory } from "@firebreak/core/IdempotencyStore"
import { InvalidOption } from "@firebreak/core/InvalidOption"
import * as Rejection from "@firebreak/core/Rejection"
import * as StoreError from "@firebreak/core/StoreError"
import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import * as StructuredString from "../src/internal/structuredString.js"

class Full extends Data.TaggedError("Full")<{}> {
  readonly [Rejection.TypeId] = true as const
}

type Handler = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  HttpServerRequest.HttpServerRequest
>

/** A server on the loopback whose POST and GET `/payments` are the handler; `ask` sends it a request. */
const serve = (handler: Handler, options?: IdempotencyKey.Options, path: `/${string}` = "/payments") =>
  Effect.gen(function*() {
    const server = yield* Layer.build(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" }))
    const router = HttpRouter.empty.pipe(
      HttpRouter.all(path, handler),
      HttpRouter.use(IdempotencyKey.make(options))
    )
    yield* Effect.provide(HttpServer.serveEffect(router), server)
    const address = yield* Effect.provide(HttpServer.addressFormattedWith(Effect.succeed), server)
    return (init: RequestInit & { readonly key?: string; readonly path?: string } = {}) =>
      Effect.promise(async (signal) => {
        const { key, path: other, ...rest } = init
        const response = await fetch(`${address}${other ?? "/payments"}`, {
          method: "POST",
          signal,
          ...rest,
          headers: {
            ...(typeof rest.body === "string" ? { "content-type": "application/json" } : {}),
            ...(rest.headers as Record<string, string> | undefined),
            ...(key === undefined ? {} : { "idempotency-key": key })
          }
        })
        return { status: response.status, headers: response.headers, body: await response.text() }
      })
  })

/** The same without sockets, on the Fetch API: `ask` gives it a request. */
const serveWeb = (
  handler: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    unknown,
    HttpServerRequest.HttpServerRequest | Scope.Scope
  >,
  options?: IdempotencyKey.Options
) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => HttpApp.toWebHandlerLayer(IdempotencyKey.make(options)(handler), Idempotency.layerMemory)),
      ({ dispose }) => Effect.promise(dispose)
    ),
    ({ handler }) => (url: string, init: RequestInit & { readonly key?: string } = {}) => {
      const headers = { ...init.headers, ...(init.key === undefined ? {} : { "idempotency-key": init.key }) }
      return Effect.promise(async () => {
        const response = await handler(new Request(url, { method: "POST", ...init, headers }))
        return { status: response.status, headers: response.headers, body: await response.text() }
      })
    }
  )

/** A handler that counts its runs and says what it was given. */
const counting = () => {
  let runs = 0
  const handler = Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = yield* request.text
    runs++
    return HttpServerResponse.unsafeJson({ run: runs, body }, {
      status: 201,
      headers: { location: `/payments/${runs}`, "x-internal": "no" }
    })
  })
  return {
    handler,
    get runs() {
      return runs
    }
  }
}

const test = (title: string, body: () => Effect.Effect<void, unknown, IdempotencyStore | Scope.Scope>) =>
  it.scopedLive(title, () => Effect.provide(body(), Idempotency.layerMemory))

const problem = (response: { readonly status: number; readonly headers: Headers; readonly body: string }) => {
  expect(response.headers.get("content-type")).toBe("application/problem+json")
  const { detail, ...rest } = JSON.parse(response.body) as Record<string, unknown>
  expect(rest).toEqual({ type: "about:blank", title: expect.any(String), status: response.status, code: rest["code"] })
  expect(detail).toEqual(expect.any(String))
  return rest["code"]
}

describe("IdempotencyKey", () => {
  test("runs the handler once and replays status, chosen headers and body, marked, with the time it expires", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serve(counted.handler)
      const before = Date.now()
      const first = yield* ask({ key: `"a"`, body: `{"amount":1}` })
      expect([first.status, first.headers.get("idempotency-replayed")]).toEqual([201, null])
      const second = yield* ask({ key: `"a"`, body: `{"amount":1}` })
      expect(second.status).toBe(201)
      expect(second.body).toBe(first.body)
      expect(JSON.parse(first.body)).toEqual({ run: 1, body: `{"amount":1}` })
      expect(second.headers.get("idempotency-replayed")).toBe("true")
      expect(second.headers.get("content-type")).toBe(first.headers.get("content-type"))
      expect(second.headers.get("location")).toBe("/payments/1")
      expect(second.headers.get("x-internal")).toBeNull()
      const expires = first.headers.get("idempotency-key-expires") ?? ""
      expect(second.headers.get("idempotency-key-expires")).toBe(expires)
      expect(Date.parse(expires)).toBeGreaterThanOrEqual(Math.floor(before / 1_000) * 1_000 + 86_400_000)
      expect((yield* ask({ key: `"b"`, body: `{"amount":1}` })).body).toContain(`"run":2`)
      expect(counted.runs).toBe(2)
    }))

  test("answers 400 where the key is missing or no structured-field string, and runs nothing", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serve(counted.handler)
      expect(problem(yield* ask())).toBe("idempotency-key-missing")
      for (
        const key of ["a", `"a`, `a"`, `""`, `"a" "b"`, `"a", "b"`, `"a\\b"`, `"${"k".repeat(256)}"`, "?1", ":YQ==:"]
      ) {
        const refused = yield* ask({ key })
        expect([key, refused.status]).toEqual([key, 400])
        expect(problem(refused)).toBe("idempotency-key-invalid")
      }
      expect(counted.runs).toBe(0)
      expect((yield* ask({ key: `"${"k".repeat(255)}"` })).status).toBe(201)
      expect((yield* ask({ key: `"a\\"b";version=1` })).status).toBe(201)
      const keys = (yield* Idempotency.list()).map((record) => record.key)
      expect(keys.slice(1)).toEqual([`a"b`])
    }))

  test("lets pass what has no key where none is required, and methods that take none", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serve(counted.handler, { required: false, unquoted: true })
      yield* ask()
      yield* ask()
      yield* ask({ method: "GET", key: `"a"` })
      yield* ask({ method: "GET", key: `"a"` })
      expect(counted.runs).toBe(4)
      yield* ask({ key: "8e03978e-40d5" })
      yield* ask({ key: `"8e03978e-40d5"` })
      expect(counted.runs).toBe(5)
    }))

  test("answers 422 where the key was used with another method, path or body; the order of JSON keys is no difference", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serve(counted.handler, {}, "/*")
      yield* ask({ key: `"a"`, body: `{"amount":1,"to":{"x":1,"y":2}}` })
      const same = yield* ask({ key: `"a"`, body: `{ "to": {"y":2, "x":1}, "amount": 1.0 }` })
      expect(same.headers.get("idempotency-replayed")).toBe("true")
      for (
        const other of [
          { body: `{"amount":2,"to":{"x":1,"y":2}}` },
          { body: `{"amount":1,"to":{"x":1,"y":2}`, headers: { "content-type": "application/json" } },
          { body: `{"amount":1,"to":{"x":1,"y":2}}`, headers: { "content-type": "text/plain" } },
          { body: `{"amount":1,"to":{"x":1,"y":2}}`, path: "/payments?dry=1" },
          { body: `{"amount":1,"to":{"x":1,"y":2}}`, path: "/refunds" },
          { body: `{"amount":1,"to":{"x":1,"y":2}}`, method: "PATCH" }
        ]
      ) {
        const refused = yield* ask({ key: `"a"`, ...other })
        expect(refused.status).toBe(422)
        expect(problem(refused)).toBe("idempotency-key-reused")
      }
      const bytes = new Uint8Array([0, 255, 1])
      yield* ask({ key: `"bytes"`, body: bytes })
      expect((yield* ask({ key: `"bytes"`, body: bytes })).headers.get("idempotency-replayed")).toBe("true")
      expect((yield* ask({ key: `"bytes"`, body: new Uint8Array([0, 255, 2]) })).status).toBe(422)
      expect(counted.runs).toBe(2)
    }))

  test("answers 409 with Retry-After while the first request runs, and its response after that", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const started = yield* Deferred.make<void>()
      const handler = Deferred.succeed(started, undefined).pipe(
        Effect.zipRight(Deferred.await(gate)),
        Effect.as(HttpServerResponse.text("done"))
      )
      const ask = yield* serve(handler, { retryAfter: "1500 millis" })
      const first = yield* Effect.fork(ask({ key: `"a"` }))
      yield* Deferred.await(started)
      const early = yield* ask({ key: `"a"` })
      expect([early.status, early.headers.get("retry-after")]).toEqual([409, "2"])
      expect(problem(early)).toBe("idempotency-key-in-flight")
      yield* Deferred.succeed(gate, undefined)
      expect((yield* first.await).toString()).toContain("done")
      expect((yield* ask({ key: `"a"` })).body).toBe("done")
    }))

  test("waits for the first request where it is told to", () =>
    Effect.gen(function*() {
      let runs = 0
      const gate = yield* Deferred.make<void>()
      const handler = Effect.suspend(() => (runs++, Deferred.await(gate))).pipe(
        Effect.as(HttpServerResponse.text("done"))
      )
      const ask = yield* serve(handler, { inFlight: "wait" })
      const asked = yield* Effect.fork(
        Effect.all(Array.from({ length: 20 }, () => ask({ key: `"a"` })), { concurrency: 20 })
      )
      yield* Effect.repeat(Effect.yieldNow(), { until: () => runs > 0 })
      yield* Deferred.succeed(gate, undefined)
      const answers = yield* asked
      expect(answers.every(({ body }) => body === "done")).toBe(true)
      expect(answers.filter(({ headers }) => headers.get("idempotency-replayed") === null).length).toBe(1)
      expect(runs).toBe(1)
    }))

  test("goes on when the client goes away; it finds the response when it asks again", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const started = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      const handler = Deferred.succeed(started, undefined).pipe(
        Effect.zipRight(Deferred.await(gate)),
        Effect.as(HttpServerResponse.text("done")),
        Effect.ensuring(Deferred.succeed(ended, undefined))
      )
      const ask = yield* serve(handler, { inFlight: "wait" })
      const first = yield* Effect.fork(ask({ key: `"a"` }))
      yield* Deferred.await(started)
      yield* first.interruptAsFork(first.id())
      const second = yield* Effect.fork(ask({ key: `"a"` }))
      yield* Deferred.succeed(gate, undefined)
      yield* Deferred.await(ended)
      expect((yield* second).body).toBe("done")
      expect((yield* ask({ key: `"a"` })).headers.get("idempotency-replayed")).toBe("true")
    }))

  test("does not record a 5xx, a 429 or a failure: the next request runs, with the same key downstream", () =>
    Effect.gen(function*() {
      const keys: Array<string> = []
      const outcomes: Array<Handler> = [
        Effect.succeed(HttpServerResponse.empty({ status: 503 })),
        Effect.succeed(HttpServerResponse.empty({ status: 429 })),
        Effect.fail("broken"),
        Effect.die("bug"),
        Effect.fail(new Full()),
        Effect.succeed(HttpServerResponse.empty({ status: 404 }))
      ]
      const handler = Effect.flatMap(Idempotency.currentKey, (key) => {
        keys.push(Option.getOrThrow(key))
        return outcomes[keys.length - 1]!
      })
      const ask = yield* serve(handler)
      for (const status of [503, 429, 500, 500, 500, 404, 404]) expect((yield* ask({ key: `"a"` })).status).toBe(status)
      expect(keys.length).toBe(6)
      expect(new Set(keys).size).toBe(1)
      const replayed = yield* ask({ key: `"a"` })
      expect([replayed.headers.get("idempotency-replayed"), replayed.headers.get("content-type")]).toEqual([
        "true",
        null
      ])
    }))

  test("a Rejection from within the handler is an unknown outcome: what the handler did before it happens once", () =>
    Effect.gen(function*() {
      let charged = 0
      const handler = Effect.suspend(() => (charged++, Effect.fail(new Full())))
      const ask = yield* serve(handler, { onUnknown: "escalate" })
      for (let i = 0; i < 3; i++) expect((yield* ask({ key: `"a"` })).status).toBe(500)
      expect(problem(yield* ask({ key: `"a"` }))).toBe("idempotency-outcome-unknown")
      expect(charged).toBe(1)
    }))

  test("runs again after a failure that `classifyFailure` knows to come before all else, if that is all of it", () =>
    Effect.gen(function*() {
      const full = Effect.fail(new Full())
      const outcomes: Array<Handler> = [full, full, Effect.all([Effect.die("bug"), full], { concurrency: 2 })]
        .map(Effect.as(HttpServerResponse.empty()))
      const options = {
        onUnknown: "escalate",
        classifyFailure: (error: unknown) => error instanceof Full ? "not-started" : "unknown"
      } as const
      const ask = yield* serve(Effect.suspend(() => outcomes.shift()!), options)
      for (let i = 0; i < 5; i++) expect((yield* ask({ key: `"a"` })).status).toBe(500)
      expect(outcomes.length).toBe(0)
      expect(problem(yield* ask({ key: `"a"` }))).toBe("idempotency-outcome-unknown")
    }))

  test("runs nothing again after an unknown outcome where that is escalated", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.sync(() => (runs++, HttpServerResponse.text("upstream", { status: 502 })))
      const ask = yield* serve(handler, { onUnknown: "escalate" })
      expect((yield* ask({ key: `"a"` })).body).toBe("upstream")
      const refused = yield* ask({ key: `"a"` })
      expect(refused.status).toBe(500)
      expect(problem(refused)).toBe("idempotency-outcome-unknown")
      expect(runs).toBe(1)
    }))

  test("keeps the keys of tenants apart, and gives the handler's own actions their scope", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.zipRight(
        Effect.map(Idempotency.currentScope, (scope) => `${scope} ${++runs}`),
        Effect.map(Idempotency.currentScope, (scope) => HttpServerResponse.text(`${scope} ${runs}`))
      )
      const ask = yield* serve(handler, { scope: (request) => request.headers["x-tenant"] ?? "nobody" })
      const as = (tenant: string, body: string) => ask({ key: `"a"`, headers: { "x-tenant": tenant }, body })
      expect((yield* as("one", "1")).body).toBe("one 1")
      expect((yield* as("two", "2")).body).toBe("two 2")
      expect((yield* as("one", "1")).body).toBe("one 1")
      expect((yield* Idempotency.list({ scope: "one" })).length).toBe(1)
      expect((yield* Idempotency.list()).length).toBe(0)
    }))

  test("refuses a body over the cap before it is parsed, whether it says its length or not, and multipart bodies", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serve(counted.handler, { maxRequestBody: 100 })
      const streamed = { body: new Blob(["x".repeat(101)]).stream(), duplex: "half" } as RequestInit
      for (const init of [{ body: "x".repeat(101) }, streamed]) {
        const refused = yield* ask({ key: `"a"`, ...init })
        expect(refused.status).toBe(413)
        expect(problem(refused)).toBe("idempotency-key-body-too-large")
      }
      const form = new FormData()
      form.set("a", "b")
      expect(problem(yield* ask({ key: `"a"`, body: form }))).toBe("idempotency-key-multipart")
      const shouted = { body: "--x--", headers: { "content-type": "Multipart/Form-Data; boundary=x" } }
      expect(problem(yield* ask({ key: `"a"`, ...shouted }))).toBe("idempotency-key-multipart")
      expect(counted.runs).toBe(0)
      expect((yield* ask({ key: `"a"`, body: "x".repeat(100) })).status).toBe(201)
    }))

  test("says that a response is not kept, where it is too long or a stream, and does not run again", () =>
    Effect.gen(function*() {
      let runs = 0
      const bodies = [
        HttpServerResponse.text("x".repeat(101)),
        HttpServerResponse.stream(Stream.make(new Uint8Array([120])))
      ]
      const ask = yield* serve(Effect.sync(() => bodies[runs++]!), { maxResponseBody: 100 })
      for (const [key, length] of [[`"a"`, 101], [`"b"`, 1]] as const) {
        const first = yield* ask({ key })
        expect([first.status, first.body.length, first.headers.get("idempotency-key-stored")]).toEqual([
          200,
          length,
          "?0"
        ])
        const second = yield* ask({ key })
        expect([second.status, second.headers.get("retry-after")]).toEqual([409, null])
        expect(problem(second)).toBe("idempotency-response-not-kept")
      }
      expect(runs).toBe(2)
    }))

  test("gives the handler the body in every form", () =>
    Effect.gen(function*() {
      const handler = Effect.gen(function*() {
        const request = (yield* HttpServerRequest.HttpServerRequest).modify({ url: "/other" })
        const bytes = yield* request.arrayBuffer
        const chunks = yield* Stream.runCollect(request.stream)
        return HttpServerResponse.unsafeJson([
          yield* request.text,
          yield* request.json,
          bytes.byteLength,
          chunks.length,
          request.method,
          request.url
        ])
      })
      const ask = yield* serve(handler)
      expect(JSON.parse((yield* ask({ key: `"a"`, body: `{"ä":1}` })).body)).toEqual([
        `{"ä":1}`,
        { ä: 1 },
        8,
        1,
        "POST",
        "/other"
      ])
      expect((yield* ask({ key: `"b"`, body: "{" })).status).toBe(400)
    }))

  it.scopedLive("answers 503 where the store cannot be used, and the response itself where only its record failed", () =>
    Effect.gen(function*() {
      const store = yield* makeMemory
      const broken = new StoreError.StoreError({
        store: "x.db",
        operation: "claim",
        reason: "full",
        detail: "disk full"
      })
      let failing: "claim" | "complete" = "claim"
      const counted = counting()
      const ask = yield* Effect.provideService(serve(counted.handler), IdempotencyStore, {
        ...store,
        claim: (request) => failing === "claim" ? Effect.fail(broken) : store.claim(request),
        complete: () => Effect.fail(broken)
      })
      const refused = yield* ask({ key: `"a"` })
      expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"])
      expect(problem(refused)).toBe("idempotency-store-unavailable")
      expect(refused.body).not.toContain("disk")
      failing = "complete"
      const unrecorded = yield* ask({ key: `"a"` })
      expect([unrecorded.status, unrecorded.headers.get("idempotency-key-stored")]).toEqual([201, "?0"])
      expect(counted.runs).toBe(1)
    }))

  test("names the page that explains keys in its problems", () =>
    Effect.gen(function*() {
      const ask = yield* serve(counting().handler, { documentation: "https://api.example.com/idempotency" })
      const refused = yield* ask()
      expect(JSON.parse(refused.body).type).toBe("https://api.example.com/idempotency#idempotency-key-missing")
      expect(refused.headers.get("link")).toBe(`<https://api.example.com/idempotency>; rel="describedby"`)
    }))

  it.scopedLive("takes a web request without a body for one of no bytes", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serveWeb(counted.handler)
      const first = yield* ask("http://a/payments", { key: `"a"` })
      expect([first.status, first.body]).toEqual([201, `{"run":1,"body":""}`])
      expect((yield* ask("http://a/payments", { key: `"a"` })).headers.get("idempotency-replayed")).toBe("true")
      expect((yield* ask("http://a/payments", { key: `"a"`, body: "x" })).status).toBe(422)
    }))

  it.scopedLive("a web request is the same by another scheme or host, and another one by its path or query", () =>
    Effect.gen(function*() {
      const counted = counting()
      const ask = yield* serveWeb(counted.handler)
      const statuses = yield* Effect.forEach(
        ["http://a/pay?x=1", "https://b.example:8443/pay?x=1#top", "http://a/pay?x=2", "http://a/pays?x=1"],
        (url) => Effect.map(ask(url, { key: `"a"`, body: "{}" }), ({ status }) => status)
      )
      expect(statuses).toEqual([201, 201, 422, 422])
      expect(counted.runs).toBe(1)
    }))

  it.scopedLive("what passes keeps its scope until its body is written", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const tell = (what: string) => Effect.sync(() => void log.push(what))
      const streaming = Effect.as(
        Effect.acquireRelease(tell("open"), () => tell("close")),
        HttpServerResponse.stream(Stream.fromEffect(Effect.as(tell("read"), new Uint8Array([120]))))
      )
      const ask = yield* serveWeb(streaming, { required: false })
      for (const method of ["GET", "POST"]) {
        expect((yield* ask("http://a/file", { method })).body).toBe("x")
        yield* Effect.repeat(Effect.yieldNow(), { until: () => log.length === 3 })
        expect(log.splice(0)).toEqual(["open", "read", "close"])
      }
    }))

  it("refuses options that make no sense, by name and value", () => {
    expect(() => IdempotencyKey.make({ lease: "1 millis" })).toThrow("IdempotencyKey.make: lease")
    for (const retention of [Infinity, 0, -1, NaN, "-1 hour"] as const) {
      expect(() => IdempotencyKey.make({ retention })).toThrow(
        "IdempotencyKey.make: retention must be a finite duration"
      )
    }
    expect(() => IdempotencyKey.make({ retryAfter: NaN })).toThrow(InvalidOption)
    expect(() => IdempotencyKey.make({ maxKeyLength: 0 })).toThrow("maxKeyLength must be a whole number of at least 1")
    expect(() => IdempotencyKey.make({ maxRequestBody: -1 })).toThrow("maxRequestBody")
    expect(() => IdempotencyKey.make({ headers: ["Set-Cookie"] })).toThrow("must not have \"set-cookie\"")
  })
})

describe("structured-field strings", () => {
  const text = FastCheck.stringMatching(/^[ -~]*$/)

  it.prop("come back as they were", [text], ([value]) => {
    expect(StructuredString.parse(StructuredString.serialize(value))).toBe(value)
    expect(StructuredString.parse(` ${StructuredString.serialize(value)};a;b=1.5;c="x\\"y";d=?1;e=:YQ==:;f=tok/en `))
      .toBe(value)
  })

  it("are nothing else", () => {
    for (
      const field of [
        "",
        "a",
        `'a'`,
        `"`,
        `"a"b`,
        `"a";`,
        `"a";A=1`,
        `"a\\x"`,
        `"\u00e4"`,
        `"\t"`,
        `"\u007f"`,
        `("a")`,
        `"a","b"`
      ]
    ) {
      expect([field, StructuredString.parse(field)]).toEqual([field, undefined])
    }
  })

  it("are read in linear time", () => {
    const started = process.cpuUsage().user
    expect(StructuredString.parse(`"${"\\\\".repeat(100_000)}`)).toBeUndefined()
    expect(StructuredString.parse(`"a"${";a".repeat(50_000)};`)).toBeUndefined()
    expect(process.cpuUsage().user - started).toBeLessThan(5_000_000)
  })
})
