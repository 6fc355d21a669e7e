/**
 * The least a durable journal can do, written by hand: better-sqlite3 in the process itself, prepared statements, and a
 * transaction for whatever is waiting. It has no leases, no fencing, no hashes and no replay, and it holds the event loop
 * while it writes. What an engine takes beyond it is the price of the engine.
 */
import Database from "better-sqlite3"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { type InEffect, steps } from "./work.js"

const schema = `
  CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, payload TEXT NOT NULL, exit TEXT);
  CREATE TABLE IF NOT EXISTS step (run INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, exit TEXT NOT NULL,
    PRIMARY KEY (run, seq)) WITHOUT ROWID;`

interface Write {
  readonly run: () => unknown
  readonly resume: (effect: Effect.Effect<unknown>) => void
  result?: unknown
}

/** Runs workflows of no-op steps; `grouped` or not, a write is on the disk before the workflow goes on. */
export const make = (filename: string, { grouped }: { readonly grouped: boolean }): InEffect<never> => {
  const db = new Database(filename)
  db.pragma("journal_mode = WAL")
  db.pragma("synchronous = FULL")
  db.exec(schema)
  const begin = db.prepare("BEGIN IMMEDIATE")
  const commit = db.prepare("COMMIT")
  const insertRun = db.prepare("INSERT INTO run (run_id, payload) VALUES (?, ?)")
  const insertStep = db.prepare("INSERT INTO step (run, seq, name, exit) VALUES (?, ?, ?, ?)")
  const finishRun = db.prepare("UPDATE run SET exit = ? WHERE id = ?")

  let waiting: Array<Write> = []
  const flush = () => {
    const group = waiting
    waiting = []
    begin.run()
    for (const write of group) write.result = write.run()
    commit.run()
    for (const { result, resume } of group) resume(Effect.succeed(result))
  }
  const write = <A>(run: () => A): Effect.Effect<A> =>
    grouped
      ? Effect.async<A>((resume) => {
        if (waiting.push({ run, resume: resume as Write["resume"] }) === 1) setImmediate(flush)
      })
      : Effect.sync(run)

  const run = (id: string): Effect.Effect<void> =>
    Effect.gen(function*() {
      const run = Number((yield* write(() => insertRun.run(id, "{}"))).lastInsertRowid)
      for (let seq = 0; seq < steps.length; seq++) {
        const result = yield* Effect.succeed(seq)
        yield* write(() => insertStep.run(run, seq, steps[seq]!, JSON.stringify(result)))
      }
      yield* write(() => finishRun.run("null", run))
    })
  return { run, context: Context.empty() }
}
