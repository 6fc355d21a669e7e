/**
 * A runner as a process: workflows on the cluster engine, with health over HTTP, housekeeping, and a shutdown that hands
 * over what it was doing.
 *
 * @since 0.1.0
 */
import { Sharding } from "@effect/cluster/Sharding"
import * as Singleton from "@effect/cluster/Singleton"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { SocketServerError } from "@effect/platform/SocketServer"
import { SqlClient } from "@effect/sql/SqlClient"
import { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import * as ClusterEngine from "./ClusterEngine.js"
import * as Database from "./internal/database.js"
import * as Check from "./internal/options.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<E> extends Omit<ClusterEngine.Options, "url" | "runner"> {
  /** The layers of the workflows, merged, with what they need. */
  readonly workflows: Layer.Layer<never, E, CheckpointEngine>
  /** The database, as `postgres://user:password@host:port/name`. */
  readonly database: string | Redacted.Redacted
  /** Where other runners and clients reach this one. */
  readonly host: string
  readonly port: number
  /** Where `GET /livez` and `GET /readyz` answer. Default: nowhere. */
  readonly health?: ClusterEngine.Address | undefined
  /** How long finished runs are kept; one runner removes the older ones, every hour. Default: for ever. */
  readonly retention?: Duration.DurationInput | undefined
  /** How often one runner has stopped runs go on: those that ended in a defect. Default 1 minute. */
  readonly resume?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { resume: "1 minute", pruning: "1 hour" } as const

/**
 * The runner as a layer, to be launched by a runtime of your own. Gives the engine, so that it may be asked too.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E>(
  options: Options<E>
): Layer.Layer<CheckpointEngine, E | StoreError | SocketServerError | ServeError> => {
  Check.known("ClusterRunner", options, {
    workflows: true,
    database: true,
    host: true,
    port: true,
    health: true,
    retention: true,
    resume: true,
    connections: true,
    poll: true,
    assignments: true,
    expiration: true,
    listen: true,
    refresh: true,
    ping: true,
    shutdown: true
  })
  const { database, health, host, port, resume, retention, workflows, ...rest } = options
  const every = Duration.millis(Check.millis("ClusterRunner", "resume", resume ?? defaults.resume, 100))
  const parts = Layer.mergeAll(
    workflows,
    Layer.provide(resuming(every), workflows),
    retention === undefined
      ? Layer.empty
      : pruning(Duration.millis(Check.millis("ClusterRunner", "retention", retention, 0))),
    health === undefined
      ? Layer.empty
      : routes({ host, port }, health, rest.expiration ?? ClusterEngine.defaults.expiration)
  )
  return parts.pipe(Layer.provideMerge(ClusterEngine.layerRunner({ ...rest, url: database, runner: { host, port } })))
}

/**
 * Runs it as the program of this process until SIGTERM or SIGINT: then it takes no more, and ends when the steps under
 * way have ended or `shutdown` is over; another runner goes on with its runs.
 *
 * @example
 * import * as ClusterRunner from "@firebreak/cluster/ClusterRunner"
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Nightly = Checkpoint.workflow("nightly", { key: (date) => date, payload: Schema.String }, (date) =>
 *   Checkpoint.step("report", {}, Effect.log(`report of ${date}`)))
 *
 * export const start = () =>
 *   ClusterRunner.main({
 *     workflows: Nightly.layer,
 *     database: "postgres://localhost/firebreak",
 *     host: "10.0.0.7",
 *     port: 34431,
 *     health: { host: "0.0.0.0", port: 8080 },
 *     retention: "30 days"
 *   })
 *
 * @since 0.1.0
 * @category running
 */
export const main = <E>(options: Options<E>): void => NodeRuntime.runMain(Layer.launch(layer(options)))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Stopped runs go on; those that then wait for long are not waited for. */
const resuming = (every: Duration.Duration) =>
  Singleton.make(
    "firebreak/resume",
    Effect.flatMap(CheckpointEngine, (engine) =>
      engine.resumeAll({ concurrency: Infinity }).pipe(
        Effect.ignore,
        Effect.timeoutOption(every),
        Effect.zipRight(Effect.sleep(every)),
        Effect.forever
      ))
  )

const pruning = (olderThan: Duration.Duration) =>
  Singleton.make(
    "firebreak/prune",
    Effect.flatMap(CheckpointEngine, (engine) =>
      engine.prune({ olderThan }).pipe(
        Effect.catchAll((error) => Effect.logWarning("Finished runs could not be pruned", error)),
        Effect.zipRight(Effect.sleep(defaults.pruning)),
        Effect.forever
      ))
  )

const routes = (runner: ClusterEngine.Address, health: ClusterEngine.Address, expiration: Duration.DurationInput) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/livez", respond(true)),
    HttpRouter.get("/readyz", Effect.flatMap(isReady(runner, Duration.toSeconds(expiration)), respond)),
    HttpServer.serve(),
    Layer.provide(NodeHttpServer.layer(createServer, health))
  )

/** Whether the database answers, and has this runner among those that live. */
const isReady = ({ host, port }: ClusterEngine.Address, seconds: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const sharding = yield* Sharding
    if (yield* sharding.isShutdown) return false
    const found = yield* sql`
      SELECT 1 FROM ${sql(`${Database.prefix}_runners`)}
      WHERE address = ${`${host}:${port}`} AND healthy AND last_heartbeat > NOW() - make_interval(secs => ${seconds})
    `
    return found.length > 0
  }).pipe(Effect.timeout("2 seconds"), Effect.orElseSucceed(() => false), Effect.withTracerEnabled(false))

const respond = (passes: boolean) =>
  HttpServerResponse.json({ status: passes ? "pass" : "fail" }, {
    status: passes ? 200 : 503,
    contentType: "application/health+json",
    headers: { "cache-control": "no-store" }
  })
