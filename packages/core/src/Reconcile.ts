/**
 * Keeps the world as its source of truth says: reads what should be and what is, tells the difference by its type, and
 * repairs it.
 *
 * Every round reads both anew and plans from that, so a repair that failed, was cut off or happened twice is seen for
 * what it came to, and a world that is as it should be is left alone. What must not be trusted is bounded: repairs in a
 * round, and the share of things a round may remove, for a source of truth that lost its data would have everything
 * removed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Events from "./Events.js"
import * as HealthCheck from "./HealthCheck.js"
import { bounded } from "./internal/bounded.js"
import { closeOver } from "./internal/closeOver.js"
import * as Check from "./internal/options.js"
import { named } from "./internal/partTag.js"
import * as Remedy from "./Remedy.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<D, A, R = never> {
  /** The source of truth: what should be, by key. */
  readonly desired: Effect.Effect<ReadonlyMap<string, D>, unknown, R>
  /** What is, by key. */
  readonly actual: Effect.Effect<ReadonlyMap<string, A>, unknown, R>
  /** Whether a thing is as it should be. Default: `Equal.equals`. */
  readonly isSame?: ((desired: D, actual: A) => boolean) | undefined
  /** Makes what is missing. Doing it twice must be harmless, as for all repairs. */
  readonly create: (key: string, desired: D) => Effect.Effect<unknown, unknown, R>
  /** Changes what is different. */
  readonly update: (key: string, desired: D, actual: A) => Effect.Effect<unknown, unknown, R>
  /** Removes what should not be. Without it such things are reported and stay. */
  readonly remove?: ((key: string, actual: A) => Effect.Effect<unknown, unknown, R>) | undefined
  /** Repairs in one round; the rest waits for the next. Default 10. */
  readonly maxRepairs?: number | undefined
  /** The largest share of all actual things that may be unexpected for any to be removed. Default 0.5. */
  readonly maxRemoved?: number | undefined
  /** When reading, or one repair, counts as failed. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Reports the drift and repairs nothing. Default false. */
  readonly dryRun?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface LayerOptions<D, A, R = never> extends Options<D, A, R> {
  /** Time between the end of a round and the next. Default 1 minute. */
  readonly every?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  every: "1 minute",
  maxRepairs: 10,
  maxRemoved: 0.5,
  timeout: "30 seconds",
  dryRun: false
} as const

/**
 * One way in which the world is not as it should be.
 *
 * @since 0.1.0
 * @category models
 */
export type Drift<D, A> =
  | { readonly _tag: "Missing"; readonly key: string; readonly desired: D }
  | { readonly _tag: "Different"; readonly key: string; readonly desired: D; readonly actual: A }
  | { readonly _tag: "Unexpected"; readonly key: string; readonly actual: A }

/**
 * Every drift, in order of their keys.
 *
 * @since 0.1.0
 * @category decisions
 */
export const diff = <D, A>(
  desired: ReadonlyMap<string, D>,
  actual: ReadonlyMap<string, A>,
  isSame: (desired: D, actual: A) => boolean
): ReadonlyArray<Drift<D, A>> => {
  const drifts: Array<Drift<D, A>> = []
  for (const [key, value] of desired) {
    if (!actual.has(key)) drifts.push({ _tag: "Missing", key, desired: value })
    else if (!isSame(value, actual.get(key)!)) {
      drifts.push({ _tag: "Different", key, desired: value, actual: actual.get(key)! })
    }
  }
  for (const [key, value] of actual) if (!desired.has(key)) drifts.push({ _tag: "Unexpected", key, actual: value })
  return drifts.toSorted((a, b) => a.key < b.key ? -1 : 1)
}

/**
 * What a round does about its drift, which it never does more than.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan<D, A> {
  /** To be repaired in this round. */
  readonly repairs: ReadonlyArray<Drift<D, A>>
  /** For a later round. */
  readonly deferred: ReadonlyArray<Drift<D, A>>
  /** Not to be repaired: unexpected things where nothing removes them, or where there are too many to believe it. */
  readonly refused: ReadonlyArray<Drift<D, A>>
}

/**
 * Which of the drifts are repaired: those that have failed least often in a row first, so that repairs that always fail
 * keep no other from its turn. `existing` is the number of actual things.
 *
 * @since 0.1.0
 * @category decisions
 */
export const plan = <D, A>(
  drifts: ReadonlyArray<Drift<D, A>>,
  existing: number,
  limits: { readonly maxRepairs: number; readonly maxRemoved: number; readonly removes: boolean },
  failures: ReadonlyMap<string, number> = new Map()
): Plan<D, A> => {
  const unexpected = drifts.filter(({ _tag }) => _tag === "Unexpected")
  const refuses = !limits.removes || unexpected.length > limits.maxRemoved * existing
  const failed = ({ key }: Drift<D, A>) => failures.get(key) ?? 0
  const repairable = drifts.filter(({ _tag }) => !refuses || _tag !== "Unexpected")
    .toSorted((a, b) => failed(a) - failed(b))
  return {
    repairs: repairable.slice(0, limits.maxRepairs),
    deferred: repairable.slice(limits.maxRepairs),
    refused: refuses ? unexpected : []
  }
}

/**
 * What a round found and did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<D, A> extends Plan<D, A> {
  /** Repairs that failed, by key, and why. */
  readonly failed: ReadonlyMap<string, string>
}

/**
 * What should be, or what is, could not be read; nothing was repaired.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unread {
  readonly _tag: "Unread"
  readonly error: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Reconciler<D, A> {
  readonly name: string
  /** Reads, compares and repairs, once; one after the other if called at the same time. */
  readonly round: Effect.Effect<Either.Either<Report<D, A>, Unread>>
  /** What is not as it should be. Repairs nothing. */
  readonly drift: Effect.Effect<Either.Either<ReadonlyArray<Drift<D, A>>, Unread>>
  /** Fails while there is drift that `round` does not refuse. */
  readonly check: HealthCheck.HealthCheck
  /** `round` for `Healing`. */
  readonly remedy: Remedy.Remedy
}

/**
 * Makes a reconciler, which does nothing by itself; `layer` lets it run.
 *
 * @example
 * import * as Reconcile from "@firebreak/core/Reconcile"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const replicas = new Map([["api", 1], ["old", 1]])
 *   const set = (service: string, count: number) => Effect.sync(() => replicas.set(service, count))
 *   const reconciler = yield* Reconcile.make({
 *     name: "replicas",
 *     desired: Effect.succeed(new Map([["api", 3], ["web", 2]])),
 *     actual: Effect.sync(() => new Map(replicas)),
 *     create: set,
 *     update: set,
 *     remove: (service) => Effect.sync(() => replicas.delete(service))
 *   })
 *   yield* reconciler.round // api from 1 to 3, web is made, old is removed
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <D, A, R = never>(
  options: Options<D, A, R> & { readonly name: string }
): Effect.Effect<Reconciler<D, A>, never, R> => {
  const module = "Reconcile"
  Check.known(module, options, known)
  const name = Check.name(module, "name", options.name)
  const timeout = Check.millis(module, "timeout", options.timeout ?? defaults.timeout, { min: 1 })
  const limits = {
    maxRepairs: Check.whole(module, "maxRepairs", options.maxRepairs ?? defaults.maxRepairs, { min: 1 }),
    maxRemoved: Check.between(module, "maxRemoved", options.maxRemoved ?? defaults.maxRemoved, { min: 0, max: 1 }),
    removes: options.remove !== undefined
  }
  const isSame = options.isSame ?? ((desired: D, actual: A) => Equal.equals(desired, actual))
  const dryRun = options.dryRun ?? defaults.dryRun

  const repair = (drift: Drift<D, A>): Effect.Effect<unknown, unknown, R> => {
    switch (drift._tag) {
      case "Missing":
        return options.create(drift.key, drift.desired)
      case "Different":
        return options.update(drift.key, drift.desired, drift.actual)
      case "Unexpected":
        return options.remove?.(drift.key, drift.actual) ?? Effect.void
    }
  }

  return Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const one = yield* Effect.makeSemaphore(1)
    const reads = bounded(timeout)
    /** A repair that has not ended is not started again. */
    const repairs = new Map<string, ReturnType<typeof bounded>>()
    /** How often in a row the repair of a key has failed. */
    const failures = new Map<string, number>()
    /** What was last told of drift or of its being unknown: the same again is no news. */
    let told = ""

    const look = reads.run(
      Effect.map(
        Effect.all({ desired: options.desired, actual: options.actual }, { concurrency: 2 }),
        ({ actual, desired }) => plan(diff(desired, actual, isSame), actual.size, limits, failures)
      )
    ).pipe(
      Effect.map(Either.mapLeft((error): Unread => ({ _tag: "Unread", error }))),
      closeOver(context)
    )

    const repairOne = (drift: Drift<D, A>) =>
      Effect.gen(function*() {
        const { _tag, key } = drift
        const guard = repairs.get(key) ?? bounded(timeout)
        const done = guard.running()
          ? Either.left("the last repair has not ended")
          : yield* guard.run(Effect.suspend(() => repair(drift)))
        if (guard.running()) repairs.set(key, guard)
        else repairs.delete(key)
        if (Either.isLeft(done)) failures.set(key, (failures.get(key) ?? 0) + 1)
        else failures.delete(key)
        yield* Events.publish(
          Either.isLeft(done)
            ? { _tag: "RepairFailed", name, key, drift: _tag, error: done.left }
            : { _tag: "DriftRepaired", name, key, drift: _tag }
        )
        return Either.isLeft(done) ? [[key, done.left] as const] : []
      })

    const tell = (event: Events.Event & { readonly _tag: "DriftFound" | "ReconcileBlind" }) => {
      const text = JSON.stringify(event)
      if (text === told) return Effect.void
      told = text
      return Events.publish(event)
    }

    const round = Effect.gen(function*() {
      const planned = yield* look
      if (Either.isLeft(planned)) {
        yield* tell({ _tag: "ReconcileBlind", name, error: planned.left.error })
        return Either.left(planned.left)
      }
      const { deferred, refused, repairs: due } = planned.right
      // what is as it should be has no failures any more
      const drifting = new Set([...due, ...deferred].map(({ key }) => key))
      for (const key of failures.keys()) if (!drifting.has(key)) failures.delete(key)
      if (due.length + refused.length > 0) {
        yield* tell({
          _tag: "DriftFound",
          name,
          repairs: due.map(({ key }) => key),
          deferred: deferred.length,
          refused: refused.map(({ key }) => key),
          dryRun
        })
      } else told = ""
      const failed = dryRun ? [] : (yield* Effect.forEach(due, repairOne)).flat()
      return Either.right({ ...planned.right, failed: new Map(failed) })
    }).pipe(one.withPermits(1), closeOver(context))

    const drift = Effect.map(
      look,
      Either.map(({ deferred, refused, repairs }) =>
        [...repairs, ...deferred, ...refused].toSorted((a, b) => a.key < b.key ? -1 : 1)
      )
    )

    return {
      name,
      round,
      drift,
      check: HealthCheck.make(
        Effect.flatMap(look, (planned) => {
          if (Either.isLeft(planned)) return Effect.fail(planned.left.error)
          const [first, ...rest] = [...planned.right.repairs, ...planned.right.deferred]
          if (first === undefined) return Effect.void
          const more = rest.length === 0 ? "" : ` and ${rest.length} more`
          return Effect.fail(`"${first.key}" is ${first._tag.toLowerCase()}${more}`)
        }),
        { timeout: 2 * timeout }
      ),
      remedy: Remedy.make(`reconcile ${name}`, round, { timeout: (2 + limits.maxRepairs) * timeout })
    }
  })
}

/**
 * Lets a reconciler run, a round every minute by default, until its scope ends.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <D, A, R = never>(
  options: LayerOptions<D, A, R> & { readonly name: string }
): Layer.Layer<never, never, R> => Layer.scopedDiscard(running(options))

/**
 * The class of a reconciler's tag: a service that knows how it is built.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string, D, A>
  extends Context.TagClass<Self, `@firebreak/core/Reconcile/${Name}`, Reconciler<D, A>>
{
  /** Lets this reconciler run, as `Reconcile.layer` does, and provides it. */
  readonly layer: <R = never>(options: LayerOptions<D, A, R>) => Layer.Layer<Self, never, R>
}

/**
 * Declares the reconciler of one kind of things, of which one should be a `D` and is an `A`, for programs that ask for its
 * `round`, `drift`, `check` or `remedy`.
 *
 * @example
 * import * as Reconcile from "@firebreak/core/Reconcile"
 * import * as Effect from "effect/Effect"
 *
 * class Replicas extends Reconcile.Tag("replicas")<Replicas, number, number>() {}
 *
 * const replicas = new Map([["api", 1]])
 * const set = (service: string, count: number) => Effect.sync(() => replicas.set(service, count))
 *
 * const ReplicasLive = Replicas.layer({
 *   desired: Effect.succeed(new Map([["api", 3]])),
 *   actual: Effect.sync(() => new Map(replicas)),
 *   create: set,
 *   update: set
 * })
 *
 * const drift = Effect.flatMap(Replicas, ({ drift }) => drift).pipe(Effect.provide(ReplicasLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self, D, A>(): TagClass<Self, Name, D, A> => {
  Check.name("Reconcile.Tag", "name", name)
  const tag = Context.Tag(`@firebreak/core/Reconcile/${name}` as const)<Self, Reconciler<D, A>>()
  return Object.assign(tag, {
    layer: <R>(options: LayerOptions<D, A, R>) => Layer.scoped(tag, running(named("Reconcile", name, options)))
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const known = {
  name: true,
  desired: true,
  actual: true,
  isSame: true,
  create: true,
  update: true,
  remove: true,
  maxRepairs: true,
  maxRemoved: true,
  timeout: true,
  dryRun: true
} as const

/** Makes a reconciler whose rounds go on until the scope ends. */
const running = <D, A, R>(
  given: LayerOptions<D, A, R> & { readonly name: string }
): Effect.Effect<Reconciler<D, A>, never, R | Scope.Scope> => {
  Check.known("Reconcile", given, { ...known, every: true })
  const { every, ...options } = given
  const pause = Check.millis("Reconcile", "every", every ?? defaults.every, { min: 1 })
  return Effect.tap(
    make<D, A, R>(options),
    ({ round }) => Effect.forkScoped(Effect.forever(Effect.zipRight(round, Effect.sleep(pause))))
  )
}
