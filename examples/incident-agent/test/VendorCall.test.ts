import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Fault } from "../src/sandbox/Faults.js"
import { classify, VendorError } from "../src/VendorError.js"
import * as Datadog from "../src/vendors/Datadog.js"
import * as VendorCall from "../src/vendors/VendorCall.js"
import { callsTo, eventsOf, layer, quickTurns, seeded, toTheEnd, World } from "./support.js"

type Failing = Partial<Fault> & { readonly kind: Fault["kind"] }

/** What a call to a Datadog with this fault fails with, and how often it was sent. */
const failure = (fault: Failing) =>
  Effect.gen(function*() {
    const world = yield* World
    world.faults = [{ vendor: "datadog", ...fault }]
    const error = yield* Effect.flip(toTheEnd(Datadog.alerts("payment-api")))
    return { error, attempts: callsTo(world, "datadog").length }
  }).pipe(Effect.provide(layer()), seeded(1))

describe("A vendor's HTTP call", () => {
  quickTurns()

  const cases: ReadonlyArray<
    readonly [name: string, fault: Failing, kind: VendorError["kind"], attempts: number, classified: string]
  > = [
    ["400", { kind: "status", status: 400 }, "refused", 1, "failed"],
    ["403", { kind: "status", status: 403 }, "refused", 1, "failed"],
    ["404", { kind: "status", status: 404 }, "refused", 1, "failed"],
    ["408", { kind: "status", status: 408 }, "unavailable", 3, "unknown"],
    ["429", { kind: "status", status: 429 }, "throttled", 4, "not-started"],
    ["500", { kind: "status", status: 500 }, "unavailable", 3, "unknown"],
    ["503", { kind: "status", status: 503 }, "unavailable", 3, "unknown"],
    ["a reset connection", { kind: "reset" }, "unavailable", 3, "unknown"],
    ["no answer", { kind: "hang" }, "timeout", 3, "unknown"]
  ]

  it.effect.each(cases)(
    "that ends in %s is what it is",
    ([, fault, kind, attempts, classified]) =>
      Effect.gen(function*() {
        const failed = yield* failure(fault)
        expect(failed.error).toMatchObject({ vendor: "datadog", operation: "searchMonitors", kind })
        expect(failed.error.status).toBe(fault.status)
        expect(failed.attempts).toBe(attempts)
        expect(classify(failed.error)).toBe(classified)
      })
  )

  it.effect("that is slow but in time succeeds", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "latency", ms: 4_900 }]
      expect(yield* toTheEnd(Datadog.alerts("payment-api"))).not.toEqual([])
      expect(callsTo(world, "datadog")).toHaveLength(1)
    }).pipe(Effect.provide(layer())))

  it.effect("carries the Retry-After of its last answer", () =>
    Effect.gen(function*() {
      const { error } = yield* failure({ kind: "status", status: 429, retryAfter: 7 })
      expect(error).toMatchObject({ kind: "throttled", retryAfterMillis: 7_000 })
    }))

  it.effect("waits for the Retry-After of a 503, up to its own 32 seconds", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [
        { vendor: "datadog", kind: "status", status: 503, retryAfter: 9, count: 1 },
        { vendor: "datadog", kind: "status", status: 503, retryAfter: 900, count: 1 }
      ]
      yield* toTheEnd(Datadog.alerts("payment-api"))
      expect(callsTo(world, "datadog").map(({ at }) => at)).toEqual([0, 9_000, 41_000])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("is not started while the circuit is open, and says when it may be", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "reset" }]
      yield* Effect.flip(toTheEnd(Datadog.alerts("payment-api")))
      const sent = callsTo(world, "datadog").length
      const error = yield* Effect.flip(Datadog.alerts("payment-api"))
      expect(error).toMatchObject({ kind: "not-started", detail: expect.stringContaining("the call was not started") })
      expect(error.retryAfterMillis).toBeGreaterThan(29_000)
      expect(error.retryAfterMillis).toBeLessThanOrEqual(30_000)
      expect(callsTo(world, "datadog")).toHaveLength(sent)
      expect(classify(error)).toBe("not-started")
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("that is refused says nothing against the vendor", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "status", status: 404 }]
      yield* Effect.replicateEffect(Effect.flip(Datadog.alerts("payment-api")), 5)
      expect(eventsOf(world, "CircuitOpened")).toEqual([])
    }).pipe(Effect.provide(layer())))

  it.effect("whose answer cannot be read is garbled, once", () =>
    Effect.gen(function*() {
      const world = yield* World
      const call = VendorCall.makeHttp("loki", VendorCall.Loki)
      const request = HttpClientRequest.get("http://world/loki/loki/api/v1/query_range?query=%7Bservice%3D%22x%22%7D")
      const error = yield* Effect.flip(
        call("queryRange", Effect.succeed(request), Schema.Struct({ no: Schema.Number }))
      )
      expect(error).toMatchObject({ vendor: "loki", operation: "queryRange", kind: "garbled" })
      expect(callsTo(world, "loki")).toHaveLength(1)
    }).pipe(Effect.provide(layer())))

  it.effect("keeps the vendor's own words short and on one line", () =>
    Effect.gen(function*() {
      const { error } = yield* failure({ kind: "status", status: 403 })
      expect(error.message).toBe("datadog searchMonitors refused 403: {\"errors\":[\"scripted\"]}")
    }))
})

describe("A vendor's SDK call", () => {
  quickTurns()

  const failing = (kind: VendorError["kind"], sent: "repeatedly" | "once") =>
    Effect.gen(function*() {
      let attempts = 0
      const call = Effect.suspend((): Effect.Effect<never, VendorError> => {
        attempts++
        return kind === "timeout"
          ? Effect.never
          : Effect.fail(new VendorError({ vendor: "aws", operation: "act", kind, detail: "scripted" }))
      })
      const error = yield* Effect.flip(toTheEnd(call.pipe(VendorCall.make("aws", VendorCall.Aws, sent)("act"))))
      expect(error).toMatchObject({ vendor: "aws", operation: "act", kind })
      return attempts
    }).pipe(Effect.provide(layer()), seeded(1))

  it.effect.each(
    [
      ["throttled", 4, 4],
      ["unavailable", 3, 1],
      ["timeout", 3, 1],
      ["refused", 1, 1],
      ["garbled", 1, 1]
    ] as const
  )("that is %s is sent %i times if it may be, else %i", ([kind, repeatedly, once]) =>
    Effect.gen(function*() {
      expect(yield* failing(kind, "repeatedly")).toBe(repeatedly)
      expect(yield* failing(kind, "once")).toBe(once)
    }))
})
