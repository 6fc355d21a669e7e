import type { CheckpointStore } from "@firebreak/core/CheckpointStore"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as SqlStore from "@firebreak/sql/SqlStore"
import type * as Layer from "effect/Layer"
import { expect, test } from "tstyche"

test("the layer provides both stores, needs nothing and fails with StoreError only", () => {
  expect(SqlStore.layerSqlite({ filename: "x.db" })).type.toBe<
    Layer.Layer<IdempotencyStore | CheckpointStore, StoreError>
  >()
})

test("a filename is required", () => {
  expect(SqlStore.layerSqlite).type.not.toBeCallableWith({})
})
