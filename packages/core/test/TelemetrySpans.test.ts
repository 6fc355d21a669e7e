import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Hedge from "@firebreak/core/Hedge"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Telemetry from "@firebreak/core/Telemetry"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as Tracer from "effect/Tracer"

interface Recorded {
  readonly name: string
  readonly parent: string | undefined
  readonly events: Array<{ readonly name: string; readonly attributes: Record<string, unknown> | undefined }>
}

/** Runs a call in a span named "call"; the spans that came of it, that one first. */
const traced = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const spans: Array<Recorded> = []
    const tracer = Tracer.make({
      context: (f) => f(),
      span: (name, parent, context, links, startTime, kind) => {
        const events: Recorded["events"] = []
        const attributes = new Map<string, unknown>()
        spans.push({
          name,
          parent: Option.getOrUndefined(Option.map(parent, (span) => "name" in span ? span.name : span.spanId)),
          events
        })
        return {
          _tag: "Span",
          name,
          spanId: `${spans.length}`,
          traceId: "trace",
          parent,
          context,
          status: { _tag: "Started", startTime },
          attributes,
          links,
          sampled: true,
          kind,
          end: () => {},
          attribute: (key, value) => void attributes.set(key, value),
          event: (event, _startTime, attributes) => void events.push({ name: event, attributes }),
          addLinks: () => {}
        }
      }
    })
    return Effect.exit(Effect.withSpan(call, "call")).pipe(
      Effect.withTracer(tracer),
      Effect.withTracerEnabled(true),
      Effect.as(spans)
    )
  })

const named = (names: ReadonlyArray<string>) => ({ name: "call", events: names.map((name) => ({ name })) })

const measured = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, Telemetry.layer)

const failing = (times: number) => {
  let calls = 0
  return Effect.suspend(() => calls++ < times ? Effect.fail("down") : Effect.succeed("up"))
}

describe("the trace of a call", () => {
  it.effect("has nothing of a call that succeeds at once", () =>
    measured(
      Effect.gen(function*() {
        const breaker = yield* CircuitBreaker.make({ name: "plain-s" })
        const bulkhead = yield* Bulkhead.make({ name: "plain-s" })
        const policy = Policy.make({
          bulkhead,
          breaker,
          attemptTimeout: "1 second",
          retry: { schedule: Backoff.production, while: () => true }
        })
        const act = Idempotency.once({ operation: "plain-s", key: "1" }, Effect.void)
        const run = Checkpoint.run("plain-s", Checkpoint.step("one", {}, Effect.void))
        expect(yield* traced(Effect.all([policy(Effect.void), act, run]))).toMatchObject([named([])])
      }).pipe(Effect.provide([Idempotency.layerMemory, Checkpoint.layerMemory]))
    ))

  it.effect("says why it was retried, and has a span for each attempt after the first", () =>
    measured(Effect.gen(function*() {
      const schedule = Backoff.make({ name: "retry-s", base: 0 })
      const policy = Policy.make({ retry: { schedule, while: () => true } })
      const spans = yield* traced(policy(failing(2)))
      expect(spans).toMatchObject([
        named(["firebreak.RetryScheduled", "firebreak.RetryScheduled"]),
        { name: "Policy/retry", parent: "call" },
        { name: "Policy/retry", parent: "call" }
      ])
      expect(spans[0]!.events[0]!.attributes).toMatchObject({ retry: 1, delayMillis: 0, error: "down" })
    })))

  it.effect("says when the circuit opened, and that it was a probe", () =>
    measured(Effect.gen(function*() {
      const trip = CircuitBreaker.consecutive(1)
      const breaker = yield* CircuitBreaker.make({
        name: "probe-s",
        trip,
        resetAfter: "10 seconds",
        successThreshold: 1
      })
      expect(yield* traced(breaker.protect(Effect.fail("down")))).toMatchObject([named(["firebreak.CircuitOpened"])])
      yield* TestClock.adjust("10 seconds")
      expect(yield* traced(breaker.protect(Effect.void))).toMatchObject([
        named(["firebreak.CircuitHalfOpened", "firebreak.CircuitProbed", "firebreak.CircuitClosed"])
      ])
    })))

  it.effect("has a span for the wait in a line, and says when the line was full", () =>
    measured(Effect.gen(function*() {
      const bulkhead = yield* Bulkhead.make({ name: "line-s", maxConcurrent: 1, maxQueued: 1 })
      const running = yield* Effect.fork(bulkhead.protect(Effect.sleep("1 second")))
      yield* Effect.yieldNow()
      const waiting = yield* Effect.fork(traced(bulkhead.protect(Effect.void)))
      yield* Effect.yieldNow()
      expect(yield* traced(bulkhead.protect(Effect.void))).toMatchObject([named(["firebreak.BulkheadRejected"])])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(running)
      expect(yield* Fiber.join(waiting)).toMatchObject([named([]), { name: "Bulkhead/line-s/wait", parent: "call" }])
    })))

  it.effect("has a span for the wait for a rate limit", () =>
    Effect.gen(function*() {
      const limit = yield* RateLimit.make({ name: "rate-s", limits: [{ rate: 1, per: "1 second" }] })
      yield* limit.protect(Effect.void)
      const waiting = yield* Effect.fork(traced(limit.protect(Effect.void)))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(waiting)).toMatchObject([named([]), { name: "RateLimit/rate-s/wait", parent: "call" }])
    }))

  it.effect("has a span for each hedge", () =>
    Effect.gen(function*() {
      const hedge = yield* Hedge.make({ name: "hedge-s", delay: "1 second" })
      let attempts = 0
      const call = yield* Effect.fork(
        traced(hedge.safe(Effect.suspend(() => attempts++ === 0 ? Effect.never : Effect.void)))
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(call)).toMatchObject([named([]), { name: "Hedge/hedge-s/hedge", parent: "call" }])
    }))

  it.effect("says that an outcome was replayed, and that a run was resumed", () =>
    measured(
      Effect.gen(function*() {
        const act = Idempotency.once({ operation: "replay-s", key: "1" }, Effect.void)
        yield* act
        expect(yield* traced(act)).toMatchObject([named(["firebreak.ActionReplayed"])])
        let isUp = false
        const run = Checkpoint.run(
          "resume-s",
          Effect.zipRight(
            Checkpoint.step("first", {}, Effect.void),
            Effect.suspend(() => isUp ? Effect.void : Effect.dieMessage("a crash"))
          )
        )
        yield* Effect.exit(run)
        isUp = true
        expect(yield* traced(run)).toMatchObject([named(["firebreak.RunResumed", "firebreak.StepReplayed"])])
      }).pipe(Effect.provide([Idempotency.layerMemory, Checkpoint.layerMemory]))
    ))
})
