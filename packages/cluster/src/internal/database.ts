/** The tables of @effect/cluster, under a prefix of their own, made by one process at a time. */
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"

export const prefix = "firebreak_cluster"
export const messages = `${prefix}_messages`
export const replies = `${prefix}_replies`

/** "firebrea" as a number: the lock that the makers of the tables share. */
const lock = "7379542783512373601"

export const client = (
  { connections, url }: { readonly connections: number; readonly url: string | Redacted.Redacted }
): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  PgClient.layer({
    url: Redacted.isRedacted(url) ? url : Redacted.make(url),
    maxConnections: connections,
    applicationName: "firebreak-cluster"
  })

/**
 * Makes what is missing of the tables and the indexes. Processes that begin at once wait for each other: the engine's
 * own way of making them fails where two do it at the same time.
 */
export const migrate: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.scoped(Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const connection = yield* sql.reserve
  yield* Effect.acquireRelease(
    connection.executeRaw(`SELECT pg_advisory_lock(${lock})`, []),
    () => Effect.orDie(connection.executeRaw(`SELECT pg_advisory_unlock(${lock})`, []))
  )
  yield* Layer.build(
    Layer.provide(storage, ShardingConfig.layer({ shardLockDisableAdvisory: true }))
  )
  // a run's history, and the runs of a workflow
  yield* sql`CREATE INDEX IF NOT EXISTS ${sql(`${messages}_entity_idx`)} ON ${sql(messages)} (entity_type, entity_id)`
  yield* sql`CREATE INDEX IF NOT EXISTS ${sql(`${messages}_run_idx`)} ON ${sql(messages)} (entity_type, id)
    WHERE tag = 'run'`
}))

/** Where the engine keeps its messages and who runs what. */
export const storage = Layer.mergeAll(
  SqlMessageStorage.layerWith({ prefix }),
  SqlRunnerStorage.layerWith({ prefix })
)
