/** The server that the other tests use. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { existsSync } from "node:fs"
import * as Postgres from "./support/postgres.js"

const ask = (url: string, sql: string) =>
  Effect.provide(
    Effect.flatMap(SqlClient.SqlClient, (client) => client.unsafe<{ readonly value: number }>(sql)),
    PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })
  )

describe.skipIf(Postgres.unavailable !== undefined)("a PostgreSQL server for tests", () => {
  it.live("keeps its data over a crash and is gone with its scope", () =>
    Effect.gen(function*() {
      const directory = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* Postgres.make({ fsync: true })
        const database = yield* server.database
        yield* ask(server.url(database), "CREATE TABLE t AS SELECT 1 AS value")
        yield* server.stop("immediate")
        assert.isUndefined(server.pid())
        yield* server.start
        for (const url of [server.url(database), server.socketUrl(database)]) {
          assert.deepStrictEqual(yield* ask(url, "SELECT value FROM t"), [{ value: 1 }])
        }
        return server.directory
      }))
      assert.isFalse(existsSync(directory))
    }), 30_000)
})
