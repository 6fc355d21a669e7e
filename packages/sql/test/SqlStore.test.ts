import * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import * as IdempotencyStoreSuite from "@firebreak/core/testing/IdempotencyStoreSuite"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlStore from "../src/SqlStore.js"
import { temporaryFile } from "./fixtures/temporary.js"

const layer = Layer.unwrapScoped(Effect.map(temporaryFile, (filename) => SqlStore.layerSqlite({ filename })))

const owners = Effect.gen(function*() {
  const filename = yield* temporaryFile
  const one = yield* Layer.build(SqlStore.layerSqlite({ filename }))
  const two = yield* Layer.build(SqlStore.layerSqlite({ filename }))
  return [one, two] as const
})

IdempotencyStoreSuite.suite("SQLite", layer, {
  owners: Effect.map(owners, ([one, two]) =>
    [
      Context.get(one, IdempotencyStore.IdempotencyStore),
      Context.get(two, IdempotencyStore.IdempotencyStore)
    ] as const)
})
