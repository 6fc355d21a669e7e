/** A step, one workflow at a time and 64 at once, on this machine's disk. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Layer from "effect/Layer"
import { join } from "node:path"
import type { Case } from "../measure.js"
import * as Firebreak from "./firebreak.js"
import * as Ideal from "./ideal.js"
import * as Peers from "./peers.js"
import { inEffect, paces, temporaryDirectory } from "./work.js"

export const cases: ReadonlyArray<Case> = paces.map((pace) => ({
  name: pace.case,
  unit: "us",
  rounds: 20,
  baselines: ["ideal", "one-commit-each", "restate"],
  candidates: async () => {
    const directory = temporaryDirectory()
    const file = (name: string) => join(directory, name)
    return [
      inEffect(
        "firebreak",
        "SQLite FULL: flushed before the next step; leases, fencing, a chain of hashes; writes off the event loop",
        pace,
        await Firebreak.make(
          Layer.provide(Checkpoint.layerEngine, SqlStore.layerSqlite({ filename: file("firebreak.db") }))
        )
      ),
      inEffect(
        "ideal",
        "SQLite FULL: flushed before the next step, and nothing else; writes hold the event loop",
        pace,
        Ideal.make(file("ideal.db"), { grouped: true })
      ),
      inEffect(
        "one-commit-each",
        "as ideal, without grouping what waits",
        pace,
        Ideal.make(file("each.db"), { grouped: false })
      ),
      await Peers.restate(pace)
    ]
  }
}))
