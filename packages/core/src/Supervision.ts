/**
 * Keeps programs running, as Erlang's supervisors do: a child that ends is restarted, alone or with its siblings, more
 * slowly each time it ends again, and when there were too many restarts the supervisor stops everything and fails, for
 * what is above it to decide.
 *
 * A child is a scoped effect; each start has a scope of its own, closed before the next. An interruption from outside ends
 * the supervisor and all its children; what interrupts a child from within is its end like any other. The decisions are in
 * `SupervisionState`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as HealthCheck from "./HealthCheck.js"
import { durationText } from "./internal/durationText.js"
import * as Check from "./internal/options.js"
import { endText, Supervisor } from "./internal/supervisor.js"
import type * as State from "./SupervisionState.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Default `one-for-one`. */
  readonly strategy?: State.Strategy | undefined
  /** Restarts within `within` that are granted. Default 5. */
  readonly maxRestarts?: number | undefined
  /** Default 10 minutes. */
  readonly within?: Duration.DurationInput | undefined
  /** The wait before a child's second restart in a row; the first is at once. Default 10 seconds. */
  readonly base?: Duration.DurationInput | undefined
  /** By how much the wait grows. Default 2. */
  readonly factor?: number | undefined
  /** The longest wait. Default 5 minutes. */
  readonly cap?: Duration.DurationInput | undefined
  /** A child that ran for so long begins anew. Default 10 minutes. */
  readonly resetAfter?: Duration.DurationInput | undefined
  /** How long a child may take to stop, before it is left behind. Default 5 seconds. */
  readonly shutdown?: Duration.DurationInput | undefined
}

/**
 * Kubernetes' figures for its waits, Erlang's for stopping.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  strategy: "one-for-one",
  restart: "permanent",
  maxRestarts: 5,
  within: "10 minutes",
  base: "10 seconds",
  factor: 2,
  cap: "5 minutes",
  resetAfter: "10 minutes",
  shutdown: "5 seconds"
} as const

/**
 * A program to be kept running.
 *
 * @since 0.1.0
 * @category models
 */
export interface Child<out R = never> {
  readonly effect: Effect.Effect<unknown, unknown, R>
  readonly restart: State.Restart
}

/**
 * Children by their names, in the order of their start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Children {
  readonly [name: string]: Child<any>
}

/**
 * What the effects of some children require, apart from the scope that each start gets.
 *
 * @since 0.1.0
 * @category models
 */
export type Context<C extends Children> = C[keyof C] extends Child<infer R> ? Exclude<R, Scope.Scope> : never

/**
 * What a child is doing: it runs, waits to be started or restarted, or has ended for good.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChildStatus {
  readonly status: "running" | "waiting" | "ended"
  readonly restarts: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Supervision<Name extends string = string> {
  readonly name: string
  readonly children: Effect.Effect<{ readonly [K in Name]: ChildStatus }>
  /** Ends when every child has ended for good, or with why the supervisor has given up. */
  readonly await: Effect.Effect<void, RestartsExceeded>
  /** Passes while every child runs or has ended for good; fails once the supervisor has given up. */
  readonly check: HealthCheck.HealthCheck
}

/**
 * A supervisor has given up, and stopped all its children.
 *
 * @since 0.1.0
 * @category errors
 */
export class RestartsExceeded extends Data.TaggedError("RestartsExceeded")<{
  readonly supervision: string
  /** The child whose end was one too many, and what it ended with. */
  readonly child: string
  readonly cause: Cause.Cause<unknown>
  readonly restarts: number
  readonly within: Duration.Duration
}> {
  override get message(): string {
    return `Supervision "${this.supervision}" gave up: ${this.restarts} restarts within ${
      durationText(this.within)
    }, ` +
      `and "${this.child}" ended again (${endText(this.cause)})`
  }
}

/**
 * Declares a child. `restart` (default `permanent`) says after which end it is restarted.
 *
 * @example
 * import * as Supervision from "@firebreak/core/Supervision"
 * import * as Effect from "effect/Effect"
 *
 * const consumer = Supervision.child(Effect.never)
 * const migration = Supervision.child(Effect.log("migrated"), { restart: "transient" })
 *
 * @since 0.1.0
 * @category constructors
 */
export const child = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly restart?: State.Restart | undefined } = {}
): Child<R> => {
  Check.known("Supervision.child", options, { restart: { permanent: true, transient: true, temporary: true } })
  return { effect, restart: options.restart ?? defaults.restart }
}

/**
 * Starts the children in their order; they are stopped in reverse when the scope closes.
 *
 * @example
 * import * as Supervision from "@firebreak/core/Supervision"
 * import * as Effect from "effect/Effect"
 *
 * declare const consume: Effect.Effect<never, Error>
 * declare const publish: Effect.Effect<never, Error>
 *
 * const program = Effect.gen(function*() {
 *   const workers = yield* Supervision.make({
 *     name: "workers",
 *     strategy: "rest-for-one",
 *     children: { consumer: Supervision.child(consume), publisher: Supervision.child(publish) }
 *   })
 *   yield* workers.await
 * }).pipe(Effect.scoped)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const C extends Children>(
  options: Options & { readonly name: string; readonly children: C }
): Effect.Effect<Supervision<keyof C & string>, never, Scope.Scope | Context<C>> => {
  Check.known("Supervision", options, {
    name: true,
    children: true,
    strategy: { "one-for-one": true, "one-for-all": true, "rest-for-one": true },
    maxRestarts: true,
    within: true,
    base: true,
    factor: true,
    cap: true,
    resetAfter: true,
    shutdown: true
  })
  const name = Check.name("Supervision", "name", options.name)
  const settings = resolve(options)
  const shutdown = Check.millis("Supervision", "shutdown", options.shutdown ?? defaults.shutdown, { min: 1 })
  return Effect.gen(function*() {
    const supervisor = yield* Supervisor.make(name, options.children, settings, shutdown)
    const supervise = Effect.mapError(
      supervisor.supervise,
      (gaveUp) => new RestartsExceeded({ supervision: name, ...gaveUp, within: Duration.millis(settings.within) })
    )
    const done = yield* Deferred.make<void, RestartsExceeded>()
    let gaveUp: RestartsExceeded | undefined
    const supervising = yield* Effect.acquireRelease(
      Effect.zipRight(supervisor.startAll, Effect.forkDaemon(Effect.interruptible(supervise))),
      (fiber) => Effect.zipRight(Fiber.interrupt(fiber), supervisor.stopAll)
    )
    supervising.addObserver((exit) => {
      gaveUp = Option.getOrUndefined(Cause.failureOption(Exit.isFailure(exit) ? exit.cause : Cause.empty))
      Deferred.unsafeDone(done, exit)
    })
    return {
      name,
      children: Effect.sync(() => supervisor.statuses() as { readonly [K in keyof C & string]: ChildStatus }),
      await: Deferred.await(done),
      check: HealthCheck.make(Effect.suspend(() => {
        if (gaveUp !== undefined) return Effect.fail(gaveUp.message)
        const waiting = Object.entries(supervisor.statuses()).filter(([, { status }]) => status === "waiting")
        return waiting.length === 0
          ? Effect.void
          : Effect.fail(`${waiting.map(([child]) => `"${child}"`).join(", ")} waits to be restarted`)
      }))
    }
  })
}

/**
 * Supervises the children until every one has ended for good, or there were too many restarts.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <const C extends Children>(
  options: Options & { readonly name: string; readonly children: C }
): Effect.Effect<void, RestartsExceeded, Context<C>> => {
  const supervised = make(options)
  return Effect.scoped(Effect.flatMap(supervised, (supervision) => supervision.await)) as Effect.Effect<
    void,
    RestartsExceeded,
    Context<C>
  >
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const resolve = (options: Options & { readonly children: Children }): State.Settings => {
  const module = "Supervision"
  const children = new Map(Object.entries(options.children).map(([child, { restart }]) => [child, restart]))
  if (children.size === 0) throw new Check.InvalidOption(`${module}: children must have at least one`)
  const base = Check.millis(module, "base", options.base ?? defaults.base)
  return {
    strategy: options.strategy ?? defaults.strategy,
    children,
    maxRestarts: Check.whole(module, "maxRestarts", options.maxRestarts ?? defaults.maxRestarts, { min: 0 }),
    within: Check.millis(module, "within", options.within ?? defaults.within, { min: 1 }),
    base,
    factor: Check.between(module, "factor", options.factor ?? defaults.factor, { min: 1, max: 1e6 }),
    cap: Check.millis(module, "cap", options.cap ?? defaults.cap, { min: base }),
    resetAfter: Check.millis(module, "resetAfter", options.resetAfter ?? defaults.resetAfter, { min: 1 })
  }
}
