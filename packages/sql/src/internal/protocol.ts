/**
 * What the main thread and the writer thread say to each other: plain values that survive a structured clone.
 * Types only, for the writer is JavaScript and loads no TypeScript.
 */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import type { Reason } from "@firebreak/core/StoreError"

/** When a request was made. `now` is in microseconds on the monotonic clock named `clock`; `wall` is epoch milliseconds. */
export interface Moment {
  readonly now: number
  readonly clock: string
  readonly wall: number
}

/** A moment and how long the claim it asks for shall last, in microseconds. */
export interface Leased extends Moment {
  readonly lease: number
}

export interface ActionId {
  readonly scope: string
  readonly operation: string
  readonly key: string
}

/** Null stands for any. */
export interface ActionFilter {
  readonly scope: string | null
  readonly operation: string | null
  readonly key: string | null
}

/** One row of `firebreak_action`, without what concerns its owner. */
export interface ActionRow extends ActionId {
  readonly fingerprint: string
  readonly state: "started" | "in-doubt" | "completed"
  readonly exit: string | null
  readonly startedAt: number
  readonly completedAt: number | null
  readonly expiresAt: number | null
}

/** One row of `firebreak_run`, without what concerns its owner. */
export interface RunRow {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly status: CheckpointStore.Run["status"]
  readonly exit: string | null
  readonly recoveries: number
  readonly createdAt: number
  readonly updatedAt: number
  readonly completedAt: number | null
}

/** An answer in which `retryAfter` is a number of microseconds. */
export interface InProgress {
  readonly _tag: "InProgress"
  readonly retryAfter: number
}

export type ClaimAnswer =
  | Exclude<IdempotencyStore.Claim, { readonly _tag: "InProgress" | "Completed" }>
  | { readonly _tag: "Completed"; readonly row: ActionRow }
  | InProgress

export type BeginAnswer = Exclude<CheckpointStore.Begin, { readonly _tag: "InProgress" }> | InProgress

export interface Operation<Request, Answer> {
  readonly request: Request
  readonly answer: Answer
}

export interface ActionOperations {
  readonly claim: Operation<ActionId & Leased & { readonly fingerprint: string }, ClaimAnswer>
  readonly renew: Operation<ActionId & Leased & { readonly token: number }, boolean>
  readonly complete: Operation<
    ActionId & Moment & { readonly token: number; readonly exit: string; readonly retention: number },
    ActionRow | null
  >
  readonly release: Operation<ActionId & { readonly token: number; readonly inDoubt: boolean }, null>
  readonly get: Operation<ActionId & Moment, ActionRow | null>
  readonly list: Operation<Moment & ActionFilter, ReadonlyArray<ActionRow>>
  readonly reset: Operation<Moment & ActionFilter, number>
  readonly prune: Operation<Moment & { readonly limit: number }, number>
}

export interface RunOperations {
  readonly begin: Operation<
    Leased & { readonly runId: string; readonly workflow: string; readonly key: string; readonly payload: string },
    BeginAnswer
  >
  readonly renewRun: Operation<Leased & { readonly runId: string; readonly token: number }, boolean>
  readonly save: Operation<Moment & { readonly token: number; readonly step: CheckpointStore.Step }, boolean>
  readonly finish: Operation<
    Moment & {
      readonly runId: string
      readonly token: number
      readonly status: "succeeded" | "failed"
      readonly exit: string
    },
    boolean
  >
  readonly releaseRun: Operation<Moment & { readonly runId: string; readonly token: number }, null>
  readonly load: Operation<
    { readonly runId: string },
    { readonly run: RunRow; readonly steps: ReadonlyArray<CheckpointStore.Step> } | null
  >
  readonly listRuns: Operation<
    { readonly workflow: string | null; readonly status: string | null },
    ReadonlyArray<RunRow>
  >
  readonly clear: Operation<Moment & { readonly runId: string }, boolean>
  readonly pruneRuns: Operation<{ readonly completedBefore: number; readonly limit: number }, number>
}

/** Every operation of the writer by its name. */
export interface Operations extends ActionOperations, RunOperations {}

export type Name = keyof Operations

/** Functions that carry out operations on the open database; those that write are called within a transaction. */
export type Handlers<O> = {
  readonly [N in keyof O]: O[N] extends Operation<infer Request, infer Answer> ? (request: Request) => Answer : never
}

export interface Failure {
  readonly reason: Reason
  readonly detail: string
}

/** Given to the writer when it starts. */
export interface Start {
  readonly filename: string
  /** Milliseconds to wait for a lock that another process holds. */
  readonly busyTimeout: number
  readonly owner: string
}

export type Message =
  | { readonly _tag: "Requests"; readonly requests: ReadonlyArray<readonly [id: number, name: Name, request: unknown]> }
  | { readonly _tag: "Close" }

export type Reply =
  | { readonly _tag: "Opened"; readonly journalMode: string; readonly synchronous: number; readonly schema: number }
  | { readonly _tag: "Failed"; readonly failure: Failure }
  | {
    readonly _tag: "Answers"
    readonly answers: ReadonlyArray<readonly [id: number, failure: Failure | null, answer: unknown]>
    /** Write transactions committed since the start. */
    readonly transactions: number
  }
