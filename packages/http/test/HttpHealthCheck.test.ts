import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as HttpHealthCheck from "@firebreak/http/HttpHealthCheck"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"

const server = HttpRouter.empty.pipe(
  HttpRouter.get("/ping", HttpServerResponse.text("pong")),
  HttpRouter.head("/ping", HttpServerResponse.empty({ status: 204 })),
  HttpRouter.get("/broken", HttpServerResponse.text("oops", { status: 500 })),
  HttpRouter.get("/hangs", Effect.never),
  HttpRouter.get("/slow", Effect.delay(HttpServerResponse.text("late"), "60 millis")),
  HttpServer.serve(),
  Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
  Layer.merge(FetchHttpClient.layer)
)

const run = <R>(of: (base: string) => HealthCheck.HealthCheck<R>) =>
  Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    if (address._tag !== "TcpAddress") return yield* Effect.dieMessage("no TCP server")
    return yield* Effect.flatten(HealthCheck.runner(of(`http://127.0.0.1:${address.port}`)))
  })

/** Time enough on a busy machine. */
const below = "10 seconds"

describe("HttpHealthCheck.endpoint", () => {
  it.live("passes by its status, its body and its time, and tells the time", () =>
    Effect.gen(function*() {
      const { endpoint } = HttpHealthCheck
      expect(yield* run((base) => endpoint(`${base}/ping`, { below }))).toMatchObject({
        _tag: "Passed",
        observed: { value: expect.any(Number), unit: "ms" }
      })
      expect(yield* run((base) => endpoint(new URL(`${base}/broken`), { below }))).toMatchObject({
        _tag: "Failed",
        error: "answered 500"
      })
      const status = (status: number) => status === 500
      expect(yield* run((base) => endpoint(`${base}/broken`, { below, status }))).toMatchObject({ _tag: "Passed" })
      const body = (text: string) => text === "pong"
      expect(yield* run((base) => endpoint(`${base}/ping`, { below, body }))).toMatchObject({ _tag: "Passed" })
      expect(yield* run((base) => endpoint(`${base}/slow`, { below, body }))).toMatchObject({
        error: "answered with a wrong body"
      })
      expect(yield* run((base) => endpoint(`${base}/slow`, { below: "20 millis", timeout: below }))).toMatchObject({
        error: expect.stringMatching(/^answered in \d+ ms, limit 20 ms$/)
      })
      expect(yield* run((base) => endpoint(HttpClientRequest.head(`${base}/ping`), { below }))).toMatchObject({
        _tag: "Passed"
      })
    }).pipe(Effect.provide(server)))

  it.live("an endpoint that hangs, and one that is not there, fail in time", () =>
    Effect.gen(function*() {
      expect(yield* run((base) => HttpHealthCheck.endpoint(`${base}/hangs`, { below: "25 millis" }))).toMatchObject({
        error: "no answer within 50ms"
      })
      // the port of a server that is closed
      expect(yield* run(() => HttpHealthCheck.endpoint("http://127.0.0.1:1", { below }))).toMatchObject({
        _tag: "Failed",
        error: expect.stringContaining("127.0.0.1:1")
      })
    }).pipe(Effect.provide(server)))

  it("refuses a time that is none", () => {
    expect(() => HttpHealthCheck.endpoint("http://a.example", { below: 0 })).toThrow(/below.*got 0/)
  })
})
