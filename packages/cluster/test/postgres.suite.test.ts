/** The contract of the engine on PostgreSQL, in real time: where there is the time for it, by `FIREBREAK_CLUSTER_SUITE`. */
import { suite } from "@firebreak/core/testing/CheckpointEngineSuite"
import * as Effect from "effect/Effect"
import { describe } from "vitest"
import * as Postgres from "../../sql/test/support/postgres.js"
import * as ClusterEngine from "../src/ClusterEngine.js"
import { capabilities } from "../src/internal/engine.js"
import * as Runners from "./support/runners.js"

const wanted = process.env["FIREBREAK_CLUSTER_SUITE"] !== undefined

describe.skipIf(Postgres.unavailable !== undefined || !wanted)("on PostgreSQL", () => {
  const server = Effect.cached(Postgres.make())
  const records = Effect.gen(function*() {
    const { database, url } = yield* yield* server
    const port = yield* Runners.freePort
    return ClusterEngine.layer({
      url: url(yield* database),
      runner: { host: "127.0.0.1", port },
      poll: "50 millis",
      assignments: "50 millis",
      shutdown: "200 millis"
    })
  })
  suite("cluster", records, {
    capabilities: [...capabilities, "durable", "shared"],
    advance: Effect.sleep,
    unit: "500 millis",
    timeout: 120_000
  })
})
