/** The code of `docs/stores.md`. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

// #region usage
export const Durable = SqlStore.layerSqlite({ filename: "data/agent.db" })
export const ForTests = Layer.merge(Idempotency.layerMemory, Checkpoint.layerMemory)
// #endregion

// #region usage
export const housekeeping = Effect.zip(Idempotency.prune, Checkpoint.prune({ olderThan: "30 days" })).pipe(
  Effect.repeat(Schedule.spaced("1 hour"))
)
// #endregion
