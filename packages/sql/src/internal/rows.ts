/** Rows of runs, as both databases give them, in the words of the port. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import * as Option from "effect/Option"
import type { ProgressRow, RunFilter, RunRow, StartedRow } from "./protocol.js"

export const toRun = (row: RunRow): CheckpointStore.Run => ({
  ...row,
  parent: Option.fromNullable(row.parent),
  exit: Option.fromNullable(row.exit),
  deadlineAt: Option.fromNullable(row.deadlineAt),
  cancelled: Option.fromNullable(row.cancelled),
  completedAt: Option.fromNullable(row.completedAt)
})

export const toStarted = (row: StartedRow): CheckpointStore.Started => ({
  ...row,
  wakeAt: Option.fromNullable(row.wakeAt)
})

export const toProgress = ({ run, signals, started, steps }: ProgressRow): CheckpointStore.Progress => ({
  run: toRun(run),
  steps,
  started: started.map(toStarted),
  signals
})

export const toFilter = (filter: CheckpointStore.Filter = {}): RunFilter => ({
  workflow: filter.workflow ?? null,
  status: filter.status ?? null,
  key: filter.key ?? null,
  keyPrefix: filter.keyPrefix ?? null,
  parent: filter.parent ?? null,
  createdFrom: filter.createdFrom ?? null,
  createdBefore: filter.createdBefore ?? null,
  after: filter.after === undefined ? null : { createdAt: filter.after.createdAt, runId: filter.after.runId },
  limit: filter.limit ?? null
})
