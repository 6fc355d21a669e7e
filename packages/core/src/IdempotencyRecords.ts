/**
 * What is stored of idempotent actions: a record for each key.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { type Filter as StoreFilter, IdempotencyStore, type Record } from "./IdempotencyStore.js"
import { currentScope } from "./internal/action.js"
import * as Check from "./internal/options.js"
import type { StoreError } from "./StoreError.js"

/**
 * Names one record; without `scope` in the current one.
 *
 * @since 0.1.0
 * @category records
 */
export interface Key {
  readonly operation: string
  readonly key: string
  readonly scope?: string
}

/**
 * Which records: of one operation or of all, one key or all; without `scope` in the current one.
 *
 * @since 0.1.0
 * @category records
 */
export interface Filter {
  readonly scope?: string | typeof everyScope | undefined
  readonly operation?: string | undefined
  readonly key?: string | undefined
}

/**
 * For a `Filter`: records whosever they are.
 *
 * @since 0.1.0
 * @category records
 */
export const everyScope: unique symbol = Symbol.for("@firebreak/core/Idempotency/everyScope")

/**
 * The record of one key.
 *
 * @since 0.1.0
 * @category records
 */
export const get = ({ key, operation, scope }: Key): Effect.Effect<
  Option.Option<Record>,
  StoreError,
  IdempotencyStore
> =>
  Effect.flatMap(
    IdempotencyStore,
    (store) => Effect.flatMap(currentScope, (current) => store.get({ scope: scope ?? current, operation, key }))
  )

/**
 * Records in order of their start.
 *
 * @since 0.1.0
 * @category records
 */
export const list = (filter?: Filter): Effect.Effect<ReadonlyArray<Record>, StoreError, IdempotencyStore> => {
  const resolved = within("Idempotency.list", filter)
  return Effect.flatMap(IdempotencyStore, (store) => Effect.flatMap(resolved, store.list))
}

/**
 * Forgets what has ended or is in doubt, so that the next call runs; never what is in progress. Returns how many.
 * A field that is there and `undefined` throws an `InvalidOption`: an id that is missing would be a filter for all.
 *
 * @since 0.1.0
 * @category records
 */
export const reset = (filter?: Filter): Effect.Effect<number, StoreError, IdempotencyStore> => {
  const resolved = within("Idempotency.reset", filter)
  for (const field in filter) {
    if (filter[field as keyof Filter] !== undefined) continue
    throw new Check.InvalidOption(`Idempotency.reset: ${field} must not be undefined; to forget all, leave it out`)
  }
  return Effect.flatMap(IdempotencyStore, (store) => Effect.flatMap(resolved, store.reset))
}

/**
 * Forgets outcomes past their retention in every scope, never what is in progress or in doubt. Returns how many.
 *
 * @since 0.1.0
 * @category records
 */
export const prune: Effect.Effect<number, StoreError, IdempotencyStore> = Effect.flatMap(
  IdempotencyStore,
  (store) => store.prune
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** A filter with a mistyped field would be of more records than were meant. */
const within = (module: string, filter: Filter = {}): Effect.Effect<StoreFilter> => {
  Check.known(module, filter, { scope: true, operation: true, key: true })
  return Effect.map(currentScope, (current) => ({
    scope: filter.scope === everyScope ? undefined : filter.scope ?? current,
    operation: filter.operation,
    key: filter.key
  }))
}
