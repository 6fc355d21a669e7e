/** What a step does in its transaction, on both databases: the user's SQL and the record are one. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import { CheckpointStore, type Step } from "@firebreak/core/CheckpointStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as SqlStore from "../src/SqlStore.js"
import { temporaryFile } from "./fixtures/temporary.js"
import { withServer } from "./support/postgresFile.js"

const begin = {
  runId: "r",
  workflow: "w",
  key: "r",
  payload: "{}",
  version: "1",
  lease: Duration.minutes(1),
  maxStalls: 20
}
const step: Step = {
  runId: "r",
  seq: 0,
  name: "pay",
  kind: "transaction",
  branch: "main",
  exit: "7",
  startedAt: 1,
  endedAt: 2
}

type Stores = Layer.Layer<SqlStore.Services, StoreError>

const opened = (layer: Stores) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(layer)
    const store = Context.get(context, CheckpointStore)
    const sql = Context.get(context, SqlClient.SqlClient)
    yield* sql`CREATE TABLE IF NOT EXISTS paid (id TEXT PRIMARY KEY)`
    const begun = yield* store.begin(begin)
    if (begun._tag !== "Claimed") return yield* Effect.dieMessage(begun._tag)
    const { token } = begun
    return {
      store,
      sql,
      token,
      paid: Effect.map(sql<{ id: string }>`SELECT id FROM paid ORDER BY id`, (rows) => rows.map(({ id }) => id)),
      steps: Effect.map(store.load("r"), (found) => Option.getOrThrow(found).steps.map(({ name }) => name)),
      checkpoints: yield* Layer.build(Layer.provide(Checkpoint.layerEngine, Layer.succeedContext(context))),
      transact: <A, E>(body: Effect.Effect<A, E>) =>
        store.transact!({ token, runId: "r", body: Effect.map(body, (value) => ({ step, value })) })
    }
  })

const tests = (name: string, stores: Effect.Effect<Stores, never, Scope.Scope>) => {
  const test = (
    title: string,
    body: (_: Effect.Effect.Success<ReturnType<typeof opened>>) => Effect.Effect<void, unknown>
  ) => it.scopedLive(`${name}: ${title}`, () => Effect.flatMap(Effect.flatMap(stores, opened), body), 20_000)

  test("commits the user's SQL with the record", ({ paid, sql, steps, transact }) =>
    Effect.gen(function*() {
      const value = yield* transact(Effect.as(sql`INSERT INTO paid ${sql.insert({ id: "a" })}`, 7))
      assert.deepStrictEqual(value, Option.some(7))
      assert.deepStrictEqual([yield* paid, yield* steps], [["a"], ["pay"]])
    }))

  test("rolls both back when the body fails, dies or is interrupted, and goes on", ({ paid, sql, steps, transact }) =>
    Effect.gen(function*() {
      const insert = sql`INSERT INTO paid ${sql.insert({ id: "a" })}`
      for (const end of [Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(transact(Effect.zipRight(insert, end)))))
      }
      assert.deepStrictEqual([yield* paid, yield* steps], [[], []])
      yield* transact(insert)
      assert.deepStrictEqual([yield* paid, yield* steps], [["a"], ["pay"]])
    }))

  test("rolls back when the run was taken over meanwhile", ({ paid, sql, steps, store, token, transact }) =>
    Effect.gen(function*() {
      yield* store.release({ runId: "r", token })
      const value = yield* transact(sql`INSERT INTO paid ${sql.insert({ id: "a" })}`)
      assert.deepStrictEqual(value, Option.none())
      assert.deepStrictEqual([yield* paid, yield* steps], [[], []])
    }))

  test("a part of it can be undone by itself", ({ paid, sql, transact }) =>
    Effect.gen(function*() {
      yield* transact(Effect.gen(function*() {
        yield* sql`INSERT INTO paid ${sql.insert({ id: "a" })}`
        yield* Effect.ignore(
          sql.withTransaction(Effect.zipRight(sql`INSERT INTO paid ${sql.insert({ id: "b" })}`, Effect.fail("no")))
        )
        yield* sql`INSERT INTO paid ${sql.insert({ id: "c" })}`
      }))
      assert.deepStrictEqual(yield* paid, ["a", "c"])
    }))

  test("refuses one within another", ({ paid, transact }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(transact(transact(Effect.void)))
      assert.instanceOf(error, StoreError)
      assert.include(String(error), "it is inside another transaction")
      assert.deepStrictEqual(yield* paid, [])
    }))

  test("a transaction of the user's own is one too", ({ paid, sql }) =>
    Effect.gen(function*() {
      const insert = (id: string) => sql`INSERT INTO paid ${sql.insert({ id })}`
      yield* Effect.ignore(sql.withTransaction(Effect.zipRight(insert("a"), Effect.fail("no"))))
      yield* sql.withTransaction(Effect.zipRight(insert("b"), insert("c")))
      assert.deepStrictEqual(yield* paid, ["b", "c"])
    }))

  test("Checkpoint.transaction runs the user's SQL in it", ({ checkpoints, paid, sql }) =>
    Effect.gen(function*() {
      const pay = (runId: string, end: Effect.Effect<string, string>) =>
        Checkpoint.transaction(
          "pay",
          { success: Schema.String, error: Schema.String },
          Effect.zipRight(Effect.orDie(sql`INSERT INTO paid ${sql.insert({ id: runId })}`), end)
        ).pipe(
          (body) => Checkpoint.run(runId, { success: Schema.String, error: Schema.String }, body),
          Effect.provide(checkpoints),
          Effect.exit
        )
      assert.deepStrictEqual(yield* pay("a", Effect.succeed("paid")), Exit.succeed("paid"))
      assert.deepStrictEqual(yield* pay("b", Effect.fail("no money")), Exit.fail("no money"))
      assert.isTrue(Exit.isFailure(yield* pay("c", Effect.die("no"))))
      assert.deepStrictEqual(yield* paid, ["a"])
      // what died is done again, what has ended is not
      for (const id of ["a", "b", "c"]) yield* pay(id, Effect.succeed("again"))
      assert.deepStrictEqual(yield* paid, ["a", "c"])
    }))

  test("others go on beside it", ({ sql, steps, store, token, transact }) =>
    Effect.gen(function*() {
      const others = Effect.forEach(
        Array.from({ length: 20 }, (_, i) => i + 1),
        (seq) => store.save({ token, step: { ...step, seq, name: `step ${seq}`, kind: "step" } }),
        { concurrency: "unbounded" }
      )
      yield* Effect.all([
        transact(Effect.zipRight(sql`INSERT INTO paid ${sql.insert({ id: "a" })}`, Effect.yieldNow())),
        others
      ], {
        concurrency: 2
      })
      assert.strictEqual((yield* steps).length, 21)
      assert.deepStrictEqual(yield* store.verify!, [])
    }))
}

tests("SQLite", Effect.map(temporaryFile, (filename) => SqlStore.layerSqlite({ filename })))

it.scopedLive("SQLite: is rolled back when it takes too long, and others go on", () =>
  Effect.gen(function*() {
    const filename = yield* temporaryFile
    const { paid, sql, steps, store, token, transact } = yield* opened(
      SqlStore.layerSqlite({ filename, transactionTimeout: "50 millis" })
    )
    const insert = sql`INSERT INTO paid ${sql.insert({ id: "a" })}`
    const waiting = yield* Effect.fork(
      Effect.delay(store.save({ token, step: { ...step, seq: 1, name: "other", kind: "step" } }), "10 millis")
    )
    const error = yield* Effect.flip(transact(Effect.zipRight(insert, Effect.sleep("150 millis"))))
    assert.include(String(error), "took longer than 50 ms and was rolled back")
    assert.isTrue(yield* waiting)
    assert.deepStrictEqual([yield* paid, yield* steps], [[], ["other"]])
  }))

for (
  const [how, end] of [
    ["OR ROLLBACK", "INSERT OR ROLLBACK INTO paid VALUES ('there')"],
    ["a trigger's RAISE(ROLLBACK)", "INSERT INTO paid VALUES ('forbidden')"],
    ["a ROLLBACK of the user's own", "ROLLBACK"]
  ] as const
) {
  it.scopedLive(`SQLite: a transaction that ${how} has ended takes no more, and its step is not recorded`, () =>
    Effect.gen(function*() {
      const { paid, sql, steps, transact } = yield* opened(SqlStore.layerSqlite({ filename: yield* temporaryFile }))
      yield* sql`INSERT INTO paid VALUES ('there')`
      yield* sql`CREATE TRIGGER forbids BEFORE INSERT ON paid WHEN new.id = 'forbidden'
        BEGIN SELECT RAISE(ROLLBACK, 'forbidden'); END`
      const goesOn = Effect.gen(function*() {
        yield* sql`INSERT INTO paid VALUES ('before')`
        yield* Effect.ignore(sql.unsafe(end))
        yield* Effect.ignore(sql`INSERT INTO paid VALUES ('after')`)
      })
      for (const body of [goesOn, Effect.ignore(sql.unsafe(end))]) {
        const error = yield* Effect.flip(transact(body))
        assert.instanceOf(error, StoreError)
        assert.strictEqual(error.reason, "io")
        assert.include(error.detail, "was ended by a statement in it; its step is not recorded")
        assert.deepStrictEqual([yield* paid, yield* steps], [["there"], []])
      }
      yield* transact(sql`INSERT INTO paid VALUES ('then')`)
      assert.deepStrictEqual([yield* paid, yield* steps], [["then", "there"], ["pay"]])
    }))
}

withServer("PostgreSQL", (server) => {
  const layer = Effect.map(
    Effect.suspend(() => server().database),
    (database) => SqlStore.layerPostgres({ url: server().url(database), maxConnections: 3 })
  )
  tests("PostgreSQL", layer)

  for (const end of ["COMMIT", "ROLLBACK"]) {
    it.scopedLive(`PostgreSQL: a step whose transaction a ${end} in it has ended is not recorded`, () =>
      Effect.gen(function*() {
        const { sql, steps, transact } = yield* opened(yield* layer)
        const error = yield* Effect.flip(transact(Effect.ignore(sql.unsafe(end))))
        assert.instanceOf(error, StoreError)
        assert.include(error.detail, "was ended by a statement in it; its step is not recorded")
        assert.deepStrictEqual(yield* steps, [])
        yield* transact(sql`INSERT INTO paid VALUES ('then')`)
        assert.deepStrictEqual(yield* steps, ["pay"])
      }))
  }
})
