/** The code of `docs/reconcile.md`. */
import * as Reconcile from "@firebreak/core/Reconcile"
import type * as Effect from "effect/Effect"

declare const config: { readonly replicas: Effect.Effect<ReadonlyMap<string, number>, Error> }
declare const fleet: {
  readonly replicas: Effect.Effect<ReadonlyMap<string, number>, Error>
  readonly scale: (service: string, count: number) => Effect.Effect<void, Error>
}

// #region usage
export const ReplicasLive = Reconcile.layer({
  name: "replicas",
  desired: config.replicas,
  actual: fleet.replicas,
  create: (service, count) => fleet.scale(service, count),
  update: (service, count) => fleet.scale(service, count),
  remove: (service) => fleet.scale(service, 0)
})
// #endregion
