/** A client of this package and a server of this package, with an idempotency key between them. */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const url = "http://payments.test/payments"

/** A client that asks an app behind `IdempotencyKey`, and the statuses it got. */
const connected = (app: Effect.Effect<HttpServerResponse.HttpServerResponse>) =>
  Effect.gen(function*() {
    const statuses: Array<number> = []
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        HttpApp.toWebHandlerLayer(IdempotencyKey.make({ retryAfter: "1 millis" })(app), Idempotency.layerMemory)
      ),
      ({ dispose }) => Effect.promise(dispose)
    )
    const client = HttpClient.make((request, url) =>
      Effect.promise(async (signal) => {
        const { headers, method } = request
        const response = await server.handler(new Request(url, { method, headers, signal }))
        statuses.push(response.status)
        return HttpClientResponse.fromWeb(request, response)
      })
    )
    return { client, statuses }
  })

describe("keyed requests from end to end", () => {
  it.scopedLive("the key of an action is one that the server takes", () =>
    Effect.gen(function*() {
      let runs = 0
      const { client } = yield* connected(Effect.sync(() => HttpServerResponse.text(`${++runs}`, { status: 201 })))
      const protect = ResilientClient.protect({})
      const post = Effect.flatMap(protect(client).post(url), (response) => response.text).pipe(
        Effect.provideService(
          Idempotency.currentKey,
          Option.some(Idempotency.downstreamKey({ operation: "pay", key: "1" }))
        )
      )
      expect([yield* post, yield* post]).toEqual(["1", "1"])
    }))

  it.scopedLive("a POST that took too long is asked for again until the first attempt's response is there", () =>
    Effect.gen(function*() {
      let runs = 0
      const gate = yield* Deferred.make<void>()
      const { client, statuses } = yield* connected(
        Effect.suspend(() => {
          runs++
          return Effect.as(Deferred.await(gate), HttpServerResponse.text("paid", { status: 201 }))
        })
      )
      const opening = HttpClient.tap(
        client,
        ({ status }) => status === 409 ? Deferred.succeed(gate, undefined) : Effect.void
      )
      const protect = ResilientClient.protect({
        attemptTimeout: "200 millis",
        backoff: { base: "1 millis", maxRetries: 100 }
      })
      const response = yield* protect(opening).post(url, { headers: { "idempotency-key": `"k"` } })
      expect([response.status, yield* response.text, runs]).toEqual([201, "paid", 1])
      expect(response.headers["idempotency-replayed"]).toBe("true")
      expect(statuses).toContain(409)
    }))
})
