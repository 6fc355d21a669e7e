/**
 * Where checkpoints live: save, load, list, clear and prune, with one owner per run. Memory is here; `@firebreak/sql`
 * has the durable ones; all pass the contract suite in `@firebreak/core/testing/CheckpointStoreSuite`.
 *
 * A store instance is one owner. It holds a run by a lease and a fencing token; a write with an old token is refused.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { StoreError } from "./StoreError.js"

/**
 * One run of a workflow. `payload` and `exit` are encoded JSON; times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly status: "running" | "succeeded" | "failed"
  readonly exit: Option.Option<string>
  /** How often the run was picked up again after its owner had died or given it back. */
  readonly recoveries: number
  readonly createdAt: number
  readonly updatedAt: number
  readonly completedAt: Option.Option<number>
}

/**
 * One finished step: `seq` is its position in the run, from 0; `exit` its encoded outcome.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly runId: string
  readonly seq: number
  readonly name: string
  readonly exit: string
  readonly startedAt: number
  readonly endedAt: number
}

/**
 * The answer to `begin`.
 *
 * - `Claimed`: the caller owns the run until its lease ends; `steps` are those already finished, by `seq`.
 * - `Finished`: the run has ended with `exit`.
 * - `InProgress`: another live owner has it.
 * - `Mismatch`: the run exists with another payload (`payload` is the stored one).
 *
 * @since 0.1.0
 * @category models
 */
export type Begin =
  | {
    readonly _tag: "Claimed"
    readonly token: number
    readonly resumed: boolean
    readonly steps: ReadonlyArray<Step>
  }
  | { readonly _tag: "Finished"; readonly exit: string }
  | { readonly _tag: "InProgress"; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "Mismatch"; readonly payload: string }

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Creates the run or takes it up where it was left, in one atomic step. */
  readonly begin: (request: {
    readonly runId: string
    readonly workflow: string
    readonly key: string
    readonly payload: string
    readonly lease: Duration.Duration
  }) => Effect.Effect<Begin, StoreError>
  /** Extends the lease; false when the run was taken over: stop at once. */
  readonly renew: (request: {
    readonly runId: string
    readonly token: number
    readonly lease: Duration.Duration
  }) => Effect.Effect<boolean, StoreError>
  /** Saves one finished step durably; false when the run was taken over. The same step again changes nothing. */
  readonly save: (request: { readonly token: number; readonly step: Step }) => Effect.Effect<boolean, StoreError>
  /** Records how the run ended; false when the run was taken over. */
  readonly finish: (request: {
    readonly runId: string
    readonly token: number
    readonly status: "succeeded" | "failed"
    readonly exit: string
  }) => Effect.Effect<boolean, StoreError>
  /** Gives an unfinished run back, so that anyone may resume it at once. */
  readonly release: (request: { readonly runId: string; readonly token: number }) => Effect.Effect<void, StoreError>
  /** The run with its finished steps. Wakes nothing. */
  readonly load: (
    runId: string
  ) => Effect.Effect<Option.Option<{ readonly run: Run; readonly steps: ReadonlyArray<Step> }>, StoreError>
  /** Runs in order of `createdAt`. */
  readonly list: (filter?: {
    readonly workflow?: string | undefined
    readonly status?: Run["status"] | undefined
  }) => Effect.Effect<ReadonlyArray<Run>, StoreError>
  /** Forgets a run that no live owner holds; false if there is none or it is held. */
  readonly clear: (runId: string) => Effect.Effect<boolean, StoreError>
  /** Forgets runs that ended at least `olderThan` ago; returns how many. */
  readonly prune: (options: { readonly olderThan: Duration.Duration }) => Effect.Effect<number, StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class CheckpointStore extends Context.Tag("@firebreak/core/CheckpointStore")<CheckpointStore, Service>() {}
