// @ts-check
/** What anybody may do with runs, in SQLite: each handler is one atomic step within the writer's transaction. */
import * as Chain from "./chain.js"
import { heldFor } from "./owner.js"
import { columns, toSignal } from "./runTable.js"

/**
 * @import { Status } from "@firebreak/core/CheckpointStore"
 * @import { Handlers, AdminOperations, RunFilter, RunRow } from "../protocol.js"
 * @import { RunTable, StoredRun } from "./runTable.js"
 */

/** @type {ReadonlyArray<Status>} */
const statuses = ["running", "succeeded", "failed", "cancelled", "dead"]

/**
 * Conditions that are asked for, with their parameters. The status is written out, for an index is on the running ones.
 *
 * @type {ReadonlyArray<(filter: RunFilter) => readonly [string, ...ReadonlyArray<string | number>] | undefined>}
 */
const conditions = [
  ({ status }) => status === null ? undefined : [`status = '${statuses[statuses.indexOf(status)] ?? ""}'`],
  ({ workflow }) => workflow === null ? undefined : ["workflow = ?", workflow],
  ({ key }) => key === null ? undefined : ["key = ?", key],
  ({ keyPrefix }) => keyPrefix === null ? undefined : ["substr(key, 1, length(?)) = ?", keyPrefix, keyPrefix],
  ({ parent }) => parent === null ? undefined : ["parent = ?", parent],
  ({ createdFrom }) => createdFrom === null ? undefined : ["created_at >= ?", createdFrom],
  ({ createdBefore }) => createdBefore === null ? undefined : ["created_at < ?", createdBefore],
  ({ after }) => after === null ? undefined : ["(created_at, run_id) > (?, ?)", after.createdAt, after.runId]
]

/**
 * @param {import("better-sqlite3").Database} db
 * @param {{ readonly nextToken: () => number }} context
 * @param {RunTable} table
 * @returns {Handlers<AdminOperations>}
 */
export const make = (db, { nextToken }, table) => {
  // the run went on without it, or its time is over and the run has not seen that yet
  const late = db.prepare(
    `SELECT 1 FROM firebreak_step WHERE run = ? AND kind = 'signal' AND name = ?
     UNION ALL SELECT 1 FROM firebreak_started WHERE run = ? AND name = ? AND wake_at <= ?`
  )
  const insertSignal = db.prepare(
    "INSERT INTO firebreak_signal (run_id, name, payload, sent_at, hash) VALUES (?, ?, ?, ?, ?)"
  )
  const signal = db.prepare("SELECT 1 FROM firebreak_signal WHERE run_id = ? AND name = ?")
  const cancel = db.prepare("UPDATE firebreak_run SET cancelled = ?, cancel_hash = ?, updated_at = ? WHERE id = ?")
  const fence = db.prepare("UPDATE firebreak_run SET token = ? WHERE id = ?")
  const requeue = db.prepare(
    `UPDATE firebreak_run SET status = 'running', exit_hash = NULL, completed_at = NULL, stalls = 0, updated_at = ?
     WHERE run_id = ? AND status = 'dead'`
  )
  const over = db.prepare(
    `SELECT id, run_id AS runId FROM firebreak_run
     WHERE status NOT IN ('running', 'dead') AND completed_at <= ? LIMIT ?`
  )
  const removeOrphans = db.prepare(
    `DELETE FROM firebreak_signal WHERE run_id IN (
       SELECT run_id FROM firebreak_signal s
       WHERE NOT EXISTS (SELECT 1 FROM firebreak_run r WHERE r.run_id = s.run_id)
       GROUP BY run_id HAVING max(sent_at) <= ? LIMIT ?)`
  )

  /** @type {Map<string, import("better-sqlite3").Statement>} */
  const lists = new Map()

  return {
    send({ name, payload, runId, wall }) {
      if (signal.get(runId, name) !== undefined) return "AlreadySent"
      const run = table.find(runId)
      if (run !== undefined) {
        if (run.status !== "running" && run.status !== "dead") return "Ended"
        if (late.get(run.id, name, run.id, name, wall) !== undefined) return "TooLate"
      }
      insertSignal.run(runId, name, payload, wall, Chain.hashOfSignal({ runId, name, payload, sentAt: wall }))
      return "Sent"
    },

    received({ runIds }) {
      const signals = runIds.flatMap(table.signalsOf)
      Chain.checkSignals(signals, true)
      return signals.map(toSignal)
    },

    cancel({ reason, runId, wall }) {
      const run = table.find(runId)
      if (run === undefined) return "Missing"
      if (run.status !== "running") return "Ended"
      if (run.cancelled !== null) return "AlreadyRequested"
      cancel.run(reason, Chain.hashOfCancel(runId, reason), wall, run.id)
      return "Requested"
    },

    settle(request) {
      const { exit, name, runId, wall } = request
      const run = table.find(runId)
      if (run === undefined || heldFor(run, request) > 0) return false
      const { progress } = table.read(run)
      const started = progress.started.find((row) => row.name === name)
      if (started === undefined) return false
      // an owner past its lease does not know of this: it must not go on
      const token = nextToken()
      fence.run(token, run.id)
      table.dropHead(runId)
      if (exit === null) {
        table.forgetStarted(run.id, name)
        return true
      }
      const { branch, kind, startedAt } = started
      const seq = (progress.steps.at(-1)?.seq ?? -1) + 1
      const step = { runId, seq, name, kind, branch, exit, startedAt, endedAt: wall }
      const settled = table.append(step, wall, token, "free")
      table.dropHead(runId)
      return settled
    },

    requeue({ runId, wall }) {
      if (requeue.run(wall, runId).changes === 0) return false
      table.reopen(runId)
      return true
    },

    load({ runId }) {
      const run = table.find(runId)
      return run === undefined ? null : table.read(run).progress
    },

    listRuns(filter) {
      const asked = conditions.flatMap((condition) => {
        const found = condition(filter)
        return found === undefined ? [] : [found]
      })
      const where = asked.length === 0 ? "" : `WHERE ${asked.map(([sql]) => sql).join(" AND ")}`
      let statement = lists.get(where)
      if (statement === undefined) {
        statement = db.prepare(`SELECT ${columns} FROM firebreak_run r ${where} ORDER BY created_at, run_id LIMIT ?`)
        lists.set(where, statement)
      }
      const parameters = asked.flatMap(([, ...values]) => values)
      return /** @type {Array<RunRow>} */ (statement.all(...parameters, filter.limit ?? -1))
    },

    clear(request) {
      const { runId } = request
      const run = table.findAny(runId)
      if (run === undefined) return table.giveUp(runId)
      if (heldFor(run, request) > 0) return false
      table.remove(run)
      return true
    },

    pruneRuns({ completedBefore, limit }) {
      const runs = /** @type {Array<Pick<StoredRun, "id" | "runId">>} */ (over.all(completedBefore, limit))
      for (const run of runs) table.remove(run)
      if (runs.length < limit) removeOrphans.run(completedBefore, limit)
      return runs.length
    }
  }
}
