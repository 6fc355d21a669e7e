/**
 * The parts of a degraded answer: a value with its provenance, or the error in its place.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Quality } from "./DegradationLevel.js"

/**
 * The value came from the primary source.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fresh<out A> {
  readonly _tag: "Fresh"
  readonly value: A
}

/**
 * The value is live, but came from another source.
 *
 * @since 0.1.0
 * @category models
 */
export interface Alternate<out A> {
  readonly _tag: "Alternate"
  readonly value: A
  readonly source: string
}

/**
 * The value is the last good one: `storedAt` is wall-clock milliseconds since the epoch, `age` the time since then.
 * `isWithinTtl` says that it was served in place of asking the primary, because its chain takes a value of this age for
 * fresh: such a part counts as fresh. It is false where the value is stale, or stands in for a primary that failed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cached<out A> {
  readonly _tag: "Cached"
  readonly value: A
  readonly age: Duration.Duration
  readonly storedAt: number
  readonly isWithinTtl: boolean
}

/**
 * The value is the constant at the end of the chain.
 *
 * @since 0.1.0
 * @category models
 */
export interface Constant<out A> {
  readonly _tag: "Constant"
  readonly value: A
}

/**
 * There is no value: `error` is the failure of the primary source.
 *
 * @since 0.1.0
 * @category models
 */
export interface Missing<out E> {
  readonly _tag: "Missing"
  readonly error: E
}

/**
 * A part that is live: from the primary or from another source.
 *
 * @since 0.1.0
 * @category models
 */
export type Live<A> = Fresh<A> | Alternate<A>

/**
 * A part that has a value.
 *
 * @since 0.1.0
 * @category models
 */
export type Valued<A> = Live<A> | Cached<A> | Constant<A>

/**
 * @since 0.1.0
 * @category models
 */
export type Part<A, E> = Valued<A> | Missing<E>

/**
 * @since 0.1.0
 * @category constructors
 */
export const fresh = <A>(value: A): Fresh<A> => ({ _tag: "Fresh", value })

/**
 * @since 0.1.0
 * @category constructors
 */
export const alternate = <A>(value: A, source: string): Alternate<A> => ({ _tag: "Alternate", value, source })

/**
 * @since 0.1.0
 * @category constructors
 */
export const cached = <A>(
  value: A,
  storedAt: number,
  age: Duration.Duration,
  isWithinTtl: boolean = false
): Cached<A> => ({ _tag: "Cached", value, age, storedAt, isWithinTtl })

/**
 * @since 0.1.0
 * @category constructors
 */
export const constant = <A>(value: A): Constant<A> => ({ _tag: "Constant", value })

/**
 * @since 0.1.0
 * @category constructors
 */
export const missing = <E>(error: E): Missing<E> => ({ _tag: "Missing", error })

/**
 * The value of a part, `none` if it is missing. A part that cannot be missing has it as `part.value`.
 *
 * @since 0.1.0
 * @category getters
 */
export const value = <A>(part: Part<A, unknown>): Option.Option<A> =>
  part._tag === "Missing" ? Option.none() : Option.some(part.value)

/**
 * Where the value of a part came from. A cached value within its ttl is as good as fresh.
 *
 * @since 0.1.0
 * @category getters
 */
export const quality = (part: Part<unknown, unknown>): Quality =>
  part._tag === "Cached" && part.isWithinTtl ? "fresh" : qualities[part._tag]

/**
 * Whether a part is anything but fresh from its primary, or from the cache within its ttl.
 *
 * @since 0.1.0
 * @category getters
 */
export const isDegraded = (part: Part<unknown, unknown>): boolean => quality(part) !== "fresh"

/**
 * A part in a user's words: `from prometheus`, `12m old`, `unavailable`.
 *
 * @since 0.1.0
 * @category getters
 */
export const describe = (part: Part<unknown, unknown>): string => {
  switch (part._tag) {
    case "Fresh":
      return "up to date"
    case "Alternate":
      return `from ${part.source}`
    case "Cached":
      return `${Duration.lessThan(part.age, "1 second") ? "less than 1s" : wholeSeconds(part.age)} old`
    case "Constant":
      return "a default"
    case "Missing":
      return "unavailable"
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const qualities = {
  Fresh: "fresh",
  Alternate: "alternate",
  Cached: "cached",
  Constant: "constant",
  Missing: "absent"
} as const

const wholeSeconds = (age: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.floor(Duration.toSeconds(age))))
