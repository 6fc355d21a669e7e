// @ts-check
/**
 * A connection that writes: what can be asked of it, and its transactions, which tell the anchor what they committed.
 * The writer thread has one, and so has the main thread.
 */
import * as Actions from "./actions.js"
import * as Anchor from "./anchor.js"
import { watch } from "./open.js"
import * as RunAdmin from "./runAdmin.js"
import * as Runs from "./runs.js"
import * as Sql from "./sql.js"
import * as Verify from "./verify.js"

/**
 * @import { Grouped, Handlers } from "../protocol.js"
 * @import { RunTable } from "./runTable.js"
 */

/** Chains told to the other thread, one by one. */
const fewMoves = 16

/**
 * @param {import("better-sqlite3").Database} db
 * @param {RunTable} table
 * @param {{ readonly filename: string, readonly owner: string, readonly compacts: boolean }} options `compacts`: whether
 *   it may be held up by writing the anchor anew
 */
export const make = (db, table, { compacts, filename, owner }) => {
  const isGone = watch(filename)
  const anchor = Anchor.make(filename)
  const nextToken = db.prepare("UPDATE firebreak_meta SET value = value + 1 WHERE name = 'token' RETURNING value")
    .pluck()
  const token = db.prepare("SELECT value FROM firebreak_meta WHERE name = 'token'").pluck()
  let lastToken = 0
  const context = { owner, nextToken: () => (lastToken = Number(nextToken.get())) }
  const runs = Runs.make(db, context, table)
  const sqlRun = Sql.make(db)
  /** @type {Handlers<Grouped>} */
  const handlers = {
    ...Actions.make(db, context),
    ...runs,
    ...RunAdmin.make(db, context, table),
    ...Verify.make(db, table, filename),
    sqlRun,
    copyLog: () => null
  }

  const beginRead = db.prepare("BEGIN")
  const beginWrite = db.prepare("BEGIN IMMEDIATE")
  const commitNow = db.prepare("COMMIT")

  /** Runs whose heads have moved since the other thread was told, as far as they will be told one by one. @type {Set<string>} */
  const moved = new Set()

  const forget = () => {
    lastToken = 0
    table.changes.advanced.clear()
    table.changes.touched.clear()
    table.changes.gone.clear()
  }

  const commit = () => {
    // whatever is committed moves something that the anchor knows
    if (table.changes.advanced.size === 0 && lastToken === 0) context.nextToken()
    const { advanced, gone, touched } = table.changes
    anchor.retract([...gone], gone.size === 0 ? 0 : Number(token.get()))
    if (compacts && anchor.isLarge()) anchor.compact()
    commitNow.run()
    anchor.advance(advanced.values())
    if (lastToken > 0) anchor.advance([["token", lastToken]])
    for (const runId of gone) table.isolated.delete(runId)
    for (const runIds of [advanced.keys(), touched, gone]) {
      for (const runId of runIds) {
        if (moved.size > fewMoves) break
        moved.add(runId)
      }
    }
    forget()
  }

  const rollback = () => {
    // a full disk or a failed write may have ended the transaction already
    if (db.inTransaction) db.exec("ROLLBACK")
    // a step may have been chained to one that is not there now
    table.heads.clear()
    forget()
  }

  return {
    handlers,
    beginWrite: () => {
      beginWrite.run()
    },
    commit,
    rollback,
    inTransaction: () => db.inTransaction,
    /** Whether what was committed is on no disk, for the file was deleted. */
    isGone,
    /** Where there is no anchor yet, it begins with what is there. */
    beginAnchor() {
      anchor.begin(db, table)
      anchor.isLarge()
    },
    /** Whether the next commit is to write the anchor anew. */
    isAnchorLarge: anchor.isLarge,

    /**
     * Does all in one transaction; throws, with nothing changed, if one fails.
     *
     * @template A
     * @param {"read" | "write"} mode
     * @param {() => A} all
     * @returns {A}
     */
    transact(mode, all) {
      if (mode === "read") beginRead.run()
      else beginWrite.run()
      try {
        const answers = all()
        if (mode === "read") commitNow.run()
        else commit()
        return answers
      } catch (error) {
        rollback()
        throw error
      }
    },

    /**
     * What the other thread is to be told.
     *
     * @returns {import("../protocol.js").Moves}
     */
    takeMoves() {
      const told = moved.size > fewMoves
        ? "many"
        : Array.from(moved, (runId) => /** @type {const} */ ([runId, table.heads.get(runId) ?? null]))
      moved.clear()
      return told
    },

    /**
     * What the other thread tells.
     *
     * @param {import("../protocol.js").Moves} told
     */
    hear(told) {
      if (told === "many") return table.heads.clear()
      for (const [runId, head] of told) {
        if (head === null) table.heads.delete(runId)
        else table.heads.set(runId, head)
      }
    },

    close() {
      anchor.close()
      db.close()
    }
  }
}
