/**
 * What can be done with runs from outside: look at them, signal, cancel, resume and forget them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { CheckpointEngine, type Resumed } from "./CheckpointEngine.js"
import type { StepCodecError, Unsupported } from "./CheckpointError.js"
import type { Cancelled, Damage, Filter, Progress, Run, Sent } from "./CheckpointStore.js"
import { codecError } from "./internal/checkpointCalls.js"
import { outcomesOf } from "./internal/checkpointCodec.js"
import { errorText } from "./internal/errorText.js"
import * as Check from "./internal/options.js"
import { longestPause, pauseAfter } from "./internal/resumePause.js"
import type { StoreError } from "./StoreError.js"

/**
 * @since 0.1.0
 * @category options
 */
export const runsDefaults = { concurrency: 10, resumeEvery: "10 seconds", pruneEvery: "1 hour" } as const

/**
 * A run with its steps, what it has begun and waits for, and the signals sent to it. Wakes nothing.
 *
 * @since 0.1.0
 * @category persistence
 */
export const load = (runId: string): Effect.Effect<Option.Option<Progress>, StoreError, CheckpointEngine> =>
  Effect.flatMap(CheckpointEngine, (engine) => engine.load(runId))

/**
 * Runs in order of their beginning: of a workflow, with a status, a key or the beginning of one, of a parent, begun in
 * a span of time; page by page with `limit` and `after`.
 *
 * @since 0.1.0
 * @category persistence
 */
export const list = (
  filter?: Filter
): Effect.Effect<ReadonlyArray<Run>, StoreError | Unsupported, CheckpointEngine> => {
  if (filter !== undefined) checkFilter("Checkpoint.list", filter)
  return Effect.flatMap(CheckpointEngine, (engine) => engine.list(filter))
}

/**
 * Asks a run to stop, from whatever process. Its owner interrupts it, at once in its own process and at the next renewal
 * (a third of the lease) elsewhere; then its compensations run, and it ends as cancelled. A run without an owner is
 * compensated when it is taken up. A run that ends first has ended.
 *
 * @since 0.1.0
 * @category persistence
 */
export const cancel = (
  runId: string,
  options: { readonly reason: string }
): Effect.Effect<Cancelled, StoreError, CheckpointEngine> => {
  Check.known("Checkpoint.cancel", options, { reason: true })
  return Effect.flatMap(CheckpointEngine, (engine) => engine.cancel({ runId, reason: options.reason }))
}

/**
 * Sends a signal to a run by its id; `send` of a workflow knows the type of what it sends.
 *
 * @since 0.1.0
 * @category persistence
 */
export const send = <A, I, R>(
  runId: string,
  name: string,
  schema: Schema.Schema<A, I, R>,
  value: A
): Effect.Effect<Sent, StoreError | StepCodecError, R | CheckpointEngine> =>
  Effect.flatMap(CheckpointEngine, (engine) =>
    Effect.flatMap(
      Effect.mapError(outcomesOf(schema).encode(Exit.succeed(value)), (flaw) => codecError(runId, name, flaw)),
      (payload) => engine.send({ runId, name, payload })
    ))

/**
 * Settles a step that is in doubt (`StepInDoubt`): `retry` runs it again when the run is resumed, a value is taken as
 * its success. The schema must be the step's own, which the store does not know. False if there is no such step in doubt,
 * or a live owner holds the run.
 *
 * @since 0.1.0
 * @category persistence
 */
export const settle = <A, I, R>(
  runId: string,
  step: string,
  how: "retry" | { readonly success: Schema.Schema<A, I, R>; readonly value: A }
): Effect.Effect<boolean, StoreError | StepCodecError | Unsupported, R | CheckpointEngine> => {
  if (how !== "retry") checkSuccess("Checkpoint.settle", how)
  return Effect.flatMap(CheckpointEngine, (engine) => {
    if (how === "retry") return engine.settle({ runId, name: step, exit: Option.none() })
    return Effect.flatMap(
      Effect.mapError(outcomesOf(how.success).encode(Exit.succeed(how.value)), (flaw) => codecError(runId, step, flaw)),
      (exit) => engine.settle({ runId, name: step, exit: Option.some(exit) })
    )
  })
}

/**
 * Makes a dead run one that can be taken up again; false if it is not dead.
 *
 * @since 0.1.0
 * @category persistence
 */
export const requeue = (runId: string): Effect.Effect<boolean, StoreError | Unsupported, CheckpointEngine> =>
  Effect.flatMap(CheckpointEngine, (engine) => engine.requeue(runId))

/**
 * Forgets a run that no live owner holds; false if there is none, or it is held.
 *
 * @since 0.1.0
 * @category persistence
 */
export const clear = (runId: string): Effect.Effect<boolean, StoreError | Unsupported, CheckpointEngine> =>
  Effect.flatMap(CheckpointEngine, (engine) => engine.clear(runId))

/**
 * Forgets runs that ended at least `olderThan` ago, dead ones apart; returns how many.
 *
 * @since 0.1.0
 * @category persistence
 */
export const prune = (
  options: { readonly olderThan: Duration.DurationInput }
): Effect.Effect<number, StoreError | Unsupported, CheckpointEngine> => {
  Check.known("Checkpoint.prune", options, { olderThan: true })
  const olderThan = Duration.millis(Check.millis("Checkpoint.prune", "olderThan", options.olderThan))
  return Effect.flatMap(CheckpointEngine, (engine) => engine.prune({ olderThan }))
}

/**
 * Looks through all records for damage. Needs an engine with the capability `chain`.
 *
 * @since 0.1.0
 * @category persistence
 */
export const verify: Effect.Effect<ReadonlyArray<Damage>, StoreError | Unsupported, CheckpointEngine> = Effect.flatMap(
  CheckpointEngine,
  (engine) => engine.verify
)

/**
 * Takes up every unfinished run of the registered workflows and tells how each ended; what was cancelled is compensated,
 * children are left to their parents. A few work at a time (`concurrency`, default 10); those that wait for a time or
 * a signal do not count. Runs that a live owner holds, or that this engine is taking up, are left alone and not in the
 * answer. `concurrency` holds for the engine: of several calls and `layerResume`, the last to look says how many.
 *
 * @since 0.1.0
 * @category resuming
 */
export const resumeAll = (options: {
  readonly concurrency?: number | undefined
} = {}): Effect.Effect<ReadonlyArray<Resumed>, StoreError, CheckpointEngine> => {
  Check.known("Checkpoint.resumeAll", options, { concurrency: true })
  const concurrency = concurrencyOf("Checkpoint.resumeAll", options.concurrency)
  return Effect.flatMap(CheckpointEngine, (engine) => engine.resumeAll({ concurrency }))
}

/**
 * Keeps resuming: at once, and then `every` 10 seconds by default it takes up the runs that were left behind by an owner
 * that died. One that cannot go on is tried again ever more rarely, down to every 10 minutes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerResume = (options: {
  readonly every?: Duration.DurationInput | undefined
  readonly concurrency?: number | undefined
} = {}): Layer.Layer<never, never, CheckpointEngine> => {
  Check.known("Checkpoint.layerResume", options, { every: true, concurrency: true })
  const every = Check.millis("Checkpoint.layerResume", "every", options.every ?? runsDefaults.resumeEvery, { min: 1 })
  const concurrency = concurrencyOf("Checkpoint.layerResume", options.concurrency)
  return Layer.scopedDiscard(Effect.gen(function*() {
    const engine = yield* CheckpointEngine
    const failing = new Map<string, { readonly times: number; readonly notBefore: number }>()
    const once = Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const except = (runId: string) => (failing.get(runId)?.notBefore ?? now) > now
      const resumed = yield* engine.resumeAll({ concurrency, except })
      const ended = yield* Clock.currentTimeMillis
      for (const { exit, runId } of resumed) {
        const times = (failing.get(runId)?.times ?? 0) + 1
        if (Exit.isSuccess(exit)) failing.delete(runId)
        else failing.set(runId, { times, notBefore: ended + pauseAfter(times, every) })
      }
      // what has ended in failure is not listed any more
      for (const [runId, { notBefore }] of failing) if (notBefore + longestPause < ended) failing.delete(runId)
    }).pipe(Effect.catchAll((error) => Effect.logWarning("Checkpoint.layerResume: runs were not resumed", error)))
    // one that waits for its runs does not keep the next from looking
    yield* Effect.forkScoped(Effect.repeat(Effect.forkScoped(once), Schedule.spaced(every)))
  }))
}

/**
 * Forgets what ended `olderThan` ago, at once and then `every` hour by default.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRetention = (options: {
  readonly olderThan: Duration.DurationInput
  readonly every?: Duration.DurationInput | undefined
}): Layer.Layer<never, never, CheckpointEngine> => {
  Check.known("Checkpoint.layerRetention", options, { olderThan: true, every: true })
  const every = Check.millis("Checkpoint.layerRetention", "every", options.every ?? runsDefaults.pruneEvery, { min: 1 })
  const once = Effect.catchAll(
    prune({ olderThan: options.olderThan }),
    (error) => Effect.logWarning("Checkpoint.layerRetention: runs were not pruned", error)
  )
  return Layer.scopedDiscard(Effect.forkScoped(Effect.repeat(once, Schedule.spaced(every))))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const knownOfFilter: Check.Shape<Filter> = {
  workflow: true,
  status: { running: true, succeeded: true, failed: true, cancelled: true, dead: true },
  key: true,
  keyPrefix: true,
  parent: true,
  createdFrom: true,
  createdBefore: true,
  after: true,
  limit: true
}

const checkFilter = (module: string, filter: Filter): void => {
  Check.known(module, filter, knownOfFilter)
  if (filter.limit !== undefined) Check.whole(module, "limit", filter.limit, { min: 1 })
  for (const option of ["createdFrom", "createdBefore"] as const) {
    const time = filter[option]
    if (time !== undefined && !Number.isSafeInteger(time)) {
      throw new Check.InvalidOption(`${module}: ${option} must be a time in whole milliseconds, got ${show(time)}`)
    }
  }
}

/** What was mistyped must not be taken for a success. */
const checkSuccess = (module: string, how: unknown): void => {
  if (!Predicate.isRecord(how)) {
    throw new Check.InvalidOption(`${module}: how must be "retry" or { success, value }, got ${show(how)}`)
  }
  Check.known<{ readonly [option: string]: unknown }>(module, how, { success: true, value: true })
  if (!Schema.isSchema(how.success)) {
    throw new Check.InvalidOption(`${module}: success must be a schema, got ${show(how.success)}`)
  }
  if (!Object.hasOwn(how, "value")) {
    throw new Check.InvalidOption(`${module}: value must be given, got none`)
  }
}

const show = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : errorText(value)

const concurrencyOf = (module: string, concurrency: number = runsDefaults.concurrency): number =>
  Check.whole(module, "concurrency", concurrency, { min: 1 })
