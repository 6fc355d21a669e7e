/** Opens the pool and both stores on it. */
import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { CheckpointStore } from "@firebreak/core/CheckpointStore"
import type { DegradationCache } from "@firebreak/core/DegradationCache"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Failure } from "../protocol.js"
import * as Owner from "../writer/owner.js"
import { noAnswer } from "./Connections.js"
import * as PostgresCheckpoints from "./PostgresCheckpoints.js"
import * as PostgresClient from "./PostgresClient.js"
import * as PostgresDegradation from "./PostgresDegradation.js"
import * as PostgresIdempotency from "./PostgresIdempotency.js"
import { migrate } from "./PostgresSchema.js"

export interface Settings {
  readonly client: PgClientConfig
  /** Of our tables; not quoted. */
  readonly schema: string
  readonly busyTimeout: Duration.Duration
  readonly cachedResults: number
  readonly lastGoodValues: number
  readonly maxConnections: number
}

export const open = (
  settings: Settings
): Effect.Effect<
  {
    readonly SqlClient: typeof SqlClient
    readonly sql: SqlClient
    readonly actions: Context.Tag.Service<typeof IdempotencyStore>
    readonly runs: Context.Tag.Service<typeof CheckpointStore>
    readonly lastGood: Context.Tag.Service<typeof DegradationCache>
  },
  StoreError,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const { busyTimeout } = settings
    const failed = (store: string) => (failure: Failure) => new StoreError({ store, operation: "open", ...failure })
    // an optional peer: who uses SQLite does not have it
    const { PgClient, layer } = yield* Effect.tryPromise({
      try: () => import("@effect/sql-pg/PgClient"),
      catch: (error) =>
        failed("PostgreSQL")({ reason: "io", detail: `it needs the package @effect/sql-pg: ${String(error)}` })
    })
    const scope = yield* Effect.scope
    const context = yield* PostgresClient.persistent(
      () =>
        Effect.timeoutFail(Layer.buildWithScope(layer(settings.client), scope), {
          duration: busyTimeout,
          onTimeout: () => noAnswer("no answer", busyTimeout)
        }),
      busyTimeout,
      failed(where(settings.client))
    )
    const sql = Context.get(context, PgClient)
    const client = PostgresClient.make(sql, {
      name: where(sql.config),
      schema: settings.schema,
      busyTimeout
    })
    yield* Effect.addFinalizer(() => client.close)
    yield* migrate(client)
    const owner = Owner.make()
    return {
      SqlClient,
      sql,
      actions: yield* PostgresIdempotency.make(client, { owner, cachedResults: settings.cachedResults }),
      runs: yield* PostgresCheckpoints.make(client, { owner, maxConnections: settings.maxConnections }),
      lastGood: yield* PostgresDegradation.make(client, { lastGoodValues: settings.lastGoodValues })
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The server without user and password. */
const where = ({ database, host, port, url }: PgClientConfig): string => {
  const given = url === undefined ? undefined : new URL(Redacted.value(url))
  return `postgres://${given?.hostname || host || "localhost"}:${given?.port || port || 5432}/${
    given?.pathname.slice(1) || database || ""
  }`
}
