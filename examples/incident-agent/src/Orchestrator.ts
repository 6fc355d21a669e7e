/**
 * What restarts a service's pods: Kubernetes or ECS, by Layer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { VendorError } from "./VendorError.js"

/**
 * `at` is when the restart was decided, in milliseconds since the epoch: it names this restart, now and after a crash.
 *
 * @since 0.1.0
 * @category models
 */
export interface Restart {
  readonly service: string
  readonly at: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Starts the rollout; returns its id. */
  readonly restart: (restart: Restart) => Effect.Effect<string, VendorError>
  /** The id of the rollout that this restart has started, if it has: read before write. */
  readonly restartedSince: (restart: Restart) => Effect.Effect<Option.Option<string>, VendorError>
  /** Whether all pods are new and available. */
  readonly isComplete: (restart: Restart) => Effect.Effect<boolean, VendorError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Orchestrator extends Context.Tag("incident-agent/Orchestrator")<Orchestrator, Service>() {}
