/**
 * Runs the workflows of `Checkpoint` on many machines: on `@effect/workflow` and `@effect/cluster` over PostgreSQL.
 *
 * A runner executes the workflows whose layers it has; whoever has the engine may ask for runs. Each run is executed by
 * one runner at a time. When that dies, another goes on in about the time that `expiration` says. Records are the
 * engine's own: a step is an activity, a sleep a clock, a signal a deferred. So a run that sleeps or waits is nowhere in
 * memory.
 *
 * There is no fencing: a runner that hangs past its expiration and comes back finishes the step that it was in.
 *
 * @since 0.1.0
 */
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import type { MessageStorage } from "@effect/cluster/MessageStorage"
import type * as Sharding from "@effect/cluster/Sharding"
import type { SocketServerError } from "@effect/platform/SocketServer"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Database from "./internal/database.js"
import { make } from "./internal/engine.js"
import * as Memory from "./internal/memoryEngine.js"
import * as Check from "./internal/options.js"
import * as Cluster from "./internal/sharding.js"
import * as SqlJournal from "./internal/sqlJournal.js"

/**
 * Where a runner is.
 *
 * @since 0.1.0
 * @category options
 */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * @since 0.1.0
 * @category options
 */
export interface ClientOptions {
  /** The database, as `postgres://user:password@host:port/name`. */
  readonly url: string | Redacted.Redacted
  /** Connections to the database at most; at least 5, for the engine keeps some to itself. Default 10. */
  readonly connections?: number | undefined
  /** How often the database is asked for work, and for runs that somebody waits for. Default 1 second. */
  readonly poll?: Duration.DurationInput | undefined
  /** How often the runners that there are are looked up. Default 500 milliseconds. */
  readonly assignments?: Duration.DurationInput | undefined
  /** How long a runner that is not heard of keeps its runs, in whole seconds; the same everywhere. Default 5 seconds. */
  readonly expiration?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options extends ClientOptions {
  /** Where other runners and clients reach this one. The same one after a restart takes its runs up at once. */
  readonly runner: Address
  /** Where it listens. Default: as `runner`. */
  readonly listen?: Address | undefined
  /** How often it says that it is alive; at most a third of `expiration`. Default 1 second. */
  readonly refresh?: Duration.DurationInput | undefined
  /** How often runners look after each other. Default 2 seconds. */
  readonly ping?: Duration.DurationInput | undefined
  /** How long a runner that shuts down lets steps go on, before it interrupts them. Default 10 seconds. */
  readonly shutdown?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  connections: 10,
  poll: "1 second",
  assignments: "500 millis",
  expiration: "5 seconds",
  refresh: "1 second",
  ping: "2 seconds",
  shutdown: "10 seconds"
} as const

/**
 * A runner: executes the workflows whose layers are provided beside it, and asks for runs. The tables are made when they
 * are missing, by one process at a time. A database out of reach fails with a `StoreError`, an address in use with the
 * platform's `SocketServerError`.
 *
 * @example
 * import * as ClusterEngine from "@firebreak/cluster/ClusterEngine"
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Schema from "effect/Schema"
 *
 * const Nightly = Checkpoint.workflow("nightly", { key: (date) => date, payload: Schema.String }, (date) =>
 *   Checkpoint.step("report", {}, Effect.log(`report of ${date}`)))
 *
 * export const runner = Layer.launch(Nightly.layer.pipe(
 *   Layer.provide(ClusterEngine.layer({
 *     url: "postgres://localhost/firebreak",
 *     runner: { host: "10.0.0.7", port: 34431 }
 *   }))
 * ))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<CheckpointEngine, StoreError | SocketServerError> =>
  Layer.map(layerRunner(options), Context.pick(CheckpointEngine))

/**
 * A client: asks for runs, sends to them and tells of them, and executes none.
 *
 * @example
 * import * as ClusterEngine from "@firebreak/cluster/ClusterEngine"
 * import { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
 * import * as Effect from "effect/Effect"
 *
 * export const running = Effect.flatMap(CheckpointEngine, (engine) => engine.list({ status: "running" })).pipe(
 *   Effect.provide(ClusterEngine.layerClient({ url: "postgres://localhost/firebreak" }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (options: ClientOptions): Layer.Layer<CheckpointEngine, StoreError> => {
  Check.known(module, options, knownOfClient)
  const settings = resolve(options)
  return engine(settings.poll).pipe(
    Layer.provide(ClusterWorkflowEngine.layer),
    Layer.provide(Cluster.client),
    Layer.provide(database(options, settings))
  )
}

/**
 * The engine in this process's memory, for tests: time is that of the Clock, so `TestClock` drives it. What is called is
 * executed, whether its layer is there or not.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointEngine> = Layer.unwrapEffect(Effect.map(Memory.held, Memory.layer))

/**
 * As `layer`, with what else of the runner can be asked: its shards and the database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunner = (
  options: Options
): Layer.Layer<CheckpointEngine | Sharding.Sharding | SqlClient, StoreError | SocketServerError> => {
  Check.known(module, options, {
    ...knownOfClient,
    runner: true,
    listen: true,
    refresh: true,
    ping: true,
    shutdown: true
  })
  const settings = resolve(options, options)
  return engine(settings.poll).pipe(
    Layer.provide(ClusterWorkflowEngine.layer),
    Layer.provideMerge(Cluster.runner),
    Layer.provideMerge(database(options, settings))
  )
}

/**
 * Makes what is missing of the tables. Runners and clients do so themselves; this is for a deployment whose processes
 * may not.
 *
 * @since 0.1.0
 * @category migrating
 */
export const migrate = (options: Pick<ClientOptions, "url">): Effect.Effect<void, StoreError> => {
  Check.known("ClusterEngine.migrate", options, { url: true })
  Check.url("ClusterEngine.migrate", "url", options.url)
  return Database.migrate.pipe(
    Effect.provide(Database.client({ url: options.url, connections: defaults.connections })),
    Effect.catchTag("SqlError", unreachable)
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const engine = (poll: number) =>
  Layer.scoped(
    CheckpointEngine,
    Effect.flatMap(Effect.context<SqlClient | Sharding.Sharding | MessageStorage>(), (context) =>
      make({
        journal: (workflows, active) => Effect.provide(SqlJournal.make(poll)(workflows, active), context),
        capabilities: ["durable", "shared"],
        patience: poll,
        local: false
      }))
  )

const database = (options: ClientOptions, settings: Cluster.Settings) =>
  Database.storage.pipe(
    Layer.provide(Layer.effectDiscard(Effect.catchTag(Database.migrate, "SqlError", unreachable))),
    Layer.provideMerge(Cluster.config(settings)),
    Layer.provideMerge(Database.client({ url: options.url, connections: options.connections ?? defaults.connections })),
    Layer.catchAll((error) => Layer.fail(error._tag === "SqlError" ? storeError(error) : error))
  )

const unreachable = (error: SqlError) => Effect.fail(storeError(error))

const storeError = ({ cause, message }: SqlError): StoreError =>
  new StoreError({
    store: "cluster",
    operation: "open",
    reason: "io",
    detail: cause instanceof Error ? cause.message : message
  })

const module = "ClusterEngine"

const knownOfClient: Check.Shape<ClientOptions> = {
  url: true,
  connections: true,
  poll: true,
  assignments: true,
  expiration: true
}

const resolve = (client: ClientOptions, options?: Options): Cluster.Settings => {
  Check.url(module, "url", client.url)
  Check.whole(
    module,
    "connections",
    client.connections ?? defaults.connections,
    5,
    "; with fewer the engine waits for itself"
  )
  const millis = (option: Exclude<keyof typeof defaults, "connections">, min: number) =>
    Check.millis(
      module,
      option,
      options?.[option] ?? client[option as keyof ClientOptions & typeof option] ?? defaults[option],
      min
    )
  const settings = {
    runner: options?.runner,
    listen: options?.listen,
    poll: millis("poll", 10),
    assignments: millis("assignments", 10),
    expiration: millis("expiration", 1_000),
    refresh: millis("refresh", 10),
    health: millis("ping", 10),
    termination: millis("shutdown", 0)
  }
  for (const [option, address] of [["runner", settings.runner], ["listen", settings.listen]] as const) {
    if (address === undefined) continue
    Check.known(`${module}.${option}`, address, { host: true, port: true })
    Check.text(module, `${option}.host`, address.host)
    Check.port(module, `${option}.port`, address.port)
  }
  if (options !== undefined && settings.refresh * 3 > settings.expiration) {
    throw new Check.InvalidOption(
      `${module}: refresh must be at most a third of expiration (${settings.expiration} ms), got ${settings.refresh} ms`
    )
  }
  return settings
}
