/** The code of `docs/reconcile.md`. */
import * as Healing from "@firebreak/core/Healing"
import * as Reconcile from "@firebreak/core/Reconcile"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

declare const config: { readonly replicas: Effect.Effect<ReadonlyMap<string, number>, Error> }
declare const fleet: {
  readonly replicas: Effect.Effect<ReadonlyMap<string, number>, Error>
  readonly scale: (service: string, count: number) => Effect.Effect<void, Error>
}

// #region usage
class Replicas extends Reconcile.Tag("replicas")<Replicas, number, number>() {}

export const ReplicasLive = Replicas.layer({
  desired: config.replicas,
  actual: fleet.replicas,
  create: (service, count) => fleet.scale(service, count),
  update: (service, count) => fleet.scale(service, count),
  remove: (service) => fleet.scale(service, 0)
})

export const HealingLive = Layer.unwrapEffect(Effect.map(Replicas, ({ check, remedy }) =>
  Healing.layer({
    checks: { replicas: check },
    remedies: { replicas: [remedy] }
  }))).pipe(Layer.provide(ReplicasLive))
// #endregion
