/** The stores on PostgreSQL. Leases pass by the database's clock, which these tests move. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { afterAll, beforeAll } from "@effect/vitest"
import { CheckpointStore } from "@firebreak/core/CheckpointStore"
import { DegradationCache } from "@firebreak/core/DegradationCache"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as CheckpointStoreSuite from "@firebreak/core/testing/CheckpointStoreSuite"
import * as DegradationCacheSuite from "@firebreak/core/testing/DegradationCacheSuite"
import * as IdempotencyStoreSuite from "@firebreak/core/testing/IdempotencyStoreSuite"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as SqlStore from "../src/SqlStore.js"
import { withServer } from "./support/postgresFile.js"

withServer("PostgreSQL", (server) => {
  let schemas = 0
  // the functions of schema `test` come before PostgreSQL's own: the clock is one that can be moved
  const url = () => `${server().url("postgres")}?options=-c%20search_path%3Dtest,pg_catalog,public`
  const scope = Effect.runSync(Scope.make())
  let client: SqlClient.SqlClient | undefined
  const ask = (sql: string) => Effect.suspend(() => client === undefined ? Effect.void : client.unsafe(sql))
  beforeAll(() =>
    Effect.runPromise(Effect.gen(function*() {
      const layer = PgClient.layer({ url: Redacted.make(url()), maxConnections: 1 })
      client = Context.get(yield* Layer.buildWithScope(layer, scope), SqlClient.SqlClient)
      yield* ask(
        `CREATE SCHEMA test;
         CREATE TABLE test.shift AS SELECT interval '0' AS shift;
         CREATE FUNCTION test.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
           'SELECT pg_catalog.clock_timestamp() + shift FROM test.shift';`
      )
    }))
  )
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  // a name that has to be quoted, as an identifier and in a literal
  const options = Effect.sync(() => ({
    url: url(),
    schema: `o'brien's "${++schemas}"`,
    maxConnections: 3,
    cachedResults: 0
  }))
  const open = (options: SqlStore.PostgresOptions) =>
    Effect.map(Layer.build(SqlStore.layerPostgres(options)), (context) => ({
      actions: Context.get(context, IdempotencyStore),
      runs: Context.get(context, CheckpointStore)
    }))
  const layer = Layer.unwrapEffect(Effect.map(options, SqlStore.layerPostgres))
  const owners = Effect.flatMap(options, (options) => Effect.all([open(options), open(options)], { concurrency: 2 }))
  const time = {
    unit: "30 seconds",
    advance: (duration: Duration.Duration) =>
      Effect.orDie(Effect.asVoid(
        ask(`UPDATE test.shift SET shift = shift + interval '${Math.round(Duration.toMillis(duration))} milliseconds'`)
      ))
  } as const

  IdempotencyStoreSuite.suite("PostgreSQL", layer, {
    ...time,
    owners: Effect.map(owners, ([one, two]) => [one.actions, two.actions] as const)
  })

  CheckpointStoreSuite.suite("PostgreSQL", layer, {
    ...time,
    transaction: true,
    owners: Effect.map(owners, ([one, two]) => [one.runs, two.runs] as const)
  })

  const small = Effect.map(options, (options) => SqlStore.layerPostgres({ ...options, lastGoodValues: 3 }))
  DegradationCacheSuite.suite("PostgreSQL", Layer.unwrapEffect(small), {
    capacity: 3,
    reopen: Effect.map(
      small,
      (layer) => Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, DegradationCache))
    )
  })
})
