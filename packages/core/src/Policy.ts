/**
 * Several protections of one call, composed once in the documented order: retry with backoff > breaker > attempt
 * timeout. So each attempt, not each call, counts against the breaker and has its own time.
 *
 * A policy is a function over effects and owns no state: breakers are named by their tags and provided as Layers. Its
 * type adds exactly the errors and requirements of the parts it was given.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Schedule from "effect/Schedule"
import * as CircuitBreaker from "./CircuitBreaker.js"
import * as Check from "./internal/options.js"
import { stackless } from "./internal/stackless.js"
import * as Rejection from "./Rejection.js"

/**
 * When and how long to wait before another attempt. `while` sees only the caller's own errors: an attempt timeout is
 * always retried; an open circuit never, the call then fails with its own last error if it had one.
 *
 * @since 0.1.0
 * @category options
 */
export interface Retry<in E, out R> {
  readonly schedule: Schedule.Schedule<unknown, any, R>
  readonly while: (error: E) => boolean
}

/**
 * All parts are optional; what is left out adds nothing.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E, R, I> {
  readonly retry?: Retry<E, R> | undefined
  readonly breaker?: Context.Tag<I, CircuitBreaker.CircuitBreaker> | undefined
  /** The longest time of one attempt. */
  readonly attemptTimeout?: Duration.DurationInput | undefined
}

/**
 * An attempt took too long and was interrupted: it may or may not have had its effect.
 *
 * @since 0.1.0
 * @category errors
 */
export class AttemptTimeout extends Data.TaggedError("AttemptTimeout")<{ readonly timeout: Duration.Duration }> {
  override get message(): string {
    return `The attempt took longer than ${Duration.format(this.timeout)} and was interrupted; its outcome is unknown`
  }
}

/**
 * The errors that a policy of these options adds.
 *
 * @since 0.1.0
 * @category models
 */
export type Added<O> =
  | (O extends { readonly breaker: Context.Tag<any, any> } ? CircuitBreaker.CircuitOpen : never)
  | (O extends { readonly attemptTimeout: Duration.DurationInput } ? AttemptTimeout : never)

/**
 * The services that a policy of these options needs.
 *
 * @since 0.1.0
 * @category models
 */
export type Needed<O> =
  | (O extends { readonly breaker: Context.Tag<infer I, any> } ? I : never)
  | (O extends { readonly retry: Retry<any, infer R> } ? R : never)

/**
 * The errors a policy of these options accepts: those its `while` can judge.
 *
 * @since 0.1.0
 * @category models
 */
export type Accepted<O> = O extends { readonly retry: Retry<infer E, any> } ? E : unknown

/**
 * @example
 * import * as Backoff from "@firebreak/core/Backoff"
 * import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
 * import * as Policy from "@firebreak/core/Policy"
 * import * as Effect from "effect/Effect"
 *
 * class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}
 *
 * const vendorCall = Policy.make({
 *   retry: { schedule: Backoff.production, while: (error: { readonly status: number }) => error.status >= 500 },
 *   breaker: Datadog,
 *   attemptTimeout: "2 seconds"
 * })
 *
 * const metrics = Effect.fail({ status: 503 }).pipe(vendorCall)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const O extends Options<any, any, any>>(
  options: O
): <A, E extends Accepted<O>, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Added<O>, R | Needed<O>> => {
  const policy = compile(options)
  return policy as never
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Errors<E> = E | CircuitBreaker.CircuitOpen | AttemptTimeout

const compile = <E, R, I>(options: Options<E, R, I>) => {
  const { breaker, retry } = options
  const timeout = options.attemptTimeout === undefined
    ? undefined
    : Duration.millis(Check.millis("Policy", "attemptTimeout", options.attemptTimeout, { min: 1 }))
  return <A, R2>(effect: Effect.Effect<A, E, R2>): Effect.Effect<A, Errors<E>, R | R2 | I> => {
    const timed: Effect.Effect<A, Errors<E>, R2> = timeout === undefined
      ? effect
      : Effect.timeoutFail(effect, {
        duration: timeout,
        onTimeout: () => stackless(() => new AttemptTimeout({ timeout }))
      })
    const attempt: Effect.Effect<A, Errors<E>, R2 | I> = breaker === undefined
      ? timed
      : CircuitBreaker.protect(breaker)(timed)
    return retry === undefined ? attempt : retrying(attempt, retry)
  }
}

const retrying = <A, E, R, R2>(
  attempt: Effect.Effect<A, Errors<E>, R>,
  retry: Retry<E, R2>
): Effect.Effect<A, Errors<E>, R | R2> =>
  Effect.suspend(() => {
    let last: Errors<E> | undefined
    const isRetryable = (error: Errors<E>) => error instanceof AttemptTimeout || retry.while(error as E)
    // Effect.retry steps the schedule before it asks `while`: what is final must not get there, or hooks would hear of
    // retries that never happen
    const judged = Effect.matchEffect(attempt, {
      onSuccess: (value) => Effect.succeed(Exit.succeed(value)),
      onFailure: (error): Effect.Effect<Exit.Exit<A, Errors<E>>, Errors<E>> => {
        // rejected on a retry: what the dependency itself said last is worth more
        if (Rejection.isRejection(error)) return Effect.succeed(Exit.fail(last ?? error))
        last = error
        return isRetryable(error) ? Effect.fail(error) : Effect.succeed(Exit.fail(error))
      }
    })
    return Effect.flatten(Effect.retry(judged, retry.schedule))
  })
