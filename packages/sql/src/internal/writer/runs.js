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
 * @typedef {RunRow & { readonly owner: string | null, readonly leaseClock: string | null,
 *   readonly leaseUntil: number | null, readonly token: number, readonly hash: string,
 *   readonly exitHash: string | null }} StoredRun
 * @typedef {Step & { readonly savedAt: number, readonly position: number, readonly hash: string }} StoredStep
 * @typedef {{ readonly position: number, readonly hash: string }} Head the last record of a run's chain
 */

const columns = `run_id AS runId, workflow, key, payload, status, exit, recoveries, created_at AS createdAt,
  max(updated_at, coalesce((SELECT max(saved_at) FROM firebreak_step s WHERE s.run_id = r.run_id), 0)) AS updatedAt,
  completed_at AS completedAt`

/** @param {Pick<RunRow, "runId" | "workflow" | "key" | "payload" | "createdAt">} run */
const hashOfRun = (run) => digest([run.runId, run.workflow, run.key, run.payload, run.createdAt])

/**
 * @param {Head} head
 * @param {Step} step
 * @param {number} savedAt
 */
const hashOfStep = (head, step, savedAt) =>
  digest([
    head.hash,
    head.position + 1,
    step.runId,
    step.seq,
    step.name,
    step.exit,
    step.startedAt,
    step.endedAt,
    savedAt
  ])

/**
 * @param {Head} head
 * @param {string} status
 * @param {string | null} exit
 * @param {number | null} completedAt
 */
const hashOfExit = (head, status, exit, completedAt) => digest([head.hash, head.position, status, exit, completedAt])

/**
 * Checks the chain and returns its head.
 *
 * @param {StoredRun} run
 * @param {ReadonlyArray<StoredStep>} steps
 * @returns {Head}
 */
const verify = (run, steps) => {
  if (run.hash !== hashOfRun(run)) throw new Damage(`the record of run "${run.runId}" does not match its hash`)
  /** @type {Head} */
  let head = { position: -1, hash: run.hash }
  for (const step of steps.toSorted((a, b) => a.position - b.position)) {
    if (step.position !== head.position + 1) {
      throw new Damage(`run "${run.runId}" has lost a record before step "${step.name}" (seq ${step.seq})`)
    }
    if (step.hash !== hashOfStep(head, step, step.savedAt)) {
      throw new Damage(`step "${step.name}" (seq ${step.seq}) of run "${run.runId}" does not match its hash`)
    }
    head = step
  }
  const expected = run.status === "running" ? null : hashOfExit(head, run.status, run.exit, run.completedAt)
  if (run.exitHash !== expected) throw new Damage(`the outcome of run "${run.runId}" does not match its hash`)
  return head
}

/**
 * @param {StoredStep} step
 * @returns {Step}
 */
const toStep = ({ endedAt, exit, name, runId, seq, startedAt }) => ({ runId, seq, name, exit, startedAt, endedAt })

/**
 * @param {import("better-sqlite3").Database} db
 * @param {{ readonly owner: string, readonly nextToken: () => number }} context
 * @returns {{ readonly handlers: Handlers<RunOperations>, readonly rolledBack: () => void }}
 */
export const make = (db, { nextToken, owner }) => {
  const select = db.prepare(
    `SELECT ${columns}, token, owner, lease_clock AS leaseClock, lease_until AS leaseUntil, hash, exit_hash AS exitHash
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
    `SELECT run_id AS runId, seq, name, exit, started_at AS startedAt, ended_at AS endedAt, saved_at AS savedAt,
       position, hash
     FROM firebreak_step WHERE run_id = ? ORDER BY seq`
  )
  const lastStep = db.prepare(
    "SELECT position, hash FROM firebreak_step WHERE run_id = ? ORDER BY position DESC LIMIT 1"
  )
  const runHash = db.prepare("SELECT hash FROM firebreak_run WHERE run_id = ?").pluck()
  const insertStep = db.prepare(
    `INSERT INTO firebreak_step (run_id, seq, name, exit, started_at, ended_at, saved_at, position, hash)
     SELECT run_id, ?, ?, ?, ?, ?, ?, ?, ? FROM firebreak_run
     WHERE run_id = ? AND token = ? AND owner IS NOT NULL
     ON CONFLICT (run_id, seq) DO NOTHING`
  )
  const owned = db.prepare("SELECT 1 FROM firebreak_run WHERE run_id = ? AND token = ? AND owner IS NOT NULL").pluck()
  const stepName = db.prepare("SELECT name FROM firebreak_step WHERE run_id = ? AND seq = ?").pluck()
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
  const removeRun = db.prepare("DELETE FROM firebreak_run WHERE run_id = ?")
  const removeSteps = db.prepare("DELETE FROM firebreak_step WHERE run_id = ?")
  const ended = db.prepare(
    "SELECT run_id FROM firebreak_run WHERE status <> 'running' AND completed_at <= ? LIMIT ?"
  ).pluck()

  /** @param {string} runId */
  const find = (runId) => /** @type {StoredRun | undefined} */ (select.get(runId))
  /** @param {string} runId */
  const stepsOf = (runId) => /** @type {Array<StoredStep>} */ (selectSteps.all(runId))

  /**
   * Heads of the runs this owner holds, so that a save need not look for the last step. Another owner can add to a
   * run only with a newer token, and then our next save is refused.
   *
   * @type {Map<string, Head>}
   */
  const heads = new Map()

  /** @param {string} runId */
  const headOf = (runId) => {
    const known = heads.get(runId)
    if (known !== undefined) return known
    const last = /** @type {Head | undefined} */ (lastStep.get(runId))
    return last ?? { position: -1, hash: String(runHash.get(runId)) }
  }

  /** @type {Handlers<RunOperations>} */
  const handlers = {
    begin(request) {
      const { clock, key, lease, now, payload, runId, wall, workflow } = request
      const run = find(runId)
      if (run === undefined) {
        const token = nextToken()
        const hash = hashOfRun({ runId, workflow, key, payload, createdAt: wall })
        insert.run(runId, workflow, key, payload, wall, wall, token, owner, clock, now + lease, hash)
        heads.set(runId, { position: -1, hash })
        return { _tag: "Claimed", token, resumed: false, steps: [] }
      }
      const steps = stepsOf(runId)
      const head = verify(run, steps)
      if (run.payload !== payload) return { _tag: "Mismatch", payload: run.payload }
      if (run.exit !== null) return { _tag: "Finished", exit: run.exit }
      const retryAfter = heldFor(run, request)
      if (retryAfter > 0) return { _tag: "InProgress", retryAfter }
      const token = nextToken()
      takeOver.run(token, owner, clock, now + lease, wall, runId)
      heads.set(runId, { position: head.position, hash: head.hash })
      return { _tag: "Claimed", token, resumed: true, steps: steps.map(toStep) }
    },

    renewRun: ({ clock, lease, now, runId, token }) => renew.run(clock, now + lease, runId, token).changes > 0,

    save({ step, token, wall }) {
      const { endedAt, exit, name, runId, seq, startedAt } = step
      const head = headOf(runId)
      const position = head.position + 1
      const hash = hashOfStep(head, step, wall)
      const { changes } = insertStep.run(seq, name, exit, startedAt, endedAt, wall, position, hash, runId, token)
      if (changes > 0) {
        heads.set(runId, { position, hash })
        return true
      }
      if (owned.get(runId, token) === undefined) {
        heads.delete(runId)
        return false
      }
      const there = stepName.get(runId, seq)
      if (there !== name) throw new Error(`run "${runId}" has step "${there}" at seq ${seq}, not "${name}"`)
      return true
    },

    finish({ exit, runId, status, token, wall }) {
      const hash = hashOfExit(headOf(runId), status, exit, wall)
      heads.delete(runId)
      if (finish.run(status, exit, hash, wall, wall, runId, token).changes > 0) return true
      return finished.get(runId, token) !== undefined
    },

    releaseRun({ runId, token, wall }) {
      if (release.run(wall, runId, token).changes > 0) heads.delete(runId)
      return null
    },

    load({ runId }) {
      const found = find(runId)
      if (found === undefined) return null
      const steps = stepsOf(runId)
      verify(found, steps)
      const { exitHash: _, hash: __, leaseClock: ___, leaseUntil: ____, owner: _____, token: ______, ...run } = found
      return { run, steps: steps.map(toStep) }
    },

    listRuns: ({ status, workflow }) => /** @type {Array<RunRow>} */ (list.all(workflow, status)),

    clear(request) {
      const run = find(request.runId)
      if (run === undefined || heldFor(run, request) > 0) return false
      removeSteps.run(request.runId)
      removeRun.run(request.runId)
      heads.delete(request.runId)
      return true
    },

    pruneRuns({ completedBefore, limit }) {
      const runs = ended.all(completedBefore, limit)
      for (const runId of runs) {
        removeSteps.run(runId)
        removeRun.run(runId)
      }
      return runs.length
    }
  }

  return { handlers, rolledBack: () => heads.clear() }
}
