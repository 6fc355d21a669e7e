/** The code of `docs/events.md`. */
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

declare const page: (text: string) => Effect.Effect<void>

// #region usage
const Paging = EventSink.make((event) =>
  event._tag === "Escalated"
    ? page(`${event.name}: ${event.reason}, failing: ${event.failing.join(", ")}`)
    : Effect.void
)

export const EventsLive = Layer.mergeAll(EventSink.layerLog, EventSink.layerMetrics, Paging).pipe(
  Layer.provideMerge(Events.layer)
)
// #endregion

// #region usage
export const openings = Events.stream.pipe(
  Stream.filter((event) => event._tag === "CircuitOpened"),
  Stream.map(({ at, breaker }) => `${new Date(at).toISOString()} ${breaker}`)
)
// #endregion

// #region usage
declare module "@firebreak/core/Events" {
  interface Catalog {
    CacheWarmed: { readonly name: string; readonly entries: number }
  }
}

export const warmed = Events.publish({ _tag: "CacheWarmed", name: "sessions", entries: 1_024 })
// #endregion
