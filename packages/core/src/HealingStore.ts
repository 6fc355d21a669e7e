/**
 * Where `Healing` keeps what it has tried, so that a process that starts again goes on counting: a remedy that ends its
 * own process is then bounded by its attempts like every other, and people who were called are not called again. By
 * default nothing is kept; a durable store implements the same port.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { StoreError } from "./StoreError.js"

/**
 * What a healer has tried, by wall-clock time.
 *
 * @since 0.1.0
 * @category models
 */
export const Snapshot = Schema.Struct({
  state: Schema.Literal("healing", "escalated"),
  /** Unhealthy or critical rounds in a row. */
  consecutiveFailures: Schema.NonNegativeInt,
  /** Attempts in the current spell, and when the last one was handed out, in milliseconds since the epoch. */
  used: Schema.Array(
    Schema.Struct({ remedy: Schema.String, attempts: Schema.NonNegativeInt, lastAt: Schema.Number })
  ),
  /** Why people are called, as long as that has not got through. */
  undelivered: Schema.optional(Schema.Union(
    Schema.TaggedStruct("TooManyFailures", { consecutiveFailures: Schema.NonNegativeInt }),
    Schema.TaggedStruct("Exhausted", { checks: Schema.Array(Schema.String) })
  ))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Snapshot = typeof Snapshot.Type

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What was saved last under the name of a healer. */
  readonly load: (healer: string) => Effect.Effect<Option.Option<Snapshot>, StoreError>
  /**
   * Has it on the disk, or wherever it is kept, before it returns. The remedy waits for that, for one second at most, and
   * runs also where it failed. Nothing is saved before a `load` has succeeded.
   */
  readonly save: (healer: string, snapshot: Snapshot) => Effect.Effect<void, StoreError>
}

/**
 * The store of the healers made with it; by default nothing is kept.
 *
 * @since 0.1.0
 * @category tags
 */
export class HealingStore extends Context.Reference<HealingStore>()("@firebreak/core/HealingStore", {
  defaultValue: (): Service => nowhere
}) {}

/**
 * Keeps nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const nowhere: Service = { load: () => Effect.succeedNone, save: () => Effect.void }

/**
 * Makes a store in this process's memory, for tests and for healers that are made anew within a process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (): Service => {
  const snapshots = new Map<string, Snapshot>()
  return {
    load: (healer) => Effect.sync(() => Option.fromNullable(snapshots.get(healer))),
    save: (healer, snapshot) => Effect.sync(() => void snapshots.set(healer, snapshot))
  }
}

/**
 * A store in memory. It starts empty with every build of the Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<never> = Layer.effect(HealingStore, Effect.sync(makeMemory))
