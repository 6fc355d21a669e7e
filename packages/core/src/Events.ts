/**
 * One typed stream of what every pattern did: opened, retried, replayed, resumed, degraded, healed, escalated.
 *
 * Patterns publish through a `Context.Reference`, so nobody has to provide anything: without `Events.layer` there is no
 * listener and publishing costs one comparison. With it, any number of subscribers read the same ordered stream, each
 * from a queue of its own: a subscriber that is slow, blocks or dies neither delays a call nor starves another one.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"

/**
 * Every event by its tag: the fields it carries, durations in milliseconds. Programs add their own events by
 * declaration merging: `declare module "@firebreak/core/Events" { interface Catalog { PageSpooled: { … } } }`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Catalog {
  // CircuitBreaker
  CircuitOpened: { readonly breaker: string; readonly failures: number; readonly retryAfterMillis: number }
  CircuitHalfOpened: { readonly breaker: string }
  CircuitClosed: { readonly breaker: string }
  CircuitForced: { readonly breaker: string; readonly state: "open" | "closed" }
  CircuitReleased: { readonly breaker: string }

  // Backoff
  RetryScheduled: {
    readonly name: string
    /** What is retried, where the schedule was told. */
    readonly operation?: string
    readonly retry: number
    readonly delayMillis: number
    readonly error: string
  }

  // Bulkhead
  BulkheadRejected: {
    readonly bulkhead: string
    readonly running: number
    readonly waiting: number
    readonly reason: "full" | "timeout"
  }

  // RateLimit
  RateLimitReached: { readonly limit: string; readonly retryAfterMillis: number }

  // ConcurrencyLimit
  ConcurrencyLimitMoved: { readonly limiter: string; readonly from: number; readonly to: number }
  CallShed: { readonly limiter: string; readonly limit: number; readonly inFlight: number; readonly priority: number }

  // RetryBudget
  RetryBudgetExhausted: { readonly budget: string }

  // Throttle
  ThrottlingStarted: { readonly throttle: string; readonly probability: number }

  // Hedge
  HedgeBudgetExhausted: { readonly hedge: string }

  // Deadline
  DeadlineExceeded: { readonly afterMillis: number; readonly started: boolean }

  // Chaos
  ChaosInjected: { readonly target: string; readonly kind: "fault" | "latency" | "outcome" | "hang" }

  // Idempotency; `scope` is left out for the default one
  ActionStarted: { readonly operation: string; readonly key: string; readonly scope?: string | undefined }
  ActionCompleted: {
    readonly operation: string
    readonly key: string
    readonly scope?: string | undefined
    readonly outcome: "success" | "failure"
  }
  ActionNotStarted: { readonly operation: string; readonly key: string; readonly scope?: string | undefined }
  ActionReplayed: { readonly operation: string; readonly key: string; readonly scope?: string | undefined }
  ActionInDoubt: {
    readonly operation: string
    readonly key: string
    readonly scope?: string | undefined
    readonly resolution: "retry" | "probe" | "escalate"
  }

  // Checkpoint
  RunStarted: { readonly workflow: string; readonly runId: string }
  RunResumed: { readonly workflow: string; readonly runId: string; readonly completedSteps: number }
  RunCompleted: { readonly workflow: string; readonly runId: string; readonly outcome: "success" | "failure" }
  RunCancelled: { readonly workflow: string; readonly runId: string; readonly reason: string }
  RunExpired: { readonly workflow: string; readonly runId: string; readonly deadlineAt: number }
  RunDied: { readonly workflow: string; readonly runId: string; readonly stalls: number }
  StepStarted: { readonly workflow: string; readonly runId: string; readonly step: string }
  StepSaved: {
    readonly workflow: string
    readonly runId: string
    readonly step: string
    readonly seq: number
    readonly outcome: "success" | "failure"
  }
  StepReplayed: { readonly workflow: string; readonly runId: string; readonly step: string; readonly seq: number }
  StepCompensated: { readonly workflow: string; readonly runId: string; readonly step: string }

  // Degradation
  ComponentDegraded: {
    readonly component: string
    readonly quality: "alternate" | "cached" | "constant" | "absent"
    readonly source: string
    readonly error: string
  }
  ComponentRecovered: { readonly component: string; readonly afterMillis: number }
  RefreshFailed: { readonly component: string; readonly error: string }
  ResponseDegraded: {
    readonly level: "slight" | "moderate" | "minimal" | "failed"
    readonly components: ReadonlyArray<string>
  }
  SloViolated: {
    readonly name: string
    readonly objective: "full" | "cached" | "spell"
    /** Of a spell in milliseconds, as its limit. */
    readonly value: number
    readonly limit: number
  }
  SloMet: {
    readonly name: string
    readonly objective: "full" | "cached" | "spell"
    readonly value: number
    readonly limit: number
  }

  // Health and Healing
  HealthChecked: {
    readonly status: "healthy" | "degraded" | "unhealthy" | "critical"
    readonly passing: number
    readonly total: number
    readonly failed: ReadonlyArray<string>
  }
  RemedyApplied: {
    readonly remedy: string
    readonly trigger: string
    readonly attempt: number
    readonly dryRun: boolean
  }
  RemedyVerified: { readonly remedy: string; readonly trigger: string; readonly attempt: number }
  RemedyFailed: { readonly remedy: string; readonly trigger: string; readonly attempt: number; readonly error: string }
  RemedySkipped: {
    readonly remedy: string
    readonly trigger: string
    readonly reason: "cooldown" | "exhausted" | "disabled" | "running"
  }
  FailedOver: { readonly name: string; readonly to: string }
  FailedBack: { readonly name: string; readonly to: string }
  Escalated: {
    readonly name: string
    readonly reason: "too many failures" | "exhausted"
    readonly failing: ReadonlyArray<string>
    readonly consecutiveFailures: number
    readonly dryRun: boolean
  }
  EscalationFailed: { readonly name: string; readonly error: string }
  EscalationDrilled: {
    readonly name: string
    readonly outcome: "success" | "failure"
    readonly elapsedMillis: number
    /** Why the last try failed that did, if any. */
    readonly error: string | undefined
  }
  HealingResumed: { readonly name: string }

  // Supervision
  ChildRestarting: {
    readonly name: string
    readonly child: string
    readonly restarts: number
    readonly with: ReadonlyArray<string>
    readonly delayMillis: number
    readonly error: string
  }
  ChildEnded: { readonly name: string; readonly child: string; readonly error: string }
  ChildLeftBehind: { readonly name: string; readonly child: string; readonly afterMillis: number }
  SupervisionGaveUp: {
    readonly name: string
    readonly child: string
    readonly restarts: number
    readonly error: string
  }

  // Autoscale
  Scaled: { readonly name: string; readonly from: number; readonly to: number; readonly dryRun: boolean }
  ScaleFailed: { readonly name: string; readonly from: number; readonly to: number; readonly error: string }
  ScalingBlind: { readonly name: string; readonly error: string }

  // Reconcile
  DriftFound: {
    readonly name: string
    readonly repairs: ReadonlyArray<string>
    readonly deferred: number
    readonly refused: ReadonlyArray<string>
    readonly dryRun: boolean
  }
  DriftRepaired: { readonly name: string; readonly key: string; readonly drift: "Missing" | "Different" | "Unexpected" }
  RepairFailed: {
    readonly name: string
    readonly key: string
    readonly drift: "Missing" | "Different" | "Unexpected"
    readonly error: string
  }
  ReconcileBlind: { readonly name: string; readonly error: string }

  // LoopGuard
  LoopStopped: { readonly guard: string; readonly evidence: string; readonly detail: string }
}

/**
 * What happened: a union discriminated by `_tag`.
 *
 * @since 0.1.0
 * @category models
 */
export type Event = { [Tag in keyof Catalog]: { readonly _tag: Tag } & Catalog[Tag] }[keyof Catalog]

/**
 * An event with the wall-clock time at which it was published, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type Published = Event & { readonly at: number }

/**
 * The events of the given tags.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<Tag extends keyof Catalog> = Extract<Published, { readonly _tag: Tag }>

/**
 * Where patterns publish and listeners subscribe.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Whether anybody listens; lets a hot path skip building the event. */
  readonly isActive: () => boolean
  /** Hands the event to every subscriber without waiting; `at` is epoch milliseconds. */
  readonly unsafePublish: (event: Event, at: number) => void
  /** Calls `listener` at once with every event from now on, until the returned function is called. It must be quick. */
  readonly unsafeListen: (listener: (event: Published) => void) => () => void
}

/**
 * The current event bus; by default one that nobody can hear.
 *
 * @since 0.1.0
 * @category tags
 */
export class Events extends Context.Reference<Events>()("@firebreak/core/Events", {
  defaultValue: (): Service => silent
}) {}

/**
 * Events a subscriber may fall behind before it loses newer ones.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { capacity: 16_384 } as const

/**
 * Makes an event bus.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): Service => {
  const listeners = new Set<(event: Published) => void>()
  return {
    isActive: () => listeners.size > 0,
    unsafePublish: (event, at) => {
      if (listeners.size === 0) return
      const published: Published = { ...event, at }
      for (const listener of listeners) {
        try {
          listener(published)
        } catch {
          // a listener's fault must not become that of the call which is being told about
        }
      }
    },
    unsafeListen: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  }
}

/**
 * Provides an event bus that can be subscribed to.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.suspend(() => Layer.succeed(Events, make()))

/**
 * Publishes one event, stamped by the current Clock.
 *
 * @since 0.1.0
 * @category publishing
 */
export const publish = (event: Event): Effect.Effect<void> =>
  Effect.flatMap(Events, (events) =>
    events.isActive()
      ? Effect.map(Clock.currentTimeMillis, (at) => events.unsafePublish(event, at))
      : Effect.void)

/**
 * Publishes what `event` makes, at once and from the code of a running fiber; it is made only if somebody listens.
 *
 * @since 0.1.0
 * @category publishing
 */
export const unsafePublish = (fiber: Fiber.RuntimeFiber<any, any>, event: () => Event): void => {
  const events = Context.unsafeGet(fiber.currentContext, Events)
  if (events.isActive()) events.unsafePublish(event(), Time.wallMillis(fiber))
}

/**
 * Subscribes to a bus within the current scope. What is published after this effect returns is in the queue, which holds
 * `capacity` events (default 16,384) and drops newer ones while it is full.
 *
 * @since 0.1.0
 * @category subscribing
 */
export const subscribeTo = (
  events: Service,
  options: { readonly capacity?: number | undefined } = {}
): Effect.Effect<Queue.Dequeue<Published>, never, Scope.Scope> => {
  Check.known("Events.subscribeTo", options, { capacity: true })
  const capacity = Check.whole("Events.subscribeTo", "capacity", options.capacity ?? defaults.capacity, { min: 1 })
  return Effect.map(
    Effect.acquireRelease(
      Effect.map(Queue.dropping<Published>(capacity), (queue) => ({
        queue,
        unsubscribe: events.unsafeListen((event) => void queue.unsafeOffer(event))
      })),
      ({ queue, unsubscribe }) => Effect.zipRight(Effect.sync(unsubscribe), Queue.shutdown(queue))
    ),
    ({ queue }) => queue
  )
}

/**
 * Subscribes to the current bus within the current scope.
 *
 * @since 0.1.0
 * @category subscribing
 */
export const subscribe: Effect.Effect<Queue.Dequeue<Published>, never, Scope.Scope> = Effect.flatMap(
  Events,
  (events) => subscribeTo(events)
)

/**
 * All events published after the stream was started.
 *
 * @since 0.1.0
 * @category subscribing
 */
export const stream: Stream.Stream<Published> = Stream.unwrapScoped(
  Effect.map(subscribe, (queue) => Stream.fromQueue(queue))
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const silent: Service = {
  isActive: () => false,
  unsafePublish: () => {},
  unsafeListen: () => () => {}
}
