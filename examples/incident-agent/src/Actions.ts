/**
 * The agent's two actions. Each happens once per decision, however often the agent crashes: an outcome that is unknown
 * is looked up at the vendor before anything is sent again.
 *
 * @since 0.1.0
 */
import * as Idempotency from "@firebreak/core/Idempotency"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import type * as LoopGuard from "@firebreak/core/LoopGuard"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CacheAdmin } from "./CacheAdmin.js"
import { Orchestrator } from "./Orchestrator.js"
import { ActionName } from "./Runbook.js"
import { classify, VendorError } from "./VendorError.js"

/**
 * What an action is about. `decidedAt` tells this decision from an earlier or a later one.
 *
 * @since 0.1.0
 * @category models
 */
export const Target = Schema.Struct({
  incident: Schema.String,
  service: Schema.String,
  decidedAt: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export type Target = typeof Target.Type

/**
 * An action and what became of it. `in doubt`: it was sent, and nobody could tell whether it was done.
 *
 * @since 0.1.0
 * @category models
 */
export const Attempt = Schema.Struct({ name: ActionName, outcome: Schema.Literal("applied", "refused", "in doubt") })

/**
 * @since 0.1.0
 * @category models
 */
export type Attempt = typeof Attempt.Type

/**
 * An attempt as humans are told of it.
 *
 * @since 0.1.0
 * @category rendering
 */
export const attemptText = ({ name, outcome }: Attempt): string =>
  outcome === "applied" ? name : `${name} (${outcome === "refused" ? outcome : "outcome unknown"})`

/**
 * Restarts the pods of the service; returns the rollout's id.
 *
 * @since 0.1.0
 * @category actions
 */
export const RestartPods = Idempotency.make(
  "restart_pods",
  {
    payload: Target,
    key: keyOf,
    success: Schema.String,
    error: VendorError,
    classify,
    onUnknown: {
      probe: ({ decidedAt, service }) =>
        Effect.flatMap(Orchestrator, (orchestrator) => orchestrator.restartedSince({ service, at: decidedAt }))
    }
  },
  ({ decidedAt, service }) =>
    Effect.flatMap(Orchestrator, (orchestrator) => orchestrator.restart({ service, at: decidedAt }))
)

/**
 * Clears the cache of the service; returns the cluster's name.
 *
 * @since 0.1.0
 * @category actions
 */
export const ClearCache = Idempotency.make(
  "clear_cache",
  {
    payload: Target,
    key: keyOf,
    success: Schema.String,
    error: VendorError,
    classify,
    onUnknown: {
      probe: ({ decidedAt, service }) =>
        Effect.flatMap(CacheAdmin, (admin) => admin.rebootedSince({ cluster: cacheOf(service), at: decidedAt }))
    }
  },
  ({ decidedAt, service }) =>
    Effect.flatMap(CacheAdmin, (admin) => admin.reboot({ cluster: cacheOf(service), at: decidedAt }))
)

/**
 * Takes an action of the runbook.
 *
 * @since 0.1.0
 * @category actions
 */
export const act = (name: ActionName, target: Target): Effect.Effect<
  string,
  VendorError | Idempotency.Failure,
  Orchestrator | CacheAdmin | IdempotencyStore
> => {
  switch (name) {
    case "restart_pods":
      return RestartPods(target)
    case "clear_cache":
      return ClearCache(target)
  }
}

/**
 * Whether an action that failed may have been done all the same.
 *
 * @since 0.1.0
 * @category actions
 */
export const isInDoubt = (name: ActionName, target: Target): Effect.Effect<boolean, StoreError, IdempotencyStore> =>
  Effect.map(
    Idempotency.get({ operation: name, key: keyOf(target) }),
    Option.exists(({ state }) => state === "in-doubt")
  )

/**
 * What was done about a service before this decision, in this incident and in others, as a `LoopGuard` takes it. It
 * reaches back as far as actions are remembered.
 *
 * @since 0.1.0
 * @category actions
 */
export const doneBefore = (
  target: Target
): Effect.Effect<ReadonlyArray<LoopGuard.Action & { readonly at: number }>, StoreError, IdempotencyStore> =>
  Effect.map(Idempotency.list(), (records) =>
    records.flatMap(({ key, operation, startedAt, state }) => {
      const [, service] = key.split("/")
      return state !== "started" && service === target.service && key !== keyOf(target)
        ? [{ action: operation, arguments: { service }, at: startedAt }]
        : []
    }))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

function keyOf({ decidedAt, incident, service }: Target): string {
  return `${incident}/${service}/${decidedAt}`
}

const cacheOf = (service: string) => `${service}-cache`
