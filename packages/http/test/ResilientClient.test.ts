import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Events from "@firebreak/core/Events"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
import * as ResilientClient from "@firebreak/http/ResilientClient"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { readFileSync } from "node:fs"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

const VendorLive = Vendor.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" })
/** A breaker that does not get into the way of a test of something else. */
const PatientLive = Vendor.layer({ trip: CircuitBreaker.consecutive(1_000) })

const steady = { base: "1 second", jitter: "none" } as const
const url = "http://vendor.test/metrics"
const epoch = Date.UTC(2024, 0, 11, 10, 0, 0)

type Answer =
  | number
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  | "reset"
  | "hang"
  | "bug"

/** A dependency that answers by the list, then 200 for ever, and remembers when it was asked what. */
const fake = (...answers: ReadonlyArray<Answer>) => {
  const seen: Array<{ readonly at: number; readonly request: HttpClientRequest.HttpClientRequest }> = []
  let interrupted = 0
  const client = HttpClient.make((request) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const answer = answers[seen.length] ?? 200
      seen.push({ at, request })
      if (answer === "hang") return Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      if (answer === "bug") return Effect.die("bug")
      if (answer === "reset") {
        return Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause: "ECONNRESET" }))
      }
      const { body = "", headers = {}, status } = typeof answer === "number" ? { status: answer } : answer
      return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(body || null, { status, headers })))
    })
  )
  return {
    client,
    calls: () => seen.length,
    times: () => seen.map(({ at }) => at - seen[0]!.at),
    headers: (name: string) => seen.map(({ request }) => request.headers[name]),
    interrupted: () => interrupted
  }
}

/** Starts a call and lets time pass until it has ended. */
const ended = <A, E, R>(effect: Effect.Effect<A, E, R>, within: Duration.DurationInput = "10 minutes") =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(within)
    expect(fiber.unsafePoll()).not.toBeNull()
    return yield* Fiber.await(fiber)
  })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E =>
  Option.getOrThrow(Option.flatMap(Exit.causeOption(exit), Cause.failureOption))

const statusOf = <E>(exit: Exit.Exit<HttpClientResponse.HttpClientResponse, E>) => {
  if (Exit.isSuccess(exit)) return exit.value.status
  const error: unknown = failureOf(exit)
  return error instanceof HttpClientError.ResponseError ? `failed with ${error.response.status}` : error
}

const stats = Effect.flatMap(Vendor, (breaker) => breaker.stats)

describe("ResilientClient: what is a failure", () => {
  it.effect("returns a response that is no failure as it came, at once", () =>
    Effect.gen(function*() {
      for (const status of [200, 204, 301, 400, 404, 409]) {
        const vendor = fake(status)
        const response = yield* ResilientClient.protect(vendor.client, { breaker: Vendor }).get(url)
        expect(response.status).toBe(status)
        expect(vendor.calls()).toBe(1)
      }
      expect(yield* stats).toMatchObject({ calls: 6, successes: 6 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect.each([408, 429, 500, 502, 503, 529])(
    "retries a %d, then fails with it",
    (status) =>
      Effect.gen(function*() {
        const vendor = fake(status, status, status, status, status)
        const client = ResilientClient.protect(vendor.client, { breaker: Vendor })
        const exit = yield* ended(client.get(url))
        expect(statusOf(exit)).toBe(`failed with ${status}`)
        expect(vendor.calls()).toBe(4)
      }).pipe(Effect.provide(PatientLive))
  )

  it.effect("comes through when a retry does, after a lost connection too", () =>
    Effect.gen(function*() {
      const vendor = fake(503, "reset")
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      expect(statusOf(yield* ended(client.get(url)))).toBe(200)
      expect(vendor.times()).toEqual([0, 1_000, 3_000])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("the body of the last failure can be read in any way, more than once", () =>
    Effect.gen(function*() {
      const vendor = fake({ status: 503, body: `{"errors":["down"]}` })
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: { maxRetries: 0 } })
      const error = yield* Effect.flip(client.get(url))
      if (error._tag !== "ResponseError") throw error
      expect(yield* error.response.json).toEqual({ errors: ["down"] })
      expect(yield* error.response.text).toBe(`{"errors":["down"]}`)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("lets go of a failed response whose body does not end, after a second", () =>
    Effect.gen(function*() {
      let aborted = 0
      const client = HttpClient.make((request, _, signal) => {
        signal.addEventListener("abort", () => void aborted++)
        const response = HttpClientResponse.fromWeb(request, new Response(null, { status: 503 }))
        return Effect.succeed(Object.defineProperty(response, "arrayBuffer", { value: Effect.never }))
      })
      const exit = yield* ended(
        ResilientClient.protect(client, { breaker: Vendor, backoff: { maxRetries: 0 } }).get(url),
        "1 second"
      )
      expect(statusOf(exit)).toBe("failed with 503")
      expect(aborted).toBe(1)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("what counts as transient can be told", () =>
    Effect.gen(function*() {
      const vendor = fake(409, 503)
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        isTransient: (response) => response.status === 409
      })
      expect(statusOf(yield* ended(client.get(url)))).toBe(503)
      expect(vendor.calls()).toBe(2)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a defect passes through, is not retried and counts against the breaker", () =>
    Effect.gen(function*() {
      const vendor = fake("bug")
      const exit = yield* Effect.exit(ResilientClient.protect(vendor.client, { breaker: Vendor }).get(url))
      expect(exit).toEqual(Exit.die("bug"))
      expect(vendor.calls()).toBe(1)
      expect(yield* stats).toMatchObject({ failures: 1 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("an error of the client's own is not retried and stays what it is", () =>
    Effect.gen(function*() {
      const vendor = fake()
      const client = vendor.client.pipe(
        HttpClient.mapRequestEffect(() => Effect.fail("no token" as const)),
        ResilientClient.protect({ breaker: Vendor })
      )
      expect(yield* Effect.flip(client.get(url))).toBe("no token")
      expect(vendor.calls()).toBe(0)
      expect(yield* stats).toMatchObject({ calls: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("answers refused or not understood by the inner client are answers to the breaker", () =>
    Effect.gen(function*() {
      const vendor = fake(404)
      const client = vendor.client.pipe(HttpClient.filterStatusOk, ResilientClient.protect({ breaker: Vendor }))
      expect(statusOf(yield* Effect.exit(client.get(url)))).toBe("failed with 404")
      expect(vendor.calls()).toBe(1)
      expect(yield* stats).toMatchObject({ successes: 1, failures: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a request that was never sent is neither retried nor counted", () =>
    Effect.gen(function*() {
      const vendor = fake()
      const error = yield* Effect.flip(ResilientClient.protect(vendor.client, { breaker: Vendor }).get("no url"))
      expect(error).toMatchObject({ _tag: "RequestError", reason: "InvalidUrl" })
      expect(yield* stats).toMatchObject({ calls: 1, successes: 0, failures: 0 })
    }).pipe(Effect.provide(VendorLive)))
})

describe("ResilientClient: waiting", () => {
  it.effect.each(
    [
      [{ "retry-after": "7" }, 7_000],
      [{ "retry-after": new Date(epoch + 9_000).toUTCString() }, 9_000],
      [{ "x-amz-retry-after": "2500" }, 2_500],
      [{ "x-ratelimit-reset": String(epoch / 1_000 + 30), "x-ratelimit-remaining": "0" }, 30_000],
      // no floor: less than the backoff, beyond the cap, nonsense
      [{ "retry-after": "0" }, 1_000],
      [{ "retry-after": "3600" }, 60_000],
      [{ "retry-after": "-5" }, 1_000],
      [{ "retry-after": "soon" }, 1_000]
    ] as Array<[Record<string, string>, number]>
  )("after %j waits as told", ([headers, millis]) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(epoch)
      const vendor = fake({ status: 429, headers })
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      expect(statusOf(yield* ended(client.get(url)))).toBe(200)
      expect(vendor.times()).toEqual([0, millis])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("stops before the budget of waiting would be passed, Retry-After included", () =>
    Effect.gen(function*() {
      const slow = { status: 503, headers: { "retry-after": "50" } }
      const vendor = fake(slow, slow, slow, slow)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor })
      expect(statusOf(yield* ended(client.get(url)))).toBe("failed with 503")
      expect(vendor.times()).toEqual([0, 50_000, 100_000])
    }).pipe(Effect.provide(PatientLive)))

  it.effect("tells of each retry before its wait, and nothing of what is not retried", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 429, 404)
      const told: Array<unknown> = []
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        backoff: {
          ...steady,
          onRetry: ({ delay, error, retry }) =>
            Effect.sync(() =>
              told.push([retry, Duration.toMillis(delay), error._tag === "ResponseError" && error.response.status])
            )
        }
      })
      const events = yield* Events.subscribe
      expect(statusOf(yield* ended(client.get(url)))).toBe(404)
      expect(told).toEqual([[1, 1_000, 503], [2, 2_000, 429]])
      const published = Array.from(yield* Queue.takeAll(events))
      expect(published).toMatchObject([
        { _tag: "RetryScheduled", name: "vendor", retry: 1, error: `StatusCode: failed attempt (503 GET ${url})` },
        { _tag: "RetryScheduled", name: "vendor", retry: 2 }
      ])
    }).pipe(Effect.scoped, Effect.provide([VendorLive, Events.layer])))

  it.effect("an interruption while waiting ends the call at once, with no further attempt", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 503)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      const fiber = yield* Effect.fork(client.get(url))
      yield* TestClock.adjust("500 millis")
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      yield* TestClock.adjust("1 hour")
      expect(vendor.calls()).toBe(1)
    }).pipe(Effect.provide(VendorLive)))
})

describe("ResilientClient: attempt timeout", () => {
  it.effect("interrupts an attempt that hangs, counts it as failed and tries again", () =>
    Effect.gen(function*() {
      const vendor = fake("hang")
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        attemptTimeout: "2 seconds",
        backoff: steady
      })
      expect(statusOf(yield* ended(client.get(url)))).toBe(200)
      expect(vendor.interrupted()).toBe(1)
      expect(vendor.times()).toEqual([0, 3_000])
      expect(yield* stats).toMatchObject({ calls: 2, successes: 1, failures: 1 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("fails with AttemptTimeout when every attempt hangs; each has ten seconds by default", () =>
    Effect.gen(function*() {
      const vendor = fake("hang", "hang", "hang", "hang")
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      const error = failureOf(yield* ended(client.get(url)))
      expect(error).toBeInstanceOf(Policy.AttemptTimeout)
      expect(error).toMatchObject({ timeout: Duration.seconds(10) })
      expect(vendor.interrupted()).toBe(4)
      expect(vendor.times()).toEqual([0, 11_000, 23_000, 37_000])
    }).pipe(Effect.provide(PatientLive)))
})

describe("ResilientClient: breaker", () => {
  it.effect("opens at the third failed attempt; the call ends at once with what the dependency said last", () =>
    Effect.gen(function*() {
      const vendor = fake(500, 502, 503)
      const retries: Array<number> = []
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        backoff: { ...steady, maxRetries: 10, onRetry: ({ retry }) => Effect.sync(() => retries.push(retry)) }
      })
      expect(statusOf(yield* ended(client.get(url), "3 seconds"))).toBe("failed with 503")
      expect(vendor.times()).toEqual([0, 1_000, 3_000])
      expect(retries).toEqual([1, 2])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("opened by others during a wait: the call ends with what the dependency told it", () =>
    Effect.gen(function*() {
      const vendor = fake(503)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      const fiber = yield* Effect.fork(Effect.exit(client.get(url)))
      yield* TestClock.adjust("500 millis")
      yield* Effect.flatMap(Vendor, (breaker) => breaker.forceOpen)
      yield* TestClock.adjust("500 millis")
      expect(statusOf(yield* Fiber.join(fiber))).toBe("failed with 503")
      expect(vendor.calls()).toBe(1)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a call while it is open is not started and says when to come back, and why", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 503, 503)
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        backoff: steady
      })
      yield* ended(client.get(url), "3 seconds")
      const error = yield* Effect.flip(client.get(url))
      if (error._tag !== "CircuitOpen") throw error
      expect(error.retryAfter).toEqual(Duration.seconds(30))
      expect(Option.getOrThrow(error.lastFailure)).toMatchObject({ _tag: "ResponseError", response: { status: 503 } })
      expect(vendor.calls()).toBe(3)

      yield* TestClock.adjust("30 seconds")
      expect((yield* client.get(url)).status).toBe(200)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a 429 does not open it", () =>
    Effect.gen(function*() {
      const vendor = fake(429, 429, 429, 429)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor })
      yield* ended(client.get(url))
      expect(yield* stats).toMatchObject({ state: "closed", calls: 4, failures: 0, successes: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("a 429 opens it where that is asked for", () =>
    Effect.gen(function*() {
      const vendor = fake(429, 429, 429, 429)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, rateLimited: "failure" })
      expect(statusOf(yield* ended(client.get(url)))).toBe("failed with 429")
      expect(vendor.calls()).toBe(3)
    }).pipe(Effect.provide(VendorLive)))

  it.effect("an interruption in the middle of an attempt interrupts the request and counts for nothing", () =>
    Effect.gen(function*() {
      const vendor = fake("hang")
      const fiber = yield* Effect.fork(ResilientClient.protect(vendor.client, { breaker: Vendor }).get(url))
      yield* TestClock.adjust("1 second")
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(vendor.interrupted()).toBe(1)
      expect(yield* stats).toMatchObject({ state: "closed", calls: 1, successes: 0, failures: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("calls at once share the breaker but neither their retries nor their waits", () =>
    Effect.gen(function*() {
      const vendor = fake(...Array.from({ length: 20 }, () => 503))
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, backoff: steady })
      const exit = yield* ended(
        Effect.all(Array.from({ length: 20 }, () => client.get(url)), { concurrency: "unbounded" })
      )
      expect(Exit.isSuccess(exit)).toBe(true)
      expect(vendor.times()).toEqual([
        ...Array.from({ length: 20 }, () => 0),
        ...Array.from({ length: 20 }, () => 1_000)
      ])
      expect(yield* stats).toMatchObject({ calls: 40, failures: 20, successes: 20 })
    }).pipe(Effect.provide(PatientLive)))
})

describe("ResilientClient: what may be repeated", () => {
  const attempts = (
    request: HttpClientRequest.HttpClientRequest,
    options: Pick<ResilientClient.Options, "idempotencyHeader" | "repeatable"> = {}
  ) =>
    Effect.gen(function*() {
      const vendor = fake(503, 503)
      yield* ended(ResilientClient.protect(vendor.client, { breaker: Vendor, ...options }).execute(request))
      return vendor.headers("idempotency-key")
    }).pipe(Effect.provide(PatientLive))

  it.effect.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] as const)(
    "%s is",
    (method) =>
      Effect.map(attempts(HttpClientRequest.make(method)(url)), (keys) => {
        expect(keys).toEqual([undefined, undefined, undefined])
      })
  )

  it.effect.each(["POST", "PATCH"] as const)(
    "%s without a key is attempted once",
    (method) =>
      Effect.map(attempts(HttpClientRequest.make(method)(url)), (keys) => {
        expect(keys).toEqual([undefined])
      })
  )

  it.effect("a POST that carries a key is, and carries the same one on every attempt", () =>
    Effect.map(
      attempts(HttpClientRequest.post(url).pipe(HttpClientRequest.setHeader("Idempotency-Key", "k-1"))),
      (keys) => {
        expect(keys).toEqual(["k-1", "k-1", "k-1"])
      }
    ))

  it.effect("a POST within an action is, with the action's key on every attempt", () =>
    Effect.map(
      Effect.provideService(attempts(HttpClientRequest.post(url)), Idempotency.currentKey, Option.some("action")),
      (keys) => {
        expect(keys).toEqual([`"action"`, `"action"`, `"action"`])
      }
    ))

  it.effect("an action's key goes in quotes where the draft's header carries it, else as `quotedKey` says", () =>
    Effect.gen(function*() {
      const sent = ({ idempotencyHeader = "idempotency-key", quotedKey }: {
        readonly idempotencyHeader?: string
        readonly quotedKey?: boolean
      }) =>
        Effect.gen(function*() {
          const vendor = fake()
          yield* ResilientClient.protect(vendor.client, { breaker: Vendor, idempotencyHeader, quotedKey }).post(url)
          return vendor.headers(idempotencyHeader.toLowerCase())[0]
        })
      expect(yield* sent({})).toBe(String.raw`"a\"b"`)
      expect(yield* sent({ idempotencyHeader: "Idempotency-Key" })).toBe(String.raw`"a\"b"`)
      expect(yield* sent({ quotedKey: false })).toBe(`a"b`)
      expect(yield* sent({ idempotencyHeader: "x-request-id" })).toBe(`a"b`)
      expect(yield* sent({ idempotencyHeader: "x-request-id", quotedKey: true })).toBe(String.raw`"a\"b"`)
    }).pipe(Effect.provideService(Idempotency.currentKey, Option.some(`a"b`)), Effect.provide(VendorLive)))

  it.effect("a request whose key is in flight is, until the server has its response; the breaker counts successes", () =>
    Effect.gen(function*() {
      const inFlight = { status: 409, headers: { "retry-after": "3" } }
      const vendor = fake("hang", inFlight, inFlight, 201)
      const client = ResilientClient.protect(vendor.client, {
        breaker: Vendor,
        attemptTimeout: "2 seconds",
        backoff: steady
      })
      const keyed = HttpClientRequest.post(url).pipe(HttpClientRequest.setHeader("idempotency-key", `"k"`))
      expect(statusOf(yield* ended(client.execute(keyed)))).toBe(201)
      expect(vendor.times()).toEqual([0, 3_000, 6_000, 10_000])
      expect(yield* stats).toMatchObject({ failures: 1, successes: 3 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("any other 409 is an answer", () =>
    Effect.gen(function*() {
      const conflict = { status: 409, headers: { "retry-after": "3" } }
      const keyless = fake(conflict)
      expect((yield* ResilientClient.protect(keyless.client, { breaker: Vendor }).put(url)).status).toBe(409)
      const final = fake(409)
      const client = ResilientClient.protect(final.client, { breaker: Vendor })
      expect((yield* client.post(url, { headers: { "idempotency-key": `"k"` } })).status).toBe(409)
      expect(yield* stats).toMatchObject({ calls: 2, successes: 2 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("the request's own key goes before that of the action, and reads carry none", () =>
    Effect.gen(function*() {
      const own = yield* attempts(HttpClientRequest.post(url, { headers: { "Idempotency-Key": "own" } }))
      expect(own).toEqual(["own", "own", "own"])
      expect(yield* attempts(HttpClientRequest.get(url))).toEqual([undefined, undefined, undefined])
    }).pipe(Effect.provideService(Idempotency.currentKey, Option.some("action"))))

  it.effect("a key set by a layer on top is seen", () =>
    Effect.gen(function*() {
      const vendor = fake(503)
      const client = vendor.client.pipe(
        ResilientClient.protect({ breaker: Vendor }),
        HttpClient.mapRequest(HttpClientRequest.setHeader("idempotency-key", "outer"))
      )
      yield* ended(client.post(url))
      expect(vendor.headers("idempotency-key")).toEqual(["outer", "outer"])
    }).pipe(Effect.provide(VendorLive)))

  it.effect("the header can have another name, or be off for a dependency that does not heed it", () =>
    Effect.gen(function*() {
      const vendor = fake(503)
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor, idempotencyHeader: "X-Request-Id" })
      yield* ended(client.post(url))
      expect(vendor.headers("x-request-id")).toEqual(["action", "action"])
      expect(yield* attempts(HttpClientRequest.post(url), { idempotencyHeader: false })).toEqual([undefined])
    }).pipe(Effect.provideService(Idempotency.currentKey, Option.some("action")), Effect.provide(VendorLive)))

  it.effect("a search by POST is where `repeatable` says so", () =>
    Effect.gen(function*() {
      const repeatable = (request: HttpClientRequest.HttpClientRequest) => request.url.endsWith("/search")
      expect(yield* attempts(HttpClientRequest.post(`${url}/search`), { repeatable })).toHaveLength(3)
      expect(yield* attempts(HttpClientRequest.post(url), { repeatable })).toHaveLength(1)
    }))

  it.effect("a body that can be read once only is sent once only; an Effect Stream is sent again", () =>
    Effect.gen(function*() {
      const once = new Blob(["x"]).stream()
      expect(yield* attempts(HttpClientRequest.put(url, { body: HttpBody.raw(once) }))).toHaveLength(1)
      const again = HttpBody.stream(Stream.make(new Uint8Array(1)))
      expect(yield* attempts(HttpClientRequest.put(url, { body: again }))).toHaveLength(3)
    }))

  it.effect("a POST without a key that times out is not repeated: nobody knows whether it happened", () =>
    Effect.gen(function*() {
      const vendor = fake("hang")
      const client = ResilientClient.protect(vendor.client, { breaker: Vendor })
      expect(failureOf(yield* ended(client.post(url)))).toBeInstanceOf(Policy.AttemptTimeout)
      expect(vendor.calls()).toBe(1)
    }).pipe(Effect.provide(VendorLive)))
})

describe("ResilientClient: the other parts of a policy", () => {
  it.effect("needs none: it retries and limits each attempt in time", () =>
    Effect.gen(function*() {
      const vendor = fake(503, "hang")
      const client = ResilientClient.protect(vendor.client, { backoff: steady })
      expect(statusOf(yield* ended(client.get(url)))).toBe(200)
      expect(vendor.times()).toEqual([0, 1_000, 13_000])
    }))

  it.effect("is one policy for every client it is applied to", () =>
    Effect.gen(function*() {
      const protect = ResilientClient.protect({ breaker: Vendor, backoff: { maxRetries: 0 } })
      const [one, other] = [fake(503), fake(503)]
      yield* Effect.flip(protect(one.client).get(url))
      yield* Effect.flip(protect(other.client).get(url))
      expect(yield* stats).toMatchObject({ failures: 2 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("the deadline ends the call, and no wait is begun that would pass it", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 503, "hang")
      const client = ResilientClient.protect(vendor.client, { deadline: "5 seconds", backoff: steady })
      const exit = yield* ended(client.get(url))
      expect(failureOf(exit)).toMatchObject({ _tag: "DeadlineExceeded", started: true })
      expect(vendor.interrupted()).toBe(1)
      expect(vendor.times()).toEqual([0, 1_000, 3_000])

      const busy = fake({ status: 503, headers: { "retry-after": "9" } })
      const short = ResilientClient.protect(busy.client, { deadline: "5 seconds", backoff: steady })
      expect(statusOf(yield* ended(short.get(url), 0))).toBe("failed with 503")
    }))

  it.effect("each attempt sends what is left of the deadline, if it is to", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 503)
      const client = ResilientClient.protect(vendor.client, {
        deadline: "20 seconds",
        backoff: steady,
        sendDeadline: true
      })
      yield* ended(client.get(url))
      expect(vendor.headers(DeadlineHttp.header)).toEqual(["20000", "19000", "17000"])
      const silent = fake()
      yield* ResilientClient.protect(silent.client, { deadline: "20 seconds" }).get(url)
      expect(silent.headers(DeadlineHttp.header)).toEqual([undefined])
    }))

  it.effect("the bulkhead's slot is held through all attempts", () =>
    Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "vendor", maxConcurrent: 1, maxQueued: 0 })
      const vendor = fake(503)
      const client = ResilientClient.protect(vendor.client, { bulkhead, backoff: steady })
      const first = yield* Effect.fork(client.get(url))
      yield* TestClock.adjust("500 millis")
      expect(yield* Effect.flip(client.get(url))).toBeInstanceOf(Bulkhead.BulkheadFull)
      yield* TestClock.adjust("500 millis")
      expect((yield* Fiber.join(first)).status).toBe(200)
      expect((yield* client.get(url)).status).toBe(200)
    }))

  it.effect("retries only while the budget lasts; what is not repeated fills it as well", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ name: "vendor", allowance: RetryBudget.tokens({ capacity: 10 }) })
      const vendor = fake(...Array.from({ length: 8 }, () => 503))
      const client = ResilientClient.protect(vendor.client, { retryBudget: budget, backoff: steady })
      expect(statusOf(yield* ended(client.get(url)))).toBe("failed with 503")
      expect(vendor.calls()).toBe(3)
      expect(statusOf(yield* ended(client.get(url)))).toBe("failed with 503")
      expect(vendor.calls()).toBe(4)
      expect(yield* budget.stats).toMatchObject({ granted: 2, refused: 2, available: 0 })

      const well = ResilientClient.protect(fake().client, { retryBudget: budget })
      yield* Effect.replicateEffect(well.post(url), 5)
      expect(yield* budget.stats).toMatchObject({ available: 1 })
    }))

  it.effect("a client behind a client of the same budget does not retry", () =>
    Effect.gen(function*() {
      const budget = yield* RetryBudget.make({ name: "vendor" })
      const vendor = fake(...Array.from({ length: 20 }, () => 503))
      const options = { retryBudget: budget, backoff: steady }
      const client = vendor.client.pipe(ResilientClient.protect(options), ResilientClient.protect(options))
      expect(statusOf(yield* ended(client.get(url)))).toBe("failed with 503")
      expect(vendor.calls()).toBe(4)
    }))

  it.effect("a 429 is a failure to the throttle, while the breaker ignores it; a 404 is an answer to both", () =>
    Effect.gen(function*() {
      const throttle = yield* Throttle.make({ name: "vendor", maxProbability: 0 })
      const vendor = fake(429, 404)
      const client = ResilientClient.protect(vendor.client.pipe(HttpClient.filterStatusOk), {
        throttle,
        breaker: Vendor,
        backoff: { maxRetries: 0 }
      })
      yield* Effect.flip(client.get(url))
      yield* Effect.flip(client.get(url))
      expect(yield* throttle.stats).toMatchObject({ requests: 2, accepts: 1 })
      expect(yield* stats).toMatchObject({ calls: 2, successes: 1, failures: 0 })
    }).pipe(Effect.provide(VendorLive)))

  it.effect("every attempt counts against the rate limit and the concurrency limit", () =>
    Effect.gen(function*() {
      const rateLimit = yield* RateLimit.make({
        name: "vendor",
        limits: [{ rate: 1, per: "1 minute", burst: 2 }],
        onLimit: "reject"
      })
      const concurrencyLimit = yield* ConcurrencyLimit.make({ name: "vendor" })
      const vendor = fake(503)
      const client = ResilientClient.protect(vendor.client, { rateLimit, concurrencyLimit, backoff: steady })
      expect(statusOf(yield* ended(client.get(url), "1 second"))).toBe(200)
      expect(yield* Effect.flip(client.get(url))).toBeInstanceOf(RateLimit.RateLimited)
    }))

  it.effect("an open circuit is waited out where that is asked for", () =>
    Effect.gen(function*() {
      const vendor = fake(503, 503, 503)
      const client = ResilientClient.protect(vendor.client, {
        deadline: "2 minutes",
        breaker: Vendor,
        backoff: steady,
        whenOpen: "wait"
      })
      expect(statusOf(yield* ended(client.get(url)))).toBe(200)
      expect(vendor.times()).toEqual([0, 1_000, 3_000, 33_000])
    }).pipe(Effect.provide(VendorLive)))
})

describe("ResilientClient: options", () => {
  it("the page of HTTP clients says the defaults", () => {
    const page = readFileSync(new URL("../../../docs/http.md", import.meta.url), "utf8")
    const { attemptTimeout, backoff, buffered, idempotencyHeader, rateLimited, sendDeadline } = ResilientClient.defaults
    expect(backoff).toEqual({ ...Backoff.defaults, maxRetries: 3, maxTotalDelay: "2 minutes" })
    expect(page).toContain("| `backoff` | 1 s, factor 2, cap 60 s, full jitter, 3 retries, 2 min of waiting in all |")
    expect(page).toContain(`| \`attemptTimeout\` | ${attemptTimeout} |`)
    expect(page).toContain(`| \`rateLimited\` | \`"${rateLimited}"\` |`)
    expect(page).toContain(`| \`idempotencyHeader\` | \`"${idempotencyHeader}"\` |`)
    expect(page).toContain(`| \`buffered\` | \`${buffered}\` |`)
    expect(page).toContain(`| \`sendDeadline\` | \`${sendDeadline}\` |`)
  })

  it("a fault in them shows when the client is built", () => {
    const build = (options: Pick<ResilientClient.Options, "attemptTimeout" | "backoff" | "deadline">) => () =>
      ResilientClient.protect(fake().client, { breaker: Vendor, ...options })
    expect(build({ backoff: { maxRetries: -1 } })).toThrow(/maxRetries .* got -1/)
    expect(build({ attemptTimeout: Duration.infinity })).toThrow(/attemptTimeout/)
    expect(build({ deadline: 0 })).toThrow(/deadline .* got 0/)
    const mistyped: object = { retries: 3 }
    expect(() => ResilientClient.protect(mistyped)).toThrow("there is no option \"retries\"")
  })

  it.effect("can be given first or last", () =>
    Effect.gen(function*() {
      const first = ResilientClient.protect(fake().client, { breaker: Vendor })
      const last = fake().client.pipe(ResilientClient.protect({ breaker: Vendor }))
      expect((yield* first.get(url)).status).toBe(200)
      expect((yield* last.get(url)).status).toBe(200)
    }).pipe(Effect.provide(VendorLive)))
})
