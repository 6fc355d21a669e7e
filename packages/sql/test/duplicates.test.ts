/** Many calls of one key at once, over real stores: one execution, and everyone gets its result. */
import { assert, describe, it } from "@effect/vitest"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as SqlStore from "../src/SqlStore.js"
import * as Child from "./fixtures/child.js"
import { temporaryDirectory, temporaryFile } from "./fixtures/temporary.js"
import { withServer } from "./support/postgresFile.js"

/** Calls in each process; all four together 10,000 with FIREBREAK_DUPLICATES=2500. */
const each = Number(process.env["FIREBREAK_DUPLICATES"] ?? 500)

/** All four begin at the same moment, and one of them runs. */
const fourProcesses = (place: string) =>
  Effect.gen(function*() {
    const ledger = join(yield* temporaryDirectory, "ledger")
    const children = yield* Effect.all(
      Array.from({ length: 4 }, () => Child.start("duplicates.ts", place, ledger, `${each}`)),
      { concurrency: 4 }
    )
    yield* Effect.forEach(children, (child) => child.printed(1), { concurrency: 4 })
    for (const child of children) child.process.kill("SIGUSR2")
    const codes = yield* Effect.forEach(children, (child) => child.exit, { concurrency: 4 })
    assert.deepStrictEqual(codes, [0, 0, 0, 0])
    assert.strictEqual(readFileSync(ledger, "utf8"), "1\n")
    const results = children.map((child) => child.lines.slice(1))
    const runner = children.find((child) => results[0]?.[0]?.startsWith(`${child.process.pid} `) === true)
    assert.isDefined(runner)
    for (const lines of results) assert.deepStrictEqual(lines, [`${runner?.process.pid} ${each}`])
  })

describe("duplicates", () => {
  it.scopedLive(
    "10,000 in one process: one execution; who was interrupted gets the result when it calls again",
    () =>
      Effect.gen(function*() {
        let runs = 0
        const gate = yield* Deferred.make<void>()
        const call = Idempotency.once(
          { operation: "pay", key: "1", success: Schema.Number },
          Effect.suspend(() => (runs++, Effect.as(Deferred.await(gate), runs)))
        )
        const results = yield* Effect.gen(function*() {
          const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => Effect.fork(call))
          yield* Effect.repeat(Effect.yieldNow(), { until: () => runs > 0 })
          yield* Fiber.interruptAll(fibers.slice(0, 3_000))
          const again = yield* Effect.forEach(Array.from({ length: 3_000 }), () => Effect.fork(call))
          yield* Deferred.succeed(gate, undefined)
          const [stayed, returned] = yield* Effect.zip(
            Fiber.join(Fiber.all(fibers.slice(3_000))),
            Fiber.join(Fiber.all(again))
          )
          const late = yield* Effect.replicateEffect(call, 1_000)
          return [...stayed, ...returned, ...late]
        }).pipe(Effect.provide(SqlStore.layerSqlite({ filename: yield* temporaryFile })))
        assert.strictEqual(runs, 1)
        assert.strictEqual(results.length, 11_000)
        assert.isTrue(results.every((result) => result === 1))
      }),
    20_000
  )

  it.scopedLive(
    `${each} in each of four processes on one SQLite file: one execution among them all`,
    () => Effect.flatMap(temporaryFile, fourProcesses),
    60_000
  )
})

withServer("duplicates", (server) => {
  it.scopedLive(
    `${each} in each of four processes on PostgreSQL: one execution among them all`,
    () => Effect.suspend(() => fourProcesses(server().url("postgres"))),
    60_000
  )
})
