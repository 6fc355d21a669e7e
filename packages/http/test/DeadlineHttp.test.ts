import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Deadline from "@firebreak/core/Deadline"
import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"

const url = "http://search.test/"

/** A dependency that answers by the list, then 200 for ever, and remembers what header it was sent. */
const fake = (...statuses: ReadonlyArray<number>) => {
  const seen: Array<string | undefined> = []
  const urls: Array<string> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      seen.push(request.headers[DeadlineHttp.header])
      urls.push(request.url)
      const status = statuses[seen.length - 1] ?? 200
      return HttpClientResponse.fromWeb(request, new Response(null, { status }))
    })
  )
  return { client, seen, urls }
}

describe("DeadlineHttp.send", () => {
  it.effect("sends the whole milliseconds that are left", () =>
    Effect.gen(function*() {
      const { client, seen } = fake()
      const call = Effect.zipRight(Effect.sleep("250.5 millis"), DeadlineHttp.send(client).get(url))
      const fiber = yield* Effect.fork(Deadline.within(call, "2 seconds"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["1749"])
    }))

  it.effect("sends nothing where there is no deadline", () =>
    Effect.gen(function*() {
      const { client, seen } = fake()
      yield* DeadlineHttp.send(client).get(url)
      expect(seen).toEqual([undefined])
    }))

  it.effect("does not send a request that has no time left", () =>
    Effect.gen(function*() {
      const { client, seen } = fake()
      let error: unknown
      const late = Effect.zipRight(
        Effect.sleep("2 seconds"),
        Effect.catchAll(DeadlineHttp.send(client).get(url), (failure) => Effect.sync(() => error = failure))
      )
      const fiber = yield* Effect.fork(Effect.exit(Deadline.within(Effect.uninterruptible(late), "1 second")))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      expect(error).toMatchObject({ _tag: "DeadlineExceeded", started: false })
      expect(seen).toEqual([])
    }))

  it.effect("each attempt of a retry sends what is left of it", () =>
    Effect.gen(function*() {
      class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}
      const { client, seen, urls } = fake(503, 503)
      const resilient = client.pipe(
        HttpClient.mapRequest(HttpClientRequest.prependUrl(url)),
        DeadlineHttp.send,
        ResilientClient.protect({ breaker: Vendor, backoff: { base: "1 second", jitter: "none" } })
      )
      const call = Deadline.within(resilient.get("/a"), "10 seconds").pipe(Effect.provide(Vendor.layer()))
      const fiber = yield* Effect.fork(call)
      yield* TestClock.adjust("10 seconds")
      expect((yield* Fiber.join(fiber)).status).toBe(200)
      expect(seen).toEqual(["10000", "9000", "7000"])
      expect(new Set(urls)).toEqual(new Set(["http://search.test/a"]))
    }))
})

describe("DeadlineHttp.receive", () => {
  const serve = (app: HttpApp.Default<Deadline.DeadlineExceeded>, header?: string, options?: DeadlineHttp.Options) => {
    const handler = HttpApp.toWebHandler(DeadlineHttp.receive(options)(app))
    const request = new Request(url, header === undefined ? {} : { headers: { [DeadlineHttp.header]: header } })
    return Effect.promise(() => handler(request))
  }

  /** Answers with the milliseconds that are left, in steps of 1,000 to be the same on a slow machine. */
  const left = Effect.map(Deadline.remaining, (remaining) =>
    HttpServerResponse.unsafeJson(Option.match(remaining, {
      onNone: () => null,
      onSome: (time) => Math.ceil(Duration.toSeconds(time)) * 1_000
    })))

  const bodyOf = (response: Response): Effect.Effect<unknown> => Effect.promise(() => response.json())

  it.live("gives the handler the time that the header says", () =>
    Effect.gen(function*() {
      expect(yield* bodyOf(yield* serve(left, "60000"))).toBe(60_000)
    }))

  it.live("clamps it to `max`", () =>
    Effect.gen(function*() {
      expect(yield* bodyOf(yield* serve(left, "999999999999999"))).toBe(300_000)
      expect(yield* bodyOf(yield* serve(left, "60000", { max: "10 seconds" }))).toBe(10_000)
    }))

  it.live("ignores a header that is missing or no number", () =>
    Effect.gen(function*() {
      const garbage = [undefined, "", "soon", "-5", "1e3", "0x10", "12.5", "1,2", "NaN", "Infinity", "9".repeat(400)]
      for (const header of garbage) {
        expect([header, yield* bodyOf(yield* serve(left, header))]).toEqual([header, null])
      }
    }))

  it.live("answers 504 as problem+json without starting a handler that has no time left", () =>
    Effect.gen(function*() {
      let started = 0
      const response = yield* serve(Effect.sync(() => (started++, HttpServerResponse.empty())), "0")
      expect(response.status).toBe(504)
      expect(response.headers.get("content-type")).toBe("application/problem+json")
      expect(yield* bodyOf(response)).toEqual({
        type: "about:blank",
        title: "Gateway Timeout",
        status: 504,
        detail: "The deadline had passed before the call; it was not started"
      })
      expect(started).toBe(0)
    }))

  it.live("interrupts a handler whose time runs out, and answers 504", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const hang = Effect.onInterrupt(Effect.never, () => Effect.sync(() => ++interrupted))
      const response = yield* serve(hang, "20")
      expect(response.status).toBe(504)
      expect(interrupted).toBe(1)
    }))

  it.each([-1, 0, NaN, Infinity, "-5 seconds", "5 parsecs" as "5 seconds"] as const)(
    "refuses a maximum of %s when it is built",
    (max) => {
      expect(() => DeadlineHttp.receive({ max })).toThrow(/^DeadlineHttp.receive: max must be a .*duration/)
    }
  )

  it.live("is for the routes of a router too", () =>
    Effect.gen(function*() {
      const router = HttpRouter.empty.pipe(
        HttpRouter.get("/hang", Effect.never),
        HttpRouter.get("/", left),
        HttpRouter.use(DeadlineHttp.receive())
      )
      const handler = HttpApp.toWebHandler(router)
      const get = (path: string) =>
        Effect.promise(() => handler(new Request(new URL(path, url), { headers: { [DeadlineHttp.header]: "50" } })))
      expect((yield* get("/hang")).status).toBe(504)
      expect((yield* get("/")).status).toBe(200)
    }))
})
