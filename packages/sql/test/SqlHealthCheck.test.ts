import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlHealthCheck from "../src/SqlHealthCheck.js"
import { withServer } from "./support/postgresFile.js"

const run = (options: SqlHealthCheck.Options) => Effect.flatten(HealthCheck.runner(SqlHealthCheck.pool(options)))

withServer("SqlHealthCheck.pool", (server) => {
  it.scopedLive("fails while no connection of the pool is free, and passes when one is", () =>
    Effect.gen(function*() {
      const url = Redacted.make(server().url(yield* server().database))
      yield* Effect.gen(function*() {
        assert.deepInclude(yield* run({ below: "10 seconds" }), { _tag: "Passed" })
        const sql = yield* SqlClient.SqlClient
        const taken = yield* Deferred.make<void>()
        const hold = Effect.zipRight(Deferred.succeed(taken, undefined), Effect.never)
        const holding = yield* Effect.fork(sql.withTransaction(hold))
        yield* Deferred.await(taken)
        assert.deepInclude(yield* run({ below: "50 millis" }), { _tag: "Failed", error: "no answer within 100ms" })
        yield* Fiber.interrupt(holding)
        assert.deepInclude(yield* run({ below: "10 seconds" }), { _tag: "Passed" })
      }).pipe(Effect.provide(PgClient.layer({ url, maxConnections: 1 })))
    }))
})
