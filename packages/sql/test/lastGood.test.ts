import { assert, describe, it } from "@effect/vitest"
import * as Degradation from "@firebreak/core/Degradation"
import { DegradationCache } from "@firebreak/core/DegradationCache"
import Database from "better-sqlite3"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { roomEvery } from "../src/internal/lastGood.js"
import * as SqlStore from "../src/SqlStore.js"
import { temporaryFile } from "./fixtures/temporary.js"

const program = (answer: Effect.Effect<number, string>) =>
  Degradation.run(
    Degradation.component("cpu", answer).pipe(
      Degradation.orCached({ key: "k", schema: Schema.Number }),
      Degradation.orConstant(0)
    )
  )

describe("last good values in a file", () => {
  it.scoped("are read while another process holds the write lock, where a new one is given up", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const cache = Context.get(
        yield* Layer.build(SqlStore.layerSqlite({ filename, busyTimeout: 100 })),
        DegradationCache
      )
      yield* cache.set("cpu", "k", { value: "7", storedAt: 0 })
      const locker = new Database(filename)
      locker.exec("BEGIN IMMEDIATE")
      assert.deepStrictEqual(yield* cache.get("cpu", "k"), Option.some({ value: "7", storedAt: 0 }))
      const error = yield* Effect.flip(cache.set("cpu", "k", { value: "8", storedAt: 0 }))
      assert.deepStrictEqual([error.operation, error.reason], ["set", "busy"])
      locker.close()
    }))

  it.scoped("are not served when they were altered, and are good again when the primary is", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const context = yield* Layer.build(SqlStore.layerSqlite({ filename }))
      const ask = (answer: Effect.Effect<number, string>) => Effect.provide(program(answer), context)
      yield* ask(Effect.succeed(7))
      const db = new Database(filename)
      db.exec("UPDATE firebreak_last_good SET value = '8'")
      db.close()
      assert.strictEqual((yield* ask(Effect.fail("down"))).value, 0)
      const error = yield* Effect.flip(Context.get(context, DegradationCache).get("cpu", "k"))
      assert.strictEqual(error.reason, "corrupt")
      assert.include(error.message, `the last good value of "cpu", key "k", does not match its hash`)
      yield* ask(Effect.succeed(9))
      assert.strictEqual((yield* ask(Effect.fail("down"))).value, 9)
    }))

  it("make room once in a hundredth of what is kept, and always where that is little", () => {
    const little = roomEvery(3)
    assert.deepStrictEqual([little("a"), little("a"), little("b")], [true, true, true])
    const much = roomEvery(1_000)
    const made = Array.from({ length: 30 }, () => much("a")).filter((isTime) => isTime)
    assert.strictEqual(made.length, 3)
  })
})
