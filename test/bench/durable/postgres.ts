/** A step on PostgreSQL: our engine and DBOS on databases of the same server, which flushes. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Server from "../../../packages/sql/test/support/postgres.js"
import type { Case, Skipped } from "../measure.js"
import * as Firebreak from "./firebreak.js"
import * as Peers from "./peers.js"
import { inEffect, paces } from "./work.js"

/** A server that stops with this process. */
const start = () =>
  Effect.runPromise(Effect.gen(function*() {
    const scope = yield* Scope.make()
    const server = yield* Scope.extend(Server.make({ fsync: true }), scope)
    const [ours, theirs] = [yield* server.database, yield* server.database]
    return { ours: server.url(ours), theirs: server.url(theirs) }
  }))

export const cases: ReadonlyArray<Case> = paces.map((pace) => ({
  name: `${pace.case}/postgres`,
  unit: "us",
  rounds: 10,
  baselines: ["dbos"],
  candidates: async () => {
    if (Server.unavailable !== undefined) {
      return ["firebreak-postgres", "dbos"].map((name): Skipped => ({ name, skipped: Server.unavailable! }))
    }
    const { ours, theirs } = await start()
    return [
      inEffect(
        "firebreak-postgres",
        "PostgreSQL: each step committed before the next; leases, fencing, a chain of hashes",
        pace,
        await Firebreak.make(Layer.provide(Checkpoint.layerEngine, SqlStore.layerPostgres({ url: ours })))
      ),
      await Peers.dbos(pace, theirs)
    ]
  }
}))
