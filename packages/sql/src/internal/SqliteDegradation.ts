/**
 * `DegradationCache` on SQLite. Writes go through the writer; values are read on a read-only connection of this thread
 * that never waits for a lock, and through the writer where that cannot.
 */
import type * as DegradationCache from "@firebreak/core/DegradationCache"
import { StoreError } from "@firebreak/core/StoreError"
import type BetterSqlite3 from "better-sqlite3"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as LastGood from "./lastGood.js"
import type { SqliteClient } from "./SqliteClient.js"

export const make = (
  client: SqliteClient,
  driver: typeof BetterSqlite3,
  options: { readonly lastGoodValues: number }
): Effect.Effect<DegradationCache.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const read = yield* openReader(driver, client.filename)
    const isTimeForRoom = LastGood.roomEvery(options.lastGoodValues)

    const ask = (operation: string, sql: string, parameters: ReadonlyArray<string | number>) =>
      Effect.mapError(
        client.request("sqlRun", { sql, parameters, values: true }),
        ({ detail, reason, store }) => new StoreError({ store, operation, reason, detail })
      )

    const verified = (component: string, key: string, row: LastGood.Row | undefined) =>
      row === undefined ? Effect.succeedNone : Effect.try({
        try: () => Option.some(LastGood.verified(component, key, row)),
        catch: (error) =>
          new StoreError({
            store: client.filename,
            operation: "get",
            reason: "corrupt",
            detail: (error as Error).message
          })
      })

    return {
      scope,
      get: (component, key) =>
        Effect.suspend(() => {
          const found = read(component, key)
          if (found !== undefined) return verified(component, key, found[0])
          return Effect.flatMap(
            ask("get", statements.get, [component, key]),
            // a statement with `values` gives rows as lists
            ([row]) => verified(component, key, row as LastGood.Row | undefined)
          )
        }),
      set: (component, key, entry) =>
        Effect.suspend(() => {
          const { storedAt, value } = entry
          const hash = LastGood.hashOf(component, key, entry)
          const stored = ask("set", statements.set, [component, key, value, storedAt, hash])
          return Effect.asVoid(
            isTimeForRoom(component)
              ? Effect.zipRight(
                stored,
                ask("set", statements.makeRoom, [component, component, options.lastGoodValues])
              )
              : stored
          )
        }),
      remove: (component, key) => Effect.asVoid(ask("remove", statements.remove, [component, key])),
      clear: (component) => Effect.asVoid(ask("clear", statements.clear, [component]))
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const statements = LastGood.statements("firebreak_last_good", () => "?")

/** Looks up a row on this thread: a list with it or an empty one; undefined whenever the writer has to be asked. */
const openReader = (
  driver: typeof BetterSqlite3,
  filename: string
): Effect.Effect<
  (component: string, key: string) => readonly [LastGood.Row | undefined] | undefined,
  never,
  Scope.Scope
> => {
  let db: BetterSqlite3.Database | undefined
  let select: BetterSqlite3.Statement<[string, string], LastGood.Row> | undefined
  const lookup = (component: string, key: string) => {
    try {
      db ??= new driver(filename, { readonly: true, fileMustExist: true, timeout: 0 })
      select ??= db.prepare<[string, string], LastGood.Row>(statements.get).raw()
      return [select.get(component, key)] as const
    } catch {
      return undefined
    }
  }
  return Effect.as(Effect.addFinalizer(() => Effect.sync(() => db?.close())), lookup)
}
