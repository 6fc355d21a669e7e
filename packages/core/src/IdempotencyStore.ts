/**
 * Where idempotency records live: a narrow port of atomic operations. Memory is here; `@firebreak/sql` has the durable
 * ones; all pass the contract suite in `@firebreak/core/testing/IdempotencyStoreSuite`.
 *
 * A store instance is one owner. It holds a claim by a lease and a fencing token, and knows by itself (by process on
 * one machine, by lease elsewhere) whether another owner is still alive.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { StoreError } from "./StoreError.js"

/**
 * Names one record: keys are scoped by the operation's name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Id {
  readonly operation: string
  readonly key: string
}

/**
 * The answer to a claim.
 *
 * - `Claimed`: the caller owns the key until its lease ends. `inDoubt` is true when an earlier owner began the action
 *   and never reported how it ended: its effect may or may not have happened.
 * - `Completed`: the action has ended; `exit` is its encoded outcome.
 * - `InProgress`: another live owner runs it.
 * - `Reused`: the key exists with another payload's fingerprint.
 *
 * @since 0.1.0
 * @category models
 */
export type Claim =
  | { readonly _tag: "Claimed"; readonly token: number; readonly inDoubt: boolean }
  | { readonly _tag: "Completed"; readonly exit: string }
  | { readonly _tag: "InProgress"; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "Reused"; readonly fingerprint: string }

/**
 * What is kept of one key. Times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Record extends Id {
  readonly fingerprint: string
  readonly state: "started" | "in-doubt" | "completed"
  readonly exit: Option.Option<string>
  readonly startedAt: number
  readonly completedAt: Option.Option<number>
  readonly expiresAt: Option.Option<number>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Claims the key in one atomic step. */
  readonly claim: (
    request: Id & { readonly fingerprint: string; readonly lease: Duration.Duration }
  ) => Effect.Effect<Claim, StoreError>
  /** Extends the lease; false when the claim was taken over: stop at once. */
  readonly renew: (
    request: Id & { readonly token: number; readonly lease: Duration.Duration }
  ) => Effect.Effect<boolean, StoreError>
  /** Records the outcome durably, kept for `retention` from now; false when the claim was taken over. */
  readonly complete: (
    request: Id & { readonly token: number; readonly exit: string; readonly retention: Duration.Duration }
  ) => Effect.Effect<boolean, StoreError>
  /** Gives the claim back without an outcome: `inDoubt` keeps the record, marked; otherwise nothing remains of it. */
  readonly release: (
    request: Id & { readonly token: number; readonly inDoubt: boolean }
  ) => Effect.Effect<void, StoreError>
  readonly get: (id: Id) => Effect.Effect<Option.Option<Record>, StoreError>
  /** Records in order of `startedAt`, of one operation or of all. */
  readonly list: (
    filter?: { readonly operation?: string | undefined }
  ) => Effect.Effect<ReadonlyArray<Record>, StoreError>
  /** Forgets records that are not in progress; returns how many. */
  readonly reset: (
    filter?: { readonly operation?: string | undefined; readonly key?: string | undefined }
  ) => Effect.Effect<number, StoreError>
  /** Forgets completed records past their retention, never what is in flight or in doubt; returns how many. */
  readonly prune: Effect.Effect<number, StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class IdempotencyStore extends Context.Tag("@firebreak/core/IdempotencyStore")<IdempotencyStore, Service>() {}
