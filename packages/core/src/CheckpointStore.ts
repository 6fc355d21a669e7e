/**
 * Where checkpoints live: the port that a store implements. Memory is in `CheckpointMemory`; `@firebreak/sql` has the
 * durable ones; all pass the contract suite in `@firebreak/core/testing/CheckpointStoreSuite`.
 *
 * A store instance is one owner. It holds a run by a lease and a fencing token; a write with an old token is refused.
 * Time is the store's own: what must be over at a certain time is asked for as a duration and answered as a wall-clock
 * time together with the store's `now`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { StoreError } from "./StoreError.js"

/**
 * What not every store can do.
 *
 * - `durable`: what was answered survives the process
 * - `shared`: several processes may use it at once
 * - `transaction`: it has `transact`
 * - `chain`: it has `verify`, and `begin`, `load` and `received` never answer altered records
 *
 * @since 0.1.0
 * @category models
 */
export type Capability = "durable" | "shared" | "transaction" | "chain"

/**
 * - `dead`: given up after too many recoveries without progress; `requeue` makes it run again
 * - `failed`: by an error it declares, or by its deadline
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "running" | "succeeded" | "failed" | "cancelled" | "dead"

/**
 * One run of a workflow. `payload` and `exit` are encoded JSON; times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run {
  readonly runId: string
  readonly workflow: string
  /** Of the code that began it. */
  readonly version: string
  readonly key: string
  readonly payload: string
  /** The run that called it. */
  readonly parent: Option.Option<string>
  readonly status: Status
  /** How it ended; none while it is running or dead. */
  readonly exit: Option.Option<string>
  /** How often the run was picked up again after its owner had died or given it back. */
  readonly recoveries: number
  /** How often in a row its owner died or failed, without a step saved in between. */
  readonly stalls: number
  readonly deadlineAt: Option.Option<number>
  /** The reason, once it has been asked to stop. */
  readonly cancelled: Option.Option<string>
  readonly createdAt: number
  readonly updatedAt: number
  readonly completedAt: Option.Option<number>
}

/**
 * @since 0.1.0
 * @category models
 */
export type StepKind = "step" | "transaction" | "sleep" | "signal" | "child" | "compensation"

/**
 * One finished step: `seq` is its position in the run, from 0; `exit` its encoded outcome. A step of branch `side` ran in
 * a fiber that the run had forked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly runId: string
  readonly seq: number
  readonly name: string
  readonly kind: StepKind
  readonly branch: "main" | "side"
  readonly exit: string
  readonly startedAt: number
  readonly endedAt: number
}

/**
 * A step that was begun and has no outcome yet. Only those have one that need it: sleeps and signals for the time they
 * end, and steps that must not simply run again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Started {
  readonly runId: string
  readonly name: string
  readonly kind: StepKind
  readonly branch: "main" | "side"
  readonly startedAt: number
  /** When a sleep, or the wait for a signal, is over; by the store's clock. */
  readonly wakeAt: Option.Option<number>
}

/**
 * A signal sent to a run; `payload` is encoded JSON, written like the outcome of a step.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signal {
  readonly runId: string
  readonly name: string
  readonly payload: string
  readonly sentAt: number
}

/**
 * A run with all that is known of it: steps by `seq`, what was begun and has no outcome in the order of its beginning,
 * the signals sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly run: Run
  readonly steps: ReadonlyArray<Step>
  readonly started: ReadonlyArray<Started>
  readonly signals: ReadonlyArray<Signal>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface BeginRequest {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly version: string
  /** Versions whose runs may be taken up beside `version`. */
  readonly accepts?: ReadonlyArray<string> | undefined
  readonly parent?: string | undefined
  /** From the creation of the run; changes nothing later. */
  readonly deadline?: Duration.Duration | undefined
  readonly lease: Duration.Duration
  /** With more `stalls` than this the run is dead. */
  readonly maxStalls: number
  /** Takes up only what is there. */
  readonly existing?: boolean | undefined
}

/**
 * The answer to `begin`, the first that fits.
 *
 * - `Missing`: there is no such run, and only an `existing` one was asked for.
 * - `Mismatch`: the run exists with another payload (`payload` is the stored one).
 * - `Finished`: the run has ended or is dead. `died` says whether it was given up by this very request.
 * - `OtherVersion`: it was begun with a version that is not accepted.
 * - `InProgress`: another live owner has it.
 * - `Claimed`: the caller owns the run until its lease ends. `now` is the store's clock.
 *
 * @since 0.1.0
 * @category models
 */
export type Begin =
  | { readonly _tag: "Missing" }
  | { readonly _tag: "Mismatch"; readonly payload: string }
  | { readonly _tag: "Finished"; readonly run: Run; readonly died: boolean }
  | { readonly _tag: "OtherVersion"; readonly version: string }
  | { readonly _tag: "InProgress"; readonly retryAfter: Duration.Duration }
  | Claimed

/**
 * @since 0.1.0
 * @category models
 */
export interface Claimed extends Progress {
  readonly _tag: "Claimed"
  readonly token: number
  readonly resumed: boolean
  readonly now: number
}

/**
 * The answer to `renew`: `Lost` when the run was taken over, so stop at once.
 *
 * @since 0.1.0
 * @category models
 */
export type Renewal =
  | { readonly _tag: "Held"; readonly cancelled: Option.Option<string> }
  | { readonly _tag: "Lost" }

/**
 * The answer to `start`: the row as it is stored, which may be older than the request.
 *
 * @since 0.1.0
 * @category models
 */
export type StartAnswer =
  | { readonly _tag: "Started"; readonly started: Started; readonly now: number }
  | { readonly _tag: "Lost" }

/**
 * The answer to `expire`.
 *
 * @since 0.1.0
 * @category models
 */
export type Expiry =
  | { readonly _tag: "Expired" }
  | { readonly _tag: "Received"; readonly payload: string }
  | { readonly _tag: "Lost" }

/**
 * The answer to `send`, the first that fits.
 *
 * - `AlreadySent`: there was one of that name; the first counts.
 * - `Ended`: the run has ended, and did not get it.
 * - `TooLate`: the run waits for it and the time is over, or it has gone on without.
 * - `Sent`: the run gets it, or has it when it begins.
 *
 * @since 0.1.0
 * @category models
 */
export type Sent = "Sent" | "AlreadySent" | "TooLate" | "Ended"

/**
 * The answer to `cancel`.
 *
 * @since 0.1.0
 * @category models
 */
export type Cancelled = "Requested" | "AlreadyRequested" | "Ended" | "Missing"

/**
 * Which runs to list; all conditions must hold. Times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filter {
  readonly workflow?: string | undefined
  readonly status?: Status | undefined
  readonly key?: string | undefined
  readonly keyPrefix?: string | undefined
  readonly parent?: string | undefined
  /** Created at this time or later. */
  readonly createdFrom?: number | undefined
  /** Created before this time. */
  readonly createdBefore?: number | undefined
  /** The last run of the page before. */
  readonly after?: Pick<Run, "createdAt" | "runId"> | undefined
  /** Default: no limit. */
  readonly limit?: number | undefined
}

/**
 * Damage that `verify` found; `runId` is null where it concerns the store as a whole.
 *
 * @since 0.1.0
 * @category models
 */
export interface Damage {
  readonly runId: string | null
  readonly detail: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly capabilities: ReadonlySet<Capability>

  // the owner of a run

  /** Creates the run or takes it up where it was left, in one atomic step. */
  readonly begin: (request: BeginRequest) => Effect.Effect<Begin, StoreError>
  /** Extends the lease. */
  readonly renew: (request: {
    readonly runId: string
    readonly token: number
    readonly lease: Duration.Duration
  }) => Effect.Effect<Renewal, StoreError>
  /** Records durably that a step begins, and when its wait is over; once begun it stays as it was. */
  readonly start: (request: {
    readonly token: number
    readonly step: Omit<Started, "wakeAt">
    readonly wait?: Duration.Duration | undefined
  }) => Effect.Effect<StartAnswer, StoreError>
  /** Saves one finished step durably; false when the run was taken over. The same step again changes nothing. */
  readonly save: (request: { readonly token: number; readonly step: Step }) => Effect.Effect<boolean, StoreError>
  /**
   * Saves the step of a signal that did not come, unless a signal of the step's name has been sent: one atomic step, so
   * that sender and run agree.
   */
  readonly expire: (request: { readonly token: number; readonly step: Step }) => Effect.Effect<Expiry, StoreError>
  /** Records how the run ended; false when the run was taken over. */
  readonly finish: (request: {
    readonly runId: string
    readonly token: number
    readonly status: "succeeded" | "failed" | "cancelled"
    readonly exit: string
  }) => Effect.Effect<boolean, StoreError>
  /** Gives an unfinished run back, so that anyone may resume it at once; `failed` counts as a stall. */
  readonly release: (request: {
    readonly runId: string
    readonly token: number
    readonly failed?: boolean | undefined
  }) => Effect.Effect<void, StoreError>
  /**
   * Runs `body` in a transaction and saves the step it gives in the same one; none, and nothing done, when the run was
   * taken over. A failure of `body` rolls back.
   */
  readonly transact?: <A, E, R>(request: {
    readonly token: number
    readonly runId: string
    readonly body: Effect.Effect<{ readonly step: Step; readonly value: A }, E, R>
  }) => Effect.Effect<Option.Option<A>, E | StoreError, R>

  // anybody

  /** Sends a signal; the run need not have begun. The first of a name counts. */
  readonly send: (request: Omit<Signal, "sentAt">) => Effect.Effect<Sent, StoreError>
  /** The signals sent to these runs. */
  readonly received: (runIds: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Signal>, StoreError>
  /** Asks a run to stop. Its owner is told at the next renewal; without an owner, whoever takes it up. */
  readonly cancel: (request: {
    readonly runId: string
    readonly reason: string
  }) => Effect.Effect<Cancelled, StoreError>
  /**
   * Settles a begun step of a run that nobody holds: with `exit` as its outcome, or without one so that it runs again;
   * false if there is none, or the run is held.
   */
  readonly settle: (request: {
    readonly runId: string
    readonly name: string
    readonly exit: Option.Option<string>
  }) => Effect.Effect<boolean, StoreError>
  /** Makes a dead run one that is running and that nobody holds, its stalls forgotten; false if it is not dead. */
  readonly requeue: (runId: string) => Effect.Effect<boolean, StoreError>
  /** Wakes nothing. */
  readonly load: (runId: string) => Effect.Effect<Option.Option<Progress>, StoreError>
  /** Runs in order of `createdAt`, then `runId`. */
  readonly list: (filter?: Filter) => Effect.Effect<ReadonlyArray<Run>, StoreError>
  /** Forgets a run that no live owner holds, and the signals for it; false if there is none or it is held. */
  readonly clear: (runId: string) => Effect.Effect<boolean, StoreError>
  /**
   * Forgets runs that ended at least `olderThan` ago, dead ones apart, and signals that old for runs that never began;
   * returns how many runs.
   */
  readonly prune: (options: { readonly olderThan: Duration.Duration }) => Effect.Effect<number, StoreError>
  /** Looks through everything for damage. */
  readonly verify?: Effect.Effect<ReadonlyArray<Damage>, StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class CheckpointStore extends Context.Tag("@firebreak/core/CheckpointStore")<CheckpointStore, Service>() {}
