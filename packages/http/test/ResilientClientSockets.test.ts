import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Http from "node:http"
import type * as Net from "node:net"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

const Live = Layer.merge(Vendor.layer({ trip: CircuitBreaker.consecutive(3) }), NodeHttpClient.layer)
const steady = { base: "1 second", jitter: "none" } as const

const protectedClient = (
  options: Pick<ResilientClient.Options, "attemptTimeout" | "backoff" | "buffered"> = {}
) => Effect.map(HttpClient.HttpClient, ResilientClient.protect({ breaker: Vendor, backoff: steady, ...options }))

/** A bare server, whose sockets a test can treat badly; it ends with the scope. */
const listen = (handler: (request: Http.IncomingMessage, response: Http.ServerResponse, call: number) => void) =>
  Effect.acquireRelease(
    Effect.async<Http.Server>((resume) => {
      let calls = 0
      const server = Http.createServer((request, response) => handler(request, response, ++calls))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as Net.AddressInfo).port}/`))

/** Turns the clock on, second by second, until the call has ended: sockets have their own pace. */
const ended = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    while (fiber.unsafePoll() === null) yield* TestClock.adjust("1 second")
    return yield* Fiber.join(fiber)
  })

describe("ResilientClient over sockets", () => {
  it.scoped("speaks to an Effect server, in whatever way the body is read", () =>
    Effect.gen(function*() {
      const server = yield* HttpServer.HttpServer
      yield* server.serve(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
          Effect.map(request.text, (body) => HttpServerResponse.unsafeJson({ method: request.method, body })))
      )
      const { port } = server.address as { readonly port: number }
      for (const buffered of [false, true]) {
        const client = yield* protectedClient({ buffered })
        const response = yield* client.put(`http://127.0.0.1:${port}/`)
        expect(yield* response.json).toEqual({ method: "PUT", body: "" })
      }
    }).pipe(Effect.provide([NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 }), Live])))

  it.scoped("comes through a connection that is reset", () =>
    Effect.gen(function*() {
      const url = yield* listen((_, response, call) =>
        call === 1 ? response.socket!.resetAndDestroy() : response.end("up")
      )
      const response = yield* ended((yield* protectedClient()).get(url))
      expect(yield* response.text).toBe("up")
    }).pipe(Effect.provide(Live)))

  it.scoped("closes the connection of an attempt that hangs", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const url = yield* listen((_, response) => {
        response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
        Deferred.unsafeDone(asked, Effect.void)
      })
      const client = yield* protectedClient({ attemptTimeout: "2 seconds", backoff: { maxRetries: 0 } })
      const call = yield* Effect.fork(Effect.flip(client.get(url)))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(call)).toBeInstanceOf(Policy.AttemptTimeout)
      yield* Deferred.await(closed)
    }).pipe(Effect.provide(Live)))

  it.scoped("closes the connection of a call that is interrupted", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const url = yield* listen((_, response) => {
        response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
        Deferred.unsafeDone(asked, Effect.void)
      })
      const call = yield* Effect.fork((yield* protectedClient()).get(url))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(call)
      yield* Deferred.await(closed)
    }).pipe(Effect.provide(Live)))

  it.scoped("a failed attempt gives its connection back: the next one uses it again", () =>
    Effect.gen(function*() {
      const sockets = new Set<unknown>()
      const url = yield* listen((request, response, call) => {
        sockets.add(request.socket)
        response.statusCode = call < 3 ? 503 : 200
        response.end("x".repeat(1_000))
      })
      const agent = NodeHttpClient.makeAgentLayer({ keepAlive: true })
      const client = yield* Effect.provide(
        protectedClient(),
        Layer.provide(NodeHttpClient.layerWithoutAgent, agent)
      )
      expect((yield* ended(client.get(url))).status).toBe(200)
      expect(sockets.size).toBe(1)
    }).pipe(Effect.provide(Live)))

  it.scoped("a failed response of any size is let go of, and still says its status", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const url = yield* listen((_, response) => {
        response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
        response.statusCode = 500
        const more = () => {
          while (response.write("x".repeat(16_384)));
        }
        response.on("drain", more)
        more()
      })
      // the clock stands still: it is the size that ends it
      const error = yield* Effect.flip((yield* protectedClient({ backoff: { maxRetries: 0 } })).get(url))
      if (error._tag !== "ResponseError") throw error
      expect(error.response.status).toBe(500)
      expect(yield* error.response.text).toBe("")
      yield* Deferred.await(closed)
    }).pipe(Effect.provide(Live)))

  it.scoped("an attempt ends with the head of the response", () =>
    Effect.gen(function*() {
      const url = yield* listen((_, response) => {
        response.writeHead(200, { "content-length": "10" })
        response.write("half")
      })
      const response = yield* ended((yield* protectedClient()).get(url))
      expect(response.status).toBe(200)
    }).pipe(Effect.provide(Live)))

  it.scoped("buffered: a body that breaks off is a failed attempt", () =>
    Effect.gen(function*() {
      const url = yield* listen((_, response, call) => {
        if (call > 1) return void response.end("whole")
        response.writeHead(200, { "content-length": "10" })
        response.write("half", () => response.socket!.resetAndDestroy())
      })
      const response = yield* ended((yield* protectedClient({ buffered: true })).get(url))
      expect(yield* response.text).toBe("whole")
      expect(yield* Effect.flatMap(Vendor, (breaker) => breaker.stats)).toMatchObject({ failures: 1, successes: 1 })
    }).pipe(Effect.provide(Live)))

  it.scoped("buffered: a body that hangs is a failed attempt", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const url = yield* listen((_, response) => {
        response.writeHead(200, { "content-length": "10" })
        response.write("half", () => Deferred.unsafeDone(begun, Effect.void))
      })
      const client = yield* protectedClient({ buffered: true, backoff: { maxRetries: 0 } })
      const call = yield* Effect.fork(Effect.flip(client.get(url)))
      yield* Deferred.await(begun)
      yield* TestClock.adjust("10 seconds")
      expect(yield* Fiber.join(call)).toBeInstanceOf(Policy.AttemptTimeout)
    }).pipe(Effect.provide(Live)))
})
