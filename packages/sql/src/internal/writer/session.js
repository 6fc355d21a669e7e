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

/**
 * @param {{
 *   readonly begin: () => void,
 *   readonly commit: () => void,
 *   readonly rollback: () => void,
 *   readonly run: (statement: SqlStatement) => ReadonlyArray<unknown>,
 *   readonly save: Handlers<OwnerOperations>["save"],
 *   readonly owns: (run: { readonly runId: string, readonly token: number }) => boolean,
 *   readonly timeout: number,
 *   readonly over: () => void
 * }} context `over` is called when one was ended by its time limit
 */
export const make = ({ begin, commit, over, owns, rollback, run, save, timeout }) => {
  let last = 0
  /** @type {number | undefined} */
  let current
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  /** Those that were rolled back by their time limit; their owners may not know yet. @type {Set<number>} */
  const late = new Set()

  const end = () => {
    current = undefined
    clearTimeout(timer)
  }

  /**
   * @template A
   * @param {number} session
   * @param {() => A} use
   */
  const within = (session, use) => {
    if (session !== current) {
      throw new SessionOver(
        late.delete(session)
          ? `the transaction took longer than ${timeout} ms and was rolled back`
          : "the transaction is over"
      )
    }
    return use()
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
        late.add(session)
        end()
        over()
      }, timeout)
      return session
    },

    sessionRun: ({ session, ...statement }) => within(session, () => run(statement)),

    sessionCommit: ({ save: step, session }) =>
      within(session, () => {
        end()
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
      }),

    sessionRollback: ({ session }) =>
      within(session, () => {
        end()
        rollback()
        return null
      })
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
