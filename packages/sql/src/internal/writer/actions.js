// @ts-check
/** Idempotency records in SQLite: each handler is one atomic step within the writer's transaction. */
import { Damage, digest } from "./digest.js"
import { heldFor } from "./owner.js"

/**
 * @import { ActionFilter, ActionId, ActionOperations, ActionRow, Handlers, Moment } from "../protocol.js"
 * @typedef {ActionRow & { readonly owner: string | null, readonly leaseClock: string | null,
 *   readonly leaseUntil: number | null, readonly token: number, readonly hash: string }} StoredAction
 */

const columns = `scope, operation, key, fingerprint, state, exit, started_at AS startedAt,
  completed_at AS completedAt, expires_at AS expiresAt`

const stored = `${columns}, token, owner, lease_clock AS leaseClock, lease_until AS leaseUntil, hash`

/**
 * The digest of a record, over all that a claim answers from. That of the default scope is as it was before there were
 * scopes.
 *
 * @param {Omit<ActionRow, "state">} row
 */
const hashOf = (row) => {
  const parts = [row.operation, row.key, row.fingerprint, row.exit, row.startedAt, row.completedAt, row.expiresAt]
  return digest(row.scope === "" ? parts : [...parts, row.scope])
}

/**
 * The row without its owner's columns, if it is what was written.
 *
 * @param {ActionRow & { readonly hash: string }} row
 * @returns {ActionRow}
 */
export const verified = (row) => {
  const { completedAt, exit, expiresAt, fingerprint, hash, key, operation, scope, startedAt, state } = row
  if (hash !== hashOf(row) || (state === "completed") !== (exit !== null)) {
    const where = scope === "" ? "" : ` in the scope "${scope}"`
    throw new Damage(`the record of key "${key}" of operation "${operation}"${where} does not match its hash`)
  }
  return { scope, operation, key, fingerprint, state, exit, startedAt, completedAt, expiresAt }
}

/**
 * @param {import("better-sqlite3").Database} db
 * @param {{ readonly owner: string, readonly nextToken: () => number }} context
 * @returns {Handlers<ActionOperations>}
 */
export const make = (db, { nextToken, owner }) => {
  const select = db.prepare(`SELECT ${stored} FROM firebreak_action WHERE scope = ? AND operation = ? AND key = ?`)
  const insert = db.prepare(
    `INSERT OR REPLACE INTO firebreak_action
       (scope, operation, key, fingerprint, state, started_at, token, owner, lease_clock, lease_until, hash)
     VALUES (?, ?, ?, ?, 'started', ?, ?, ?, ?, ?, ?)`
  )
  const takeOver = db.prepare(
    `UPDATE firebreak_action SET state = 'started', token = ?, owner = ?, lease_clock = ?, lease_until = ?
     WHERE scope = ? AND operation = ? AND key = ?`
  )
  const renew = db.prepare(
    `UPDATE firebreak_action SET lease_clock = ?, lease_until = ?
     WHERE scope = ? AND operation = ? AND key = ? AND token = ? AND state = 'started'`
  )
  const complete = db.prepare(
    `UPDATE firebreak_action SET state = 'completed', exit = ?, completed_at = ?, expires_at = ?, hash = ?,
       owner = NULL, lease_clock = NULL, lease_until = NULL
     WHERE scope = ? AND operation = ? AND key = ? AND token = ? AND state = 'started'`
  )
  const doubt = db.prepare(
    `UPDATE firebreak_action SET state = 'in-doubt', owner = NULL, lease_clock = NULL, lease_until = NULL
     WHERE scope = ? AND operation = ? AND key = ? AND token = ? AND state = 'started'`
  )
  const forget = db.prepare(
    "DELETE FROM firebreak_action WHERE scope = ? AND operation = ? AND key = ? AND token = ? AND state = 'started'"
  )
  const remove = db.prepare("DELETE FROM firebreak_action WHERE scope = ? AND operation = ? AND key = ?")
  const list = db.prepare(
    `SELECT ${stored} FROM firebreak_action
     WHERE scope = coalesce(?, scope) AND operation = coalesce(?, operation) AND key = coalesce(?, key)
     ORDER BY started_at, token`
  )
  const prune = db.prepare(
    `DELETE FROM firebreak_action WHERE (scope, operation, key) IN (
       SELECT scope, operation, key FROM firebreak_action WHERE expires_at <= ? AND state = 'completed' LIMIT ?)`
  )

  /**
   * The row as others see it: what a dead owner, or one past its lease, has begun is in doubt.
   *
   * @param {StoredAction} row
   * @param {Moment} moment
   * @returns {ActionRow}
   */
  const seen = ({ completedAt, exit, expiresAt, fingerprint, key, operation, scope, startedAt, ...row }, moment) => {
    const state = row.state === "started" && heldFor(row, moment) === 0 ? "in-doubt" : row.state
    return { scope, operation, key, fingerprint, state, exit, startedAt, completedAt, expiresAt }
  }

  /** @param {ActionId} id */
  const find = (
    { key, operation, scope }
  ) => /** @type {StoredAction | undefined} */ (select.get(scope, operation, key))

  /** @param {ActionFilter} filter */
  const rowsOf = ({ key, operation, scope }) => /** @type {Array<StoredAction>} */ (list.all(scope, operation, key))

  return {
    claim(request) {
      const { clock, fingerprint, key, lease, now, operation, scope, wall } = request
      const row = find(request)
      // that it is past its retention is believed only of what was written
      if (row !== undefined) verified(row)
      if (row !== undefined && !(row.expiresAt !== null && row.expiresAt <= wall)) {
        if (row.fingerprint !== fingerprint) return { _tag: "Reused", fingerprint: row.fingerprint }
        if (row.exit !== null) return { _tag: "Completed", exit: row.exit }
        const retryAfter = row.state === "started" ? heldFor(row, request) : 0
        if (retryAfter > 0) return { _tag: "InProgress", retryAfter }
        const token = nextToken()
        takeOver.run(token, owner, clock, now + lease, scope, operation, key)
        return { _tag: "Claimed", token, inDoubt: true }
      }
      const token = nextToken()
      const hash = hashOf({
        scope,
        operation,
        key,
        fingerprint,
        exit: null,
        startedAt: wall,
        completedAt: null,
        expiresAt: null
      })
      insert.run(scope, operation, key, fingerprint, wall, token, owner, clock, now + lease, hash)
      return { _tag: "Claimed", token, inDoubt: false }
    },

    renew: ({ clock, key, lease, now, operation, scope, token }) =>
      renew.run(clock, now + lease, scope, operation, key, token).changes > 0,

    complete(request) {
      const { exit, key, operation, retention, scope, token, wall } = request
      const row = find(request)
      if (row === undefined || row.token !== token || row.state === "in-doubt") return false
      const { fingerprint, startedAt, state } = verified(row)
      // the same outcome reported again, its first answer having been lost
      if (state === "completed") return true
      const outcome = { exit, completedAt: wall, expiresAt: wall + retention }
      const hash = hashOf({ scope, operation, key, fingerprint, startedAt, ...outcome })
      complete.run(exit, outcome.completedAt, outcome.expiresAt, hash, scope, operation, key, token)
      return true
    },

    release({ inDoubt, key, operation, scope, token }) {
      ;(inDoubt ? doubt : forget).run(scope, operation, key, token)
      return null
    },

    get(request) {
      const row = find(request)
      if (row === undefined) return null
      verified(row)
      return seen(row, request)
    },

    list: (request) => rowsOf(request).map((row) => seen(row, request)),

    reset(request) {
      let count = 0
      for (const row of rowsOf(request)) {
        if (row.state === "started" && heldFor(row, request) > 0) continue
        remove.run(row.scope, row.operation, row.key)
        count++
      }
      return count
    },

    prune: ({ limit, wall }) => prune.run(wall, limit).changes
  }
}
