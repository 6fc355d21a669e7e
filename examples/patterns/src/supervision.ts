/**
 * A consumer under a supervisor. While its broker is away it is restarted at once, then after 10 and 20 seconds, and then
 * it runs on. Later a message arrives that no start can read: after five restarts within the hour it is given up on,
 * instead of being restarted for ever.
 */
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Supervision from "@firebreak/core/Supervision"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { timed } from "./internal/print.js"

/** What goes wrong in this story. */
interface World {
  trouble: string | undefined
}

/** Connects, then reads a message every second. */
const consumer = (world: World) =>
  Effect.gen(function*() {
    yield* Effect.sleep("100 millis")
    yield* timed("▶ the consumer starts")
    while (true) {
      yield* Effect.sleep("1 second")
      if (world.trouble !== undefined) return yield* Effect.fail(world.trouble)
    }
  })

// #region usage
const workers = (world: World) =>
  Supervision.run({
    name: "workers",
    within: "1 hour",
    children: { consumer: Supervision.child(consumer(world)) }
  }).pipe(
    Effect.catchTag("RestartsExceeded", (error) => Console.log(`\n📞 ${error.message}`))
  )
// #endregion

const faults = (world: World) =>
  Effect.gen(function*() {
    yield* Effect.sleep("25 seconds")
    yield* timed("👷 the broker is back")
    world.trouble = undefined
    yield* Effect.sleep("60 seconds")
    yield* timed("💥 a message arrives that cannot be read")
    world.trouble = "message 4711 cannot be read"
  })

const announcements = EventSink.make((event) => {
  switch (event._tag) {
    case "ChildRestarting": {
      const wait = event.delayMillis === 0 ? "at once" : `in ${event.delayMillis / 1_000} s`
      return timed(`✗ ${event.error}; restart ${event.restarts} ${wait}`)
    }
    case "SupervisionGaveUp":
      return timed(`⛔ ${event.error}; given up after ${event.restarts} restarts`)
    default:
      return Effect.void
  }
}).pipe(Layer.provideMerge(Events.layer))

export const main: Effect.Effect<void> = Effect.suspend(() => {
  const world: World = { trouble: "the broker does not answer" }
  return Effect.all([workers(world), faults(world)], { concurrency: "unbounded", discard: true }).pipe(
    Effect.provide(announcements)
  )
})
