import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { copyFileSync, renameSync, rmSync } from "node:fs"
import * as SqliteClient from "../src/internal/SqliteClient.js"
import { temporaryFile } from "./fixtures/temporary.js"

const open = Effect.flatMap(
  temporaryFile,
  (filename) => SqliteClient.make({ filename, busyTimeout: 1_000, transactionTimeout: 1_000, onDamage: "refuse" })
)

const asked = (runId: string) => ({
  runId,
  workflow: "w",
  version: "1",
  key: runId,
  payload: "{}",
  lease: 1e9,
  maxStalls: 20,
  accepts: [],
  parent: null,
  deadline: null,
  existing: false
})

const begin = (client: SqliteClient.SqliteClient, runId: string) =>
  Effect.flatMap(SqliteClient.currentMoment, (now) => client.request("begin", { ...now, ...asked(runId) }))

describe("SqliteClient", () => {
  it.scoped("opens with a write-ahead log that is flushed at every commit", () =>
    Effect.gen(function*() {
      const { connection } = yield* open
      assert.deepStrictEqual(connection, { journalMode: "wal", synchronous: 2, schema: 4 })
    }))

  it.scoped("commits what is asked at once in few transactions", () =>
    Effect.gen(function*() {
      const client = yield* open
      const ids = Array.from({ length: 500 }, (_, i) => `run ${i}`)
      yield* Effect.forEach(ids, (id) => begin(client, id), { concurrency: "unbounded" })
      const { requests, transactions } = client.stats()
      assert.strictEqual(requests, 500)
      assert.isAtMost(transactions, 32)
    }))

  it.scoped("fails only the request that is at fault, of all those in one transaction", () =>
    Effect.gen(function*() {
      const client = yield* open
      const { token } = claimed(yield* begin(client, "r"))
      const save = (seq: number, endedAt: number) =>
        Effect.flatMap(SqliteClient.currentMoment, (now) => {
          const step = {
            runId: "r",
            seq,
            name: `step ${seq}`,
            kind: "step" as const,
            branch: "main" as const,
            exit: "null",
            startedAt: 1,
            endedAt
          }
          return Effect.exit(client.request("save", { ...now, token, step }))
        })
      // 1.5 is no whole number of milliseconds, which the table refuses
      const exits = yield* Effect.all([save(0, 2), save(1, 1.5), save(2, 2), save(3, 2)], { concurrency: "unbounded" })
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true, true])
      const found = yield* client.request("load", { runId: "r" })
      assert.deepStrictEqual(found?.steps.map((_) => _.seq), [0, 2, 3])
    }))

  it.scoped("answers what was asked before its scope closed, and refuses what comes after", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const scope = yield* Scope.make()
      const client = yield* Scope.extend(
        SqliteClient.make({ filename, busyTimeout: 1_000, transactionTimeout: 1_000, onDamage: "refuse" }),
        scope
      )
      const asked = yield* Effect.fork(begin(client, "before"))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* asked)._tag, "Claimed")
      const error = yield* Effect.flip(begin(client, "after"))
      assert.strictEqual(error.reason, "closed")
    }))

  it.scoped.each(["deleted", "replaced"])(
    "reports nothing as recorded any more once the file is %s",
    (how) =>
      Effect.gen(function*() {
        const client = yield* open
        yield* begin(client, "before")
        if (how === "deleted") rmSync(client.filename)
        else {
          copyFileSync(client.filename, `${client.filename}.copy`)
          renameSync(`${client.filename}.copy`, client.filename)
        }
        // a file that was just found is not looked for again at once
        let exit = yield* Effect.exit(begin(client, "run 0"))
        for (let i = 1; Exit.isSuccess(exit) && i < 10_000; i++) exit = yield* Effect.exit(begin(client, `run ${i}`))
        for (
          const request of [Effect.flip(begin(client, "after")), Effect.flip(client.request("load", { runId: "r" }))]
        ) {
          const error = yield* request
          assert.strictEqual(error.reason, "io")
          assert.include(error.message, "the file is gone")
        }
      })
  )

  it.scoped("gives an answer nobody waits for to whoever takes it back", () =>
    Effect.gen(function*() {
      const client = yield* open
      const now = yield* SqliteClient.currentMoment
      const answers: Array<string> = []
      const fiber = yield* Effect.fork(
        client.request(
          "begin",
          { ...now, ...asked("r") },
          (answer) => answers.push(answer._tag)
        )
      )
      yield* Effect.yieldNow()
      yield* fiber.interruptAsFork(fiber.id())
      yield* client.request("load", { runId: "r" })
      yield* begin(client, "other")
      assert.deepStrictEqual(answers, ["Claimed"])
    }))
})

const claimed = <A extends { readonly _tag: string }>(answer: A): Extract<A, { readonly _tag: "Claimed" }> => {
  assert.strictEqual(answer._tag, "Claimed")
  return answer as Extract<A, { readonly _tag: "Claimed" }>
}
