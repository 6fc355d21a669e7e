/**
 * Keeps what `Healing` has tried in the database of an `SqlClient`: that of `SqlStore`, on SQLite or PostgreSQL, or one of
 * your own.
 *
 * @since 0.1.0
 */
import { SqlClient } from "@effect/sql/SqlClient"
import * as HealingStore from "@firebreak/core/HealingStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

/**
 * The store of the healers made with it, one row each in the table `firebreak_healing`, which is created when missing.
 * Healers that share a database need names of their own. A database that cannot be used at the start fails with a
 * `StoreError`; later on healing goes on without it.
 *
 * @example
 * import * as Healing from "@firebreak/core/Healing"
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as SqlHealingStore from "@firebreak/sql/SqlHealingStore"
 * import * as SqlStore from "@firebreak/sql/SqlStore"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * export const HealingLive = Healing.layer({
 *   name: "worker-1",
 *   checks: { memory: HealthCheck.heap({ limit: 512 * 1024 * 1024 }) },
 *   remedies: { memory: [Healing.remedy("exit", Effect.sync(() => process.exit(1)), { attempts: 3 })] }
 * }).pipe(
 *   Layer.provide(SqlHealingStore.layer),
 *   Layer.provide(SqlStore.layerSqlite({ filename: "data/firebreak.db" }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, StoreError, SqlClient> = Layer.effect(
  HealingStore.HealingStore,
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const orFail = (operation: string) => <A, E extends { readonly message: string }>(effect: Effect.Effect<A, E>) =>
      Effect.mapError(
        effect,
        ({ message }) => new StoreError({ store: "healing", operation, reason: "io", detail: message })
      )
    yield* sql`CREATE TABLE IF NOT EXISTS firebreak_healing (name TEXT PRIMARY KEY, snapshot TEXT NOT NULL)`.pipe(
      // PostgreSQL lets one of several who create it at the same time fail
      Effect.retry({ times: 3 }),
      orFail("open")
    )
    return {
      load: (healer) =>
        sql<{ readonly snapshot: string }>`SELECT snapshot FROM firebreak_healing WHERE name = ${healer}`.pipe(
          Effect.flatMap(([row]) => row === undefined ? Effect.succeedNone : Effect.asSome(decode(row.snapshot))),
          orFail("load")
        ),
      save: (healer, snapshot) =>
        Effect.flatMap(
          encode(snapshot),
          (text) =>
            sql`INSERT INTO firebreak_healing (name, snapshot) VALUES (${healer}, ${text})
              ON CONFLICT (name) DO UPDATE SET snapshot = excluded.snapshot`
        ).pipe(Effect.asVoid, orFail("save"))
    }
  })
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const json = Schema.parseJson(HealingStore.Snapshot)
const decode = Schema.decode(json)
const encode = Schema.encode(json)
