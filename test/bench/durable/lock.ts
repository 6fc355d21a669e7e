/**
 * How long the event loop is held at most while another process keeps the file locked for four seconds and a run wants to
 * go on.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import Database from "better-sqlite3"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createRequire } from "node:module"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { Candidate, Case } from "../measure.js"
import * as Firebreak from "./firebreak.js"
import { freshId, temporaryDirectory } from "./work.js"

const driver = createRequire(import.meta.url).resolve("better-sqlite3")

/** Locks the file for four seconds in another process; resolves once it is locked. */
const lock = async (file: string): Promise<void> => {
  const program = `const db = new (require(${JSON.stringify(driver)}))(process.argv[1])
    db.exec("BEGIN IMMEDIATE")
    process.stdout.write("locked")
    setTimeout(() => db.exec("COMMIT"), 4_000)`
  const child = spawn(process.execPath, ["-e", program, file], { stdio: ["ignore", "pipe", "inherit"] })
  await once(child.stdout, "data")
}

const longestHold = (name: string, guarantees: string, file: string, run: () => Promise<unknown>): Candidate => ({
  name,
  guarantees,
  warmUp: async () => void (await run()),
  sample: async () => {
    await lock(file)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    // the first tick is what the next is measured from
    await new Promise((resolve) => setTimeout(resolve, 20))
    await run()
    delay.disable()
    return delay.max / 1e6
  }
})

export const cases: ReadonlyArray<Case> = [{
  name: "locked-file",
  unit: "ms",
  rounds: 3,
  baselines: ["better-sqlite3"],
  candidates: async () => {
    const directory = temporaryDirectory()
    const [ours, theirs] = [join(directory, "firebreak.db"), join(directory, "theirs.db")]
    const { context, run } = await Firebreak.make(
      Layer.provide(Checkpoint.layerEngine, SqlStore.layerSqlite({ filename: ours }))
    )
    const db = new Database(theirs, { timeout: 10_000 })
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE step (id INTEGER PRIMARY KEY)")
    const insert = db.prepare("INSERT INTO step DEFAULT VALUES")
    return [
      longestHold(
        "firebreak",
        "a run of ten steps that waits for the lock",
        ours,
        () => Effect.runPromise(Effect.provide(run(freshId()), context))
      ),
      longestHold("better-sqlite3", "one insert on the event loop, with a busy timeout of 10 s", theirs, async () => {
        insert.run()
        await new Promise((resolve) => setTimeout(resolve, 10))
      })
    ]
  }
}]
