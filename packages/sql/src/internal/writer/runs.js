// @ts-check
/**
 * Runs and their steps in SQLite: each handler is one atomic step within the writer's transaction.
 *
 * The records of a run form a chain: the run's hash covers what it was begun with, a step's hash covers the record
 * before it, the outcome's hash the last step. So a record that was altered, or that is missing before the last one,
 * is found when the run is begun or loaded, and nothing runs on altered history.
 */
import { Damage, digest } from "./digest.js"
import { heldFor } from "./owner.js"

/**
 * @import { Step } from "@firebreak/core/CheckpointStore"
 * @import { Handlers, RunOperations, RunRow } from "../protocol.js"
 * @typedef {RunRow & { readonly id: number, readonly owner: string | null, readonly leaseClock: string | null,
 *   readonly leaseUntil: number | null, readonly token: number, readonly hash: string,
 *   readonly exitHash: string | null }} StoredRun
 * @typedef {Step & { readonly id: number, readonly savedAt: number, readonly hash: string }} StoredStep
 * @typedef {{ readonly run: number, readonly hash: string }} Head a run's row and the hash of its last record
 */

const columns = `run_id AS runId, workflow, key, payload, status, exit, recoveries, created_at AS createdAt,
  max(updated_at, coalesce((SELECT max(saved_at) FROM firebreak_step s WHERE s.run = r.id), 0)) AS updatedAt,
  completed_at AS completedAt`

/** @param {Pick<RunRow, "runId" | "workflow" | "key" | "payload" | "createdAt">} run */
const hashOfRun = (run) => digest([run.runId, run.workflow, run.key, run.payload, run.createdAt])

/**
 * @param {string} before the hash of the record before this one
 * @param {Step} step
 * @param {number} savedAt
 */
const hashOfStep = (before, step, savedAt) =>
  digest([before, step.runId, step.seq, step.name, step.exit, step.startedAt, step.endedAt, savedAt])

/**
 * @param {string} before
 * @param {string} status
 * @param {string | null} exit
 * @param {number | null} completedAt
 */
const hashOfExit = (before, status, exit, completedAt) => digest([before, status, exit, completedAt])

/**
 * Checks the chain and returns its head.
 *
 * @param {StoredRun} run
 * @param {ReadonlyArray<StoredStep>} steps
 * @returns {Head}
 */
const verify = (run, steps) => {
  if (run.hash !== hashOfRun(run)) throw new Damage(`the record of run "${run.runId}" does not match its hash`)
  let hash = run.hash
  for (const step of steps.toSorted((a, b) => a.id - b.id)) {
    if (step.hash !== hashOfStep(hash, step, step.savedAt)) {
      throw new Damage(
        `step "${step.name}" (seq ${step.seq}) of run "${run.runId}" was altered, or a step before it was lost`
      )
    }
    hash = step.hash
  }
  const expected = run.status === "running" ? null : hashOfExit(hash, run.status, run.exit, run.completedAt)
  if (run.exitHash !== expected) {
    throw new Damage(`the outcome of run "${run.runId}" was altered, or its last step was lost`)
  }
  return { run: run.id, hash }
}

/**
 * @param {StoredStep} step
 * @returns {Step}
 */
const toStep = ({ endedAt, exit, name, runId, seq, startedAt }) => ({ runId, seq, name, exit, startedAt, endedAt })

/**
 * @param {StoredRun} row
 * @returns {RunRow}
 */
const toRun = (row) => {
  const { completedAt, createdAt, exit, key, payload, recoveries, runId, status, updatedAt, workflow } = row
  return { runId, workflow, key, payload, status, exit, recoveries, createdAt, updatedAt, completedAt }
}

/**
 * @param {import("better-sqlite3").Database} db
 * @param {{ readonly owner: string, readonly nextToken: () => number }} context
 * @returns {{ readonly handlers: Handlers<RunOperations>, readonly rolledBack: () => void }}
 */
export const make = (db, { nextToken, owner }) => {
  const select = db.prepare(
    `SELECT ${columns}, id, token, owner, lease_clock AS leaseClock, lease_until AS leaseUntil, hash, exit_hash AS exitHash
     FROM firebreak_run r WHERE run_id = ?`
  )
  const insert = db.prepare(
    `INSERT INTO firebreak_run (run_id, workflow, key, payload, status, recoveries, created_at, updated_at,
       token, owner, lease_clock, lease_until, hash)
     VALUES (?, ?, ?, ?, 'running', 0, ?, ?, ?, ?, ?, ?, ?)`
  )
  const takeOver = db.prepare(
    `UPDATE firebreak_run SET token = ?, owner = ?, lease_clock = ?, lease_until = ?, recoveries = recoveries + 1,
       updated_at = ? WHERE run_id = ?`
  )
  const renew = db.prepare(
    `UPDATE firebreak_run SET lease_clock = ?, lease_until = ? WHERE run_id = ? AND token = ? AND owner IS NOT NULL`
  )
  const selectSteps = db.prepare(
    `SELECT id, seq, name, exit, started_at AS startedAt, ended_at AS endedAt, saved_at AS savedAt, hash
     FROM firebreak_step WHERE run = ? ORDER BY seq`
  )
  const selectHead = db.prepare(
    `SELECT r.id AS run, coalesce(s.hash, r.hash) AS hash
     FROM firebreak_run r LEFT JOIN firebreak_step s ON s.run = r.id
     WHERE r.run_id = ? ORDER BY s.id DESC LIMIT 1`
  )
  const owned = db.prepare("SELECT 1 FROM firebreak_run WHERE id = ? AND token = ? AND owner IS NOT NULL").pluck()
  const insertStep = db.prepare(
    `INSERT INTO firebreak_step (run, seq, name, exit, started_at, ended_at, saved_at, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, seq) DO NOTHING`
  )
  const stepName = db.prepare("SELECT name FROM firebreak_step WHERE run = ? AND seq = ?").pluck()
  const finish = db.prepare(
    `UPDATE firebreak_run SET status = ?, exit = ?, exit_hash = ?, completed_at = ?, updated_at = ?,
       owner = NULL, lease_clock = NULL, lease_until = NULL
     WHERE run_id = ? AND token = ? AND owner IS NOT NULL`
  )
  const finished = db.prepare("SELECT 1 FROM firebreak_run WHERE run_id = ? AND token = ? AND status <> 'running'")
  const release = db.prepare(
    `UPDATE firebreak_run SET owner = NULL, lease_clock = NULL, lease_until = NULL, updated_at = ?
     WHERE run_id = ? AND token = ? AND owner IS NOT NULL`
  )
  const list = db.prepare(
    `SELECT ${columns} FROM firebreak_run r
     WHERE workflow = coalesce(?, workflow) AND status = coalesce(?, status) ORDER BY created_at, run_id`
  )
  const removeRun = db.prepare("DELETE FROM firebreak_run WHERE id = ?")
  const removeSteps = db.prepare("DELETE FROM firebreak_step WHERE run = ?")
  const ended = db.prepare(
    "SELECT id FROM firebreak_run WHERE status <> 'running' AND completed_at <= ? LIMIT ?"
  ).pluck()

  /** @param {string} runId */
  const find = (runId) => /** @type {StoredRun | undefined} */ (select.get(runId))
  /**
   * @param {StoredRun} run
   * @returns {Array<StoredStep>}
   */
  const stepsOf = ({ id, runId }) =>
    /** @type {Array<Omit<StoredStep, "runId">>} */ (selectSteps.all(id)).map((step) => ({ runId, ...step }))

  /**
   * Heads of the runs this owner holds, so that a save need not look for the last step. Another owner can add to a
   * run only with a newer token, and then our next save is refused.
   *
   * @type {Map<string, Head>}
   */
  const heads = new Map()

  /** @param {string} runId */
  const headOf = (runId) => heads.get(runId) ?? /** @type {Head | undefined} */ (selectHead.get(runId))

  /** @type {Handlers<RunOperations>} */
  const handlers = {
    begin(request) {
      const { clock, key, lease, now, payload, runId, wall, workflow } = request
      const run = find(runId)
      if (run === undefined) {
        const token = nextToken()
        const hash = hashOfRun({ runId, workflow, key, payload, createdAt: wall })
        const { lastInsertRowid } = insert.run(
          runId,
          workflow,
          key,
          payload,
          wall,
          wall,
          token,
          owner,
          clock,
          now + lease,
          hash
        )
        heads.set(runId, { run: Number(lastInsertRowid), hash })
        return { _tag: "Claimed", token, resumed: false, steps: [] }
      }
      const steps = stepsOf(run)
      const head = verify(run, steps)
      if (run.payload !== payload) return { _tag: "Mismatch", payload: run.payload }
      if (run.exit !== null) return { _tag: "Finished", exit: run.exit }
      const retryAfter = heldFor(run, request)
      if (retryAfter > 0) return { _tag: "InProgress", retryAfter }
      const token = nextToken()
      takeOver.run(token, owner, clock, now + lease, wall, runId)
      heads.set(runId, head)
      return { _tag: "Claimed", token, resumed: true, steps: steps.map(toStep) }
    },

    renewRun: ({ clock, lease, now, runId, token }) => renew.run(clock, now + lease, runId, token).changes > 0,

    save({ step, token, wall }) {
      const { endedAt, exit, name, runId, seq, startedAt } = step
      const head = headOf(runId)
      if (head === undefined || owned.get(head.run, token) === undefined) {
        heads.delete(runId)
        return false
      }
      const hash = hashOfStep(head.hash, step, wall)
      if (insertStep.run(head.run, seq, name, exit, startedAt, endedAt, wall, hash).changes > 0) {
        heads.set(runId, { run: head.run, hash })
        return true
      }
      const there = stepName.get(head.run, seq)
      if (there !== name) throw new Error(`run "${runId}" has step "${there}" at seq ${seq}, not "${name}"`)
      return true
    },

    finish({ exit, runId, status, token, wall }) {
      const head = headOf(runId)
      heads.delete(runId)
      if (head === undefined) return false
      const hash = hashOfExit(head.hash, status, exit, wall)
      if (finish.run(status, exit, hash, wall, wall, runId, token).changes > 0) return true
      // the same outcome reported again, its first answer having been lost
      return finished.get(runId, token) !== undefined
    },

    releaseRun({ runId, token, wall }) {
      if (release.run(wall, runId, token).changes > 0) heads.delete(runId)
      return null
    },

    load({ runId }) {
      const found = find(runId)
      if (found === undefined) return null
      const steps = stepsOf(found)
      verify(found, steps)
      return { run: toRun(found), steps: steps.map(toStep) }
    },

    listRuns: ({ status, workflow }) => /** @type {Array<RunRow>} */ (list.all(workflow, status)),

    clear(request) {
      const run = find(request.runId)
      if (run === undefined || heldFor(run, request) > 0) return false
      removeSteps.run(run.id)
      removeRun.run(run.id)
      heads.delete(request.runId)
      return true
    },

    pruneRuns({ completedBefore, limit }) {
      const runs = ended.all(completedBefore, limit)
      for (const run of runs) {
        removeSteps.run(run)
        removeRun.run(run)
      }
      return runs.length
    }
  }

  return { handlers, rolledBack: () => heads.clear() }
}
