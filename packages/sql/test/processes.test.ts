/** Several processes on one file. These tests run in real time, for other processes know no TestClock. */
import { assert, describe, it } from "@effect/vitest"
import { CheckpointStore } from "@firebreak/core/CheckpointStore"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as SqlStore from "../src/SqlStore.js"
import * as Child from "./fixtures/child.js"
import { temporaryFile } from "./fixtures/temporary.js"

const lease = Duration.hours(1)
const ask = (key: string) => ({ scope: "", operation: "op", key, fingerprint: "f", lease })
const begin = { runId: "r", workflow: "w", key: "r", payload: "{}", version: "1", lease, maxStalls: 20 }

const open = (options: SqlStore.SqliteOptions) =>
  Effect.map(Layer.build(SqlStore.layerSqlite(options)), (context) => ({
    actions: Context.get(context, IdempotencyStore),
    runs: Context.get(context, CheckpointStore)
  }))

describe("several processes", () => {
  it.scopedLive(
    "takes over from a killed process at once, with every acknowledged step",
    () =>
      Effect.gen(function*() {
        const filename = yield* temporaryFile
        const child = yield* Child.start("holder.ts", filename, "100000")
        yield* child.printed(50)
        yield* child.kill("SIGKILL")
        const acknowledged = child.lines.length

        const { actions, runs } = yield* open({ filename })
        const claim = yield* actions.claim(ask("a"))
        assert.isTrue(claim._tag === "Claimed" && claim.inDoubt)
        const run = yield* runs.begin(begin)
        if (run._tag !== "Claimed") return assert.fail(run._tag)
        assert.isTrue(run.resumed)
        assert.isAtLeast(run.steps.length, acknowledged)
        assert.deepStrictEqual(run.steps.map((_) => _.seq), run.steps.map((_, i) => i))
      }),
    20_000
  )

  it.scopedLive("leaves a stopped process its claims until their lease ends", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const child = yield* Child.start("holder.ts", filename, "1")
      yield* child.printed(1)
      child.process.kill("SIGSTOP")

      const { actions, runs } = yield* open({ filename })
      const claim = yield* actions.claim(ask("a"))
      if (claim._tag !== "InProgress") return assert.fail(claim._tag)
      assert.isTrue(Duration.between(claim.retryAfter, { minimum: "55 minutes", maximum: "60 minutes" }))
      assert.strictEqual((yield* runs.begin(begin))._tag, "InProgress")
      assert.isFalse(yield* runs.clear("r"))
    }), 20_000)

  it.scopedLive("never holds the event loop while another process locks the file", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      // a held event loop could not tell the locker to let go, and the wait would end as busy
      const { actions, runs } = yield* open({ filename, busyTimeout: "30 seconds" })
      const claim = yield* actions.claim(ask("done"))
      if (claim._tag !== "Claimed") return assert.fail(claim._tag)
      yield* actions.complete({ ...ask("done"), token: claim.token, exit: "1", retention: lease })

      const locker = yield* Child.start("locker.ts", filename)
      yield* locker.printed(1)
      const waiting = yield* Effect.fork(runs.begin(begin))
      // the second is answered after the writer has met the lock
      assert.strictEqual((yield* runs.load("r"))._tag, "None")
      assert.strictEqual((yield* runs.load("r"))._tag, "None")
      assert.strictEqual((yield* actions.claim(ask("done")))._tag, "Completed")
      assert.strictEqual((yield* Fiber.poll(waiting))._tag, "None")
      yield* locker.goOn
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "Claimed")
    }), 60_000)

  it.scopedLive(
    "fails as busy when the lock outlasts the wait, and recovers",
    () =>
      Effect.gen(function*() {
        const filename = yield* temporaryFile
        const { runs } = yield* open({ filename, busyTimeout: "300 millis" })
        const locker = yield* Child.start("locker.ts", filename)
        yield* locker.printed(1)
        const error = yield* Effect.flip(runs.begin(begin))
        assert.strictEqual(error.reason, "busy")
        assert.strictEqual(error.store, filename)
        yield* locker.goOn
        yield* locker.exit
        assert.strictEqual((yield* runs.begin(begin))._tag, "Claimed")
      }),
    20_000
  )

  it.scopedLive("does not keep an idle process alive", () =>
    Effect.gen(function*() {
      const child = yield* Child.start("idle.ts", yield* temporaryFile)
      assert.strictEqual(yield* child.exit, 0)
      assert.deepStrictEqual(child.lines, ["open"])
    }), 20_000)
})
