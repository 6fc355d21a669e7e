/** The code of `docs/autoscale.md`. */
import * as Autoscale from "@firebreak/core/Autoscale"
import * as Effect from "effect/Effect"

declare const queue: { readonly depth: Effect.Effect<number, Error> }
declare const workers: {
  readonly count: Effect.Effect<number, Error>
  readonly resize: (count: number) => Effect.Effect<void, Error>
}

// #region usage
class Workers extends Autoscale.Tag("workers")<Workers>() {}

export const WorkersLive = Workers.layer({
  target: 100, // jobs waiting for each worker
  measure: Effect.map(Effect.all([queue.depth, workers.count]), ([depth, count]) => depth / count),
  current: workers.count,
  scaleTo: (instances) => workers.resize(instances),
  min: 2,
  max: 20
})

// now, rather than with the next round
export const scale = Effect.flatMap(Workers, ({ round }) => round)
// #endregion
