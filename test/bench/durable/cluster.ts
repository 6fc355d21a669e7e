/**
 * A step on the cluster engine: ours and `@effect/workflow` as it is, with the same settings, each as one runner on a
 * database of the same server, which flushes.
 */
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import * as ClusterEngine from "@firebreak/cluster/ClusterEngine"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { createServer } from "node:net"
import * as Server from "../../../packages/sql/test/support/postgres.js"
import type { Case, Skipped } from "../measure.js"
import { buildForever } from "../policies/work.js"
import * as Firebreak from "./firebreak.js"
import { inEffect, type Pace, steps } from "./work.js"

/** As the steps of the other engines, in numbers that this one gets through. */
const paces: ReadonlyArray<Pace> = [
  { case: "step-serial", workflows: 5, concurrency: 1 },
  { case: "step-64", workflows: 64, concurrency: 64 }
]

/** What is measured is all that is written. */
const quiet = Logger.minimumLogLevel(LogLevel.None)

const host = "127.0.0.1"

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject).listen(0, host, () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** A server that stops with this process. */
const start = () =>
  Effect.runPromise(Effect.gen(function*() {
    const server = yield* Scope.extend(Server.make({ fsync: true }), yield* Scope.make())
    return [server.url(yield* server.database), server.url(yield* server.database)] as const
  }))

const firebreak = (url: string, port: number) =>
  Firebreak.make(Layer.provide(
    Layer.provideMerge(Firebreak.Ten.layer, ClusterEngine.layer({ url, runner: { host, port } })),
    quiet
  ))

const Ten = Workflow.make({ name: "ten", payload: { id: Schema.String }, idempotencyKey: ({ id }) => id })

const TenLive = Ten.toLayer(() =>
  Effect.gen(function*() {
    for (let seq = 0; seq < steps.length; seq++) {
      yield* Activity.make({ name: steps[seq]!, success: Schema.Number, execute: Effect.succeed(seq) })
    }
  })
)

const bare = async (url: string, port: number) => {
  const runnerAddress = Option.some(RunnerAddress.make(host, port))
  const context = await buildForever(
    TenLive.pipe(
      Layer.provideMerge(ClusterWorkflowEngine.layer),
      Layer.provide(NodeClusterSocket.layer({
        storage: "sql",
        shardingConfig: {
          runnerAddress,
          shardLockDisableAdvisory: true,
          shardLockExpiration: "6 seconds",
          shardLockRefreshInterval: "2 seconds",
          entityMessagePollInterval: "1 second"
        }
      })),
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })),
      Layer.provide(quiet)
    )
  )
  return { run: (id: string) => Ten.execute({ id }), context }
}

export const cases: ReadonlyArray<Case> = paces.map((pace) => ({
  name: `${pace.case}/cluster`,
  unit: "us",
  rounds: 5,
  baselines: ["effect-workflow"],
  candidates: async () => {
    if (Server.unavailable !== undefined) {
      return ["firebreak-cluster", "effect-workflow"].map((name): Skipped => ({ name, skipped: Server.unavailable! }))
    }
    const [ours, theirs] = await start()
    return [
      inEffect(
        "firebreak-cluster",
        "a runner on PostgreSQL: each step committed before the next; history and payload are compared",
        pace,
        await firebreak(ours, await freePort())
      ),
      inEffect(
        "effect-workflow",
        "the same engine as it is: each activity committed before the next",
        pace,
        await bare(theirs, await freePort())
      )
    ]
  }
}))
