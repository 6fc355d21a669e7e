/**
 * What runs workflows: the port between the programs of `Checkpoint` and whatever keeps them alive. Our own engine runs
 * them in the calling process over any `CheckpointStore`; `@firebreak/cluster` on many machines. Programs name only
 * `CheckpointEngine`, so the engine is one Layer.
 *
 * Values pass as encoded JSON and programs as effects with their requirements: an engine knows no schema.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { RunEnded, RunError, StepCodecError, Unsupported } from "./CheckpointError.js"
import type * as CheckpointStore from "./CheckpointStore.js"
import { sha256 } from "./internal/hash.js"
import type { StoreError } from "./StoreError.js"

/**
 * What not every engine can do. The suite in `@firebreak/core/testing/CheckpointEngineSuite` tests what one claims.
 *
 * - `fencing`: an owner that stood still past its lease can neither record a step nor begin one
 * - `sleep`, `signals`, `children`, `compensation`, `transaction`: what a run may do beside steps
 * - `in-doubt`: `onInDoubt` of a step
 * - `cancel`, `deadline`, `dead-letter`, `versions`: how a run may end, or not begin
 * - `progress`, `search`, `retention`: `load`, the filters of `list`, `clear` and `prune`
 * - `durable`, `shared`, `chain`: as of the store
 *
 * @since 0.1.0
 * @category models
 */
export type Capability =
  | CheckpointStore.Capability
  | "fencing"
  | "sleep"
  | "signals"
  | "children"
  | "compensation"
  | "in-doubt"
  | "cancel"
  | "deadline"
  | "dead-letter"
  | "versions"
  | "progress"
  | "search"
  | "retention"

/**
 * What is wrong with a value, before it is known whose it is.
 *
 * @since 0.1.0
 * @category models
 */
export type Flaw = Pick<StepCodecError, "part" | "path" | "detail">

/**
 * An outcome as JSON text, and back: `{"_tag":"Success","value":…}` or `{"_tag":"Failure","value":…}`. Only what the
 * schemas declare can be encoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcomes<A, E, R> {
  readonly encode: (exit: Exit.Exit<A, unknown>) => Effect.Effect<string, Flaw, R>
  readonly decode: (text: string) => Effect.Effect<Exit.Exit<A, E>, Flaw, R>
}

/**
 * A step as its run is asked for it; `name` is not numbered yet.
 *
 * @since 0.1.0
 * @category models
 */
export interface StepRequest<A, E, R> {
  readonly name: string
  readonly outcomes: Outcomes<A, E, R>
  /** Where its owner died in it; `probe` tells whether it happened, and with what. */
  readonly onInDoubt: "retry" | "escalate" | { readonly probe: Effect.Effect<Option.Option<A>, never, R> }
  /** Registered under the step's name together with its success, whether executed or replayed. */
  readonly compensate?: ((value: A) => Effect.Effect<void, never, R>) | undefined
  readonly body: Effect.Effect<A, E, R>
}

/**
 * The run that a step belongs to, as an engine gives it. Whatever ends the run from outside interrupts the caller, and
 * is what `run` of the engine fails with.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningRun {
  readonly runId: string
  readonly workflow: string
  /** The version that began it, which may be one that the code only accepts. */
  readonly version: string
  readonly step: <A, E, R>(request: StepRequest<A, E, R>) => Effect.Effect<A, E, R>
  /** A step whose record is part of the database transaction in which `body` runs. */
  readonly transaction: <A, E, R>(
    request: Omit<StepRequest<A, E, R>, "onInDoubt">
  ) => Effect.Effect<A, E, R>
  readonly sleep: (request: { readonly name: string; readonly duration: Duration.Duration }) => Effect.Effect<void>
  /** None when it has not come `within` the time. `decode` reads what was sent: an outcome, always a success. */
  readonly signal: <A, R>(request: {
    readonly name: string
    readonly within: Option.Option<Duration.Duration>
    readonly decode: (payload: string) => Effect.Effect<A, Flaw, R>
  }) => Effect.Effect<Option.Option<A>, never, R>
  /** Runs another workflow as part of this run; its outcome is recorded by the child's own schemas. */
  readonly child: <A, E, R, S>(
    request: Pick<RunRequest<A, E, R, S>, "definition" | "payload" | "body"> & {
      readonly name: string
      /** The child's outcomes and the ends it can come to. */
      readonly outcomes: Outcomes<A, E | RunEnded, S>
    }
  ) => Effect.Effect<A, E | RunEnded, Exclude<R, CurrentRun> | S>
  /** Registers what to do if the run fails, is cancelled or passes its deadline: the last registered runs first. */
  readonly compensate: <R>(request: {
    readonly name: string
    readonly undo: Effect.Effect<void, never, R>
  }) => Effect.Effect<void, never, R>
}

/**
 * The run a step belongs to. Only a workflow provides it, so a step outside a run does not compile.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentRun extends Context.Tag("@firebreak/core/CurrentRun")<CurrentRun, RunningRun>() {}

/**
 * A step whose body is running. `key` is the same on every attempt, fit to be an idempotency key: 64 hexadecimal digits
 * from run and step.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningStep {
  readonly runId: string
  readonly step: string
  readonly key: string
}

/**
 * The step whose body is running; none outside steps.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentStep extends Context.Reference<CurrentStep>()("@firebreak/core/CurrentStep", {
  defaultValue: (): Option.Option<RunningStep> => Option.none()
}) {}

/**
 * What an engine makes the `CurrentStep`; its key is computed when it is asked for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const runningStep = (runId: string, step: string): RunningStep => new NamedStep(runId, step)

/**
 * A workflow as an engine sees it. `S` is what its schemas require.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition<A, E, R, S> {
  readonly name: string
  readonly version: string
  /** Other versions whose runs it can go on with. */
  readonly accepts: ReadonlyArray<string>
  readonly lease: Duration.Duration
  readonly deadline: Option.Option<Duration.Duration>
  readonly maxRecoveries: number
  readonly outcomes: Outcomes<A, E, S>
  /** The program for a payload as it is stored. It requires `CurrentRun`, which the engine provides. */
  readonly program: (payload: string) => Effect.Effect<Effect.Effect<A, E, R>, Flaw, S>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunRequest<A, E, R, S> {
  readonly definition: Definition<A, E, R, S>
  /** `workflow/key`. */
  readonly runId: string
  readonly key: string
  readonly payload: string
  /** What `definition.program(payload)` gives, for an engine that runs it here. */
  readonly body: Effect.Effect<A, E, R>
}

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
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** For messages, such as `memory`. */
  readonly name: string
  readonly capabilities: ReadonlySet<Capability>
  /** Makes a workflow known for as long as the scope lasts, so that its runs can be taken up without being called. */
  readonly register: <A, E, R, S>(
    definition: Definition<A, E, R, S>
  ) => Effect.Effect<void, never, Exclude<R, CurrentRun> | S | Scope.Scope>
  /** Runs it, or takes it up where it was left, or gives its recorded outcome. */
  readonly run: <A, E, R, S>(
    request: RunRequest<A, E, R, S>
  ) => Effect.Effect<A, E | RunError, Exclude<R, CurrentRun> | S>
  /** Takes up what is unfinished and nobody holds, of the registered workflows; tells how each ended. */
  readonly resumeAll: (options: {
    /**
     * How many of them work at a time, those of earlier calls included; those that wait for a time or a signal do not
     * count.
     */
    readonly concurrency: number
    /** Runs to leave alone. */
    readonly except?: ((runId: string) => boolean) | undefined
  }) => Effect.Effect<ReadonlyArray<Resumed>, StoreError>
  readonly send: (request: {
    readonly runId: string
    readonly name: string
    readonly payload: string
  }) => Effect.Effect<CheckpointStore.Sent, StoreError>
  readonly cancel: (request: {
    readonly runId: string
    readonly reason: string
  }) => Effect.Effect<CheckpointStore.Cancelled, StoreError>
  readonly settle: (request: {
    readonly runId: string
    readonly name: string
    readonly exit: Option.Option<string>
  }) => Effect.Effect<boolean, StoreError | Unsupported>
  readonly requeue: (runId: string) => Effect.Effect<boolean, StoreError | Unsupported>
  readonly load: (runId: string) => Effect.Effect<Option.Option<CheckpointStore.Progress>, StoreError>
  readonly list: (
    filter?: CheckpointStore.Filter
  ) => Effect.Effect<ReadonlyArray<CheckpointStore.Run>, StoreError | Unsupported>
  readonly clear: (runId: string) => Effect.Effect<boolean, StoreError | Unsupported>
  readonly prune: (options: {
    readonly olderThan: Duration.Duration
  }) => Effect.Effect<number, StoreError | Unsupported>
  readonly verify: Effect.Effect<ReadonlyArray<CheckpointStore.Damage>, StoreError | Unsupported>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class CheckpointEngine extends Context.Tag("@firebreak/core/CheckpointEngine")<CheckpointEngine, Service>() {}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

class NamedStep implements RunningStep {
  constructor(readonly runId: string, readonly step: string) {}
  get key(): string {
    return sha256(JSON.stringify([this.runId, this.step]))
  }
}
