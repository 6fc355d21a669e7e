/** The code of `docs/cluster.md` and of the README of `@firebreak/cluster`. */
import * as ClusterEngine from "@firebreak/cluster/ClusterEngine"
import * as ClusterRunner from "@firebreak/cluster/ClusterRunner"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

const workflow = (name: string) =>
  Checkpoint.workflow(
    name,
    { payload: Schema.Struct({ incident: Schema.String }), key: ({ incident }) => incident },
    () => Checkpoint.step("look", {}, Effect.void)
  )

const HandleIncident = workflow("handle-incident")
const Nightly = workflow("nightly")
const env = { url: "postgres://localhost/firebreak", host: "10.0.0.7" }

export const start = () => {
  // #region usage
  ClusterRunner.main({
    workflows: Layer.mergeAll(HandleIncident.layer, Nightly.layer),
    database: env.url,
    host: env.host,
    port: 34431,
    health: { host: "0.0.0.0", port: 8080 },
    retention: "30 days"
  })
  // #endregion
}

// #region usage
export const asked = HandleIncident.run({ incident: "INC-12345" }).pipe(
  Effect.provide(ClusterEngine.layerClient({ url: env.url }))
)
// #endregion

// #region usage
export const OnOneMachine = SqlStore.layerSqlite({ filename: "agent.db" })
export const OnPostgreSQL = SqlStore.layerPostgres({ url: env.url })
export const OnMany = ClusterEngine.layer({ url: env.url, runner: { host: env.host, port: 34431 } })
export const InTests = ClusterEngine.layerMemory
// #endregion
