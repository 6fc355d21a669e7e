// @ts-check
/** The rows of runs: how they are read and checked, and how a step is added to a run's chain. */
import * as Chain from "./chain.js"

/**
 * @import { Signal, Step } from "@firebreak/core/CheckpointStore"
 * @import { ProgressRow, RunRow, StartedRow } from "../protocol.js"
 * @typedef {Chain.HashedRun & { readonly id: number, readonly owner: string | null, readonly leaseClock: string | null,
 *   readonly leaseUntil: number | null, readonly token: number, readonly stalledAt: number }} StoredRun
 * @typedef {{ readonly run: number, readonly hash: string }} Head a run's row and the hash of its last record
 * @typedef {ReturnType<typeof make>} RunTable
 */

/** The columns of a `RunRow`. */
export const columns = `run_id AS runId, workflow, version, key, payload, parent, status, exit, recoveries, stalls,
  deadline_at AS deadlineAt, cancelled, created_at AS createdAt,
  max(updated_at, coalesce((SELECT max(saved_at) FROM firebreak_step s WHERE s.run = r.id), 0)) AS updatedAt,
  completed_at AS completedAt`

/**
 * @param {Chain.HashedStep} step
 * @returns {Step}
 */
const toStep = ({ branch, endedAt, exit, kind, name, runId, seq, startedAt }) => ({
  runId,
  seq,
  name,
  kind,
  branch,
  exit,
  startedAt,
  endedAt
})

/**
 * @param {Chain.HashedStarted} row
 * @returns {StartedRow}
 */
const toStarted = ({ hash: _, ...row }) => row

/**
 * @param {Chain.HashedSignal} row
 * @returns {Signal}
 */
export const toSignal = ({ hash: _, ...row }) => row

/**
 * @param {StoredRun} row
 * @returns {RunRow}
 */
export const toRun = (row) => ({
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
  deadlineAt: row.deadlineAt,
  cancelled: row.cancelled,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
  completedAt: row.completedAt
})

/** @param {import("better-sqlite3").Database} db */
export const make = (db) => {
  const select = db.prepare(
    `SELECT ${columns}, id, token, owner, lease_clock AS leaseClock, lease_until AS leaseUntil, stalled_at AS stalledAt,
       hash, exit_hash AS exitHash, cancel_hash AS cancelHash
     FROM firebreak_run r WHERE run_id = ?`
  )
  const selectSteps = db.prepare(
    `SELECT seq, name, kind, branch, exit, started_at AS startedAt, ended_at AS endedAt, saved_at AS savedAt, hash
     FROM firebreak_step WHERE run = ? ORDER BY id`
  )
  const countSteps = db.prepare("SELECT count(*) FROM firebreak_step WHERE run = ?").pluck()
  const selectStarted = db.prepare(
    `SELECT name, kind, branch, started_at AS startedAt, wake_at AS wakeAt, hash
     FROM firebreak_started WHERE run = ? ORDER BY id`
  )
  const selectSignals = db.prepare(
    `SELECT run_id AS runId, name, payload, sent_at AS sentAt, hash
     FROM firebreak_signal WHERE run_id = ? ORDER BY sent_at, name`
  )
  const selectHead = db.prepare(
    `SELECT r.id AS run, coalesce(s.hash, r.hash) AS hash
     FROM firebreak_run r LEFT JOIN firebreak_step s ON s.run = r.id
     WHERE r.run_id = ? ORDER BY s.id DESC LIMIT 1`
  )
  const owned = db.prepare("SELECT 1 FROM firebreak_run WHERE id = ? AND token = ? AND owner IS NOT NULL").pluck()
  const insertStep = db.prepare(
    `INSERT INTO firebreak_step (run, seq, name, kind, branch, exit, started_at, ended_at, saved_at, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, seq) DO NOTHING`
  )
  const stepName = db.prepare("SELECT name FROM firebreak_step WHERE run = ? AND seq = ?").pluck()
  const removeStarted = db.prepare("DELETE FROM firebreak_started WHERE run = ? AND name = ?")
  const removals = ["run WHERE id", "step WHERE run", "started WHERE run"].map((rows) =>
    db.prepare(`DELETE FROM firebreak_${rows} = ?`)
  )
  const removeSignals = db.prepare("DELETE FROM firebreak_signal WHERE run_id = ?")

  /** @param {string} runId */
  const find = (runId) => /** @type {StoredRun | undefined} */ (select.get(runId))

  /**
   * @param {StoredRun} run
   * @returns {Chain.Records}
   */
  const recordsOf = (run) => {
    const { id, runId } = run
    const steps = /** @type {Array<Omit<Chain.HashedStep, "runId">>} */ (selectSteps.all(id))
    const started = /** @type {Array<Omit<Chain.HashedStarted, "runId">>} */ (selectStarted.all(id))
    return {
      run,
      steps: steps.map((step) => ({ runId, ...step })),
      started: started.map((row) => ({ runId, ...row })),
      signals: signalsOf(runId)
    }
  }

  /** @param {string} runId */
  const signalsOf = (runId) => /** @type {Array<Chain.HashedSignal>} */ (selectSignals.all(runId))

  /**
   * Heads of the runs this owner holds, so that a save need not look for the last step. Another owner can add to a
   * run only with a newer token, and then our next save is refused.
   *
   * @type {Map<string, Head>}
   */
  const heads = new Map()

  /** @param {string} runId */
  const headOf = (runId) => heads.get(runId) ?? /** @type {Head | undefined} */ (selectHead.get(runId))

  return {
    find,
    heads,
    signalsOf,

    /** @param {number} run */
    countSteps: (run) => Number(countSteps.get(run)),

    /**
     * All that is known of a run, checked.
     *
     * @param {StoredRun} run
     * @returns {{ readonly progress: ProgressRow, readonly head: Head }}
     */
    read(run) {
      const records = recordsOf(run)
      const hash = Chain.verify(records, true)
      const steps = records.steps.map(toStep).toSorted((a, b) => a.seq - b.seq)
      const signals = records.signals.map(toSignal)
      return {
        progress: { run: toRun(run), steps, started: records.started.map(toStarted), signals },
        head: { run: run.id, hash }
      }
    },

    headOf,

    /**
     * Where the chain ends of a run that is owned by this token.
     *
     * @param {string} runId
     * @param {number} token
     */
    owns(runId, token) {
      const head = headOf(runId)
      if (head !== undefined && owned.get(head.run, token) !== undefined) return head
      heads.delete(runId)
      return undefined
    },

    /**
     * Adds the step to the chain, unless it is there already. Another step in its place is an error.
     *
     * @param {Head} head
     * @param {Step} step
     * @param {number} wall
     */
    append(head, step, wall) {
      const { branch, endedAt, exit, kind, name, runId, seq, startedAt } = step
      const hash = Chain.hashOfStep(head.hash, step, wall)
      const added = insertStep.run(head.run, seq, name, kind, branch, exit, startedAt, endedAt, wall, hash)
      if (added.changes > 0) {
        heads.set(runId, { run: head.run, hash })
        removeStarted.run(head.run, name)
        return
      }
      const there = stepName.get(head.run, seq)
      if (there !== name) throw new Error(`run "${runId}" has step "${there}" at seq ${seq}, not "${name}"`)
    },

    /**
     * @param {number} run
     * @param {string} name
     */
    forgetStarted: (run, name) => {
      removeStarted.run(run, name)
    },

    /** @param {{ readonly id: number, readonly runId: string }} run */
    remove({ id, runId }) {
      for (const removal of removals) removal.run(id)
      removeSignals.run(runId)
      heads.delete(runId)
    }
  }
}
