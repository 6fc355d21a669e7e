/** Rows of runs on PostgreSQL, whose numbers of 64 bits come as text, in the words of the port. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import type { RunRow } from "../protocol.js"
import { toProgress, toRun } from "../rows.js"
import * as Chain from "../writer/chain.js"
import type { PostgresClient } from "./PostgresClient.js"

type Numbers = "deadlineAt" | "createdAt" | "updatedAt" | "completedAt"

/** The columns of a run. */
export type Row = Omit<RunRow, Numbers> & { readonly [N in Numbers]: string | null }

/** A run with all that is stored of it, as the statement `read` gives it. */
export interface ReadRow extends Row {
  readonly token: string
  readonly owner: string | null
  readonly stalledAt: number
  readonly hash: string
  readonly exitHash: string | null
  readonly cancelHash: string | null
  /** Milliseconds. */
  readonly heldFor: string
  readonly now: string
  readonly steps: ReadonlyArray<Omit<Chain.HashedStep, "savedAt">>
  readonly started: ReadonlyArray<Chain.HashedStarted>
  readonly signals: ReadonlyArray<Chain.HashedSignal>
}

const number = (text: string | null): number | null => text === null ? null : Number(text)

export const toRow = (row: Row): RunRow => ({
  runId: row.runId,
  workflow: row.workflow,
  version: row.version,
  key: row.key,
  payload: row.payload,
  parent: row.parent,
  status: row.status,
  exit: row.exit,
  recoveries: row.recoveries,
  stalls: row.stalls,
  deadlineAt: number(row.deadlineAt),
  cancelled: row.cancelled,
  createdAt: Number(row.createdAt),
  updatedAt: Number(row.updatedAt),
  completedAt: number(row.completedAt)
})

export const run = (row: Row): CheckpointStore.Run => toRun(toRow(row))

/** What was read, checked, and the hash of its last record before the outcome. */
export const parse = (
  client: PostgresClient,
  operation: string,
  row: ReadRow
): Effect.Effect<{ readonly progress: CheckpointStore.Progress; readonly hash: string }, StoreError> =>
  checked(client, operation, () => {
    const { signals, started, steps } = row
    const own = toRow(row)
    const hash = Chain.verify({
      run: { ...own, hash: row.hash, exitHash: row.exitHash, cancelHash: row.cancelHash },
      steps: steps.map((step) => ({ ...step, savedAt: null })),
      started,
      signals
    }, false)
    const progress = {
      run: own,
      steps: steps.map(({ hash: _, ...step }) => step).toSorted((a, b) => a.seq - b.seq),
      started: started.map(({ hash: _, ...row }) => row),
      signals: signals.map(({ hash: _, ...signal }) => signal)
    }
    return { progress: toProgress(progress), hash }
  })

export type SignalRow = Omit<Chain.HashedSignal, "sentAt"> & { readonly sentAt: string | number }

/** Signals, checked. */
export const toSignals = (
  client: PostgresClient,
  operation: string,
  rows: ReadonlyArray<SignalRow>
): Effect.Effect<ReadonlyArray<CheckpointStore.Signal>, StoreError> =>
  checked(client, operation, () => {
    const signals = rows.map((row) => ({ ...row, sentAt: Number(row.sentAt) }))
    Chain.checkSignals(signals, false)
    return signals.map(({ hash: _, ...signal }) => signal)
  })

const checked = <A>(client: PostgresClient, operation: string, read: () => A): Effect.Effect<A, StoreError> =>
  Effect.try({
    try: read,
    catch: (error) => client.error(operation, { reason: "corrupt", detail: (error as Error).message })
  })
