/**
 * All that the agent needs, for real: HTTP, AWS, SQLite, the spool, and its own self-healing.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as SqlHealingStore from "@firebreak/sql/SqlHealingStore"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import { Limits } from "./Agent.js"
import * as Paging from "./Paging.js"
import * as SelfHealing from "./SelfHealing.js"
import * as Spool from "./Spool.js"
import * as Aws from "./vendors/Aws.js"
import * as Kubernetes from "./vendors/Kubernetes.js"
import * as VendorConfig from "./vendors/VendorConfig.js"
import * as VendorParts from "./vendors/VendorParts.js"

/**
 * The agent's memory in one SQLite file: checkpoints, actions, what its self-healing has tried.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = (dataDir: string) => SqlStore.layerSqlite({ filename: Path.join(dataDir, "agent.db") })

/**
 * What the environment says of the agent's patience; fails where it is no positive duration.
 *
 * @since 0.1.0
 * @category config
 */
export const patience = Effect.gen(function*() {
  const limits = yield* Limits
  return {
    verifyFor: yield* positive("AGENT_VERIFY_FOR", limits.verifyFor),
    retryEvery: yield* positive("AGENT_RETRY_EVERY", limits.retryEvery),
    circuitReset: yield* positive("AGENT_CIRCUIT_RESET", VendorParts.defaults.resetAfter)
  }
})

/**
 * The agent's limits, as the environment sets them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLimits: Layer.Layer<never, ConfigError.ConfigError> = Layer.effect(
  Limits,
  Effect.zipWith(Limits, patience, (limits, { retryEvery, verifyFor }) => ({ ...limits, retryEvery, verifyFor }))
)

/**
 * The agent's paging and what it stands on: the vendors at `vendors`, the spool in `dataDir`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPaging = (options: { readonly vendors: string; readonly dataDir: string }) =>
  Paging.layer(Spool.inDirectory(Path.join(options.dataDir, "spool"))).pipe(
    Layer.provideMerge(Layer.mergeAll(
      Layer.unwrapEffect(Effect.map(patience, ({ circuitReset }) => VendorParts.layer(circuitReset))),
      VendorConfig.layer(options.vendors),
      FetchHttpClient.layer
    ))
  )

/**
 * The agent's hands and eyes: its paging, what restarts pods and clears caches, and its self-healing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly vendors: string
  readonly dataDir: string
  readonly orchestrator: "kubernetes" | "ecs"
}) =>
  SelfHealing.layer.pipe(
    Layer.provide(SqlHealingStore.layer),
    Layer.provideMerge(
      Layer.mergeAll(options.orchestrator === "ecs" ? Aws.layerEcs : Kubernetes.layer, Aws.layerElastiCache)
    ),
    Layer.provideMerge(layerPaging(options)),
    Layer.provideMerge(layerLimits)
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

function positive(name: string, fallback: Duration.Duration): Config.Config<Duration.Duration> {
  return Config.string(name).pipe(
    Config.mapOrFail((text) =>
      Option.match(Option.filter(Duration.decodeUnknown(text), isPositive), {
        onNone: () =>
          Either.left(
            ConfigError.InvalidData(
              [],
              `${name} must be a positive duration such as "5 seconds", got ${JSON.stringify(text)}`
            )
          ),
        onSome: Either.right
      })
    ),
    Config.withDefault(fallback)
  )
}

const isPositive = (duration: Duration.Duration) =>
  Duration.isFinite(duration) && Duration.greaterThan(duration, Duration.zero)
