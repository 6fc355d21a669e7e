/**
 * The durable stores behind `Idempotency`, `Checkpoint` and the cached values of `Degradation`: one SQLite file, embedded
 * in the process, or a PostgreSQL database for many machines. What a store has reported as recorded survives kill -9 and
 * power cuts.
 *
 * On SQLite (`synchronous=FULL`) writes are committed together by one thread, or here when there is one alone and nothing
 * holds it up; the event loop is never held, whoever locks the file. Any number of processes on one machine may open the
 * file: records are owned by leases, the file is not. What a dead process held is taken over at once, what a living one
 * holds when its lease ends. The file must be on a local disk. On PostgreSQL leases are by the database's clock, and a
 * statement commits all that waits.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import { CheckpointStore, type Damage } from "@firebreak/core/CheckpointStore"
import { DegradationCache } from "@firebreak/core/DegradationCache"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { ConnectionOptions } from "node:tls"
import * as Options from "./internal/options.js"
import * as SqliteCheckpoints from "./internal/SqliteCheckpoints.js"
import * as SqliteClient from "./internal/SqliteClient.js"
import * as SqliteDegradation from "./internal/SqliteDegradation.js"
import * as SqliteIdempotency from "./internal/SqliteIdempotency.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface SqliteOptions {
  /** The database file; it and its directory are created when missing. */
  readonly filename: string
  /** How long an operation waits, in real time, for a lock that another process holds. Default 5 seconds. */
  readonly busyTimeout?: Duration.DurationInput | undefined
  /**
   * How long a transaction of yours may take, in real time. Meanwhile nothing else is written, and this process reads
   * nothing else: `Checkpoint.load` inside of it waits for its end. Then it is rolled back and fails. Default 5 seconds.
   */
  readonly transactionTimeout?: Duration.DurationInput | undefined
  /**
   * What becomes of a file that lacks what it once had (a cut end, a deleted `-wal`, an old backup), or whose unfinished
   * runs are damaged. `refuse`: it is not opened. `isolate`: a damaged run answers `corrupt` until it is cleared, and the
   * rest goes on; but a file that is older than it was is refused, for nobody knows which keys it lacks, and so is one
   * whose anchor cannot be read. Default `refuse`.
   */
  readonly onDamage?: "refuse" | "isolate" | undefined
  /**
   * How many completed idempotency records are kept in memory; 0 for none. A kept record is read from the file again
   * after a second, so that is how long a reset by another process may go unnoticed. Default 10,000.
   */
  readonly cachedResults?: number | undefined
  /**
   * How many last good values are kept of one component, and up to 1 % more; beyond, the one stored longest ago goes.
   * Default 10,000.
   */
  readonly lastGoodValues?: number | undefined
}

/**
 * Where the server is, and how our tables are kept there. What `url` leaves out is taken from the other fields.
 *
 * @since 0.1.0
 * @category options
 */
export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`. */
  readonly url?: string | Redacted.Redacted | undefined
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly database?: string | undefined
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted | undefined
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** Connections of the pool, at least 2; a transaction of yours takes one. Default 10. */
  readonly maxConnections?: number | undefined
  /** The schema of our tables; it is created when missing. Default `firebreak`. */
  readonly schema?: string | undefined
  /**
   * How long an operation waits for a free connection, or for a server that is away or restarts. It is tried again
   * meanwhile. Default 10 seconds.
   */
  readonly busyTimeout?: Duration.DurationInput | undefined
  /**
   * How many completed idempotency records are kept in memory; 0 for none. A kept record is read from the database
   * again after a second, so that is how long a reset by another process may go unnoticed. Default 10,000.
   */
  readonly cachedResults?: number | undefined
  /**
   * How many last good values are kept of one component, and up to 1 % more for each process; beyond, the one stored
   * longest ago goes. Default 10,000.
   */
  readonly lastGoodValues?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  busyTimeout: "5 seconds",
  transactionTimeout: "5 seconds",
  onDamage: "refuse",
  cachedResults: 10_000,
  lastGoodValues: 10_000
} as const

/**
 * @since 0.1.0
 * @category options
 */
export const postgresDefaults = {
  maxConnections: 10,
  schema: "firebreak",
  busyTimeout: "10 seconds",
  cachedResults: 10_000,
  lastGoodValues: 10_000
} as const

/**
 * What every Layer here gives: both stores, the engine that runs checkpointed programs over them, the last good values of
 * degraded components, and an SQL client of the same database for what a step does in its transaction.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = IdempotencyStore | CheckpointStore | CheckpointEngine | DegradationCache | SqlClient

/**
 * Both stores on one SQLite file, and the engine over them. A file that cannot be opened fails with a `StoreError` that names it. Closing the
 * scope waits for the writes under way and gives back what is still claimed: keys in doubt, runs free to be resumed.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/CheckpointStore"
 * import * as SqlStore from "@firebreak/sql/SqlStore"
 * import * as Effect from "effect/Effect"
 *
 * const unfinished = Effect.flatMap(Checkpoint.CheckpointStore, (store) => store.list({ status: "running" }))
 *
 * export const program = Effect.provide(unfinished, SqlStore.layerSqlite({ filename: "data/firebreak.db" }))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlite = (options: SqliteOptions): Layer.Layer<Services, StoreError> => {
  Options.known("SqlStore", options, {
    filename: true,
    busyTimeout: true,
    transactionTimeout: true,
    onDamage: { refuse: true, isolate: true },
    cachedResults: true,
    lastGoodValues: true
  })
  const settings = resolve(options)
  return withEngine(
    "sqlite",
    Layer.scopedContext(
      Effect.gen(function*() {
        const [client, driver, sql] = yield* Effect.all([
          SqliteClient.make(settings),
          SqliteIdempotency.loadDriver,
          Effect.promise(() => import("./internal/SqliteSql.js"))
        ], { concurrency: 3 })
        return Context.make(IdempotencyStore, yield* SqliteIdempotency.make(client, driver, settings)).pipe(
          Context.add(CheckpointStore, yield* SqliteCheckpoints.make(client, sql.transact(client))),
          Context.add(DegradationCache, yield* SqliteDegradation.make(client, driver, settings)),
          Context.add(sql.SqlClient, yield* sql.make(client))
        )
      })
    )
  )
}

/**
 * Looks through a SQLite file for damage: what it lacks, pages that cannot be read, records that were altered. Nothing
 * runs and nothing is changed: the file is opened for reading, and must be there with the tables of this release. It also
 * opens a file that `layerSqlite` refuses.
 *
 * @since 0.1.0
 * @category repair
 */
export const verify = (
  options: Pick<SqliteOptions, "filename" | "busyTimeout">
): Effect.Effect<ReadonlyArray<Damage>, StoreError> => {
  Options.known("SqlStore.verify", options, { filename: true, busyTimeout: true })
  const settings = { ...resolve(options), readOnly: true }
  return Effect.scoped(Effect.flatMap(SqliteClient.make(settings), SqliteCheckpoints.verify))
}

/**
 * Both stores in one PostgreSQL database, and the engine over them, for any number of processes on any number of machines. It needs the package
 * `@effect/sql-pg`. Our tables are created and brought up to date at the start, by one process if many start at once. A
 * server that cannot be reached within `busyTimeout` fails with a `StoreError`. Closing the scope waits for the writes
 * under way and gives back what is still claimed.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/CheckpointStore"
 * import * as SqlStore from "@firebreak/sql/SqlStore"
 * import * as Config from "effect/Config"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * const Durable = Layer.unwrapEffect(
 *   Effect.map(Config.redacted("DATABASE_URL"), (url) => SqlStore.layerPostgres({ url }))
 * )
 *
 * const unfinished = Effect.flatMap(Checkpoint.CheckpointStore, (store) => store.list({ status: "running" }))
 *
 * export const program = Effect.provide(unfinished, Durable)
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPostgres = (options: PostgresOptions): Layer.Layer<Services, StoreError> => {
  const settings = resolvePostgres(options)
  return withEngine(
    "postgres",
    Layer.scopedContext(
      Effect.gen(function*() {
        const { open } = yield* Effect.promise(() => import("./internal/postgres/open.js"))
        const { SqlClient, actions, lastGood, runs, sql } = yield* open(settings)
        return Context.make(IdempotencyStore, actions).pipe(
          Context.add(CheckpointStore, runs),
          Context.add(DegradationCache, lastGood),
          Context.add(SqlClient, sql)
        )
      })
    )
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const withEngine = (
  name: string,
  stores: Layer.Layer<Exclude<Services, CheckpointEngine>, StoreError>
): Layer.Layer<Services, StoreError> => Layer.provideMerge(Checkpoint.layerEngineWith({ name }), stores)

const resolve = (options: SqliteOptions) => {
  const { filename } = options
  if (typeof filename !== "string" || filename === "" || filename.startsWith(":") || filename.startsWith("file:")) {
    throw new Options.InvalidOption(
      `SqlStore: filename must be the path of a file, got ${
        Options.show(filename)
      }; use the memory layers of @firebreak/core for tests`
    )
  }
  return {
    filename,
    busyTimeout: Options.millis("busyTimeout", options.busyTimeout ?? defaults.busyTimeout),
    transactionTimeout: Options.millis("transactionTimeout", options.transactionTimeout ?? defaults.transactionTimeout),
    onDamage: options.onDamage ?? defaults.onDamage,
    cachedResults: Options.whole("cachedResults", options.cachedResults ?? defaults.cachedResults, 0),
    lastGoodValues: Options.whole("lastGoodValues", options.lastGoodValues ?? defaults.lastGoodValues, 1)
  }
}

const isPostgres = (url: string): boolean => /^postgres(?:ql)?:\/\//.test(url) && URL.canParse(url)

const resolvePostgres = (options: PostgresOptions) => {
  Options.known("SqlStore", options, {
    url: true,
    host: true,
    port: true,
    database: true,
    username: true,
    password: true,
    ssl: true,
    maxConnections: true,
    schema: true,
    busyTimeout: true,
    cachedResults: true,
    lastGoodValues: true
  })
  const { busyTimeout: wait, cachedResults, lastGoodValues, schema = postgresDefaults.schema, url, ...client } = options
  if (typeof schema !== "string" || schema === "" || schema.includes("\0") || schema.length > 63) {
    throw new Options.InvalidOption(
      `SqlStore: schema must be a name of 1 to 63 characters, got ${Options.show(schema)}`
    )
  }
  if (url !== undefined && !isPostgres(Redacted.isRedacted(url) ? Redacted.value(url) : url)) {
    // it may hold a password, so it is not shown
    throw new Options.InvalidOption("SqlStore: url must be a URL that begins with postgres:// or postgresql://")
  }
  if (client.port !== undefined && !(Number.isInteger(client.port) && client.port >= 1 && client.port <= 65_535)) {
    throw new Options.InvalidOption(
      `SqlStore: port must be a whole number from 1 to 65535, got ${Options.show(client.port)}`
    )
  }
  const maxConnections = Options.whole("maxConnections", options.maxConnections ?? postgresDefaults.maxConnections, 2)
  const busyTimeout = Duration.millis(
    Options.millis("busyTimeout", wait ?? postgresDefaults.busyTimeout)
  )
  return {
    client: {
      ...client,
      ...(url === undefined ? {} : { url: Redacted.isRedacted(url) ? url : Redacted.make(url) }),
      maxConnections,
      connectTimeout: busyTimeout,
      applicationName: "firebreak"
    },
    schema,
    maxConnections,
    busyTimeout,
    cachedResults: Options.whole("cachedResults", cachedResults ?? postgresDefaults.cachedResults, 0),
    lastGoodValues: Options.whole("lastGoodValues", lastGoodValues ?? postgresDefaults.lastGoodValues, 1)
  }
}
