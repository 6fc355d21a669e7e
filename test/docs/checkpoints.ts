/** The code of `docs/checkpoints.md` that no demo has. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

const HandleIncident = Checkpoint.workflow("handle-incident", {
  payload: Schema.Struct({ incident: Schema.String }),
  key: ({ incident }) => incident
}, () => Effect.void)

// #region usage
export const Agent = Layer.mergeAll(HandleIncident.layer, Checkpoint.layerResume()).pipe(
  Layer.provideMerge(SqlStore.layerSqlite({ filename: "agent.db" }))
)
// #endregion
