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
  readonly version: string
  readonly key: string
  readonly payload: string
  readonly parent: string | null
  readonly status: CheckpointStore.Status
  readonly exit: string | null
  readonly recoveries: number
  readonly stalls: number
  readonly deadlineAt: number | null
  readonly cancelled: string | null
  readonly createdAt: number
  readonly updatedAt: number
  readonly completedAt: number | null
}

export type StartedRow = Omit<CheckpointStore.Started, "wakeAt"> & { readonly wakeAt: number | null }

/** All that is known of a run: steps by `seq`. */
export interface ProgressRow {
  readonly run: RunRow
  readonly steps: ReadonlyArray<CheckpointStore.Step>
  readonly started: ReadonlyArray<StartedRow>
  readonly signals: ReadonlyArray<CheckpointStore.Signal>
}

/** Null stands for any. */
export type RunFilter = {
  readonly [K in keyof CheckpointStore.Filter]-?: NonNullable<CheckpointStore.Filter[K]> | null
}

/** An answer in which `retryAfter` is a number of microseconds. */
export interface InProgress {
  readonly _tag: "InProgress"
  readonly retryAfter: number
}

export type ClaimAnswer = Exclude<IdempotencyStore.Claim, { readonly _tag: "InProgress" }> | InProgress

export type BeginAnswer =
  | Extract<CheckpointStore.Begin, { readonly _tag: "Missing" | "Mismatch" | "OtherVersion" }>
  | { readonly _tag: "Finished"; readonly run: RunRow; readonly died: boolean }
  | InProgress
  | (ProgressRow & Pick<CheckpointStore.Claimed, "_tag" | "token" | "resumed" | "now">)

export interface Operation<Request, Answer> {
  readonly request: Request
  readonly answer: Answer
}

export interface ActionOperations {
  readonly claim: Operation<ActionId & Leased & { readonly fingerprint: string }, ClaimAnswer>
  readonly renew: Operation<ActionId & Leased & { readonly token: number }, boolean>
  readonly complete: Operation<
    ActionId & Moment & { readonly token: number; readonly exit: string; readonly retention: number },
    boolean
  >
  readonly release: Operation<ActionId & { readonly token: number; readonly inDoubt: boolean }, null>
  readonly get: Operation<ActionId & Moment, ActionRow | null>
  readonly list: Operation<Moment & ActionFilter, ReadonlyArray<ActionRow>>
  readonly reset: Operation<Moment & ActionFilter, number>
  readonly prune: Operation<Moment & { readonly limit: number }, number>
}

/** Names a run as its owner does. */
interface Owned extends Moment {
  readonly runId: string
  readonly token: number
}

export interface OwnerOperations {
  readonly begin: Operation<
    & Leased
    & Pick<CheckpointStore.BeginRequest, "runId" | "workflow" | "key" | "payload" | "version" | "maxStalls">
    & {
      readonly accepts: ReadonlyArray<string>
      readonly parent: string | null
      /** In milliseconds. */
      readonly deadline: number | null
      readonly existing: boolean
    },
    BeginAnswer
  >
  /** Null when the run was taken over. */
  readonly renewRun: Operation<Owned & Leased, { readonly cancelled: string | null } | null>
  /** Null when the run was taken over. */
  readonly start: Operation<
    Moment & {
      readonly token: number
      readonly step: Omit<StartedRow, "wakeAt">
      /** In milliseconds. */
      readonly wait: number | null
    },
    { readonly started: StartedRow; readonly now: number } | null
  >
  readonly save: Operation<
    Pick<Moment, "wall"> & { readonly token: number; readonly step: CheckpointStore.Step },
    boolean
  >
  readonly expire: Operation<
    Moment & { readonly token: number; readonly step: CheckpointStore.Step },
    CheckpointStore.Expiry
  >
  readonly finish: Operation<
    Owned & { readonly status: "succeeded" | "failed" | "cancelled"; readonly exit: string },
    boolean
  >
  readonly releaseRun: Operation<Owned & { readonly failed: boolean }, null>
}

/** What anybody may do with runs. */
export interface AdminOperations {
  readonly send: Operation<Moment & Omit<CheckpointStore.Signal, "sentAt">, CheckpointStore.Sent>
  readonly received: Operation<{ readonly runIds: ReadonlyArray<string> }, ReadonlyArray<CheckpointStore.Signal>>
  readonly cancel: Operation<Moment & { readonly runId: string; readonly reason: string }, CheckpointStore.Cancelled>
  readonly settle: Operation<
    Moment & { readonly runId: string; readonly name: string; readonly exit: string | null },
    boolean
  >
  readonly requeue: Operation<Moment & { readonly runId: string }, boolean>
  readonly load: Operation<{ readonly runId: string }, ProgressRow | null>
  readonly listRuns: Operation<RunFilter, ReadonlyArray<RunRow>>
  readonly clear: Operation<Moment & { readonly runId: string }, boolean>
  readonly pruneRuns: Operation<{ readonly completedBefore: number; readonly limit: number }, number>
}

/** Looks for damage in `limit` records after `after` (null: from the first on); `next` is null at the end. */
type Look<Position> = Operation<
  { readonly after: Position | null; readonly limit: number },
  { readonly damage: ReadonlyArray<CheckpointStore.Damage>; readonly next: Position | null }
>

export interface VerifyOperations {
  readonly verifyFile: Operation<null, ReadonlyArray<CheckpointStore.Damage>>
  readonly verifyRuns: Look<number>
  readonly verifyActions: Look<ActionId>
}

/**
 * Statements of the user. A session is a transaction that stays open between requests: it has the writer to itself until
 * it is committed, rolled back or over time.
 */
export interface SqlOperations {
  readonly sqlRun: Operation<SqlStatement, ReadonlyArray<unknown>>
  /** Copies the write-ahead log into the file as far as nobody holds it off. */
  readonly copyLog: Operation<null, null>
}

export interface SqlStatement {
  readonly sql: string
  readonly parameters: ReadonlyArray<unknown>
  /** Rows as lists of values, not as records. */
  readonly values: boolean
}

export interface SessionOperations {
  /** Null when the run whose step it shall save was taken over. */
  readonly sessionBegin: Operation<
    { readonly run: { readonly runId: string; readonly token: number } | null },
    number | null
  >
  readonly sessionRun: Operation<SqlStatement & { readonly session: number }, ReadonlyArray<unknown>>
  /** False, and nothing is kept, when the run of the step was taken over. */
  readonly sessionCommit: Operation<
    { readonly session: number; readonly save: OwnerOperations["save"]["request"] | null },
    boolean
  >
  readonly sessionRollback: Operation<{ readonly session: number }, null>
}

/** Operations that the writer carries out within a transaction of its own making. */
export interface Grouped extends ActionOperations, OwnerOperations, AdminOperations, VerifyOperations, SqlOperations {}

/** Every operation of the writer by its name. */
export interface Operations extends Grouped, SessionOperations {}

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
  /** Milliseconds that a transaction of the user may take. */
  readonly transactionTimeout: number
  /** Whether a damaged file is refused, or only what is damaged in it. */
  readonly onDamage: "refuse" | "isolate"
  /** Whether it is opened to be looked at only. */
  readonly readOnly: boolean
  readonly owner: string
}

/**
 * Where the chains of runs end that a thread has added to since its last message, so that the other need not look; null
 * where it should. All are to be looked for when there are too many to tell.
 */
export type Moves = ReadonlyArray<readonly [runId: string, head: Head | null]> | "many"

/**
 * A run's row, the hash of its last record, how many come after that of the run itself, and whether a step may have been
 * begun that has no record.
 */
export interface Head {
  readonly run: number
  readonly hash: string
  readonly count: number
  readonly begun: boolean
}

/**
 * A request on its way. What is asked most, to save a step, goes as a list of values, for a clone of records takes twice
 * as long.
 */
export type Sent =
  | readonly [id: number, name: Name, request: unknown]
  | readonly [
    id: number,
    token: number,
    wall: number,
    runId: string,
    seq: number,
    name: string,
    kind: CheckpointStore.StepKind,
    branch: CheckpointStore.Step["branch"],
    exit: string,
    startedAt: number,
    endedAt: number
  ]

export type Message =
  | {
    readonly _tag: "Requests"
    readonly requests: ReadonlyArray<Sent>
    readonly moves: Moves
  }
  | { readonly _tag: "Close" }

export type Reply =
  | {
    readonly _tag: "Opened"
    readonly journalMode: string
    readonly synchronous: number
    readonly schema: number
    /** How many runs were found damaged. */
    readonly isolated: number
  }
  | { readonly _tag: "Failed"; readonly failure: Failure }
  | {
    readonly _tag: "Answers"
    /** Requests that are answered with true. */
    readonly yes: ReadonlyArray<number>
    readonly answers: ReadonlyArray<readonly [id: number, failure: Failure | null, answer: unknown]>
    /** Write transactions committed since the start. */
    readonly transactions: number
    readonly moves: Moves
  }
