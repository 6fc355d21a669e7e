import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Fault } from "../src/sandbox/Faults.js"
import { classify, VendorError } from "../src/VendorError.js"
import * as Datadog from "../src/vendors/Datadog.js"
import * as VendorCall from "../src/vendors/VendorCall.js"
import * as VendorParts from "../src/vendors/VendorParts.js"
import { callsTo, eventsOf, layer, quickTurns, seeded, toTheEnd, World } from "./support.js"

type Failing = Partial<Fault> & { readonly kind: Fault["kind"] }

/** What the parts of a vendor have seen. */
const partStats = <N extends VendorParts.Name>(vendor: VendorParts.Vendor<N>) =>
  Effect.all({
    bulkhead: Effect.flatMap(vendor.bulkhead, ({ stats }) => stats),
    retryBudget: Effect.flatMap(vendor.retryBudget, ({ stats }) => stats),
    throttle: Effect.flatMap(vendor.throttle, ({ stats }) => stats),
    rateLimit: Effect.flatMap(vendor.rateLimit, ({ stats }) => stats),
    breaker: Effect.flatMap(vendor.breaker, ({ stats }) => stats)
  })

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

  it.effect("ends at its deadline, and begins no wait that would pass it", () =>
    Effect.gen(function*() {
      const { attempts, error } = yield* failure({ kind: "status", status: 429, retryAfter: 30 })
      expect(error).toMatchObject({ kind: "throttled", retryAfterMillis: 30_000 })
      expect(attempts).toBe(2)
    }))

  it.effect("passes by every part of its vendor", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "status", status: 503, count: 1 }]
      yield* toTheEnd(Datadog.alerts("payment-api"))
      expect(yield* partStats(VendorParts.Datadog)).toMatchObject({
        bulkhead: { running: 0, rejected: 0 },
        retryBudget: { granted: 1, available: 20 },
        throttle: { requests: 2, accepts: 1 },
        breaker: { calls: 2, failures: 1, successes: 1 }
      })
      expect(eventsOf(world, "RetryScheduled")).toMatchObject([{ name: "datadog", operation: "searchMonitors" }])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("is not repeated when the vendor's budget of retries is spent", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "status", status: 429 }]
      const budget = yield* VendorParts.Datadog.retryBudget
      yield* Effect.replicateEffect(
        Effect.withFiberRuntime((fiber) => Effect.succeed(budget.unsafeTryRetry("error", fiber))),
        19
      )
      yield* toTheEnd(Effect.flip(Datadog.alerts("payment-api")))
      expect(callsTo(world, "datadog")).toHaveLength(2)
      yield* toTheEnd(Effect.flip(Datadog.alerts("payment-api")))
      expect(callsTo(world, "datadog")).toHaveLength(3)
      expect(eventsOf(world, "RetryBudgetExhausted")).toMatchObject([{ budget: "datadog" }])
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("is turned away at random by a vendor that refuses nearly all of many calls", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "status", status: 429 }]
      const errors = yield* toTheEnd(Effect.replicateEffect(Effect.flip(Datadog.alerts("payment-api")), 40))
      expect(errors.map(({ detail }) => detail)).toContainEqual(expect.stringContaining("Throttle \"datadog\" rejects"))
      expect(errors.map(classify)).toEqual(errors.map(() => "not-started"))
    }).pipe(Effect.provide(layer()), seeded(1)))

  it.effect("within what is a repetition itself is not repeated", () =>
    Effect.gen(function*() {
      const world = yield* World
      world.faults = [{ vendor: "datadog", kind: "status", status: 503 }]
      yield* Effect.flip(toTheEnd(VendorParts.withoutRetries(Datadog.alerts("payment-api"))))
      expect(callsTo(world, "datadog")).toHaveLength(1)
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
      const call = VendorCall.makeHttp(VendorParts.Loki)
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

  it.effect("passes by every part of its vendor; a throttled one is no failure to the breaker, a refused one to none", () =>
    Effect.gen(function*() {
      const call = VendorCall.make(VendorParts.Aws)("act")
      const failing = (kind: VendorError["kind"]) =>
        Effect.flip(toTheEnd(call(new VendorError({ vendor: "aws", operation: "act", kind, detail: "scripted" }))))
      yield* failing("throttled")
      yield* failing("refused")
      expect(yield* partStats(VendorParts.Aws)).toMatchObject({
        bulkhead: { running: 0 },
        retryBudget: { granted: 3 },
        throttle: { requests: 5, accepts: 1 },
        breaker: { calls: 5, failures: 0, successes: 1 }
      })
      expect(eventsOf(yield* World, "RetryScheduled")[0]).toMatchObject({ name: "aws", operation: "act" })
    }).pipe(Effect.provide(layer()), seeded(1)))

  const failing = (kind: VendorError["kind"], sent: "repeatedly" | "once") =>
    Effect.gen(function*() {
      let attempts = 0
      const call = Effect.suspend((): Effect.Effect<never, VendorError> => {
        attempts++
        return kind === "timeout"
          ? Effect.never
          : Effect.fail(new VendorError({ vendor: "aws", operation: "act", kind, detail: "scripted" }))
      })
      const error = yield* Effect.flip(toTheEnd(call.pipe(VendorCall.make(VendorParts.Aws, sent)("act"))))
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
