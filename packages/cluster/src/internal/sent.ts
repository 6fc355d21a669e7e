/** What other processes send to runs that are executed here: one query for all, every so often. */
import type { SqlClient } from "@effect/sql/SqlClient"
import { RunCancelled } from "@firebreak/core/CheckpointError"
import * as Effect from "effect/Effect"
import * as Database from "./database.js"
import * as Model from "./model.js"
import * as Rows from "./rows.js"
import type { ClusterRun } from "./run.js"

export interface Options {
  readonly sql: SqlClient
  readonly active: ReadonlyMap<string, ClusterRun>
  /** Milliseconds. */
  readonly poll: number
  readonly executionId: (runId: string) => string
}

export const watch = ({ active, executionId, poll, sql }: Options) => {
  /** How much had been sent, by execution; a run that is over before long is not looked after. */
  const seen = new Map<string, number>()

  const look = Effect.gen(function*() {
    const runs = new Map(Array.from(active, ([runId, run]) => [executionId(runId), run]))
    for (const id of seen.keys()) if (!runs.has(id)) seen.delete(id)
    const watched = Array.from(runs.keys()).filter((id) => seen.has(id))
    for (const id of runs.keys()) if (!seen.has(id)) seen.set(id, 0)
    if (watched.length === 0) return
    const types = Array.from(new Set(Array.from(active.values(), (_) => `Workflow/${_.workflow}`)))
    const rows = yield* sql<{ readonly entity_id: string; readonly sent: string; readonly cancelled: string | null }>`
      SELECT entity_id, count(*)::text AS sent,
        max(payload) FILTER (WHERE payload::json ->> 'name' = ${Model.deferred.cancel}) AS cancelled
      FROM ${sql(Database.messages)}
      WHERE ${sql.in("entity_type", types)} AND ${sql.in("entity_id", watched)} AND tag = 'deferred'
      GROUP BY entity_id
    `
    for (const { cancelled, entity_id, sent } of rows) {
      const run = runs.get(entity_id)
      if (run === undefined || seen.get(entity_id) === Number(sent)) continue
      seen.set(entity_id, Number(sent))
      yield* run.hear
      const reason = cancelled === null ? undefined : Rows.reasonOf(cancelled)
      if (reason !== undefined) yield* run.tell(new RunCancelled({ runId: run.runId, reason }))
    }
  })

  return look.pipe(
    Effect.withTracerEnabled(false),
    Effect.catchAllCause((cause) => Effect.logDebug("What was sent to runs could not be read", cause)),
    Effect.delay(poll),
    Effect.forever,
    Effect.interruptible,
    Effect.forkScoped
  )
}
