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
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Events from "./Events.js"
import * as HealthCheck from "./HealthCheck.js"
import { bounded } from "./internal/bounded.js"
import { durationText } from "./internal/durationText.js"
import { errorText } from "./internal/errorText.js"
import * as Check from "./internal/options.js"
import * as State from "./SupervisionState.js"

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
    const supervisor = new Supervisor(name, options.children, settings, shutdown, yield* Queue.unbounded<Message>())
    const done = yield* Deferred.make<void, RestartsExceeded>()
    let gaveUp: RestartsExceeded | undefined
    const supervising = yield* Effect.acquireRelease(
      Effect.zipRight(supervisor.startAll, Effect.forkDaemon(Effect.interruptible(supervisor.supervise))),
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

type Message =
  | {
    readonly _tag: "Ended"
    readonly child: string
    readonly start: number
    readonly exit: Exit.Exit<unknown, unknown>
  }
  | { readonly _tag: "Due"; readonly children: ReadonlyArray<string>; readonly turn: number }

interface Running {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** Tells this start from earlier ones, whose end may still be in the queue. */
  readonly start: number
  readonly startedAt: number
}

/** Works through its messages one after the other, so that nothing happens at the same time. */
class Supervisor {
  private state = State.initial
  private readonly running = new Map<string, Running>()
  private readonly restarts = new Map<string, number>()
  /** By the turn of the wait that will start them again. */
  private readonly waiting = new Map<string, number>()
  private count = 0

  constructor(
    readonly name: string,
    private readonly children: Children,
    private readonly settings: State.Settings,
    private readonly shutdown: number,
    private readonly messages: Queue.Queue<Message>
  ) {}

  statuses(): { readonly [child: string]: ChildStatus } {
    return Object.fromEntries(
      Object.keys(this.children).map((child) => [child, {
        status: this.waiting.has(child) ? "waiting" : this.running.has(child) ? "running" : "ended",
        restarts: this.restarts.get(child) ?? 0
      }])
    )
  }

  get startAll(): Effect.Effect<void, never, any> {
    return Effect.forEach(Object.keys(this.children), (child) => this.start(child), { discard: true })
  }

  get supervise(): Effect.Effect<void, RestartsExceeded, any> {
    return Effect.gen(this, function*() {
      while (this.running.size > 0 || this.waiting.size > 0) {
        const message = yield* Queue.take(this.messages)
        if (message._tag === "Ended") yield* this.ended(message)
        else yield* this.due(message)
      }
    })
  }

  /** Stops what runs, the last started first. */
  get stopAll(): Effect.Effect<void> {
    return Effect.suspend(() => this.stop(Array.from(this.running.keys())))
  }

  private start(child: string): Effect.Effect<void, never, any> {
    return Effect.gen(this, function*() {
      const start = ++this.count
      const startedAt = yield* now
      const fiber = yield* Effect.forkDaemon(Effect.interruptible(Effect.scoped(this.children[child]!.effect)))
      this.running.delete(child)
      this.running.set(child, { fiber, start, startedAt })
      fiber.addObserver((exit) => void this.messages.unsafeOffer({ _tag: "Ended", child, start, exit }))
    }).pipe(Effect.uninterruptible)
  }

  private ended({ child, exit, start }: Message & { readonly _tag: "Ended" }) {
    return Effect.gen(this, function*() {
      const running = this.running.get(child)
      if (running?.start !== start) return
      this.running.delete(child)
      const at = yield* now
      const failed = Exit.isFailure(exit)
      const ran = at - running.startedAt
      const [state, decision] = State.ended(this.state, { child, failed, ran, now: at }, this.settings)
      this.state = state
      const cause = failed ? exit.cause : Cause.empty
      switch (decision._tag) {
        case "Leave":
          return yield* Events.publish({ _tag: "ChildEnded", name: this.name, child, error: endText(cause) })
        case "GiveUp": {
          const { restarts } = decision
          yield* Events.publish({ _tag: "SupervisionGaveUp", name: this.name, child, restarts, error: endText(cause) })
          this.waiting.clear()
          yield* this.stopAll
          const within = Duration.millis(this.settings.within)
          return yield* new RestartsExceeded({ supervision: this.name, child, cause, restarts, within })
        }
        case "Restart":
          return yield* this.restart(child, cause, decision)
      }
    })
  }

  private restart(child: string, cause: Cause.Cause<unknown>, decision: State.Decision & { readonly _tag: "Restart" }) {
    return Effect.gen(this, function*() {
      const { after, children } = decision
      this.restarts.set(child, (this.restarts.get(child) ?? 0) + 1)
      yield* Events.publish({
        _tag: "ChildRestarting",
        name: this.name,
        child,
        restarts: this.restarts.get(child)!,
        with: children.filter((other) => other !== child),
        delayMillis: after,
        error: endText(cause)
      })
      // a sibling that has ended for good stays so
      const again = children.filter((other) => other === child || this.running.has(other) || this.waiting.has(other))
      yield* this.stop(children)
      const turn = ++this.count
      for (const other of again) this.waiting.set(other, turn)
      const due = Effect.sync(() => this.messages.unsafeOffer({ _tag: "Due", children: again, turn }))
      yield* after === 0 ? due : Effect.fork(Effect.zipRight(Effect.sleep(after), due))
    })
  }

  private due({ children, turn }: Message & { readonly _tag: "Due" }) {
    return Effect.gen(this, function*() {
      for (const child of children) {
        // a later restart may have taken it over
        if (this.waiting.get(child) !== turn) continue
        this.waiting.delete(child)
        yield* this.start(child)
      }
    })
  }

  /** To its end, though the supervisor is interrupted meanwhile: what is being stopped is in no list any more. */
  private stop(children: ReadonlyArray<string>): Effect.Effect<void> {
    const started = Array.from(this.running).filter(([child]) => children.includes(child)).toReversed()
    return Effect.forEach(started, ([child, { fiber }]) =>
      Effect.suspend(() => {
        // its end is no news any more
        this.running.delete(child)
        return Effect.flatMap(bounded(this.shutdown).run(Fiber.interrupt(fiber)), (stopped) =>
          Either.isRight(stopped)
            ? Effect.void
            : Events.publish({ _tag: "ChildLeftBehind", name: this.name, child, afterMillis: this.shutdown }))
      }), { discard: true }).pipe(Effect.uninterruptible)
  }
}

const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/** How a child ended: what it failed with, or by itself. */
const endText = (cause: Cause.Cause<unknown>): string => {
  if (Cause.isEmpty(cause)) return "it ended by itself"
  return Cause.isInterruptedOnly(cause) ? "it was interrupted" : errorText(Cause.squash(cause))
}

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
