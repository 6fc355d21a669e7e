import type { SqlClient } from "@effect/sql/SqlClient"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import type { CheckpointStore } from "@firebreak/core/CheckpointStore"
import type { DegradationCache } from "@firebreak/core/DegradationCache"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as SqlStore from "@firebreak/sql/SqlStore"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { expect, test } from "tstyche"

type Provided = IdempotencyStore | CheckpointStore | CheckpointEngine | DegradationCache | SqlClient

test("each layer provides the stores, the engine and an SQL client, needs nothing and fails with StoreError only", () => {
  expect(SqlStore.layerSqlite({ filename: "x.db" })).type.toBe<Layer.Layer<Provided, StoreError>>()
  expect(SqlStore.layerPostgres({ url: "postgres://db/app" })).type.toBe<Layer.Layer<Provided, StoreError>>()
})

test("a URL may be a secret, a password must", () => {
  expect(SqlStore.layerPostgres).type.toBeCallableWith({ url: Redacted.make("postgres://db/app") })
  expect(SqlStore.layerPostgres).type.not.toBeCallableWith({ host: "db", password: "secret" })
})

test("a filename is required", () => {
  expect(SqlStore.layerSqlite).type.not.toBeCallableWith({})
})
