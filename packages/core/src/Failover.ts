/**
 * One of several implementations is active: the primary, until it is left for a backup, and again when it has been well
 * for a while.
 *
 * Which one is active is a single cell, so there are never two and never none. A call stays with the implementation it
 * started on. It is left when somebody says so, such as a remedy of `Healing`, or with `failoverAfter` by its own probes.
 * The decisions, which do not follow a primary that comes and goes, are in `FailoverState`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Events from "./Events.js"
import * as State from "./FailoverState.js"
import { bounded } from "./internal/bounded.js"
import { closeOver } from "./internal/closeOver.js"
import * as Check from "./internal/options.js"
import { swapping } from "./internal/swapping.js"
import * as Time from "./internal/time.js"
import * as Remedy from "./Remedy.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<A, R = never> {
  /** Whether an implementation is well: it is if the effect succeeds. Without it nothing fails back by itself. */
  readonly check?: ((implementation: A) => Effect.Effect<unknown, unknown, R>) | undefined
  /**
   * Failed probes of the active implementation in a row after which a healthy other one is active. With it all of them are
   * probed all the time, without it only the primary while a backup is active. Default: never by itself.
   */
  readonly failoverAfter?: number | undefined
  /** Time between two probes. Default 10 seconds. */
  readonly probeEvery?: Duration.DurationInput | undefined
  /** When a probe that has not ended counts as failed. Default 1 second. */
  readonly probeTimeout?: Duration.DurationInput | undefined
  /** Healthy probes of the primary in a row after which it is active again. Default 3. */
  readonly failbackAfter?: number | undefined
  /** Least time on a backup before the primary is active again; doubled each time it fails soon after. Default 30 seconds. */
  readonly holdFor?: Duration.DurationInput | undefined
  /** The longest that it grows to. Default 10 minutes. */
  readonly maxHold?: Duration.DurationInput | undefined
  /** A primary that was well for so long is trusted as before. Default 10 minutes. */
  readonly resetAfter?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  failoverAfter: Infinity,
  probeEvery: "10 seconds",
  probeTimeout: "1 second",
  failbackAfter: 3,
  holdFor: "30 seconds",
  maxHold: "10 minutes",
  resetAfter: "10 minutes"
} as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Failover<A> {
  readonly name: string
  /** The implementation in use; its name is "primary" or the key of a backup. */
  readonly active: Effect.Effect<{ readonly name: string; readonly implementation: A }>
  /** Runs something with the implementation that is active when it starts. */
  readonly use: <B, E, R>(f: (implementation: A) => Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>
  /** Makes the next backup active that is not known to fail. */
  readonly failover: Effect.Effect<void, NoBackup>
  /** Makes the primary active, whatever its state. */
  readonly failback: Effect.Effect<void>
  /** Probes once, and does what follows from it. */
  readonly probe: Effect.Effect<void>
  /** `failover` for `Healing`: an attempt for each backup, no cooldown. */
  readonly remedy: Remedy.Remedy
}

/**
 * There is no backup after the active implementation, which stays active.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoBackup extends Data.TaggedError("NoBackup")<{ readonly failover: string; readonly active: string }> {
  override get message(): string {
    return `Failover "${this.failover}" has no backup left; "${this.active}" stays active`
  }
}

/**
 * Makes a failover over values. The probes stop with the scope.
 *
 * @example
 * import * as Failover from "@firebreak/core/Failover"
 * import * as Effect from "effect/Effect"
 *
 * interface Database {
 *   readonly query: (sql: string) => Effect.Effect<string, Error>
 * }
 * const main: Database = { query: (sql) => Effect.succeed(`main: ${sql}`) }
 * const replica: Database = { query: (sql) => Effect.succeed(`replica: ${sql}`) }
 *
 * const program = Effect.gen(function*() {
 *   const database = yield* Failover.make({
 *     name: "database",
 *     primary: main,
 *     backups: { replica },
 *     check: (implementation) => implementation.query("select 1")
 *   })
 *   return yield* database.use(({ query }) => query("select now()"))
 * }).pipe(Effect.scoped)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, R = never>(
  options: Options<NoInfer<A>, R> & {
    readonly name: string
    readonly primary: A
    readonly backups: { readonly [name: string]: NoInfer<A> }
  }
): Effect.Effect<Failover<A>, never, Scope.Scope | R> => {
  Check.known("Failover", options, {
    name: true,
    primary: true,
    backups: true,
    check: true,
    failoverAfter: true,
    probeEvery: true,
    probeTimeout: true,
    failbackAfter: true,
    holdFor: true,
    maxHold: true,
    resetAfter: true
  })
  const name = Check.name("Failover", "name", options.name)
  const millis = (option: "probeEvery" | "probeTimeout" | "holdFor" | "maxHold" | "resetAfter", min: number) =>
    Check.millis("Failover", option, options[option] ?? defaults[option], { min })
  const times = (option: "failoverAfter" | "failbackAfter") =>
    Check.whole("Failover", option, options[option] ?? defaults[option], { min: 1, infinite: true })
  const probeEvery = millis("probeEvery", 1)
  const probeTimeout = millis("probeTimeout", 1)
  const holdFor = millis("holdFor", 0)
  if (Object.hasOwn(options.backups, primary)) {
    throw new Check.InvalidOption(`Failover: backups must have names other than ${JSON.stringify(primary)}`)
  }
  const implementations = Object.entries({ [primary]: options.primary, ...options.backups })

  const settings: State.Settings = {
    implementations: implementations.length,
    failoverAfter: times("failoverAfter"),
    failbackAfter: times("failbackAfter"),
    holdFor,
    maxHold: millis("maxHold", holdFor),
    resetAfter: millis("resetAfter", 0)
  }
  const byItself = settings.failoverAfter < Infinity

  return Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const events = yield* Events.Events
    let state = yield* Effect.map(monotonic, (now) => State.initial(implementations.length, now))
    const active = () => implementations[state.active]!

    /** `undefined` changes nothing. */
    const move = (decide: (state: State.State, now: number) => State.State | undefined) =>
      Effect.withFiberRuntime<boolean>((fiber) => {
        const next = decide(state, Time.monotonicMillis(fiber))
        const moved = next !== undefined && next.active !== state.active
        state = next ?? state
        const [to] = active()
        const _tag = state.active === 0 ? "FailedBack" : "FailedOver"
        if (moved) events.unsafePublish({ _tag, name, to }, Time.wallMillis(fiber))
        return Effect.succeed(next !== undefined)
      })

    const failover = Effect.flatMap(
      move((state, now) => State.failover(state, now, settings)),
      (moved) => moved ? Effect.void : new NoBackup({ failover: name, active: active()[0] })
    )

    const guards = implementations.map(() => bounded(probeTimeout))
    const { check } = options
    const probe = check === undefined ? Effect.void : Effect.suspend(() => {
      const before = state.active
      const asked = implementations.map(([, implementation], i) => {
        const wanted = byItself || (i === 0 && before !== 0)
        if (!wanted || guards[i]!.running()) return Effect.succeed(undefined)
        return Effect.map(guards[i]!.run(Effect.suspend(() => check(implementation))), Either.isRight)
      })
      return Effect.all(asked, { concurrency: "unbounded" }).pipe(
        Effect.flatMap((healthy) =>
          // what was asked before the last switch says nothing about now
          move((state, now) => state.active === before ? State.probed(state, healthy, now, settings) : undefined)
        ),
        Effect.asVoid,
        closeOver(context)
      )
    })
    if (check !== undefined) yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep(probeEvery), probe)))

    return {
      name,
      active: Effect.sync(() => {
        const [name, implementation] = active()
        return { name, implementation }
      }),
      use: (f) => Effect.suspend(() => f(active()[1])),
      failover,
      failback: Effect.asVoid(move(State.failback)),
      probe,
      remedy: Remedy.make(`fail over ${name}`, failover, {
        attempts: Math.max(1, implementations.length - 1),
        cooldown: 0
      })
    }
  })
}

/**
 * Identifies the failover behind a service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Of<in out I> {
  readonly _: (service: I) => I
}

/**
 * The tag of the failover that `layer` put behind a service.
 *
 * @since 0.1.0
 * @category tags
 */
export const of = <I, S>(tag: Context.Tag<I, S>): Context.Tag<Of<I>, Failover<S>> =>
  Context.GenericTag(`@firebreak/core/Failover/${tag.key}`)

/**
 * A service whose implementation can be swapped under its users: every member is an effect or a function that returns
 * one, so that each run finds the implementation that is active then.
 *
 * @since 0.1.0
 * @category models
 */
export type Swappable<S> = {
  readonly [K in keyof S]: S[K] extends Effect.Effect<any, any, any> | ((...args: any) => Effect.Effect<any, any, any>)
    ? S[K]
    : never
}

/**
 * Provides a service that goes to the active one of several Layers, and its failover under `Failover.of(tag)`. All are
 * built at once, so a backup is ready when it is needed.
 *
 * @example
 * import * as Failover from "@firebreak/core/Failover"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * class Database extends Context.Tag("Database")<Database, {
 *   readonly query: (sql: string) => Effect.Effect<string, Error>
 * }>() {}
 * const Main = Layer.succeed(Database, { query: (sql) => Effect.succeed(`main: ${sql}`) })
 * const Replica = Layer.succeed(Database, { query: (sql) => Effect.succeed(`replica: ${sql}`) })
 *
 * const DatabaseLive = Failover.layer(Database, {
 *   primary: Main,
 *   backups: { replica: Replica },
 *   check: (database) => database.query("select 1")
 * })
 *
 * const failover = Effect.flatMap(Failover.of(Database), (database) => database.failover)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I, S extends Swappable<S>, E1, R1, E2 = never, R2 = never, R = never>(
  tag: Context.Tag<I, S>,
  options: Options<S, R> & {
    /** Names it in events. Default: the key of the tag. */
    readonly name?: string | undefined
    readonly primary: Layer.Layer<I, E1, R1>
    readonly backups: { readonly [name: string]: Layer.Layer<I, E2, R2> }
  }
): Layer.Layer<I | Of<I>, E1 | E2, R1 | R2 | R> => {
  const name = options.name ?? tag.key
  // names and numbers are checked now, not when the layer is built
  void make<unknown>({ ...options, check: undefined, name, primary: undefined })
  return Layer.scopedContext(Effect.gen(function*() {
    const service = <E, R>(layer: Layer.Layer<I, E, R>) =>
      Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, tag))
    const primary = yield* service(options.primary)
    const backups: Record<string, S> = {}
    for (const [name, layer] of Object.entries(options.backups)) backups[name] = yield* service(layer)
    const failover = yield* make({ ...options, name, primary, backups })
    return Context.make(of(tag), failover).pipe(Context.add(tag, swapping(primary, failover.use)))
  }))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const primary = "primary"

const monotonic = Effect.withFiberRuntime<number>((fiber) => Effect.succeed(Time.monotonicMillis(fiber)))
