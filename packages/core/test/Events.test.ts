import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"

const closed = (breaker: string): Events.Event => ({ _tag: "CircuitClosed", breaker })

describe("Events", () => {
  it.effect("publishing without a bus does nothing", () => Events.publish(closed("a")))

  it.effect("every subscriber sees all events in order, stamped by the Clock", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const streamed = yield* Effect.fork(Stream.runCollect(Stream.take(Events.stream, 2)))
      yield* TestClock.adjust(1_000)
      yield* Events.publish(closed("a"))
      yield* TestClock.adjust(1_000)
      yield* Events.publish(closed("b"))
      const expected = [{ ...closed("a"), at: 1_000 }, { ...closed("b"), at: 2_000 }]
      expect(Array.from(yield* Queue.takeAll(queue))).toEqual(expected)
      expect(Array.from(yield* Fiber.join(streamed))).toEqual(expected)
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect("a subscriber that does not read loses newer events and holds up nobody", () =>
    Effect.gen(function*() {
      const bus = Events.make()
      const idle = yield* Events.subscribeTo(bus, { capacity: 2 })
      for (const name of ["a", "b", "c"]) bus.unsafePublish(closed(name), 0)
      expect(Array.from(yield* Queue.takeAll(idle))).toMatchObject([closed("a"), closed("b")])
    }).pipe(Effect.scoped))

  it.effect("a listener that throws is heard by nobody else", () =>
    Effect.gen(function*() {
      const bus = Events.make()
      bus.unsafeListen(() => {
        throw new Error("listener bug")
      })
      const queue = yield* Events.subscribeTo(bus)
      bus.unsafePublish(closed("a"), 0)
      expect(yield* Queue.take(queue)).toMatchObject(closed("a"))
    }).pipe(Effect.scoped))

  it.effect("forgets a subscriber when its scope ends", () =>
    Effect.gen(function*() {
      const bus = Events.make()
      yield* Effect.scoped(Events.subscribeTo(bus))
      expect(bus.isActive()).toBe(false)
    }))
})

describe("EventSink", () => {
  const run = (sink: Layer.Layer<never>, names: ReadonlyArray<string>) =>
    Effect.forEach(names, (name) => Events.publish(closed(name)), { discard: true }).pipe(
      Effect.provide(sink.pipe(Layer.provideMerge(Events.layer)))
    )

  it.effect("finishes what was published before its scope ends", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const slow = EventSink.make((event) =>
        Effect.zipRight(Effect.yieldNow(), Effect.sync(() => seen.push("breaker" in event ? event.breaker : event)))
      )
      yield* run(slow, ["a", "b", "c"])
      expect(seen).toEqual(["a", "b", "c"])
    }))

  it.effect("goes on after an event on which its function failed", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const failing = EventSink.make((event): Effect.Effect<void> => {
        seen.push(event._tag)
        throw new Error("sink bug")
      })
      yield* run(failing, ["a", "b"])
      expect(seen).toHaveLength(2)
    }))

  it.effect("gives up on an event that blocks its function, and goes on", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const sink = EventSink.make(({ at }): Effect.Effect<unknown> =>
        at === 0 ? Effect.never : Effect.sync(() => seen.push(at))
      )
      yield* Effect.gen(function*() {
        yield* Events.publish(closed("blocks"))
        yield* TestClock.adjust("5 seconds")
        yield* Events.publish(closed("passes"))
      }).pipe(Effect.provide(sink.pipe(Layer.provideMerge(Events.layer))))
      expect(seen).toEqual([5_000])
    }))

  it.effect("finishes what was published before its scope is closed by an interruption", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const slow = EventSink.make((event) =>
        Effect.zipRight(Effect.yieldNow(), Effect.sync(() => seen.push(event._tag)))
      )
      const fiber = yield* Effect.fork(
        Effect.zipRight(Events.publish(closed("a")), Effect.zipRight(Events.publish(closed("b")), Effect.never)).pipe(
          Effect.provide(slow.pipe(Layer.provideMerge(Events.layer)))
        )
      )
      while (seen.length === 0) yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      expect(seen).toHaveLength(2)
    }))

  it.effect("closing waits once for its patience, however many events wait for a function that hangs", () =>
    Effect.gen(function*() {
      const names = Array.from({ length: 100 }, (_, i) => `${i}`)
      const closing = yield* Effect.fork(run(EventSink.make(() => Effect.never, { patience: "2 seconds" }), names))
      yield* TestClock.adjust("1999 millis")
      expect(closing.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
    }))

  it.effect("closing does not wait longer for a function that cannot be interrupted", () =>
    Effect.gen(function*() {
      const stubborn = EventSink.make(() => Effect.uninterruptible(Effect.never))
      const closing = yield* Effect.fork(run(stubborn, ["a", "b"]))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(closing)
    }))

  it.effect("keeps as many events as a subscriber while its function is busy, and drops newer ones", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const seen: Array<number> = []
      const sink = EventSink.make(({ at }) => Effect.map(Deferred.await(gate), () => seen.push(at)))
      yield* Effect.gen(function*() {
        const events = yield* Events.Events
        events.unsafePublish(closed("in hand"), 0)
        yield* Effect.yieldNow()
        for (let at = 1; at <= Events.defaults.capacity + 10; at++) events.unsafePublish(closed("waits"), at)
        yield* Effect.fork(Deferred.succeed(gate, undefined))
      }).pipe(Effect.provide(sink.pipe(Layer.provideMerge(Events.layer))))
      expect(seen).toEqual(Array.from({ length: Events.defaults.capacity + 1 }, (_, at) => at))
    }))

  it.effect("counts events by tag and name", () =>
    Effect.gen(function*() {
      yield* run(EventSink.layerMetrics, ["metered", "metered"])
      const counter = Metric.counter("firebreak_events_total", {
        description: "Events of Firebreak's patterns",
        incremental: true
      }).pipe(Metric.tagged("event", "CircuitClosed"), Metric.tagged("name", "metered"))
      expect((yield* Metric.value(counter)).count).toBe(2)
    }))
})
