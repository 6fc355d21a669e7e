// @ts-check
/**
 * The transaction of a user, open between requests. There is one at a time, and while it is open the writer does nothing
 * else; so it has a time limit, after which it is rolled back.
 */

/**
 * @import { Handlers, OwnerOperations, SessionOperations, SqlStatement } from "../protocol.js"
 * @typedef {keyof SessionOperations} SessionName
 */

/** @type {ReadonlySet<string>} */
export const names = new Set(/** @type {const} */ (["sessionRun", "sessionCommit", "sessionRollback"]))

/** The transaction that a request belongs to is not open. */
export class SessionOver extends Error {}

/** It was ended, but not by us. SQLite does so when the disk is full or fails, and for `OR ROLLBACK`. */
export class SessionLost extends Error {}

/**
 * @param {{
 *   readonly begin: () => void,
 *   readonly commit: () => void,
 *   readonly rollback: () => void,
 *   readonly inTransaction: () => boolean,
 *   readonly run: (statement: SqlStatement) => ReadonlyArray<unknown>,
 *   readonly save: Handlers<OwnerOperations>["save"],
 *   readonly owns: (run: { readonly runId: string, readonly token: number }) => boolean,
 *   readonly timeout: number,
 *   readonly over: () => void
 * }} context `over` is called when one was ended by its time limit
 */
export const make = ({ begin, commit, inTransaction, over, owns, rollback, run, save, timeout }) => {
  let last = 0
  /** @type {number | undefined} */
  let current
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  /** Those that ended before their owners said so, and why; their owners may not know yet. @type {Map<number, Error>} */
  const ended = new Map()

  const end = () => {
    current = undefined
    clearTimeout(timer)
  }

  /**
   * After each statement: what came after the end would be committed by itself, and so would the record.
   *
   * @param {number} session
   */
  const look = (session) => {
    if (inTransaction()) return
    ended.set(session, new SessionLost("the transaction was ended by a statement in it; its step is not recorded"))
    end()
    rollback()
  }

  /** @param {number} session */
  const check = (session) => {
    if (session !== current) throw ended.get(session) ?? new SessionOver("the transaction is over")
  }

  /**
   * The last request of a session.
   *
   * @param {number} session
   */
  const finish = (session) => {
    try {
      check(session)
    } finally {
      ended.delete(session)
    }
    end()
  }

  /** @type {Handlers<SessionOperations>} */
  const handlers = {
    sessionBegin({ run }) {
      begin()
      if (run !== null && !owns(run)) {
        rollback()
        return null
      }
      const session = ++last
      current = session
      timer = setTimeout(() => {
        rollback()
        ended.set(
          session,
          new SessionOver(`the transaction took longer than ${timeout} ms and was rolled back`)
        )
        end()
        over()
      }, timeout)
      return session
    },

    sessionRun({ session, ...statement }) {
      check(session)
      try {
        return run(statement)
      } finally {
        look(session)
      }
    },

    sessionCommit({ save: step, session }) {
      finish(session)
      try {
        if (step !== null && !save(step)) {
          rollback()
          return false
        }
        commit()
        return true
      } catch (error) {
        rollback()
        throw error
      }
    },

    sessionRollback({ session }) {
      finish(session)
      rollback()
      return null
    }
  }

  return {
    handlers,
    isOpen: () => current !== undefined,
    /** @param {number} session */
    isCurrent: (session) => session === current,
    close() {
      if (current === undefined) return
      end()
      rollback()
    }
  }
}
