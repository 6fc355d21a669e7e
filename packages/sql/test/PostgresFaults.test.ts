/** PostgreSQL that is away, restarts, has no connection left, or is started on by many at once. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import { CheckpointStore, type Step } from "@firebreak/core/CheckpointStore"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlStore from "../src/SqlStore.js"
import { withServer } from "./support/postgresFile.js"

const lease = Duration.minutes(5)
const begin = (key: string) => ({
  runId: `w/${key}`,
  workflow: "w",
  key,
  payload: "{}",
  version: "1",
  lease,
  maxStalls: 20
})
const step = (key: string, seq: number): Step => ({
  runId: `w/${key}`,
  seq,
  name: `step ${seq}`,
  kind: "step",
  branch: "main",
  exit: `{"value":${seq}}`,
  startedAt: 1,
  endedAt: 2
})
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i)

withServer("PostgreSQL under faults", (server) => {
  const fresh = Effect.map(
    Effect.suspend(() => server().database),
    (database): SqlStore.PostgresOptions => ({ url: server().url(database), maxConnections: 4 })
  )
  const open = (options: SqlStore.PostgresOptions) =>
    Effect.map(Layer.build(SqlStore.layerPostgres(options)), (context) => ({
      actions: Context.get(context, IdempotencyStore),
      runs: Context.get(context, CheckpointStore),
      sql: Context.get(context, SqlClient.SqlClient)
    }))

  it.scopedLive("creates its tables once, however many start at once", () =>
    Effect.gen(function*() {
      const options = yield* fresh
      const stores = yield* Effect.all(numbers(6).map(() => open(options)), { concurrency: "unbounded" })
      const begun = yield* Effect.forEach(stores, ({ runs }) => runs.begin(begin("a")), { concurrency: "unbounded" })
      assert.strictEqual(begun.filter(({ _tag }) => _tag === "Claimed").length, 1)
    }), 30_000)

  it.scopedLive("refuses the tables of a newer release", () =>
    Effect.gen(function*() {
      const options = yield* fresh
      const { sql } = yield* open(options)
      yield* sql`UPDATE firebreak.meta SET value = 99 WHERE name = 'schema'`
      const error = yield* Effect.flip(open(options))
      assert.include(error.detail, `the tables in schema "firebreak" have version 99`)
    }), 30_000)

  it.scopedLive(
    "loses and repeats nothing while the server crashes and restarts under it",
    () =>
      Effect.gen(function*() {
        const { runs } = yield* open(yield* fresh)
        const keys = numbers(20).map(String)
        const work = Effect.forEach(keys, (key) =>
          Effect.gen(function*() {
            const begun = yield* runs.begin(begin(key))
            if (begun._tag !== "Claimed") return yield* Effect.dieMessage(begun._tag)
            const { token } = begun
            for (const seq of numbers(60)) assert.isTrue(yield* runs.save({ token, step: step(key, seq) }))
            assert.isTrue(yield* runs.finish({ runId: `w/${key}`, token, status: "succeeded", exit: "1" }))
          }), { concurrency: "unbounded" })
        const fiber = yield* Effect.fork(work)
        for (const mode of ["immediate", "fast", "immediate"] as const) {
          yield* Effect.sleep("150 millis")
          yield* server().stop(mode)
          yield* server().start
        }
        yield* Fiber.join(fiber)
        for (const key of keys) {
          const { steps } = Option.getOrThrow(yield* runs.load(`w/${key}`))
          assert.deepStrictEqual(steps, numbers(60).map((seq) => step(key, seq)))
        }
        assert.deepStrictEqual(yield* runs.verify!, [])
      }),
    30_000
  )

  it.scopedLive(
    "fails typed while the server is away for long, and goes on when it is back",
    () =>
      Effect.gen(function*() {
        const { actions, runs } = yield* open({ ...(yield* fresh), busyTimeout: "300 millis" })
        const begun = yield* runs.begin(begin("a"))
        if (begun._tag !== "Claimed") return assert.fail(begun._tag)
        yield* server().stop()
        const save = runs.save({ token: begun.token, step: step("a", 0) })
        for (const use of [Effect.asVoid(save), Effect.asVoid(runs.list()), Effect.asVoid(actions.list())]) {
          const error = yield* Effect.flip(use)
          assert.strictEqual(error._tag, "StoreError")
          assert.include(["io", "busy"], error.reason)
          assert.include(error.store, "postgres://127.0.0.1:")
        }
        yield* server().start
        assert.isTrue(yield* save)
        assert.deepStrictEqual(Option.getOrThrow(yield* runs.load("w/a")).steps, [step("a", 0)])
      }),
    30_000
  )

  it.scopedLive("says so when every connection is in use, and goes on when one is free", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* open({ ...(yield* fresh), maxConnections: 2, busyTimeout: "300 millis" })
      const held = yield* Effect.fork(Effect.all(
        numbers(2).map(() => sql.withTransaction(Effect.never)),
        { concurrency: "unbounded" }
      ))
      const error = yield* Effect.flip(Effect.repeat(runs.begin({ ...begin("a"), existing: true }), { times: 1_000 }))
      assert.strictEqual(error.reason, "busy")
      yield* Fiber.interrupt(held)
      assert.strictEqual((yield* runs.begin(begin("a")))._tag, "Claimed")
    }), 30_000)

  it.scopedLive("commits what waits together", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* open(yield* fresh)
      const begun = yield* runs.begin(begin("a"))
      if (begun._tag !== "Claimed") return assert.fail(begun._tag)
      yield* Effect.forEach(numbers(500), (seq) => runs.save({ token: begun.token, step: step("a", seq) }), {
        concurrency: "unbounded",
        discard: true
      })
      // rows of one transaction have the same xmin
      const [row] = yield* sql<{ count: string }>`SELECT count(DISTINCT xmin::text) AS count FROM firebreak.step`
      assert.isAtMost(Number(row?.count), 10)
    }), 30_000)

  it.scopedLive("fails only the request that is at fault, of all those in one statement", () =>
    Effect.gen(function*() {
      const { runs } = yield* open(yield* fresh)
      const begun = yield* runs.begin(begin("a"))
      if (begun._tag !== "Claimed") return assert.fail(begun._tag)
      const { token } = begun
      // PostgreSQL keeps no text with a NUL in it
      const bad = { ...step("a", 1), exit: "\u0000" }
      const exits = yield* Effect.forEach([step("a", 0), bad, step("a", 2)], (step) =>
        Effect.exit(runs.save({ token, step })), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true])
      assert.deepStrictEqual(
        Option.getOrThrow(yield* runs.load("w/a")).steps.map(({ seq }) =>
          seq
        ),
        [0, 2]
      )
    }), 30_000)

  it.scopedLive("names a record that was altered, and runs nothing on it", () =>
    Effect.gen(function*() {
      const options = yield* fresh
      const { runs, sql } = yield* open(options)
      const begun = yield* runs.begin(begin("a"))
      if (begun._tag !== "Claimed") return assert.fail(begun._tag)
      for (const seq of numbers(3)) yield* runs.save({ token: begun.token, step: step("a", seq) })
      yield* runs.release({ runId: "w/a", token: begun.token })
      yield* sql`UPDATE firebreak.step SET exit = '0' WHERE seq = 1`
      const error = yield* Effect.flip(runs.begin(begin("a")))
      assert.strictEqual(error.reason, "corrupt")
      const named = `step "step 1" (seq 1) of run "w/a"`
      assert.include(error.detail, named)
      assert.isTrue((yield* runs.verify!).some(({ detail, runId }) => runId === "w/a" && detail.includes(named)))
    }), 30_000)

  const claim = (runs: CheckpointStore["Type"], key: string) =>
    Effect.flatMap(
      runs.begin(begin(key)),
      (begun) => begun._tag === "Claimed" ? Effect.succeed(begun.token) : Effect.dieMessage(begun._tag)
    )

  it.scopedLive("a commit without an answer fails, and holds up no other run", () =>
    Effect.gen(function*() {
      const { runs, sql } = yield* open({ ...(yield* fresh), busyTimeout: "300 millis" })
      yield* sql.unsafe(`
        CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER stand AFTER INSERT ON firebreak.step DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW WHEN (NEW.run_id <> 'w/b') EXECUTE FUNCTION stand()`)
      const [a, b, c] = [yield* claim(runs, "a"), yield* claim(runs, "b"), yield* claim(runs, "c")]
      const body = Effect.succeed({ step: step("a", 0), value: 1 })
      const stuck = yield* Effect.fork(Effect.flip(Effect.uninterruptible(
        runs.transact!({ runId: "w/a", token: a, body })
      )))
      assert.strictEqual((yield* Fiber.join(stuck))._tag, "StoreError")
      assert.isTrue(yield* runs.save({ token: b, step: step("b", 0) }))
      const expired = Effect.uninterruptible(runs.expire({ token: c, step: step("c", 0) }))
      assert.strictEqual((yield* Effect.flip(expired))._tag, "StoreError")
      assert.isTrue(yield* runs.save({ token: b, step: step("b", 1) }))
    }), 15_000)

  it.scopedLive(
    "who waits for a transaction's turn can be interrupted, in an uninterruptible step too",
    () =>
      Effect.gen(function*() {
        const { runs, sql } = yield* open({ ...(yield* fresh), maxConnections: 3, busyTimeout: "30 seconds" })
        const token = yield* claim(runs, "a")
        const begun = yield* Effect.makeLatch()
        const transact = Effect.uninterruptibleMask((restore) =>
          runs.transact!({ runId: "w/a", token, body: restore(Effect.zipRight(begun.open, Effect.never)) })
        )
        const first = yield* Effect.fork(transact)
        yield* begun.await
        // one waits for its permit, the other for its connection
        const taken = yield* Effect.forkAll(numbers(2).map(() => sql.withTransaction(Effect.never)))
        const others = yield* Effect.forkAll([transact, transact])
        yield* Effect.sleep("20 millis")
        yield* Fiber.interrupt(others)
        yield* Fiber.interrupt(taken)
        yield* Fiber.interrupt(first)
        // every connection is back
        yield* Effect.forEach(numbers(3), () => sql.withTransaction(sql`SELECT pg_sleep(0.05)`), {
          concurrency: "unbounded"
        })
      }),
    15_000
  )
})
