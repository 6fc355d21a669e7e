/**
 * Owns a scoped program, hands out what it built, and restarts it: closes its scope, then builds it again.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { Swappable } from "./Failover.js"
import { closeOver } from "./internal/closeOver.js"
import { errorText } from "./internal/errorText.js"
import * as Check from "./internal/options.js"
import { swapping } from "./internal/swapping.js"
import * as Remedy from "./Remedy.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options extends Remedy.Options {
  /** Names the program; its remedy is called `restart <name>`. */
  readonly name: string
}

/**
 * The book's cooldown between two restarts; the rest is as for every remedy.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { cooldown: "60 seconds" } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Restartable<out A, out E> {
  readonly name: string
  /** What runs now. Waits while it restarts; fails as the last build did. */
  readonly get: Effect.Effect<A, E>
  /** How often it was built again. */
  readonly restarts: Effect.Effect<number>
  /**
   * Stops it and builds it again; callers at the same time share one restart. One that all of them have left is given up:
   * what ran before is stopped, and nothing runs until the next restart, so leave it time to build.
   */
  readonly restart: Effect.Effect<void, E>
  /** `restart` for `Healing`, with its cooldown. */
  readonly remedy: Remedy.Remedy
}

/**
 * Starts a scoped effect; it is stopped when the surrounding scope closes. For a Layer pass `Layer.build(layer)`.
 *
 * @example
 * import * as Restartable from "@firebreak/core/Restartable"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * const consumer = Effect.log("polling").pipe(Effect.repeat(Schedule.spaced("1 second")), Effect.forkScoped)
 *
 * const program = Effect.gen(function*() {
 *   const worker = yield* Restartable.make(consumer, { name: "consumer", cooldown: "60 seconds" })
 *   yield* worker.restart
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options: Options
): Effect.Effect<Restartable<A, E>, E, Exclude<R, Scope.Scope> | Scope.Scope> => {
  const { name, ...rest } = options
  Check.known("Restartable", rest, {
    attempts: true,
    cooldown: true,
    timeout: true,
    verifyAfter: true,
    enabled: true
  })
  const limits = { ...rest, cooldown: rest.cooldown ?? defaults.cooldown }
  // names and numbers are checked now, not when the effect runs
  Remedy.make(`restart ${name}`, Effect.void, limits)
  return Effect.gen(function*() {
    const context = yield* Effect.context<Exclude<R, Scope.Scope>>()
    const outer = yield* Effect.scope
    const abandoned = Exit.die(new Error(`Restartable "${name}": its restart was interrupted`))
    let state: Started<A, E> | Restarting<A, E>
    let restarts = 0
    let closed = false

    const stop = (scope: Scope.CloseableScope) =>
      Effect.catchAllCause(
        Scope.close(scope, Exit.void),
        (cause) => Effect.logWarning(`Restartable "${name}": a finalizer failed`, cause)
      )

    // runs uninterruptibly but for the program itself, so that no scope is lost between two states
    const build = (restore: <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.Effect<B, F, S>) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const exit = yield* restore(program).pipe(Scope.extend(scope), closeOver(context), Effect.exit)
        if (closed || Exit.isFailure(exit)) yield* stop(scope)
        return { _tag: "Started", scope, exit } as const
      })

    const rebuild = (previous: Started<A, E>, restarting: Restarting<A, E>) =>
      Effect.gen(function*() {
        yield* stop(previous.scope)
        const started = yield* build(Effect.interruptible)
        const exit = restarting.callers === 0 && Exit.isInterrupted(started.exit) ? abandoned : started.exit
        restarts++
        state = { ...started, exit }
        yield* Deferred.done(restarting.done, exit)
      })

    // it runs on its own fiber, so that no caller's interruption fails the others; when all have left, it is given up
    const restart: Effect.Effect<void, E> = Effect.uninterruptibleMask((restore) => {
      const join = (restarting: Restarting<A, E>) =>
        Effect.onExit(restore(Deferred.await(restarting.done)), () => {
          restarting.callers--
          return state === restarting && restarting.callers === 0 && restarting.fiber !== undefined
            ? Fiber.interrupt(restarting.fiber)
            : Effect.void
        })
      return Effect.suspend((): Effect.Effect<unknown, E> => {
        if (closed) return Effect.interrupt
        if (state._tag === "Restarting") {
          if (state.callers === 0) {
            return Effect.zipRight(restore(Effect.exit(Deferred.await(state.done))), restore(restart))
          }
          state.callers++
          return join(state)
        }
        const restarting: Restarting<A, E> = {
          _tag: "Restarting",
          done: Deferred.unsafeMake(FiberId.none),
          callers: 1,
          fiber: undefined
        }
        const forked = Effect.forkIn(rebuild(state, restarting), outer)
        state = restarting
        return Effect.flatMap(forked, (fiber) => {
          restarting.fiber = fiber
          return join(restarting)
        })
      })
    })

    const close = Effect.suspend(() => {
      closed = true
      return state._tag === "Started" ? stop(state.scope) : Effect.void
    })
    yield* Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(build(restore), (started) => {
        state = started
        return Effect.zipRight(Effect.addFinalizer(() => close), started.exit)
      })
    )
    return {
      name,
      get: Effect.suspend(() => state._tag === "Restarting" ? Deferred.await(state.done) : state.exit),
      restarts: Effect.sync(() => restarts),
      restart,
      remedy: Remedy.make(`restart ${name}`, restart, limits)
    }
  })
}

/**
 * Identifies the restartable behind a service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Of<in out I, out E> {
  readonly _: (service: I) => I
  readonly _E: E
}

/**
 * The tag of the restartable that `layer` put behind a service. `E` is what its Layer fails with.
 *
 * @since 0.1.0
 * @category tags
 */
export const of = <I, S, E = never>(tag: Context.Tag<I, S>): Context.Tag<Of<I, E>, Restartable<S, E>> =>
  Context.GenericTag(`@firebreak/core/Restartable/${tag.key}`)

/**
 * What a call of a service dies with whose Layer could not be built again, until a restart succeeds: a defect, for the
 * service's own errors know nothing of it.
 *
 * @since 0.1.0
 * @category errors
 */
export class RestartFailed extends Error {
  /**
   * @since 0.1.0
   */
  override readonly name = "RestartFailed"
  constructor(readonly restartable: string, override readonly cause: Cause.Cause<unknown>) {
    super(
      `Restartable "${restartable}" is down, the call did not run: its restart failed (${
        errorText(Cause.squash(cause))
      })`
    )
  }
}

/**
 * Provides a service that can be restarted under its users, and its restartable under `Restartable.of(tag)`. A restart
 * closes the scope of the Layer, with what was built below it, and builds it again; calls made meanwhile wait, and go to
 * the new instance, even from effects made before. A call under way stays with the old one, which is closed under it.
 *
 * @example
 * import * as Restartable from "@firebreak/core/Restartable"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * class Database extends Context.Tag("Database")<Database, {
 *   readonly query: (sql: string) => Effect.Effect<string>
 * }>() {}
 * const open = Effect.acquireRelease(Effect.log("connect"), () => Effect.log("disconnect"))
 * const Pool = Layer.scoped(Database, Effect.as(open, { query: (sql) => Effect.succeed(sql) }))
 *
 * const DatabaseLive = Restartable.layer(Database, Pool, { cooldown: "60 seconds" })
 *
 * const restart = Effect.flatMap(Restartable.of(Database), (database) => database.restart)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I, S extends Swappable<S>, E, R>(
  tag: Context.Tag<I, S>,
  service: Layer.Layer<I, E, R>,
  options: Partial<Options> = {}
): Layer.Layer<I | Of<I, E>, E, R> => {
  const name = options.name ?? tag.key
  const build = Effect.map(Layer.build(Layer.fresh(service)), Context.get(tag))
  const restartable = make(build, { ...options, name })
  return Layer.scopedContext(Effect.gen(function*() {
    const running = yield* restartable
    const first = yield* running.get
    const now = Effect.catchAllCause(running.get, (cause) => Effect.die(new RestartFailed(name, cause)))
    return Context.make(of<I, S, E>(tag), running).pipe(
      Context.add(tag, swapping(first, (f) => Effect.flatMap(now, f)))
    )
  }))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Started<A, E> {
  readonly _tag: "Started"
  readonly scope: Scope.CloseableScope
  readonly exit: Exit.Exit<A, E>
}

interface Restarting<A, E> {
  readonly _tag: "Restarting"
  readonly done: Deferred.Deferred<A, E>
  /** Callers of `restart` that wait for it; with none left it is being given up. */
  callers: number
  fiber: Fiber.Fiber<void> | undefined
}
