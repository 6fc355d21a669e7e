/**
 * Errors that say "the call was not started": a breaker that is open, a bulkhead that is full. Patterns treat them as
 * no outcome at all: they do not count against a breaker, are not recorded by idempotency, and are not retried.
 *
 * @since 0.1.0
 */
/**
 * Put this property, set to `true`, on an error class of your own to have it treated as a call that was not started.
 *
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("@firebreak/core/Rejection")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * An error that is known to mean "not started".
 *
 * @since 0.1.0
 * @category models
 */
export interface Rejection {
  readonly [TypeId]: true
}

/**
 * @since 0.1.0
 * @category refinements
 */
export const isRejection = (u: unknown): u is Rejection =>
  typeof u === "object" && u !== null && (u as Partial<Rejection>)[TypeId] === true
