/**
 * Workflows and their runs.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CheckpointEngine, CurrentRun, type Definition, type RunRequest } from "./CheckpointEngine.js"
import { RunEnded, type RunError, type StepCodecError } from "./CheckpointError.js"
import type * as CheckpointStore from "./CheckpointStore.js"
import { endOf } from "./internal/checkpointAttempt.js"
import { codecError } from "./internal/checkpointCalls.js"
import { fault, outcomesOf, stepName } from "./internal/checkpointCodec.js"
import * as Check from "./internal/options.js"
import { encoder, settled, voided } from "./internal/outcomeCodec.js"
import type { StoreError } from "./StoreError.js"

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
  /** How long a run may take, from its beginning and whatever dies meanwhile. Default: no limit. */
  readonly deadline?: Duration.DurationInput | undefined
  /** How often in a row a run is taken up without a step finished in between, before it is dead. Default 20. */
  readonly maxRecoveries?: number | undefined
  /** The version of this code. Default "1". */
  readonly version?: string | undefined
  /** Other versions whose half-done runs this code can go on with. Default: none. */
  readonly accepts?: ReadonlyArray<string> | undefined
}

/**
 * The signals a workflow can be sent, by name, with the schemas of what is sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signals {
  readonly [name: string]: Schema.Schema.Any
}

/**
 * @since 0.1.0
 * @category options
 */
export interface WorkflowOptions<
  Payload extends Schema.Schema.Any,
  Success extends Schema.Schema.Any,
  Error extends Schema.Schema.All,
  S extends Signals = {}
> extends RunOptions<Success, Error> {
  readonly payload: Payload
  /** Tells one run from another: the same key is the same run, `name/key`. */
  readonly key: (payload: Schema.Schema.Type<Payload>) => string
  /** What `send` may send. Default: nothing. */
  readonly signals?: S | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { lease: "30 seconds", maxRecoveries: 20, version: "1" } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Workflow<Payload, A, E, R, SchemaR = never, S extends Signals = {}> {
  readonly name: string
  readonly runId: (payload: Payload) => string
  /** Runs it, or takes it up where it was left; a run that has ended gives its recorded outcome and runs nothing. */
  readonly run: (payload: Payload) => Effect.Effect<A, E | RunError, R | CheckpointEngine>
  /**
   * Runs it as a step of another run, which it is cancelled with. Its key is the parent's run and the step's name, which
   * is by default that of the workflow.
   */
  readonly runChild: (
    payload: Payload,
    options?: { readonly name?: string | undefined }
  ) => Effect.Effect<A, E | RunEnded, R | CurrentRun>
  /** How the run ended, if it has. Wakes nothing. */
  readonly outcome: (
    payload: Payload
  ) => Effect.Effect<
    Option.Option<Exit.Exit<A, E | RunEnded>>,
    StoreError | StepCodecError,
    SchemaR | CheckpointEngine
  >
  /** Sends a signal to the run of this key, which need not have begun. The first of a name counts. */
  readonly send: <Name extends keyof S & string>(
    key: string,
    name: Name | `${Name}#${number}`,
    value: Schema.Schema.Type<S[Name]>
  ) => Effect.Effect<
    CheckpointStore.Sent,
    StoreError | StepCodecError,
    CheckpointEngine | Schema.Schema.Context<S[Name]>
  >
  /** Asks the run of this key to stop; see `Checkpoint.cancel`. */
  readonly cancel: (
    key: string,
    options: { readonly reason: string }
  ) => Effect.Effect<CheckpointStore.Cancelled, StoreError, CheckpointEngine>
  /** Registers the workflow, so that `resumeAll` can take up its runs. */
  readonly layer: Layer.Layer<never, never, R | CheckpointEngine>
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
  Error extends Schema.Schema.All = typeof Schema.Never,
  S extends Signals = {}
>(
  name: string,
  options: WorkflowOptions<Payload, Success, Error, S>,
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
  Schema.Schema.Context<Success> | Schema.Schema.Context<Error>,
  S
> => {
  Check.name("Checkpoint.workflow", "name", name)
  if (name.includes("/") || name === simple) {
    throw new Check.InvalidOption(
      `Checkpoint.workflow: name must have no "/" and not be "${simple}", got ${JSON.stringify(name)}`
    )
  }
  Check.known(module, options, { ...knownOfRun, payload: true, key: true, signals: true })
  return define(name, options, body)
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
  ): Effect.Effect<void, RunError, Exclude<R, CurrentRun> | CheckpointEngine>
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
    Exclude<R, CurrentRun> | Schema.Schema.Context<Success> | Schema.Schema.Context<Error> | CheckpointEngine
  >
} = (
  id: string,
  ...rest:
    | readonly [Effect.Effect<any, any, any>]
    | readonly [RunOptions<Schema.Schema.Any, Schema.Schema.All>, Effect.Effect<any, any, any>]
) => {
  const [options, program] = rest.length === 1 ? [{}, rest[0]] as const : rest
  Check.known("Checkpoint.run", options, knownOfRun)
  return define(simple, { ...options, payload: Schema.Void, key: () => id }, () => program).run(undefined)
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The workflow of `Checkpoint.run`. */
const simple = "run"

const module = "Checkpoint.workflow"

const knownOfRun = {
  success: true,
  error: true,
  lease: true,
  deadline: true,
  maxRecoveries: true,
  version: true,
  accepts: true
} as const

const define = <
  Payload extends Schema.Schema.Any,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  name: string,
  options: WorkflowOptions<Payload, Success, Error, any>,
  body: (
    payload: Schema.Schema.Type<Payload>
  ) => Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error>, R>
): Workflow<any, any, any, any, any, any> => {
  const { error = Schema.Never, success = Schema.Void } = options
  const payloadSchema = Schema.asSchema(options.payload)
  const encodePayload = encoder(fault, "payload", payloadSchema)
  const decodePayload = Schema.decodeUnknown(Schema.parseJson(payloadSchema))
  const program = (payload: Schema.Schema.Type<Payload>) => voided(success, Effect.suspend(() => body(payload)))

  const definition: Definition<any, any, R, any> = {
    name,
    version: Check.name(module, "version", options.version ?? defaults.version),
    accepts: options.accepts ?? [],
    lease: Duration.millis(Check.millis(module, "lease", options.lease ?? defaults.lease, { min: 10 })),
    deadline: Option.map(
      Option.fromNullable(options.deadline),
      (deadline) => Duration.millis(Check.millis(module, "deadline", deadline))
    ),
    maxRecoveries: Check.whole(module, "maxRecoveries", options.maxRecoveries ?? defaults.maxRecoveries, { min: 0 }),
    outcomes: outcomesOf(success, error),
    program: (payload) =>
      Effect.mapBoth(decodePayload(payload), {
        onFailure: ({ message }) => fault("record", "payload", message),
        onSuccess: program
      })
  }

  const idOf = (key: string) => `${name}/${Check.name(`Workflow "${name}"`, "key", key)}`
  const runId = (payload: Schema.Schema.Type<Payload>) => idOf(options.key(payload))

  const run = (payload: Schema.Schema.Type<Payload>) =>
    Effect.flatMap(CheckpointEngine, (engine) => {
      const key = options.key(payload)
      const id = idOf(key)
      return settled(encodePayload(payload), {
        onFailure: (flaw) => codecError(id, null, flaw),
        onSuccess: ({ json }) => {
          const request: RunRequest<any, any, R, any> = {
            definition,
            runId: id,
            key,
            payload: json,
            body: program(payload)
          }
          return engine.run(request)
        }
      })
    })

  const runChild = (payload: Schema.Schema.Type<Payload>, child?: { readonly name?: string | undefined }) => {
    const step = stepName(`Workflow "${name}".runChild`, child?.name ?? name)
    return Effect.flatMap(CurrentRun, (parent) =>
      Effect.flatMap(
        // a payload that is none is a mistake in the program of the parent
        Effect.orDieWith(encodePayload(payload), (flaw) => codecError(parent.runId, step, flaw)),
        ({ json }) =>
          parent.child<any, any, R, any>({
            name: step,
            definition,
            payload: json,
            body: program(payload),
            outcomes: outcomesOf(success, childError())
          })
      ))
  }
  let union: Schema.Schema.All | undefined
  const childError = () => union ??= Schema.Union(Schema.asSchema(error), RunEnded)

  const outcome = (payload: Schema.Schema.Type<Payload>) =>
    Effect.flatMap(
      CheckpointEngine,
      (engine) =>
        Effect.flatMap(engine.load(runId(payload)), (found) =>
          Option.isNone(found) || found.value.run.status === "running"
            ? Effect.succeedNone
            : Effect.map(endOf(found.value.run, definition.outcomes), Option.some))
    )

  const send = (key: string, signal: string, value: unknown) =>
    Effect.flatMap(CheckpointEngine, (engine) => {
      const schema: Schema.Schema.Any | undefined = options.signals?.[signal.replace(/#\d+$/, "")]
      if (schema === undefined) {
        throw new Check.InvalidOption(`Workflow "${name}": there is no signal ${JSON.stringify(signal)}`)
      }
      const id = idOf(key)
      return Effect.flatMap(
        Effect.mapError(outcomesOf(schema).encode(Exit.succeed(value)), (flaw) => codecError(id, signal, flaw)),
        (encoded) => engine.send({ runId: id, name: signal, payload: encoded })
      )
    })

  const cancel = (key: string, { reason }: { readonly reason: string }) =>
    Effect.flatMap(CheckpointEngine, (engine) => engine.cancel({ runId: idOf(key), reason }))

  const layer = Layer.scopedDiscard(Effect.flatMap(CheckpointEngine, (engine) => engine.register(definition)))

  // the schemas' own types are lost in their defaults; the signature of `workflow` says them again
  return { name, runId, run, runChild, outcome, send, cancel, layer } as Workflow<any, any, any, any, any, any>
}
