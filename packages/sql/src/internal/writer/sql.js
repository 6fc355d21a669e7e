// @ts-check
/** Statements of the user on the writer's connection, prepared once. */

/**
 * @import { SqlStatement } from "../protocol.js"
 */

/** Statements kept prepared. */
const capacity = 200

/**
 * @param {import("better-sqlite3").Database} db
 * @returns {(statement: SqlStatement) => ReadonlyArray<unknown>}
 */
export const make = (db) => {
  /** @type {Map<string, import("better-sqlite3").Statement>} */
  const prepared = new Map()

  /** @param {string} sql */
  const prepare = (sql) => {
    const known = prepared.get(sql)
    if (known !== undefined) return known
    const statement = db.prepare(sql)
    if (prepared.size >= capacity) prepared.clear()
    prepared.set(sql, statement)
    return statement
  }

  return ({ parameters, sql, values }) => {
    const statement = prepare(sql)
    if (statement.reader) return statement.raw(values).all(...parameters)
    statement.run(...parameters)
    return []
  }
}
