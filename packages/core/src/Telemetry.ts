/**
 * Metrics of every part, and what happened to a call on the span it happened in.
 *
 * A call pays nothing for it. Parts count in place anyway; with `Telemetry.layer` they are registered when they are made,
 * held weakly, and their figures are read when somebody takes a snapshot of Effect's metrics: OpenTelemetry's exporter,
 * a Prometheus scrape, `Metric.snapshot` in a test. There is no timer and no copy to get stale. What has no part that
 * counts is counted from `Events`, which are published only where something happened.
 *
 * The same events, but for those of business as usual, become events of the span that the fiber is in. A call that
 * succeeds at once leaves nothing on its span.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Events from "./Events.js"
import { handlers, Standing } from "./internal/eventMetrics.js"
import { observe, release } from "./internal/liveMetrics.js"
import * as Traced from "./internal/traced.js"
import type * as MetricCatalog from "./MetricCatalog.js"

export {
  /**
   * Every metric there is.
   *
   * @since 0.1.0
   * @category catalog
   */
  catalog
} from "./MetricCatalog.js"

/**
 * The name of a metric.
 *
 * @since 0.1.0
 * @category models
 */
export type Name = MetricCatalog.Name

/**
 * One figure of a part: the metric, its tags beside `name`, and how it is read at the monotonic time `now`, in
 * milliseconds. Of a counter that is all the part has counted so far.
 *
 * @since 0.1.0
 * @category models
 */
export type Measure<P> = readonly [
  metric: Name,
  tags: { readonly [key: string]: string },
  value: (part: P, now: number) => number
]

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Lets a part be measured under a name, for as long as somebody else holds it. Parts of one name add up. `measures` is
   * one array for all parts of a kind.
   */
  readonly unsafeObserve: <P extends object>(
    part: P,
    name: string,
    measures: ReadonlyArray<Measure<P>>,
    clock: Clock.Clock
  ) => void
}

/**
 * Where parts register; by default nowhere.
 *
 * @since 0.1.0
 * @category tags
 */
export class Telemetry extends Context.Reference<Telemetry>()("@firebreak/core/Telemetry", {
  defaultValue: (): Service => off
}) {}

/**
 * Lets the part that is made be measured, if anything is.
 *
 * @since 0.1.0
 * @category combinators
 */
export const observed = <P extends { readonly name: string }>(
  made: Effect.Effect<P>,
  measures: ReadonlyArray<Measure<P>>
): Effect.Effect<P> =>
  Effect.flatMap(
    Telemetry,
    (telemetry) =>
      telemetry === off ? made : Effect.zipWith(made, Effect.clock, (part, clock) => {
        telemetry.unsafeObserve(part, part.name, measures, clock)
        return part
      })
  )

/**
 * Measures the parts made within the effect under one name, where their own would be too many.
 *
 * @since 0.1.0
 * @category combinators
 */
export const observedAs = (name: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Telemetry, (telemetry) =>
    telemetry === off ? effect : Effect.provideService(effect, Telemetry, {
      unsafeObserve: (part, _, measures, clock) => telemetry.unsafeObserve(part, name, measures, clock)
    }))

/**
 * Measures every part that is made with this layer beneath it, counts events, and notes them on spans. It takes the bus
 * of an `Events.layer` beneath it, or else provides one. When its scope ends, counters stay as they are and what was
 * there is gone from the gauges.
 *
 * @example
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Telemetry from "@firebreak/core/Telemetry"
 * import * as Layer from "effect/Layer"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const Live = Datadog.layer().pipe(Layer.provideMerge(Telemetry.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.scopedContext(Effect.gen(function*() {
  const beneath = yield* Effect.context<never>()
  const events = beneath.unsafeMap.has(Events.Events.key) ? yield* Events.Events : Events.make()
  const clock = yield* Effect.clock
  const service: Service = {
    unsafeObserve: (part, name, measures, clock) => observe(part, name, measures, clock, service)
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => events.unsafeListen(listener(service, clock))),
    (unlisten) =>
      Effect.sync(() => {
        unlisten()
        release(service)
      })
  )
  return Context.add(Context.make(Telemetry, service), Events.Events, events)
}))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const off: Service = { unsafeObserve: () => {} }

const listener = (service: Service, clock: Clock.Clock): (event: Events.Published) => void => {
  const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
  const standings = new Map<string, Standing>()
  const standingOf = (component: string): Standing => {
    let standing = standings.get(component)
    if (standing === undefined) {
      standings.set(component, standing = new Standing(now()))
      service.unsafeObserve(standing, component, Standing.measures, clock)
    }
    return standing
  }
  const byTag: { readonly [tag: string]: ((event: never) => void) | undefined } = handlers(standingOf, now)
  return (event) => {
    byTag[event._tag]?.(event as never)
    if (usual.has(event._tag)) return
    const fiber = Fiber.getCurrentFiber()
    if (fiber._tag === "None") return
    const { _tag, at: _at, ...fields } = event
    Traced.note(fiber.value, _tag, fields)
  }
}

/** What happens when all goes well is no news to a span. */
const usual: ReadonlySet<string> = new Set<Events.Event["_tag"]>([
  "ConcurrencyLimitMoved",
  "ActionStarted",
  "ActionCompleted",
  "RunStarted",
  "RunCompleted",
  "StepStarted",
  "StepSaved",
  "HealthChecked",
  "RemedySkipped"
])
