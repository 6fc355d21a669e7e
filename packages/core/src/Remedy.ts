/**
 * A bounded attempt to mend something: an effect with a name, a number of attempts, a cooldown and a timeout. `Healing`
 * decides when it runs.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Check from "./internal/options.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How often it may run until what triggers it is well again. Default 3. */
  readonly attempts?: number | undefined
  /** Least time between the starts of two runs. Default 1 minute. */
  readonly cooldown?: Duration.DurationInput | undefined
  /** When a run that has not ended counts as failed. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long its effect needs to show, before the checks are asked again. Default 0. */
  readonly verifyAfter?: Duration.DurationInput | undefined
  /** Whether it may run at all. Default true. */
  readonly enabled?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  attempts: 3,
  cooldown: "1 minute",
  timeout: "30 seconds",
  verifyAfter: 0,
  enabled: true
} as const

/**
 * A remedy with its options resolved; durations are milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Remedy<out R = never> {
  readonly name: string
  readonly effect: Effect.Effect<unknown, unknown, R>
  readonly attempts: number
  readonly cooldown: number
  readonly timeout: number
  readonly verifyAfter: number
  readonly enabled: boolean
}

/**
 * What the effect of a remedy requires.
 *
 * @since 0.1.0
 * @category models
 */
export type Context<A> = A extends Remedy<infer R> ? R : never

/**
 * Makes a remedy. Its effect should be safe to run again: one that was cut off by its timeout may have done its work.
 *
 * @example
 * import * as Remedy from "@firebreak/core/Remedy"
 * import * as Effect from "effect/Effect"
 *
 * const resetConnections = Remedy.make("reset connections", Effect.log("pool reset"), {
 *   attempts: 3,
 *   cooldown: "1 minute"
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>, options: Options = {}): Remedy<R> => {
  Check.known("Remedy", options, { attempts: true, cooldown: true, timeout: true, verifyAfter: true, enabled: true })
  return {
    name: Check.name("Remedy", "name", name),
    effect,
    attempts: Check.whole("Remedy", "attempts", options.attempts ?? defaults.attempts, { min: 1 }),
    cooldown: Check.millis("Remedy", "cooldown", options.cooldown ?? defaults.cooldown),
    timeout: Check.millis("Remedy", "timeout", options.timeout ?? defaults.timeout, { min: 1 }),
    verifyAfter: Check.millis("Remedy", "verifyAfter", options.verifyAfter ?? defaults.verifyAfter),
    enabled: options.enabled ?? defaults.enabled
  }
}
