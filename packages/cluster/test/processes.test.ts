/** Runners that die, hang and are stopped. These tests run in real time, and wait for what happens and not for a time. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Postgres from "../../sql/test/support/postgres.js"
import * as ClusterEngine from "../src/ClusterEngine.js"
import { Work } from "./fixtures/work.js"
import * as Runners from "./support/runners.js"

/** By environment more, and slower steps: `FIREBREAK_CLUSTER_RUNS=1000 FIREBREAK_CLUSTER_STEP=500`. */
const runs = Number(process.env["FIREBREAK_CLUSTER_RUNS"] ?? 40)
const millis = Number(process.env["FIREBREAK_CLUSTER_STEP"] ?? 500)

interface Row {
  readonly run: string
  readonly step: string
  readonly pid: number
  readonly at: Date
}

const rowsOf = (sql: SqlClient.SqlClient, table: "begun" | "ended") =>
  Effect.orDie(sql<Row>`SELECT * FROM ${sql(table)} ORDER BY at`)

/** Waits until a runner is in the middle of several steps, and another works too. */
const bothWork = (sql: SqlClient.SqlClient, runner: Runners.Runner) =>
  Runners.until(Effect.gen(function*() {
    const [begun, ended] = [yield* rowsOf(sql, "begun"), yield* rowsOf(sql, "ended")]
    const by = (rows: ReadonlyArray<Row>) => rows.filter(({ pid }) => pid === runner.pid).length
    return by(begun) - by(ended) >= 3 && begun.some(({ pid }) => pid !== runner.pid)
  }))

const askForAll = (url: string, sql: SqlClient.SqlClient) =>
  Effect.forEach(
    Array.from({ length: runs }, (_, i) => `run-${i}`),
    (run) => Work.run({ run, millis }),
    { concurrency: "unbounded" }
  ).pipe(
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.provide(ClusterEngine.layerClient({ url }))
  )

/** What must hold whatever happened: every run ended, and no step that had ended was begun again. */
const checkLedger = (sql: SqlClient.SqlClient, outcomes: ReadonlyArray<ReadonlyArray<number>>) =>
  Effect.gen(function*() {
    assert.strictEqual(outcomes.length, runs)
    const ended = yield* rowsOf(sql, "ended")
    const begun = yield* rowsOf(sql, "begun")
    const name = ({ run, step }: Row) => `${run}/${step}`
    const first = new Map(ended.toReversed().map((row) => [name(row), row.at.getTime()]))
    assert.strictEqual(first.size, 3 * runs)
    const again = begun.filter((row) => row.at.getTime() > (first.get(name(row)) ?? Infinity))
    return { begun, again }
  })

const steps = ["first", "second", "third"]

/** A step that had ended and ran again was in flight when its runner went: what is recorded of it is the other's. */
const checkRecorded = (
  again: ReadonlyArray<Row>,
  outcomes: ReadonlyArray<ReadonlyArray<number>>,
  gone: Runners.Runner
) => {
  for (const { run, step } of again) {
    assert.notStrictEqual(outcomes[Number(run.slice("run-".length))]?.[steps.indexOf(step)], gone.pid)
  }
}

describe.skipIf(Postgres.unavailable !== undefined)("two runners on PostgreSQL", () => {
  layer(Postgres.layer(), { timeout: 120_000, excludeTestServices: true })((it) => {
    it.scoped(
      "make the tables at the same time, and one goes on where the other was killed",
      () =>
        Effect.gen(function*() {
          const server = yield* Postgres.PostgresServer
          const url = server.url(yield* server.database)
          const sql = yield* Runners.sqlOf(url)
          const doomed = yield* Runners.start(url)
          const other = yield* Runners.start(url)
          yield* Effect.all([Runners.ready(doomed), Runners.ready(other)], { concurrency: 2 })
          yield* Runners.shared(sql)
          const asked = yield* Effect.fork(askForAll(url, sql))
          yield* bothWork(sql, doomed)

          yield* doomed.signal("SIGKILL")
          const killed = Date.now()
          const outcomes = yield* Fiber.join(asked)

          const { again, begun } = yield* checkLedger(sql, outcomes)
          checkRecorded(again, outcomes, doomed)
          assert.isTrue(outcomes.every((pids) => pids.every((pid) => [doomed.pid, other.pid].includes(pid))))
          const taken = begun.filter(({ pid, run }) =>
            pid === other.pid && begun.some((row) => row.pid === doomed.pid && row.run === run)
          )
          assert.isAbove(taken.length, 0)
          const seconds = taken.map(({ at }) => (at.getTime() - killed) / 1_000)
          process.stdout.write(
            `  ${taken.length} steps of ${new Set(taken.map(({ run }) => run)).size} runs taken over, ` +
              `the first after ${Math.min(...seconds).toFixed(1)} s; ${again.length} in flight ran again\n`
          )
        }),
      120_000
    )

    it.scoped.skipIf(process.env["FIREBREAK_CLUSTER_SUITE"] === undefined)(
      "one goes on where the other hangs, and the one that comes back changes no outcome",
      () =>
        Effect.gen(function*() {
          const server = yield* Postgres.PostgresServer
          const url = server.url(yield* server.database)
          const sql = yield* Runners.sqlOf(url)
          const hung = yield* Runners.start(url)
          const other = yield* Runners.start(url)
          yield* Effect.all([Runners.ready(hung), Runners.ready(other)], { concurrency: 2 })
          yield* Runners.shared(sql)
          const asked = yield* Effect.fork(askForAll(url, sql))
          yield* bothWork(sql, hung)

          yield* hung.signal("SIGSTOP")
          const stopped = Date.now()
          const outcomes = yield* Fiber.join(asked)
          const seconds = ((Date.now() - stopped) / 1_000).toFixed(1)
          assert.strictEqual(outcomes.length, runs)

          yield* hung.signal("SIGCONT")
          yield* Runners.ready(hung)
          assert.deepStrictEqual(yield* askForAll(url, sql), outcomes)
          const { again } = yield* checkLedger(sql, outcomes)
          process.stdout.write(`  all runs ended ${seconds} s after SIGSTOP; ${again.length} steps ran twice\n`)
        }),
      120_000
    )

    it.scoped(
      "hand over on SIGTERM: it ends by itself, every run ends, and no recorded step runs again",
      () =>
        Effect.gen(function*() {
          const server = yield* Postgres.PostgresServer
          const url = server.url(yield* server.database)
          const sql = yield* Runners.sqlOf(url)
          const leaving = yield* Runners.start(url)
          const other = yield* Runners.start(url)
          yield* Effect.all([Runners.ready(leaving), Runners.ready(other)], { concurrency: 2 })
          assert.strictEqual(yield* leaving.health("/livez"), 200)
          yield* Runners.shared(sql)
          const asked = yield* Effect.fork(askForAll(url, sql))
          yield* bothWork(sql, leaving)

          yield* leaving.signal("SIGTERM")
          const told = Date.now()
          assert.strictEqual(yield* leaving.exit, 0)
          const left = Date.now()
          const outcomes = yield* Fiber.join(asked)

          const { again, begun } = yield* checkLedger(sql, outcomes)
          checkRecorded(again, outcomes, leaving)
          const twice = begun.length - 3 * runs
          const [gone, done] = [left, Date.now()].map((time) => ((time - told) / 1_000).toFixed(1))
          process.stdout.write(
            `  gone ${gone} s after SIGTERM, all runs ended after ${done} s; ${twice} steps begun twice\n`
          )
        }),
      120_000
    )
  })
})
