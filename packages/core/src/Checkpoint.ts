/**
 * Programs whose finished steps never run again, whatever dies in between.
 *
 * A workflow is an ordinary Effect program whose steps are marked. When a step has ended, in success or in a failure it
 * declares, its outcome is saved before the next line runs; a run that is taken up again replays what was saved and goes
 * on with the first step that was not. Completed steps never repeat; the step in flight at a crash runs at least once
 * more, so what it does to the world belongs into an idempotent action. Defects and interruptions are never recorded.
 *
 * Code between steps runs again whenever a run is resumed and must then take the same way: what depends on time, chance
 * or the world belongs into a step, a timeout or a retry too. Where it takes another way, the run ends in
 * `HistoryMismatch`. The order of steps is compared on the run's own fiber; steps on other fibers (`Effect.all` with
 * concurrency, a race, inside a timeout) are matched by name, so there each needs a name of its own.
 *
 * A run has one owner, by a lease with a fencing token. Where runs are kept is a Layer: `CheckpointStore`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type RunError, RunInProgress, type StepCodecError } from "./CheckpointError.js"
import { CheckpointStore, type Run, type Step } from "./CheckpointStore.js"
import * as Run_ from "./internal/checkpointRun.js"
import * as Check from "./internal/options.js"
import { codec, encoder, type Fault, voided } from "./internal/outcomeCodec.js"
import type { StoreError } from "./StoreError.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  HistoryMismatch,
  /**
   * @since 0.1.0
   * @category errors
   */
  PayloadMismatch,
  /**
   * @since 0.1.0
   * @category errors
   */
  type RunError,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunFenced,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunInProgress,
  /**
   * @since 0.1.0
   * @category errors
   */
  StepCodecError
} from "./CheckpointError.js"

export {
  /**
   * A store in memory.
   *
   * @since 0.1.0
   * @category layers
   */
  layer as layerMemory
} from "./CheckpointMemory.js"

/**
 * The run a step belongs to. Only a workflow provides it, so a step outside a run does not compile.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentRun extends Context.Tag("@firebreak/core/CurrentRun")<CurrentRun, Run_.RunningRun>() {}

export {
  /**
   * The step whose body is running: `key` is the same on every attempt, fit to be an idempotency key. None outside
   * steps.
   *
   * @since 0.1.0
   * @category services
   */
  CurrentStep
} from "./internal/checkpointRun.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions<Success extends Schema.Schema.Any, Error extends Schema.Schema.All> {
  /** Default: `Schema.Void`. */
  readonly success?: Success | undefined
  /** Default: `Schema.Never`. */
  readonly error?: Error | undefined
  /** How long a run is held without being renewed, which happens at a third of it. Default 30 seconds. */
  readonly lease?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface WorkflowOptions<
  Payload extends Schema.Schema.Any,
  Success extends Schema.Schema.Any,
  Error extends Schema.Schema.All
> extends RunOptions<Success, Error> {
  readonly payload: Payload
  /** Tells one run from another: the same key is the same run, `name/key`. */
  readonly key: (payload: Schema.Schema.Type<Payload>) => string
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { lease: "30 seconds", concurrency: 10 } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Workflow<Payload, A, E, R, SchemaR = never> {
  readonly name: string
  readonly runId: (payload: Payload) => string
  /** Runs it, or takes it up where it was left; a run that has ended gives its recorded outcome and runs nothing. */
  readonly run: (payload: Payload) => Effect.Effect<A, E | RunError, R | CheckpointStore>
  /** How the run ended, if it has. Wakes nothing. */
  readonly outcome: (
    payload: Payload
  ) => Effect.Effect<Option.Option<Exit.Exit<A, E>>, StoreError | StepCodecError, SchemaR | CheckpointStore>
  /** Registers the workflow, so that `resumeAll` can take up its runs. */
  readonly layer: Layer.Layer<never, never, R | Registry>
}

/**
 * Defines a workflow.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Greet = Checkpoint.workflow("greet", {
 *   payload: Schema.Struct({ name: Schema.String }),
 *   key: ({ name }) => name,
 *   success: Schema.String
 * }, ({ name }) =>
 *   Effect.gen(function*() {
 *     const greeting = yield* Checkpoint.step("compose", { success: Schema.String }, Effect.succeed(`Hello ${name}`))
 *     return yield* Checkpoint.step("shout", { success: Schema.String }, Effect.succeed(greeting.toUpperCase()))
 *   }))
 *
 * const program = Greet.run({ name: "Ada" }).pipe(Effect.provide(Checkpoint.layerMemory))
 *
 * @since 0.1.0
 * @category constructors
 */
export const workflow = <
  Payload extends Schema.Schema.Any,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  name: string,
  options: WorkflowOptions<Payload, Success, Error>,
  body: (
    payload: Schema.Schema.Type<Payload>
  ) => Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error>, R>
): Workflow<
  Schema.Schema.Type<Payload>,
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error>,
  | Exclude<R, CurrentRun>
  | Schema.Schema.Context<Payload>
  | Schema.Schema.Context<Success>
  | Schema.Schema.Context<Error>,
  Schema.Schema.Context<Success> | Schema.Schema.Context<Error>
> => {
  Check.name("Checkpoint.workflow", "name", name)
  if (name.includes("/") || name === simple) {
    throw new Check.InvalidOption(
      `Checkpoint.workflow: name must have no "/" and not be "${simple}", got ${JSON.stringify(name)}`
    )
  }
  return define(name, options, body)
}

/** The workflow of `Checkpoint.run`. */
const simple = "run"

const define = <
  Payload extends Schema.Schema.Any,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  name: string,
  options: WorkflowOptions<Payload, Success, Error>,
  body: (
    payload: Schema.Schema.Type<Payload>
  ) => Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error>, R>
): Workflow<any, any, any, any, any> => {
  const lease = Duration.millis(
    Check.millis("Checkpoint.workflow", "lease", options.lease ?? defaults.lease, { min: 10 })
  )
  const payloadSchema = Schema.asSchema(options.payload)
  const encodePayload = encoder(fault, "payload", payloadSchema)
  const decodePayload = Schema.decodeUnknown(Schema.parseJson(payloadSchema))
  const outcomes = outcomeCodec(options.success, options.error)
  const keyOf = (payload: Schema.Schema.Type<Payload>) => Check.name(`Workflow "${name}"`, "key", options.key(payload))
  const runId = (payload: Schema.Schema.Type<Payload>) => `${name}/${keyOf(payload)}`

  const begin = (
    stored: Pick<Run, "runId" | "key" | "payload">,
    payload: Schema.Schema.Type<Payload>,
    existing: boolean
  ) =>
    Effect.flatMap(CheckpointStore, (store) =>
      Run_.start(store, {
        runId: stored.runId,
        workflow: name,
        key: stored.key,
        payload: stored.payload,
        lease,
        existing,
        outcomes,
        body: (run) =>
          Effect.provideService(voided(options.success, Effect.suspend(() => body(payload))), CurrentRun, run)
      }))

  const run = (payload: Schema.Schema.Type<Payload>) =>
    Effect.suspend(() => {
      const id = { runId: runId(payload), key: keyOf(payload) }
      return Effect.flatMap(
        Effect.mapError(encodePayload(payload), (_) => Run_.codecError(id.runId, null, _)),
        ({ json }) => begin({ ...id, payload: json }, payload, false)
      )
    })

  const outcome = (payload: Schema.Schema.Type<Payload>) =>
    Effect.flatMap(load(runId(payload)), (found) =>
      Option.match(Option.flatMap(found, ({ run }) => run.exit), {
        onNone: () => Effect.succeedNone,
        onSome: (exit) =>
          Effect.mapBoth(outcomes.decode(exit), {
            onFailure: (_) => Run_.codecError(runId(payload), null, _),
            onSuccess: Option.some
          })
      }))

  // the run keeps its id and its payload as they were stored, whatever the code now makes of them
  const resume = (stored: Run) =>
    Effect.flatMap(
      Effect.mapError(decodePayload(stored.payload), ({ message }) =>
        Run_.codecError(stored.runId, null, { part: "record", path: "payload", detail: message })),
      (payload) =>
        begin(stored, payload, true)
    )

  const layer = Layer.scopedDiscard(Effect.gen(function*() {
    const { workflows } = yield* Registry
    const context = yield* Effect.context<any>()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        if (workflows.has(name)) {
          throw new Check.InvalidOption(`Checkpoint: the workflow "${name}" is registered twice`)
        }
        workflows.set(name, (stored) =>
          Effect.flatMap(CheckpointStore, (store) =>
            // the store is that of whoever resumes
            Effect.provide(resume(stored), Context.add(context, CheckpointStore, store))))
      }),
      () => Effect.sync(() => workflows.delete(name))
    )
  }))

  // the schemas' own types are lost in their defaults; the signature of `workflow` says them again
  return { name, runId, run, outcome, layer } as Workflow<any, any, any, any, any>
}

/**
 * What keeps a step from being part of another step.
 *
 * @since 0.1.0
 * @category models
 */
export type NotNested<R> = CurrentRun extends R ? "a step cannot contain another step" : unknown

/**
 * A step of a run: its outcome is saved when it has ended, and never computed again.
 *
 * Steps of one run need different names where they run concurrently; one after the other, the second of a name is
 * recorded as `name#2`.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * // a resumed run gets the time that was saved
 * const startedAt = Checkpoint.step("start", { success: Schema.Number }, Effect.clockWith((_) => _.currentTimeMillis))
 *
 * export const program = Checkpoint.run("INC-1", { success: Schema.Number }, startedAt).pipe(
 *   Effect.provide(Checkpoint.layerMemory)
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const step = <
  E extends Schema.Schema.Type<Error>,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  name: string,
  options: { readonly success?: Success | undefined; readonly error?: Error | undefined },
  effect: Effect.Effect<Schema.Schema.Type<Success>, E, R> & NotNested<R>
): Effect.Effect<
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error>,
  R | CurrentRun | Schema.Schema.Context<Success> | Schema.Schema.Context<Error>
> => {
  Check.name("Checkpoint.step", "name", name)
  if (/#\d+$/.test(name)) {
    throw new Check.InvalidOption(
      `Checkpoint.step: name must not end like the number of a repetition, got ${JSON.stringify(name)}`
    )
  }
  const outcomes = outcomeCodec(options.success, options.error)
  const body = voided(options.success, effect)
  return Effect.flatMap(CurrentRun, (run) => run.step(name, outcomes, body))
}

/**
 * Runs one program under an id, without a definition: the same id is the same run, stored as `run/id`. It has no payload
 * and is not resumed by `resumeAll`, for its program is known only where it is run.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 *
 * const program = Checkpoint.run(
 *   "incident-INC-12345",
 *   Effect.zipRight(
 *     Checkpoint.step("analyse", {}, Effect.log("analysing")),
 *     Checkpoint.step("fix", {}, Effect.log("fixing"))
 *   )
 * ).pipe(Effect.provide(Checkpoint.layerMemory))
 *
 * @since 0.1.0
 * @category constructors
 */
export const run: {
  <R>(
    id: string,
    program: Effect.Effect<void, never, R>
  ): Effect.Effect<void, RunError, Exclude<R, CurrentRun> | CheckpointStore>
  <
    R,
    Success extends Schema.Schema.Any = typeof Schema.Void,
    Error extends Schema.Schema.All = typeof Schema.Never
  >(
    id: string,
    options: RunOptions<Success, Error>,
    program: Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error>, R>
  ): Effect.Effect<
    Schema.Schema.Type<Success>,
    Schema.Schema.Type<Error> | RunError,
    Exclude<R, CurrentRun> | Schema.Schema.Context<Success> | Schema.Schema.Context<Error> | CheckpointStore
  >
} = (
  id: string,
  ...rest:
    | readonly [Effect.Effect<any, any, any>]
    | readonly [RunOptions<Schema.Schema.Any, Schema.Schema.All>, Effect.Effect<any, any, any>]
) => {
  const [options, program] = rest.length === 1 ? [{}, rest[0]] as const : rest
  return define(simple, { ...options, payload: Schema.Void, key: () => id }, () => program).run(undefined)
}

/**
 * Knows the workflows whose runs can be resumed.
 *
 * @since 0.1.0
 * @category services
 */
export class Registry extends Context.Tag("@firebreak/core/Checkpoint/Registry")<Registry, {
  readonly workflows: Map<string, (run: Run) => Effect.Effect<unknown, unknown, CheckpointStore>>
}>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layerRegistry: Layer.Layer<Registry> = Layer.sync(Registry, () => ({ workflows: new Map() }))

/**
 * How a resumed run ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resumed {
  readonly runId: string
  readonly workflow: string
  readonly exit: Exit.Exit<unknown, unknown>
}

/**
 * Takes up every unfinished run of the registered workflows, a few at a time (`concurrency`, default 10), and tells how
 * each ended. Runs that a live owner holds are left alone and not in the answer.
 *
 * @since 0.1.0
 * @category resuming
 */
export const resumeAll = (options?: {
  readonly concurrency?: number | undefined
}): Effect.Effect<ReadonlyArray<Resumed>, StoreError, Registry | CheckpointStore> =>
  Effect.gen(function*() {
    const { workflows } = yield* Registry
    const store = yield* CheckpointStore
    const unfinished = yield* store.list({ status: "running" })
    const resumed = yield* Effect.forEach(unfinished, (stored) => {
      const resume = workflows.get(stored.workflow)
      if (resume === undefined) return Effect.succeed([])
      return Effect.map(Effect.exit(resume(stored)), (exit): ReadonlyArray<Resumed> => {
        const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
        const held = error instanceof RunInProgress && error.runId === stored.runId
        return held || error instanceof Run_.Gone ? [] : [{ runId: stored.runId, workflow: stored.workflow, exit }]
      })
    }, { concurrency: options?.concurrency ?? defaults.concurrency })
    return resumed.flat()
  })

/**
 * A run with its finished steps. Wakes nothing.
 *
 * @since 0.1.0
 * @category persistence
 */
export const load = (
  runId: string
): Effect.Effect<
  Option.Option<{ readonly run: Run; readonly steps: ReadonlyArray<Step> }>,
  StoreError,
  CheckpointStore
> => Effect.flatMap(CheckpointStore, (store) => store.load(runId))

/**
 * Runs in order of their beginning.
 *
 * @since 0.1.0
 * @category persistence
 */
export const list = (
  filter?: { readonly workflow?: string | undefined; readonly status?: Run["status"] | undefined }
): Effect.Effect<ReadonlyArray<Run>, StoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (store) => store.list(filter))

/**
 * Forgets a run that no live owner holds; false if there is none, or it is held.
 *
 * @since 0.1.0
 * @category persistence
 */
export const clear = (runId: string): Effect.Effect<boolean, StoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (store) => store.clear(runId))

/**
 * Forgets runs that ended at least `olderThan` ago; returns how many.
 *
 * @since 0.1.0
 * @category persistence
 */
export const prune = (
  options: { readonly olderThan: Duration.DurationInput }
): Effect.Effect<number, StoreError, CheckpointStore> => {
  const olderThan = Duration.millis(Check.millis("Checkpoint.prune", "olderThan", options.olderThan))
  return Effect.flatMap(CheckpointStore, (store) => store.prune({ olderThan }))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const fault: Fault<Run_.Flaw> = (part, path, detail) => ({ part, path, detail })

/** Steps are defined anew in every run, their schemas are not: codecs are compiled once per pair of schemas. */
const codecs = new WeakMap<object, WeakMap<object, Run_.Codec<any, any, any>>>()

const outcomeCodec = (
  success: Schema.Schema.Any = Schema.Void,
  error: Schema.Schema.All = Schema.Never
): Run_.Codec<any, any, any> => {
  let byError = codecs.get(success)
  if (byError === undefined) codecs.set(success, byError = new WeakMap())
  let found = byError.get(error)
  if (found === undefined) {
    byError.set(error, found = codec(fault, Schema.asSchema(success), Schema.asSchema(error)))
  }
  return found
}
