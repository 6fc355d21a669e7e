/**
 * Where events go: the log, JSON lines on standard output, Effect metrics, or a function of your own. Each sink is a
 * Layer beside `Events.layer`; when its scope ends it first finishes what was published before, as far as it has time.
 *
 * @since 0.1.0
 */
import * as Console from "effect/Console"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Events from "./Events.js"
import * as Check from "./internal/options.js"
import { catalog } from "./MetricCatalog.js"

/**
 * Hands every event to `f`, one after the other. An event on which `f` dies or takes longer than `patience` (default 5
 * seconds) is logged and given up, and the sink goes on with the next. As many events as a subscriber keeps may wait for
 * `f`; newer ones are dropped. Closing waits once for `patience`, then gives up what still waits and logs that.
 *
 * @example
 * import * as EventSink from "@firebreak/core/EventSink"
 * import * as Events from "@firebreak/core/Events"
 * import * as Console from "effect/Console"
 * import * as Layer from "effect/Layer"
 *
 * const Live = EventSink.make((event) => Console.log(event._tag)).pipe(Layer.provideMerge(Events.layer))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R>(
  f: (event: Events.Published) => Effect.Effect<unknown, never, R>,
  options: { readonly patience?: Duration.DurationInput | undefined } = {}
): Layer.Layer<never, never, R> => {
  Check.known("EventSink", options, { patience: true })
  const patience = Check.millis("EventSink", "patience", options.patience ?? "5 seconds", { min: 1 })
  const handle = (event: Events.Published) =>
    Effect.suspend(() => f(event)).pipe(
      Effect.timeout(patience),
      Effect.catchAllCause((cause) => Effect.logError(`An event sink gave up on ${event._tag}`, cause))
    )
  return Layer.scopedDiscard(Effect.gen(function*() {
    const events = yield* Events.Events
    const queue = yield* Queue.dropping<Events.Published | typeof end>(Events.defaults.capacity)
    let closing = false
    // where the queue is full, the end finds no room in it
    const hasMore = () => !(closing && Option.contains(queue.unsafeSize(), 0))
    const drain = Effect.iterate(true, {
      while: (more) => more,
      body: () =>
        Effect.flatMap(Queue.take(queue), (event) => event === end ? ended : Effect.map(handle(event), hasMore))
    })
    const open = Effect.suspend(() => {
      const unsubscribe = events.unsafeListen((event) => void queue.unsafeOffer(event))
      return Effect.map(Effect.forkDaemon(Effect.interruptible(drain)), (fiber) => ({ fiber, unsubscribe }))
    })
    yield* Effect.acquireRelease(open, ({ fiber, unsubscribe }) =>
      Effect.suspend(() => {
        unsubscribe()
        closing = true
        queue.unsafeOffer(end)
        // on a fiber of its own: the one that closes the scope may itself be interrupted
        const drained = Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), patience)
        return Effect.flatMap(
          Effect.flatMap(Effect.forkDaemon(drained), Fiber.join),
          Option.match({
            onNone: () => Effect.zipRight(unfinished, Fiber.interruptFork(fiber)),
            onSome: () => Effect.void
          })
        )
      }))
  }))
}

/**
 * Logs every event with its fields as annotations: warnings for what went wrong, debug for what is routine, info for the
 * rest and for a program's own events. `docs/events.md` has the level of each.
 *
 * @since 0.1.0
 * @category sinks
 */
export const layerLog: Layer.Layer<never> = make((event) => {
  const { _tag, at: _at, ...fields } = event
  return Effect.annotateLogs(Effect.logWithLevel(levelOf(event), _tag), fields)
})

/**
 * Writes every event as one line of JSON to the Console's standard output.
 *
 * @since 0.1.0
 * @category sinks
 */
export const layerJson: Layer.Layer<never> = make((event) => Console.log(JSON.stringify(event)))

/**
 * Counts every event in the metric `firebreak_events_total`, tagged by `event` and, where it has one, by the `name` of
 * the breaker, bulkhead, limit, budget, operation, workflow, component, remedy or loop.
 *
 * @since 0.1.0
 * @category sinks
 */
export const layerMetrics: Layer.Layer<never> = make((event) => {
  const tagged = Metric.tagged(total, "event", event._tag)
  const name = nameOf(event)
  return Metric.increment(name === undefined ? tagged : Metric.tagged(tagged, "name", name))
})

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const end = Symbol("end")
const ended = Effect.succeed(false)
const unfinished = Effect.logError("An event sink was closed before it had handled every event")

const { description } = catalog.firebreak_events_total

const total = Metric.counter("firebreak_events_total", { description, incremental: true })

const nameOf = (event: Events.Published): string | undefined => {
  const fields: Record<string, unknown> = event as never
  for (
    const field of [
      "breaker",
      "bulkhead",
      "limiter",
      "limit",
      "budget",
      "throttle",
      "hedge",
      "guard",
      "target",
      "operation",
      "workflow",
      "component",
      "remedy",
      "name"
    ]
  ) {
    const value = fields[field]
    if (typeof value === "string") return value
  }
  return undefined
}

const levelOf = (event: Events.Published): LogLevel.LogLevel => {
  if (loud.has(event._tag) || wentWrong(event)) return LogLevel.Warning
  return quiet.has(event._tag) ? LogLevel.Debug : LogLevel.Info
}

/** Of the events that tell how something ended, those of a bad end. */
const wentWrong = (event: Events.Published): boolean => {
  switch (event._tag) {
    case "ActionCompleted":
    case "RunCompleted":
    case "StepSaved":
    case "EscalationDrilled":
      return event.outcome === "failure"
    case "HealthChecked":
      return event.status !== "healthy"
    default:
      return false
  }
}

const loud: ReadonlySet<Events.Event["_tag"]> = new Set([
  "CircuitOpened",
  "RetryScheduled",
  "BulkheadRejected",
  "RateLimitReached",
  "CallShed",
  "RetryBudgetExhausted",
  "ThrottlingStarted",
  "DeadlineExceeded",
  "ChaosInjected",
  "ActionInDoubt",
  "RunCancelled",
  "RunExpired",
  "RunDied",
  "StepCompensated",
  "ComponentDegraded",
  "RefreshFailed",
  "ResponseDegraded",
  "SloViolated",
  "RemedyFailed",
  "FailedOver",
  "Escalated",
  "EscalationFailed",
  "ChildRestarting",
  "ChildLeftBehind",
  "SupervisionGaveUp",
  "ScaleFailed",
  "ScalingBlind",
  "DriftFound",
  "RepairFailed",
  "ReconcileBlind",
  "LoopStopped"
])

const quiet: ReadonlySet<Events.Event["_tag"]> = new Set([
  "ConcurrencyLimitMoved",
  "ActionStarted",
  "ActionCompleted",
  "ActionReplayed",
  "StepStarted",
  "StepSaved",
  "StepReplayed",
  "HealthChecked",
  "RemedySkipped"
])
