/**
 * An `SqlClient` over the writer's connection. A statement outside a transaction goes with whatever the writer commits
 * next; a transaction has the writer to itself, and a time limit.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import type { Service } from "@firebreak/core/CheckpointStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SqlStatement } from "./protocol.js"
import { moment, type SqliteClient } from "./SqliteClient.js"

export { SqlClient } from "@effect/sql/SqlClient"

export const make = (client: SqliteClient): Effect.Effect<SqlClient.SqlClient> =>
  Effect.provideServiceEffect(
    SqlClient.make({
      acquirer: Effect.succeed(connection((statement) => client.request("sqlRun", statement))),
      transactionAcquirer: reserve(client),
      compiler: Statement.makeCompilerSqlite(),
      spanAttributes: [["db.system.name", "sqlite"]]
    }),
    Reactivity.Reactivity,
    Reactivity.make
  )

/** `transact` of the port. */
export const transact = (client: SqliteClient): NonNullable<Service["transact"]> => ({ body, runId, token }) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime((fiber) => {
      if (Option.isSome(Context.getOption(fiber.currentContext, SqlClient.TransactionConnection))) {
        return Effect.fail(nested(client.filename))
      }
      return Effect.flatMap(client.request("sessionBegin", { run: { runId, token } }), (session) => {
        if (session === null) return Effect.succeedNone
        const rollback = Effect.ignore(client.request("sessionRollback", { session }))
        const conn = connection((statement) => client.request("sessionRun", { ...statement, session }))
        return Effect.matchCauseEffect(
          restore(Effect.provideService(body, SqlClient.TransactionConnection, [conn, 0])),
          {
            onFailure: (cause) => Effect.zipRight(rollback, Effect.failCause(cause)),
            onSuccess: ({ step, value }) =>
              Effect.clockWith((clock) =>
                Effect.map(
                  client.request("sessionCommit", { session, save: { ...moment(clock), token, step } }),
                  (saved) => saved ? Option.some(value) : Option.none()
                )
              )
          }
        )
      })
    })
  )

/** A transaction within another would wait for it, and that one for it. */
export const nested = (store: string): StoreError =>
  new StoreError({
    store,
    operation: "begin a transaction",
    reason: "io",
    detail: "it is inside another transaction"
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** A transaction of the user's own, begun when the connection is taken, and rolled back unless it is committed. */
const reserve = (client: SqliteClient): Effect.Effect<Connection, SqlError, Scope.Scope> =>
  Effect.suspend(() => {
    let open = true
    const end = <A>(last: Effect.Effect<A, StoreError>) =>
      Effect.suspend(() => {
        open = false
        return Effect.as(last, [])
      })
    return Effect.map(
      Effect.acquireRelease(
        Effect.mapError(client.request("sessionBegin", { run: null }), sqlError),
        (session) =>
          open && session !== null ? Effect.ignore(client.request("sessionRollback", { session })) : Effect.void
      ),
      (session) =>
        connection((statement) => {
          if (session === null) return Effect.succeed([])
          switch (statement.sql) {
            case "BEGIN":
              return Effect.succeed([])
            case "COMMIT":
              return end(client.request("sessionCommit", { session, save: null }))
            case "ROLLBACK":
              return end(client.request("sessionRollback", { session }))
            default:
              return client.request("sessionRun", { ...statement, session })
          }
        })
    )
  })

const sqlError = (cause: StoreError): SqlError => new SqlError({ cause, message: cause.detail })

const connection = (
  run: (statement: SqlStatement) => Effect.Effect<ReadonlyArray<unknown>, StoreError>
): Connection => {
  const rows = (sql: string, parameters: ReadonlyArray<unknown>, values: boolean) =>
    // what a row holds, only the statement knows
    Effect.mapError(run({ sql, parameters, values }), sqlError) as Effect.Effect<ReadonlyArray<any>, SqlError>
  const execute: Connection["execute"] = (sql, parameters, transform) =>
    transform === undefined ? rows(sql, parameters, false) : Effect.map(rows(sql, parameters, false), transform)
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: (sql, parameters) => rows(sql, parameters, false),
    executeValues: (sql, parameters) => rows(sql, parameters, true),
    executeStream: () => Stream.dieMessage("SqlStore: SQLite's SqlClient streams no rows")
  }
}
