// @ts-check
/** Looks through the whole file for damage. What is damaged is told, not thrown. */
import * as Actions from "./actions.js"
import * as Anchor from "./anchor.js"
import * as Chain from "./chain.js"
import { Damage } from "./digest.js"

/**
 * @import { Damage as Found } from "@firebreak/core/CheckpointStore"
 * @import { Handlers, VerifyOperations } from "../protocol.js"
 * @import { RunTable } from "./runTable.js"
 * @typedef {Parameters<typeof Actions.verified>[0]} HashedAction
 */

/**
 * What `check` finds wrong.
 *
 * @param {string | null} runId
 * @param {() => void} check
 * @returns {ReadonlyArray<Found>}
 */
export const finding = (runId, check) => {
  try {
    check()
    return []
  } catch (error) {
    if (error instanceof Damage) return [{ runId, detail: error.message }]
    throw error
  }
}

/**
 * @param {import("better-sqlite3").Database} db
 * @param {RunTable} table
 * @param {string} filename
 * @returns {Handlers<VerifyOperations>}
 */
export const make = (db, table, filename) => {
  const integrity = db.prepare("PRAGMA integrity_check(20)").pluck()
  const orphans = db.prepare(
    `SELECT count(*) FROM firebreak_step WHERE run NOT IN (SELECT id FROM firebreak_run)`
  ).pluck()
  const runs = db.prepare("SELECT id, run_id AS runId FROM firebreak_run WHERE id > ? ORDER BY id LIMIT ?")
  const unclaimed = db.prepare(
    `SELECT run_id AS runId, name, payload, sent_at AS sentAt, hash FROM firebreak_signal
     WHERE run_id NOT IN (SELECT run_id FROM firebreak_run)`
  )
  const actions = db.prepare(
    `SELECT scope, operation, key, fingerprint, state, exit, started_at AS startedAt, completed_at AS completedAt,
       expires_at AS expiresAt, hash
     FROM firebreak_action WHERE (scope, operation, key) > (?, ?, ?) ORDER BY scope, operation, key LIMIT ?`
  )

  return {
    verifyFile() {
      // first: where it is only read, the anchor must not be ahead of what the transaction sees
      const behind = Anchor.check(db, table, filename, () => [])
      const found = /** @type {Array<string>} */ (integrity.all()).filter((text) => text !== "ok")
      const lost = Number(orphans.get())
      const signals = /** @type {Array<Chain.HashedSignal>} */ (unclaimed.all())
      return [
        ...behind,
        ...found.map((detail) => ({ runId: null, detail })),
        ...(lost === 0 ? [] : [{ runId: null, detail: `${lost} steps belong to runs that are not there` }]),
        ...signals.flatMap((signal) => finding(signal.runId, () => Chain.checkSignals([signal], true)))
      ]
    },

    verifyRuns({ after, limit }) {
      const rows = /** @type {Array<{ readonly id: number, readonly runId: string }>} */ (runs.all(after ?? 0, limit))
      const damage = rows.flatMap(({ runId }) => {
        const detail = table.check(runId)
        return detail === undefined ? [] : [{ runId, detail }]
      })
      return { damage, next: rows.length < limit ? null : (rows.at(-1)?.id ?? null) }
    },

    verifyActions({ after, limit }) {
      const { key, operation, scope } = after ?? { scope: "", operation: "", key: "" }
      const rows = /** @type {Array<HashedAction>} */ (actions.all(scope, operation, key, limit))
      const damage = rows.flatMap((row) =>
        finding(null, () => {
          Actions.verified(row)
        })
      )
      const last = rows.at(-1)
      if (last === undefined || rows.length < limit) return { damage, next: null }
      return { damage, next: { scope: last.scope, operation: last.operation, key: last.key } }
    }
  }
}
