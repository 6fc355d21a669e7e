/**
 * Programs whose finished steps never run again, whatever dies in between.
 *
 * A workflow is an ordinary Effect program whose steps are marked. When a step has ended, in success or in a failure it
 * declares, its outcome is saved before the next line runs; a run that is taken up again replays what was saved and goes
 * on with the first step that was not. Completed steps never repeat; the step in flight at a crash runs at least once
 * more, so what it does to the world belongs into an idempotent action. Defects and interruptions are never recorded.
 *
 * A run has one owner, by a lease with a fencing token. Where runs are kept is a Layer: `CheckpointStore`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { HistoryMismatch, PayloadMismatch, RunFenced, RunInProgress, StepCodecError } from "./CheckpointError.js"
import * as History from "./CheckpointHistory.js"
import { CheckpointStore, type Run, type Service as Store, type Step } from "./CheckpointStore.js"
import * as Events from "./Events.js"
import { sha256 } from "./internal/hash.js"
import * as Check from "./internal/options.js"
import { codec, encoder, type Fault, type OutcomeCodec } from "./internal/outcomeCodec.js"
import * as Time from "./internal/time.js"
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
  layerMemory
} from "./CheckpointStore.js"

/**
 * How a run can fail beside the errors it declares. These end the run from outside: its body cannot catch them.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError = HistoryMismatch | PayloadMismatch | RunFenced | RunInProgress | StepCodecError | StoreError

/**
 * The run a step belongs to. Only a workflow provides it, so a step outside a run does not compile.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentRun extends Context.Tag("@firebreak/core/CurrentRun")<CurrentRun, {
  readonly runId: string
  readonly workflow: string
}>() {}

/**
 * The step whose body is running: `key` is the same on every attempt, fit to be an idempotency key. None outside steps.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentStep extends Context.Reference<CurrentStep>()("@firebreak/core/CurrentStep", {
  defaultValue: (): Option.Option<{ readonly runId: string; readonly step: string; readonly key: string }> =>
    Option.none()
}) {}

/**
 * @since 0.1.0
 * @category options
 */
export interface WorkflowOptions<
  Payload extends Schema.Schema.Any,
  Success extends Schema.Schema.Any,
  Error extends Schema.Schema.All
> {
  readonly payload: Payload
  /** Tells one run from another: the same key is the same run. */
  readonly key: (payload: Schema.Schema.Type<Payload>) => string
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
  const lease = Duration.millis(
    Check.millis("Checkpoint.workflow", "lease", options.lease ?? defaults.lease, { min: 10 })
  )
  const payloadSchema = Schema.asSchema(options.payload)
  const encodePayload = encoder(fault, "payload", payloadSchema)
  const decodePayload = Schema.decodeUnknown(Schema.parseJson(payloadSchema))
  const outcomes = outcomeCodec(options.success, options.error)
  const keyOf = (payload: Schema.Schema.Type<Payload>) => Check.name(`Workflow "${name}"`, "key", options.key(payload))
  const runId = (payload: Schema.Schema.Type<Payload>) => `${name}/${keyOf(payload)}`

  const run = (payload: Schema.Schema.Type<Payload>) =>
    Effect.suspend(() => {
      const id = { runId: runId(payload), workflow: name, key: keyOf(payload) }
      return Effect.flatMap(
        Effect.mapError(encodePayload(payload), (_) => codecError(id.runId, null, _)),
        ({ json }) => start({ ...id, payload: json, lease }, outcomes, Effect.suspend(() => body(payload)))
      )
    })

  const outcome = (payload: Schema.Schema.Type<Payload>) =>
    Effect.flatMap(load(runId(payload)), (found) =>
      Option.match(Option.flatMap(found, ({ run }) => run.exit), {
        onNone: () => Effect.succeedNone,
        onSome: (exit) =>
          Effect.mapBoth(outcomes.decode(exit), {
            onFailure: (_) => codecError(runId(payload), null, _),
            onSuccess: Option.some
          })
      }))

  const resume = (stored: Run) =>
    Effect.flatMap(
      Effect.mapError(decodePayload(stored.payload), ({ message }) =>
        codecError(stored.runId, null, { part: "record", path: "payload", detail: message })),
      run
    )

  const layer = Layer.effectDiscard(Effect.gen(function*() {
    const { workflows } = yield* Registry
    // the store is that of whoever resumes
    const context = yield* Effect.context<any>()
    workflows.set(name, (stored) => Effect.mapInputContext(resume(stored), (store) => Context.merge(context, store)))
  }))

  // the schemas' own types are lost in their defaults; the signature says them again
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
  return takeStep(name, outcomeCodec(options.success, options.error), effect)
}

/**
 * Runs one program under an id, without a definition: the same id is the same run.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 *
 * const program = Checkpoint.run(
 *   "incident-INC-12345",
 *   {},
 *   Effect.zipRight(
 *     Checkpoint.step("analyse", {}, Effect.log("analysing")),
 *     Checkpoint.step("fix", {}, Effect.log("fixing"))
 *   )
 * ).pipe(Effect.provide(Checkpoint.layerMemory))
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = <
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  id: string,
  options: Omit<WorkflowOptions<typeof Schema.Void, Success, Error>, "payload" | "key">,
  program: Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error>, R>
): Effect.Effect<
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error> | RunError,
  Exclude<R, CurrentRun> | Schema.Schema.Context<Success> | Schema.Schema.Context<Error> | CheckpointStore
> => workflow("run", { ...options, payload: Schema.Void, key: () => id }, () => program).run()

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
        const held = Exit.isFailure(exit) &&
          Option.exists(Cause.failureOption(exit.cause), (error) => error instanceof RunInProgress)
        return held ? [] : [{ runId: stored.runId, workflow: stored.workflow, exit }]
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
): Effect.Effect<number, StoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (store) => store.prune({ olderThan: Duration.decode(options.olderThan) }))

// -----------------------------------------------------------------------------
// internal: codecs
// -----------------------------------------------------------------------------

type Flaw = Pick<StepCodecError, "part" | "path" | "detail">

const fault: Fault<Flaw> = (part, path, detail) => ({ part, path, detail })

const codecError = (runId: string, step: string | null, flaw: Flaw) => new StepCodecError({ runId, step, ...flaw })

const outcomeCodec = (success: Schema.Schema.Any | undefined, error: Schema.Schema.All | undefined) =>
  codec(fault, Schema.asSchema(success ?? Schema.Void), Schema.asSchema(error ?? Schema.Never))

type Codec = OutcomeCodec<any, any, any, Flaw>

/** Steps in forked fibers are marked in their record; those of the main branch are not. */
const sideMark = `{"branch":"side",`

const recordedOf = (step: Step): History.Recorded => ({
  ...step,
  branch: step.exit.startsWith(sideMark) ? "side" : "main"
})

// -----------------------------------------------------------------------------
// internal: a run
// -----------------------------------------------------------------------------

/** An attempt at a run: what is behind `CurrentRun`. */
interface Attempt {
  readonly runId: string
  readonly workflow: string
  readonly store: Store
  readonly token: number
  /** Ends the run from outside. */
  readonly abort: (error: RunError) => Effect.Effect<never>
  aborted: RunError | undefined
  history: History.History
  nextSeq: number
  /** Monotonic milliseconds. */
  leaseUntil: number
  mainFiber: Fiber.RuntimeFiber<any, any> | undefined
}

interface Begin {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly lease: Duration.Duration
}

const start = <A, E, R>(
  request: Begin,
  outcomes: Codec,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | RunError, Exclude<R, CurrentRun> | CheckpointStore> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { key, runId, workflow } = request
      const store = yield* CheckpointStore
      const asked = yield* monotonic
      const begun = yield* store.begin(request)
      switch (begun._tag) {
        case "Mismatch":
          return yield* new PayloadMismatch({ workflow, key })
        case "InProgress":
          return yield* new RunInProgress({ runId, retryAfter: begun.retryAfter })
        case "Finished":
          return yield* Effect.flatten(Effect.mapError(outcomes.decode(begun.exit), (_) => codecError(runId, null, _)))
        case "Claimed": {
          yield* Events.publish(
            begun.resumed
              ? { _tag: "RunResumed", workflow, runId, completedSteps: begun.steps.length }
              : { _tag: "RunStarted", workflow, runId }
          )
          const aborted = yield* Deferred.make<never, RunError>()
          const attempt: Attempt = {
            runId,
            workflow,
            store,
            token: begun.token,
            aborted: undefined,
            abort: (error) =>
              Effect.suspend(() => {
                attempt.aborted ??= error
                return Effect.zipRight(Deferred.fail(aborted, attempt.aborted), Effect.interruptible(Effect.never))
              }),
            history: History.make(begun.steps.map(recordedOf)),
            nextSeq: 1 + Math.max(-1, ...begun.steps.map(({ seq }) => seq)),
            leaseUntil: asked + Duration.toMillis(request.lease),
            mainFiber: undefined
          }
          const keeper = yield* Effect.fork(Effect.interruptible(keepLease(attempt, request.lease)))
          const main = Effect.withFiberRuntime<A, E, R>((fiber) => {
            attempt.mainFiber = fiber
            return body
          })
          const exit = yield* Effect.exit(
            restore(Effect.raceFirst(Effect.provideService(main, CurrentRun, attempt), Deferred.await(aborted)))
          )
          yield* Fiber.interrupt(keeper)
          return yield* end(attempt, outcomes, exit)
        }
      }
    })
  ) as Effect.Effect<A, E | RunError, Exclude<R, CurrentRun> | CheckpointStore>

/** Records how the body ended, or gives the run back. */
const end = <A, E>(attempt: Attempt, outcomes: Codec, exit: Exit.Exit<A, E | RunError>) =>
  Effect.gen(function*() {
    const { runId, store, token, workflow } = attempt
    const giveBack = Effect.ignore(store.release({ runId, token }))
    if (attempt.aborted !== undefined) return yield* Effect.zipRight(giveBack, Effect.fail(attempt.aborted))
    if (!isOutcome(exit)) return yield* Effect.zipRight(giveBack, exit)
    const left = History.leftover(attempt.history)
    if (left !== undefined) {
      yield* giveBack
      return yield* new HistoryMismatch({ runId, seq: left.seq, recorded: left.name, called: null })
    }
    const encoded = yield* Effect.either(outcomes.encode(exit))
    if (encoded._tag === "Left") return yield* Effect.zipRight(giveBack, codecError(runId, null, encoded.left))
    const status = Exit.isSuccess(exit) ? "succeeded" : "failed"
    const finished = yield* Effect.either(store.finish({ runId, token, status, exit: encoded.right }))
    if (finished._tag === "Left") return yield* Effect.zipRight(giveBack, Effect.fail(finished.left))
    if (!finished.right) return yield* new RunFenced({ runId })
    yield* Events.publish({
      _tag: "RunCompleted",
      workflow,
      runId,
      outcome: Exit.isSuccess(exit) ? "success" : "failure"
    })
    return yield* exit
  })

/** Success or a typed failure: what a record can hold. A defect and an interruption are no outcome. */
const isOutcome = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit) || (Option.isSome(Cause.failureOption(exit.cause)) && Option.isNone(Cause.dieOption(exit.cause)))

/** Renews at a third of the lease, and stops the run when somebody else has it or the store is out of reach for long. */
const keepLease = (attempt: Attempt, lease: Duration.Duration) =>
  Effect.gen(function*() {
    const { runId, store, token } = attempt
    while (true) {
      yield* Effect.sleep(Duration.times(lease, 1 / 3))
      const asked = yield* monotonic
      const renewed = yield* Effect.either(store.renew({ runId, token, lease }))
      if (renewed._tag === "Right" && !renewed.right) return yield* attempt.abort(new RunFenced({ runId }))
      if (renewed._tag === "Right") attempt.leaseUntil = asked + Duration.toMillis(lease)
      else if ((yield* monotonic) >= attempt.leaseUntil) return yield* attempt.abort(renewed.left)
    }
  })

const monotonic = Effect.withFiberRuntime<number>((fiber) => Effect.succeed(Time.monotonicMillis(fiber)))

// -----------------------------------------------------------------------------
// internal: a step
// -----------------------------------------------------------------------------

const takeStep = <A, E, R>(name: string, outcomes: Codec, effect: Effect.Effect<A, E, R>) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime<A, E, R | CurrentRun>((fiber) => {
      const attempt = Context.unsafeGet(fiber.currentContext as Context.Context<CurrentRun>, CurrentRun) as Attempt
      const branch = fiber === attempt.mainFiber ? "main" : "side"
      const [history, decision] = History.call(attempt.history, name, branch)
      attempt.history = history
      const { runId, workflow } = attempt
      switch (decision._tag) {
        case "Mismatch": {
          const { called, recorded } = decision
          return attempt.abort(new HistoryMismatch({ runId, seq: recorded.seq, recorded: recorded.name, called }))
        }
        case "Duplicate":
          return Effect.dieMessage(
            `Checkpoint: run "${runId}" calls step "${name}" twice from concurrent branches; give each a name of its own`
          )
        case "Replay": {
          const { exit, seq, name: step } = decision.step
          return Effect.matchEffect(outcomes.decode(exit), {
            onFailure: (flaw) => attempt.abort(codecError(runId, step, flaw)),
            onSuccess: (outcome: Exit.Exit<A, E>) =>
              Effect.zipRight(Events.publish({ _tag: "StepReplayed", workflow, runId, step, seq }), outcome)
          })
        }
        case "Execute":
          return execute(attempt, decision.name, branch, outcomes, restore(effect))
      }
    })
  )

const execute = <A, E, R>(
  attempt: Attempt,
  name: string,
  branch: History.Recorded["branch"],
  outcomes: Codec,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const { runId, store, token, workflow } = attempt
    // the store refuses a late record, not a late effect: an owner that stood still must not start
    if ((yield* monotonic) >= attempt.leaseUntil) return yield* attempt.abort(new RunFenced({ runId }))
    yield* Events.publish({ _tag: "StepStarted", workflow, runId, step: name })
    const startedAt = yield* Clock.currentTimeMillis
    const current = Option.some({ runId, step: name, key: sha256(JSON.stringify([runId, name])) })
    const exit = yield* Effect.exit(Effect.provideService(body, CurrentStep, current) as Effect.Effect<A, E, R>)
    if (!isOutcome(exit)) return yield* exit
    const encoded = yield* Effect.either(outcomes.encode(exit) as Effect.Effect<string, Flaw>)
    if (encoded._tag === "Left") return yield* attempt.abort(codecError(runId, name, encoded.left))
    const seq = attempt.nextSeq++
    const saved = yield* Effect.either(store.save({
      token,
      step: {
        runId,
        seq,
        name,
        exit: branch === "main" ? encoded.right : encoded.right.replace("{", sideMark),
        startedAt,
        endedAt: yield* Clock.currentTimeMillis
      }
    }))
    if (saved._tag === "Left") return yield* attempt.abort(saved.left)
    if (!saved.right) return yield* attempt.abort(new RunFenced({ runId }))
    const outcome = Exit.isSuccess(exit) ? "success" : "failure"
    yield* Events.publish({ _tag: "StepSaved", workflow, runId, step: name, seq, outcome })
    return yield* exit
  })
