import { assert, describe, it } from "@effect/vitest"
import { CheckpointStore, type Step } from "@firebreak/core/CheckpointStore"
import { DegradationCache } from "@firebreak/core/DegradationCache"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as CheckpointStoreSuite from "@firebreak/core/testing/CheckpointStoreSuite"
import * as DegradationCacheSuite from "@firebreak/core/testing/DegradationCacheSuite"
import * as IdempotencyStoreSuite from "@firebreak/core/testing/IdempotencyStoreSuite"
import Database from "better-sqlite3"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import * as SqlStore from "../src/SqlStore.js"
import * as Child from "./fixtures/child.js"
import { temporaryFile } from "./fixtures/temporary.js"

const open = (options: SqlStore.SqliteOptions) =>
  Effect.map(Layer.build(SqlStore.layerSqlite(options)), (context) => ({
    actions: Context.get(context, IdempotencyStore),
    runs: Context.get(context, CheckpointStore)
  }))

const layer = Layer.unwrapScoped(Effect.map(temporaryFile, (filename) => SqlStore.layerSqlite({ filename })))

const owners = Effect.flatMap(temporaryFile, (filename) => Effect.all([open({ filename }), open({ filename })]))

IdempotencyStoreSuite.suite("SQLite", layer, {
  owners: Effect.map(owners, ([one, two]) => [one.actions, two.actions] as const)
})

CheckpointStoreSuite.suite("SQLite", layer, {
  transaction: true,
  owners: Effect.map(owners, ([one, two]) => [one.runs, two.runs] as const)
})

const small = Effect.map(temporaryFile, (filename) => SqlStore.layerSqlite({ filename, lastGoodValues: 3 }))

DegradationCacheSuite.suite("SQLite", Layer.unwrapScoped(small), {
  capacity: 3,
  reopen: Effect.map(
    small,
    (layer) => Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, DegradationCache))
  )
})

const lease = Duration.seconds(30)
const ask = (key: string) => ({ scope: "", operation: "op", key, fingerprint: "f", lease })
const begin = { runId: "r", workflow: "w", key: "r", payload: "{}", version: "1", lease, maxStalls: 20 }
const step = (seq: number): Step => ({
  runId: "r",
  seq,
  name: `step ${seq}`,
  kind: "step",
  branch: "main",
  exit: `{"value":${seq}}`,
  startedAt: 10 * seq,
  endedAt: 10 * seq + 5
})

const claimed = <A extends { readonly _tag: string }>(answer: A): Extract<A, { readonly _tag: "Claimed" }> => {
  assert.strictEqual(answer._tag, "Claimed")
  return answer as Extract<A, { readonly _tag: "Claimed" }>
}

/** Changes the file behind the store's back. */
const tamper = (filename: string, sql: string) =>
  Effect.sync(() => {
    const db = new Database(filename)
    db.exec(sql)
    db.close()
  })

/** Makes a file as an older release left it. */
const fixture = (name: string, filename: string) =>
  Effect.sync(() => {
    mkdirSync(dirname(filename), { recursive: true })
    const db = new Database(filename)
    db.pragma("journal_mode = WAL")
    db.exec(readFileSync(new URL(`./fixtures/${name}`, import.meta.url), "utf8"))
    db.close()
  })

const withRun = (filename: string, steps: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { runs } = yield* open({ filename })
    const { token } = claimed(yield* runs.begin(begin))
    for (let seq = 0; seq < steps; seq++) yield* runs.save({ token, step: step(seq) })
  }))

describe("a file outlives its store", () => {
  it.scoped("keeps outcomes and steps across close and reopen", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* withRun(filename, 3)
      yield* Effect.scoped(Effect.gen(function*() {
        const { actions } = yield* open({ filename })
        const { token } = claimed(yield* actions.claim(ask("a")))
        yield* actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.hours(24) })
      }))
      const { actions, runs } = yield* open({ filename })
      assert.deepStrictEqual(yield* actions.claim(ask("a")), { _tag: "Completed", exit: "1" })
      const run = claimed(yield* runs.begin(begin))
      assert.isTrue(run.resumed)
      assert.deepStrictEqual(run.steps, [step(0), step(1), step(2)])
    }))

  it.scoped("gives back what is claimed when it closes: keys in doubt, runs to whoever comes", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const scope = yield* Scope.make()
      const first = yield* Scope.extend(open({ filename }), scope)
      const second = yield* open({ filename })
      claimed(yield* first.actions.claim(ask("a")))
      claimed(yield* first.runs.begin(begin))
      assert.strictEqual((yield* second.actions.claim(ask("a")))._tag, "InProgress")
      assert.strictEqual((yield* second.runs.begin(begin))._tag, "InProgress")
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(claimed(yield* second.actions.claim(ask("a"))).inDoubt)
      assert.isTrue(claimed(yield* second.runs.begin(begin)).resumed)
    }))

  it.scoped("chains steps in the order in which they came, and reads them in the order of the run", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Effect.gen(function*() {
        const { runs } = yield* open({ filename })
        const { token } = claimed(yield* runs.begin(begin))
        for (const seq of [2, 0, 1]) assert.isTrue(yield* runs.save({ token, step: step(seq) }))
        assert.isTrue(yield* runs.save({ token, step: { ...step(0), exit: "other" } }))
        assert.isTrue(yield* runs.finish({ runId: "r", token, status: "succeeded", exit: "1" }))
      }))
      const { runs } = yield* open({ filename })
      const { steps } = Option.getOrThrow(yield* runs.load("r"))
      assert.deepStrictEqual(steps, [step(0), step(1), step(2)])
    }))

  it.scoped("refuses another step at a position that is taken", () =>
    Effect.gen(function*() {
      const { runs } = yield* open({ filename: yield* temporaryFile })
      const { token } = claimed(yield* runs.begin(begin))
      yield* runs.save({ token, step: step(0) })
      const error = yield* Effect.flip(runs.save({ token, step: { ...step(0), name: "another" } }))
      assert.include(error.detail, `step "step 0" at seq 0`)
    }))
})

describe("a file of an older release", () => {
  it.scoped("gives its keys to the default scope, with outcomes, doubts and checks intact", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* fixture("schema-1.sql", filename)
      const { actions } = yield* open({ filename })
      assert.deepStrictEqual((yield* actions.list()).map((_) => [_.scope, _.key, _.state]), [
        ["", "done", "completed"],
        ["", "doubt", "in-doubt"]
      ])
      assert.deepStrictEqual(yield* actions.claim(ask("done")), { _tag: "Completed", exit: `{"_tag":"Success"}` })
      assert.isTrue(claimed(yield* actions.claim(ask("doubt"))).inDoubt)
      assert.isFalse(claimed(yield* actions.claim({ ...ask("done"), scope: "tenant" })).inDoubt)
      assert.isTrue(Option.isSome(yield* actions.get({ scope: "", operation: "op", key: "done" })))
      yield* tamper(filename, "UPDATE firebreak_action SET exit = '2' WHERE key = 'done' AND scope = ''")
      assert.strictEqual(
        (yield* Effect.flip(actions.get({ scope: "", operation: "op", key: "done" }))).reason,
        "corrupt"
      )
    }))

  it.scoped("notices a record that was moved to another scope", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const { actions } = yield* open({ filename })
      const { token } = claimed(yield* actions.claim({ ...ask("a"), scope: "one" }))
      yield* actions.complete({ ...ask("a"), scope: "one", token, exit: "1", retention: Duration.hours(24) })
      yield* tamper(filename, "UPDATE firebreak_action SET scope = 'two'")
      const error = yield* Effect.flip(actions.claim({ ...ask("a"), scope: "two" }))
      assert.strictEqual(error.reason, "corrupt")
      assert.include(error.detail, `in the scope "two"`)
    }))
})

describe("leases", () => {
  it.scoped("keeps a record and a claim for ever when told so", () =>
    Effect.gen(function*() {
      const { actions } = yield* open({ filename: yield* temporaryFile })
      const { token } = claimed(yield* actions.claim({ ...ask("a"), lease: Duration.infinity }))
      yield* TestClock.adjust("1000 days")
      assert.strictEqual((yield* actions.claim(ask("a")))._tag, "InProgress")
      yield* actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.infinity })
      yield* TestClock.adjust("1000 days")
      assert.strictEqual(yield* actions.prune, 0)
      assert.deepStrictEqual(yield* actions.claim(ask("a")), { _tag: "Completed", exit: "1" })
    }))

  it.scoped("gives back a claim whose caller was interrupted before it heard of it", () =>
    Effect.gen(function*() {
      const { actions } = yield* open({ filename: yield* temporaryFile })
      // two at once, so that they go to the writer thread and do not end at once
      const fiber = yield* Effect.fork(
        Effect.all([actions.claim(ask("a")), actions.prune], { concurrency: "unbounded" })
      )
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      // writes are answered in order: the claim before the first of these, its release before the second
      yield* actions.prune
      yield* actions.prune
      assert.deepStrictEqual(yield* actions.list(), [])
    }))
})

describe("cached results", () => {
  it.scoped("notices within a second that another store has reset the key", () =>
    Effect.gen(function*() {
      const [one, two] = yield* owners
      const { token } = claimed(yield* one.actions.claim(ask("a")))
      yield* one.actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.hours(24) })
      assert.strictEqual(yield* two.actions.reset(), 1)
      yield* TestClock.adjust("1001 millis")
      assert.isFalse(claimed(yield* one.actions.claim(ask("a"))).inDoubt)
    }))

  it.scoped("answers alike without a cache", () =>
    Effect.gen(function*() {
      const { actions } = yield* open({ filename: yield* temporaryFile, cachedResults: 0 })
      const { token } = claimed(yield* actions.claim(ask("a")))
      yield* actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.hours(24) })
      assert.deepStrictEqual(yield* actions.claim(ask("a")), { _tag: "Completed", exit: "1" })
    }))
})

describe("damage", () => {
  for (
    const [what, sql, named] of [
      ["an altered step", "UPDATE firebreak_step SET exit = '0' WHERE seq = 1", `step "step 1" (seq 1) of run "r"`],
      ["a lost step", "DELETE FROM firebreak_step WHERE seq = 1", `step "step 2" (seq 2) of run "r"`],
      ["an altered payload", "UPDATE firebreak_run SET payload = '1'", `run "r"`],
      ["an outcome that was not given", "UPDATE firebreak_run SET status = 'failed', exit = '1'", `outcome of run "r"`]
    ] as const
  ) {
    it.scoped(`names ${what}, and runs nothing on it`, () =>
      Effect.gen(function*() {
        const filename = yield* temporaryFile
        yield* withRun(filename, 3)
        yield* tamper(filename, sql)
        const refused = yield* Effect.flip(open({ filename }))
        assert.strictEqual(refused.reason, "corrupt")
        assert.include(refused.detail, named)
        assert.isTrue((yield* SqlStore.verify({ filename })).some(({ detail }) => detail.includes(named)))
        const { runs } = yield* open({ filename, onDamage: "isolate" })
        for (const use of [Effect.asVoid(runs.begin(begin)), Effect.asVoid(runs.load("r"))]) {
          const error = yield* Effect.flip(use)
          assert.strictEqual(error.reason, "corrupt")
          assert.include(error.detail, named)
        }
        assert.isTrue(yield* runs.clear("r"))
        assert.isFalse(claimed(yield* runs.begin(begin)).resumed)
      }))
  }

  it.scoped("names an altered outcome of an action", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Effect.gen(function*() {
        const { actions } = yield* open({ filename })
        const { token } = claimed(yield* actions.claim(ask("a")))
        yield* actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.hours(24) })
      }))
      yield* tamper(filename, "UPDATE firebreak_action SET exit = '2'")
      const { actions } = yield* open({ filename })
      const error = yield* Effect.flip(actions.claim(ask("a")))
      assert.strictEqual(error.reason, "corrupt")
      assert.include(error.detail, `key "a" of operation "op"`)
    }))
})

describe("the anchor", () => {
  /** A file with three steps of a run that has not ended, and another run that has. */
  const prepared = Effect.gen(function*() {
    const filename = yield* temporaryFile
    yield* withRun(filename, 3)
    yield* Effect.scoped(Effect.gen(function*() {
      const { runs } = yield* open({ filename })
      const { token } = claimed(yield* runs.begin({ ...begin, runId: "done" }))
      yield* runs.finish({ runId: "done", token, status: "succeeded", exit: "1" })
    }))
    return filename
  })

  const isRefused = (filename: string, ...named: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(open({ filename }))
      assert.strictEqual(error.reason, "corrupt")
      for (const text of named) assert.include(error.detail, text)
    })

  it.scoped("finds the last steps cut off, and an ended run lost", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      yield* tamper(
        filename,
        "DELETE FROM firebreak_step WHERE seq = 2; DELETE FROM firebreak_run WHERE run_id = 'done'"
      )
      yield* isRefused(
        filename,
        `run "r" had 3 records after its beginning, and 2 of them are left`,
        `run "done" is lost, with 1 records after its beginning`,
        `${filename}-anchor`
      )
    }))

  it.scoped("finds a backup put back, and an outcome that was taken away", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      copyFileSync(filename, `${filename}.backup`)
      yield* Effect.scoped(Effect.gen(function*() {
        const { actions, runs } = yield* open({ filename })
        claimed(yield* actions.claim(ask("a")))
        const { token } = claimed(yield* runs.begin(begin))
        yield* runs.save({ token, step: step(3) })
        yield* runs.finish({ runId: "r", token, status: "succeeded", exit: "1" })
      }))
      copyFileSync(`${filename}.backup`, filename)
      yield* isRefused(filename, "the file is older than it was", `run "r" had 5 records`)
      // on purpose: without an anchor, what is there is taken for true
      rmSync(`${filename}-anchor`)
      const { runs } = yield* open({ filename })
      assert.strictEqual(claimed(yield* runs.begin(begin)).steps.length, 3)
    }))

  it.scoped("refuses a backup even where damage is to be isolated: a completed action would run again", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      copyFileSync(filename, `${filename}.backup`)
      yield* Effect.scoped(Effect.gen(function*() {
        const { actions } = yield* open({ filename })
        const { token } = claimed(yield* actions.claim(ask("a")))
        yield* actions.complete({ ...ask("a"), token, exit: "1", retention: Duration.hours(24) })
      }))
      copyFileSync(`${filename}.backup`, filename)
      const error = yield* Effect.flip(open({ filename, onDamage: "isolate" }))
      assert.strictEqual(error.reason, "corrupt")
      assert.include(error.detail, "the file is older than it was")
    }))

  it.scoped("finds a write-ahead log deleted", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      const child = yield* Child.start("holder.ts", filename, "100000")
      yield* child.printed(200)
      yield* child.kill("SIGKILL")
      rmSync(`${filename}-wal`)
      rmSync(`${filename}-shm`)
      yield* isRefused(filename, `run "r"`)
    }), 20_000)

  it.scoped("finds a completed action whose retention was shortened by hand", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const id = { scope: "", operation: "pay", key: "k" }
      const claim = { ...id, fingerprint: "f", lease: Duration.minutes(1) }
      yield* Effect.scoped(Effect.gen(function*() {
        const { actions } = yield* open({ filename })
        const claimed = yield* actions.claim(claim)
        assert(claimed._tag === "Claimed")
        yield* actions.complete({ ...id, token: claimed.token, exit: "1", retention: Duration.days(1) })
      }))
      const db = new Database(filename)
      db.exec("UPDATE firebreak_action SET expires_at = 1")
      db.close()
      yield* TestClock.adjust("1 minute")
      const error = yield* Effect.flip(Effect.flatMap(open({ filename }), ({ actions }) => actions.claim(claim)))
      assert.strictEqual(error.reason, "corrupt")
    }))

  it.scoped("has one anchor for a file, whatever links lead to it", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      const link = `${filename}-link`
      symlinkSync(filename, link)
      yield* Effect.scoped(open({ filename: link }))
      assert.isFalse(existsSync(`${link}-anchor`))
      yield* Effect.scoped(Effect.flatMap(open({ filename }), ({ runs }) => runs.clear("r")))
      yield* Effect.scoped(open({ filename: link }))
      assert.deepStrictEqual(yield* SqlStore.verify({ filename: link }), [])
    }))

  it.scoped("isolates what is damaged when told so, until it is cleared", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      yield* tamper(
        filename,
        "DELETE FROM firebreak_step WHERE seq = 2; DELETE FROM firebreak_run WHERE run_id = 'done'"
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const { runs } = yield* open({ filename, onDamage: "isolate" })
        for (const runId of ["r", "done"]) {
          assert.strictEqual((yield* Effect.flip(runs.begin({ ...begin, runId }))).reason, "corrupt")
        }
        claimed(yield* runs.begin({ ...begin, runId: "another" }))
        assert.strictEqual((yield* runs.verify!).length, 2)
        for (const runId of ["r", "done"]) assert.isTrue(yield* runs.clear(runId))
        assert.deepStrictEqual(yield* runs.verify!, [])
      }))
      yield* open({ filename })
    }))

  it.scoped("goes on after what was deleted, ended, died and was queued again on purpose", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      yield* Effect.scoped(Effect.gen(function*() {
        const { runs } = yield* open({ filename })
        assert.isTrue(yield* runs.clear("done"))
        const { token } = claimed(yield* runs.begin({ ...begin, maxStalls: 0 }))
        yield* runs.release({ runId: "r", token, failed: true })
        assert.strictEqual((yield* runs.begin({ ...begin, maxStalls: 0 }))._tag, "Finished")
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        const { runs } = yield* open({ filename })
        assert.isTrue(yield* runs.requeue("r"))
      }))
      const { runs } = yield* open({ filename })
      assert.strictEqual(claimed(yield* runs.begin(begin)).steps.length, 3)
    }))

  it.scoped("that cannot be read is refused, isolating too, until it is deleted", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      const anchor = `${filename}-anchor`
      const whole = readFileSync(anchor)
      const torn = [Buffer.alloc(0), Buffer.alloc(whole.length), whole.subarray(3), whole.fill("x", 5, 6)]
      for (const bytes of torn) {
        writeFileSync(anchor, bytes)
        const detail = `the anchor ${anchor} cannot be read`
        yield* isRefused(filename, detail)
        assert.include((yield* Effect.flip(open({ filename, onDamage: "isolate" }))).detail, detail)
        assert.include((yield* SqlStore.verify({ filename }))[0]?.detail, detail)
      }
      rmSync(anchor)
      yield* open({ filename })
      assert.deepStrictEqual(yield* SqlStore.verify({ filename }), [])
    }))

  it.scoped("a torn or damaged line of it counts for nothing", () =>
    Effect.gen(function*() {
      const filename = yield* prepared
      const anchor = `${filename}-anchor`
      const text = readFileSync(anchor, "utf8")
      writeFileSync(anchor, `${text.replace(/"done",1/, `"done",9`)}\n0123`)
      yield* Effect.scoped(Effect.flatMap(open({ filename }), ({ runs }) => runs.begin({ ...begin, runId: "new" })))
      yield* tamper(filename, "DELETE FROM firebreak_run WHERE run_id = 'new'")
      yield* isRefused(filename, `run "new" is lost`)
    }))
})

describe("verify", () => {
  it.scoped("makes nothing where there is no file", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const error = yield* Effect.flip(SqlStore.verify({ filename }))
      assert.deepStrictEqual([error.store, error.operation, error.reason], [filename, "open", "readonly"])
      assert.include(error.detail, "there is no such file")
      assert.isFalse(existsSync(dirname(filename)))
    }))

  it.scoped("begins no anchor and leaves file and records as they were, in journal mode DELETE too", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* withRun(filename, 3)
      yield* tamper(filename, "PRAGMA journal_mode = DELETE; UPDATE firebreak_step SET exit = '0' WHERE seq = 1")
      rmSync(`${filename}-anchor`)
      const before = readFileSync(filename)
      const found = yield* SqlStore.verify({ filename })
      assert.deepStrictEqual(found.map(({ runId }) => runId), ["r"])
      assert.isTrue(before.equals(readFileSync(filename)))
      assert.deepStrictEqual(readdirSync(dirname(filename)), ["firebreak.db"])
    }))

  it.scoped("does not bring the tables of an older release up to date", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* fixture("schema-1.sql", filename)
      const before = readFileSync(filename)
      const error = yield* Effect.flip(SqlStore.verify({ filename }))
      assert.include(error.detail, "its tables have schema version 1")
      assert.isTrue(before.equals(readFileSync(filename)))
    }))

  it.scoped("finds nothing wrong beside a store that writes and deletes", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const { runs } = yield* open({ filename })
      const writing = yield* Effect.fork(Effect.forever(Effect.gen(function*() {
        const { token } = claimed(yield* runs.begin(begin))
        for (const seq of [0, 1]) yield* runs.save({ token, step: step(seq) })
        yield* runs.finish({ runId: "r", token, status: "succeeded", exit: "1" })
        yield* runs.clear("r")
      })))
      for (let i = 0; i < 5; i++) assert.deepStrictEqual(yield* SqlStore.verify({ filename }), [])
      assert.strictEqual((yield* Fiber.poll(writing))._tag, "None")
      yield* Fiber.interrupt(writing)
    }))
})

describe("a file that cannot be used", () => {
  const fails = (filename: string) => Effect.flip(open({ filename, busyTimeout: "100 millis" }))

  it.scoped("names a file that is no database", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      mkdirSync(dirname(filename))
      writeFileSync(filename, "garbage ".repeat(1_000))
      const error = yield* fails(filename)
      assert.deepStrictEqual([error.store, error.operation, error.reason], [filename, "open", "corrupt"])
      assert.include(error.message, filename)
    }))

  it.scoped("names a path below a regular file and below /proc", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      mkdirSync(dirname(filename))
      writeFileSync(filename, "")
      for (const path of [join(filename, "below.db"), "/proc/firebreak/below.db"]) {
        const error = yield* fails(path)
        assert.deepStrictEqual([error.store, error.operation, error.reason], [path, "open", "readonly"])
      }
    }))

  it.scoped("says so where the path is a directory", () =>
    Effect.gen(function*() {
      const directory = dirname(yield* temporaryFile)
      mkdirSync(directory)
      const error = yield* fails(directory)
      assert.deepStrictEqual([error.store, error.operation, error.reason], [directory, "open", "io"])
      assert.include(error.message, "is a directory")
    }))

  it.scoped("refuses the tables of a newer release", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* withRun(filename, 0)
      yield* tamper(filename, "UPDATE firebreak_meta SET value = 99 WHERE name = 'schema'")
      const error = yield* fails(filename)
      assert.include(error.detail, "schema version 99")
    }))

  it("refuses a PostgreSQL server that is none, without showing what may be a password", () => {
    for (const url of ["", "x", "mysql://a:secret@b/c"]) {
      assert.throws(
        () => SqlStore.layerPostgres({ url }),
        /^SqlStore: url must be a URL that begins with postgres:\/\/ or postgresql:\/\/$/
      )
    }
  })

  it("refuses options that make no sense, by name and value", () => {
    const refused = (options: Partial<SqlStore.SqliteOptions>, message: string) => {
      const thrown = Either.flip(
        Either.try({ try: () => SqlStore.layerSqlite({ filename: "x.db", ...options }), catch: (error) => error })
      )
      assert.strictEqual(String(Either.getOrThrow(thrown)), `InvalidOption: SqlStore: ${message}`)
    }
    const path = "filename must be the path of a file, got"
    const memory = "; use the memory layers of @firebreak/core for tests"
    refused({ filename: ":memory:" }, `${path} ":memory:"${memory}`)
    refused({ filename: "" }, `${path} ""${memory}`)
    const finite = "busyTimeout must be a finite duration of at least 0 ms, got"
    refused({ busyTimeout: -5 }, `${finite} -5`)
    refused({ busyTimeout: NaN }, `${finite} NaN`)
    refused({ busyTimeout: Infinity }, `${finite} Infinity`)
    refused({ busyTimeout: Duration.infinity }, `${finite} Infinity`)
    refused({ busyTimeout: "-1 second" }, `${finite} "-1 second"`)
    refused({ busyTimeout: "soon" as "1 second" }, `busyTimeout must be a duration, got "soon"`)
    const whole = "cachedResults must be a whole number of at least 0, got"
    refused({ cachedResults: -1 }, `${whole} -1`)
    refused({ cachedResults: 0.5 }, `${whole} 0.5`)
  })
})
