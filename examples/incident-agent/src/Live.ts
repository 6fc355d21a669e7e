/**
 * All that the agent needs, for real: HTTP, AWS, SQLite, the spool, and its own self-healing.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Layer from "effect/Layer"
import * as Path from "node:path"
import * as Paging from "./Paging.js"
import * as SelfHealing from "./SelfHealing.js"
import * as Spool from "./Spool.js"
import * as Aws from "./vendors/Aws.js"
import * as Kubernetes from "./vendors/Kubernetes.js"
import * as VendorCall from "./vendors/VendorCall.js"
import * as VendorConfig from "./vendors/VendorConfig.js"

/**
 * The agent's memory: checkpoints and actions in one SQLite file.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStore = (dataDir: string) => SqlStore.layerSqlite({ filename: Path.join(dataDir, "agent.db") })

/**
 * The agent's hands and eyes: the vendors at `vendors`, the spool in `dataDir`, and its self-healing.
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
    Layer.provideMerge(Layer.mergeAll(
      Paging.layer(Spool.inDirectory(Path.join(options.dataDir, "spool"))),
      options.orchestrator === "ecs" ? Aws.layerEcs : Kubernetes.layer,
      Aws.layerElastiCache
    )),
    Layer.provideMerge(Layer.mergeAll(
      VendorCall.layerBreakers,
      VendorConfig.layer(options.vendors),
      FetchHttpClient.layer
    ))
  )
