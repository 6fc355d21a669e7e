/** The code of `docs/reconcile.md`. */
import * as Reconcile from "@firebreak/core/Reconcile"
import * as Effect from "effect/Effect"

declare const config: {
  readonly read: Effect.Effect<{ readonly replicas: Readonly<Record<string, number>> }, Error>
}
declare const fleet: {
  readonly replicas: Effect.Effect<ReadonlyMap<string, number>, Error>
  readonly scale: (service: string, count: number) => Effect.Effect<void, Error>
}

// #region usage
export const ReplicasLive = Reconcile.layer({
  name: "replicas",
  desired: Effect.map(config.read, ({ replicas }) => new Map(Object.entries(replicas))),
  actual: fleet.replicas,
  create: (service, count) => fleet.scale(service, count),
  update: (service, count) => fleet.scale(service, count),
  remove: (service) => fleet.scale(service, 0)
})
// #endregion
