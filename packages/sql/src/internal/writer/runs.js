// @ts-check
/** What the owner of a run does, in SQLite: each handler is one atomic step within the writer's transaction. */
import * as Chain from "./chain.js"
import { judge, stalled } from "./judge.js"
import { heldFor } from "./owner.js"
import { toRun, toSignal } from "./runTable.js"

/**
 * @import { Handlers, OwnerOperations } from "../protocol.js"
 * @import { RunTable, StoredRun } from "./runTable.js"
 */

/**
 * @param {import("better-sqlite3").Database} db
 * @param {{ readonly owner: string, readonly nextToken: () => number }} context
 * @param {RunTable} table
 * @returns {Handlers<OwnerOperations>}
 */
export const make = (db, { nextToken, owner }, table) => {
  const insert = db.prepare(
    `INSERT INTO firebreak_run (run_id, workflow, version, key, payload, parent, status, recoveries, stalls, stalled_at,
       deadline_at, created_at, updated_at, token, owner, lease_clock, lease_until, hash)
     VALUES (?, ?, ?, ?, ?, ?, 'running', 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?)`
  )
  const takeOver = db.prepare(
    `UPDATE firebreak_run SET token = ?, owner = ?, lease_clock = ?, lease_until = ?, recoveries = recoveries + 1,
       updated_at = ? WHERE run_id = ?`
  )
  const renew = db.prepare(
    `UPDATE firebreak_run SET lease_clock = ?, lease_until = ? WHERE run_id = ? AND token = ? AND owner IS NOT NULL
     RETURNING cancelled`
  )
  const insertStarted = db.prepare(
    `INSERT INTO firebreak_started (run, name, kind, branch, started_at, wake_at, hash) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (run, name) DO NOTHING`
  )
  const selectStarted = db.prepare(
    "SELECT kind, branch, started_at AS startedAt, wake_at AS wakeAt FROM firebreak_started WHERE run = ? AND name = ?"
  )
  const end = db.prepare(
    `UPDATE firebreak_run SET status = ?, exit = ?, exit_hash = ?, completed_at = ?, updated_at = ?,
       owner = NULL, lease_clock = NULL, lease_until = NULL
     WHERE run_id = ? AND token = ? AND owner IS NOT NULL`
  )
  const ended = db.prepare("SELECT 1 FROM firebreak_run WHERE run_id = ? AND token = ? AND status <> 'running'")
  const setStalls = db.prepare("UPDATE firebreak_run SET stalls = ?, stalled_at = ? WHERE id = ?")
  const release = db.prepare(
    `UPDATE firebreak_run SET owner = NULL, lease_clock = NULL, lease_until = NULL, updated_at = ?
     WHERE run_id = ? AND token = ? AND owner IS NOT NULL`
  )

  return {
    begin(request) {
      const { clock, deadline, key, lease, now, parent, payload, runId, version, wall, workflow } = request
      const run = table.find(runId)
      if (run === undefined) {
        if (request.existing) return { _tag: "Missing" }
        const signals = table.signalsOf(runId)
        Chain.checkSignals(signals, true)
        const token = nextToken()
        const created = {
          runId,
          workflow,
          version,
          key,
          payload,
          parent,
          status: /** @type {const} */ ("running"),
          exit: null,
          recoveries: 0,
          stalls: 0,
          deadlineAt: deadline === null ? null : wall + deadline,
          cancelled: null,
          createdAt: wall,
          updatedAt: wall,
          completedAt: null
        }
        const hash = Chain.hashOfRun(created)
        const { lastInsertRowid } = insert.run(
          runId,
          workflow,
          version,
          key,
          payload,
          parent,
          created.deadlineAt,
          wall,
          wall,
          token,
          owner,
          clock,
          now + lease,
          hash
        )
        table.moveTo(runId, { run: Number(lastInsertRowid), hash, count: 0, begun: false }, token)
        return {
          _tag: "Claimed",
          token,
          resumed: false,
          now: wall,
          run: created,
          steps: [],
          started: [],
          signals: signals.map(toSignal)
        }
      }
      const { head, progress } = table.read(run)
      const steps = progress.steps.length
      const retryAfter = heldFor(run, request)
      const verdict = judge(run, steps, request, retryAfter)
      switch (verdict._tag) {
        case "Mismatch":
          return { _tag: "Mismatch", payload: run.payload }
        case "Finished":
          return { _tag: "Finished", run: progress.run, died: false }
        case "OtherVersion":
          return { _tag: "OtherVersion", version: run.version }
        case "InProgress":
          return { _tag: "InProgress", retryAfter }
        default: {
          const { stalledAt, stalls } = verdict
          const token = nextToken()
          setStalls.run(stalls, stalledAt, run.id)
          takeOver.run(token, owner, clock, now + lease, wall, runId)
          if (verdict._tag === "Die") {
            const hash = Chain.hashOfExit(head.hash, "dead", null, wall)
            end.run("dead", null, hash, wall, wall, runId, token)
            table.end(runId, head, hash, token)
            return { _tag: "Finished", run: toRun(/** @type {StoredRun} */ (table.find(runId))), died: true }
          }
          table.keepHead(runId, head)
          const taken = { ...progress.run, stalls, recoveries: run.recoveries + 1, updatedAt: wall }
          return { ...progress, _tag: "Claimed", token, resumed: true, now: wall, run: taken }
        }
      }
    },

    renewRun({ clock, lease, now, runId, token }) {
      const row = /** @type {{ cancelled: string | null } | undefined} */ (renew.get(clock, now + lease, runId, token))
      return row === undefined ? null : row
    },

    start({ step, token, wait, wall }) {
      const { branch, kind, name, runId, startedAt } = step
      const head = table.owns(runId, token)
      if (head === undefined) return null
      const row = { ...step, wakeAt: wait === null ? null : wall + wait }
      const hash = Chain.hashOfStarted(row)
      if (insertStarted.run(head.run, name, kind, branch, startedAt, row.wakeAt, hash).changes > 0) {
        if (!head.begun) table.keepHead(runId, { ...head, begun: true })
        return { started: row, now: wall }
      }
      const there = /** @type {Omit<typeof row, "runId" | "name">} */ (selectStarted.get(head.run, name))
      return { started: { runId, name, ...there }, now: wall }
    },

    save: ({ step, token, wall }) => table.append(step, wall, token),

    expire({ step, token, wall }) {
      if (table.owns(step.runId, token) === undefined) return { _tag: "Lost" }
      const sent = table.signalsOf(step.runId).find(({ name }) => name === step.name)
      if (sent !== undefined) {
        Chain.checkSignals([sent], true)
        return { _tag: "Received", payload: sent.payload }
      }
      return { _tag: table.append(step, wall, token) ? "Expired" : "Lost" }
    },

    finish({ exit, runId, status, token, wall }) {
      const head = table.headOf(runId)
      table.dropHead(runId)
      if (head === undefined) return false
      const hash = Chain.hashOfExit(head.hash, status, exit, wall)
      if (end.run(status, exit, hash, wall, wall, runId, token).changes > 0) {
        table.end(runId, head, hash, token)
        return true
      }
      // the same outcome reported again, its first answer having been lost
      return ended.get(runId, token) !== undefined
    },

    releaseRun({ failed, runId, token, wall }) {
      if (release.run(wall, runId, token).changes === 0) return null
      table.dropHead(runId)
      if (failed) {
        const run = table.find(runId)
        if (run === undefined) return null
        const { stalledAt, stalls } = stalled(run, table.countSteps(run.id))
        setStalls.run(stalls, stalledAt, run.id)
      }
      return null
    }
  }
}
