/** A group of writes of which one fails, on a table that is a map. */
import { assert, it } from "@effect/vitest"
import type { Step } from "@firebreak/core/CheckpointStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { OwnedRuns, type Write, type Written } from "../src/internal/postgres/OwnedRuns.js"
import type { PostgresClient, Query } from "../src/internal/postgres/PostgresClient.js"
import * as Statements from "../src/internal/postgres/runStatements.js"

const statements = Statements.make(`"firebreak"`)

const step = (runId: string, seq: number, exit = "1"): Step => ({
  runId,
  seq,
  name: `step ${seq}`,
  kind: "step",
  branch: "main",
  exit,
  startedAt: 1,
  endedAt: 2
})

/** Saves what has no NUL in it and reads nothing; `commits` counts COMMIT. */
const table = () => {
  const hashes = new Map<string, string>()
  const commits: Array<string> = []
  const query = ((statement, parameters) => {
    if (statement.text === "COMMIT") return Effect.sync(() => void commits.push("COMMIT"))
    if (statement === statements.read) return Effect.fail(error("save", { reason: "io", detail: "no table" }))
    const isOne = statement === statements.saveOne
    if (!isOne && statement !== statements.save && statement !== statements.saveStarted) return Effect.succeed([])
    const columns = (isOne ? parameters.map((value) => [value]) : parameters) as ReadonlyArray<Array<string | number>>
    if (columns[6]?.includes("\u0000")) return Effect.fail(error("save", { reason: "corrupt", detail: "a NUL" }))
    return Effect.sync(() =>
      columns[0]!.map((runId, i) => {
        const key = `${runId}/${columns[2]![i]}`
        const saved = !hashes.has(key)
        if (saved) hashes.set(key, String(columns[10]![i]))
        return { owned: true, saved }
      })
    )
  }) as Query
  const error: PostgresClient["error"] = (operation, failure) => new StoreError({ store: "map", operation, ...failure })
  const client = {
    error,
    query: (_: string, ...args: Parameters<Query>) => query(...args),
    transaction: (_: string, body: (query: Query) => Effect.Effect<unknown>) => body(query),
    once: (_: string, part: Effect.Effect<unknown>) => part
  } as unknown as PostgresClient
  const owned = new OwnedRuns(client, statements)
  owned.add("a", 1, "a0", { steps: [], started: [] })
  owned.add("b", 2, "b0", { steps: [], started: [] })
  owned.add("c", 3, "c0", { steps: [], started: [] })
  /** The same within the transaction of an owner. */
  const within = (token: number): Query => (statement, parameters) =>
    statement === statements.mark
      ? Effect.succeed([{ mark: `${token}` }] as Array<never>)
      : query(statement, parameters)
  return { commits, hashes, owned, within }
}

it.effect("does a commit and an expiry once when a save of their group is at fault", () =>
  Effect.gen(function*() {
    const { commits, hashes, owned, within } = table()
    const first: ReadonlyArray<Write> = [
      { _tag: "Commit", token: 1, step: step("a", 0), query: within(1) },
      { _tag: "Save", token: 2, step: step("b", 0, "\u0000") },
      { _tag: "Save", token: 2, step: step("b", 1) },
      { _tag: "Expire", token: 3, step: step("c", 0) }
    ]
    const exits = yield* owned.write(first)
    assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, false, true])
    assert.strictEqual(commits.length, 1)

    yield* owned.write([
      { _tag: "Save", token: 1, step: step("a", 1) },
      { _tag: "Save", token: 3, step: step("c", 1) }
    ])
    const alone = table()
    for (const runId of ["a", "c"]) {
      const token = runId === "a" ? 1 : 3
      for (const seq of [0, 1]) yield* alone.owned.write([{ _tag: "Save", token, step: step(runId, seq) }])
      assert.strictEqual(hashes.get(`${runId}/1`), alone.hashes.get(`${runId}/1`))
    }
  }))

it.effect("commits no second transaction for a step that is recorded", () =>
  Effect.gen(function*() {
    const { commits, hashes, owned, within } = table()
    hashes.set("a/0", "recorded by a statement whose answer was lost")
    const [unknown] = yield* owned.write([{ _tag: "Commit", token: 1, step: step("a", 0), query: within(1) }])
    yield* owned.write([{ _tag: "Save", token: 3, step: step("c", 0) }])
    const [known] = yield* owned.write([{ _tag: "Commit", token: 3, step: step("c", 0), query: within(3) }])
    assert.deepStrictEqual([unknown, known].map((exit) => exit !== undefined && Exit.isFailure(exit)), [true, true])
    assert.strictEqual(commits.length, 0)
  }))

it.effect("an expiry that is asked for again answers as before and adds nothing to the chain", () =>
  Effect.gen(function*() {
    const { hashes, owned } = table()
    const expire: Write = { _tag: "Expire", token: 3, step: step("c", 0) }
    const expired = [Exit.succeed<Written>({ _tag: "Expired" })]
    assert.deepStrictEqual(yield* owned.write([expire]), expired)
    assert.deepStrictEqual(yield* owned.write([expire]), expired)
    yield* owned.write([{ _tag: "Save", token: 3, step: step("c", 1) }])
    const alone = table()
    for (const seq of [0, 1]) yield* alone.owned.write([{ _tag: "Save", token: 3, step: step("c", seq) }])
    assert.strictEqual(hashes.get("c/1"), alone.hashes.get("c/1"))
  }))
