/**
 * Remembers since when each component has been failing: a spell begins with the first failure of the primary source, or
 * when a stale value was served without asking it, and ends with its next success. So an error can say "down since
 * 10:42" instead of "down".
 *
 * The tracker is a `Context.Reference`, so nobody has to provide it: without a layer every failure begins its own spell.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/**
 * Times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Notes a failure at `at` and answers when the current spell began. */
  readonly unsafeFailed: (component: string, at: number) => number
  /** Notes a success and answers when the spell that it ended had begun. */
  readonly unsafeSucceeded: (component: string) => Option.Option<number>
}

/**
 * The current tracker; by default one that remembers nothing.
 *
 * @since 0.1.0
 * @category tags
 */
export class DegradationSpells extends Context.Reference<DegradationSpells>()("@firebreak/core/DegradationSpells", {
  defaultValue: (): Service => forgetful
}) {}

/**
 * Makes a tracker.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): Service => {
  const spells = new Map<string, number>()
  return {
    unsafeFailed: (component, at) => {
      const since = spells.get(component) ?? at
      spells.set(component, since)
      return since
    },
    unsafeSucceeded: (component) => {
      const since = Option.fromNullable(spells.get(component))
      spells.delete(component)
      return since
    }
  }
}

/**
 * Provides a tracker.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.suspend(() => Layer.succeed(DegradationSpells, make()))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const forgetful: Service = {
  unsafeFailed: (_, at) => at,
  unsafeSucceeded: () => Option.none()
}
