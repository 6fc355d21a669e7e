/** The code of `docs/stores.md`. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

// #region usage
export const ForTests = Layer.merge(Idempotency.layerMemory, Checkpoint.layerMemory)
export const OneMachine = SqlStore.layerSqlite({ filename: "data/agent.db" })
export const ManyMachines = Layer.unwrapEffect(
  Effect.map(Config.redacted("DATABASE_URL"), (url) => SqlStore.layerPostgres({ url }))
)
// #endregion

// #region usage
export const book = (id: string, cents: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO booking ${sql.insert({ id, cents })}`)
// #endregion

// #region usage
export const housekeeping = Effect.zip(Idempotency.prune, Checkpoint.prune({ olderThan: "30 days" })).pipe(
  Effect.repeat(Schedule.spaced("1 hour"))
)
// #endregion
