import * as PgClient from "@effect/sql-pg/PgClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as HealingStore from "@firebreak/core/HealingStore"
import * as HealingStoreSuite from "@firebreak/core/testing/HealingStoreSuite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlHealingStore from "../src/SqlHealingStore.js"
import * as SqlStore from "../src/SqlStore.js"
import * as Child from "./fixtures/child.js"
import { temporaryFile } from "./fixtures/temporary.js"
import { withServer } from "./support/postgresFile.js"

const open = (filename: string) => Layer.provide(SqlHealingStore.layer, SqlStore.layerSqlite({ filename }))

HealingStoreSuite.suite("SQLite", Layer.unwrapScoped(Effect.map(temporaryFile, open)))

describe("SqlHealingStore", () => {
  it.scopedLive("bounds a remedy that kills its own process", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const printed: Array<ReadonlyArray<string>> = []
      for (let process = 0; process < 4; process++) {
        const child = yield* Child.start("healer.ts", filename)
        const code = yield* child.exit
        printed.push(code === null ? ["killed"] : child.lines)
      }
      assert.deepStrictEqual(printed, [["killed"], ["killed"], ["called", "escalated"], ["escalated"]])
    }), 30_000)

  it.scopedLive("tells of a snapshot that it cannot read", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const sql = SqlStore.layerSqlite({ filename })
      const broken = yield* Effect.gen(function*() {
        const store = yield* HealingStore.HealingStore
        const client = yield* SqlClient
        yield* client`INSERT INTO firebreak_healing (name, snapshot) VALUES ('a', '{}')`
        return yield* Effect.flip(store.load("a"))
      }).pipe(Effect.provide(Layer.provideMerge(SqlHealingStore.layer, sql)))
      assert.strictEqual(broken.operation, "load")
    }))
})

withServer("SqlHealingStore on PostgreSQL", (server) => {
  const empty = Layer.unwrapEffect(Effect.suspend(() =>
    Effect.map(server().database, (database) => {
      const client = PgClient.layer({ url: Redacted.make(server().url(database)), maxConnections: 2 })
      return Layer.provide(SqlHealingStore.layer, client)
    })
  ))

  HealingStoreSuite.suite("PostgreSQL", empty)

  it.scopedLive("is made by several at the same time", () =>
    Effect.gen(function*() {
      const url = Redacted.make(server().url(yield* server().database))
      const one = Layer.provide(SqlHealingStore.layer, PgClient.layer({ url, maxConnections: 1 }))
      yield* Effect.forEach([1, 2, 3, 4], () => Layer.build(Layer.fresh(one)), { concurrency: "unbounded" })
    }))
})
