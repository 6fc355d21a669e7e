/**
 * A component: a primary source, its fallbacks, and how they are asked. Chains are built with `Degradation`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Pipeable from "effect/Pipeable"
import type * as Types from "effect/Types"
import type { Quality } from "./DegradationLevel.js"
import type { Live, Missing, Valued } from "./DegradationPart.js"
import * as DegradationPart from "./DegradationPart.js"
import * as DegradationSpells from "./DegradationSpells.js"
import * as Events from "./Events.js"
import { errorText } from "./internal/errorText.js"
import { InvalidOption } from "./internal/options.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("@firebreak/core/DegradationComponent")

/**
 * @since 0.1.0
 * @category symbols
 */
export type TypeId = typeof TypeId

/**
 * What a component tells about itself when it is down, and how it treats defects.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** What a user can do meanwhile: `"look at the status page"`. */
  readonly advice?: string | undefined
  /** Whom a user can ask: `"#payments-oncall"`. */
  readonly contact?: string | undefined
  /** When the component is expected back: `"within 15 minutes"`. */
  readonly recovery?: string | undefined
  /** Treats a defect of any source as a failure (`SourceDefect`) to fall back on. Default false: it is not caught. */
  readonly catchDefects?: boolean | undefined
}

/**
 * One fallback. `none` means that it had nothing to give, as a cache without the key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fallback<out P, out R> {
  readonly source: string
  readonly quality: Exclude<Quality, "fresh" | "absent">
  readonly ask: Effect.Effect<Option.Option<P>, unknown, R>
}

/**
 * A chain of sources: `P` are the parts that it may give, `E` the error when all of it fails (`never` once it ends in a
 * constant), `S` the error of its primary source.
 *
 * @since 0.1.0
 * @category models
 */
export interface Component<out P, out E, out R, out S = E> extends Pipeable.Pipeable {
  readonly [TypeId]: { readonly _E: Types.Covariant<E> }
  readonly _tag: "Component"
  readonly name: string
  readonly primary: Effect.Effect<P, S, R>
  readonly fallbacks: ReadonlyArray<Fallback<P, R>>
  readonly options: Options
}

/**
 * A component whose failure fails the whole of `all`, at once and with its own error.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailFast<out P, out E, out R, out S = E> {
  readonly _tag: "FailFast"
  readonly component: Component<P, E, R, S>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Any = Component<Valued<unknown>, unknown, any, unknown> | FailFast<Valued<unknown>, unknown, any, unknown>

/**
 * What a chain with the parts `P` may give when it is asked for fresh values only.
 *
 * @since 0.1.0
 * @category models
 */
export type PartGiven<P, FreshOnly extends boolean> = FreshOnly extends true ? Extract<P, Live<unknown>> : P

/**
 * What a chain may fail with: without its constant, the error of its primary.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorGiven<E, S, FreshOnly extends boolean> = FreshOnly extends true ? S : E

/**
 * The part that a component has in a report.
 *
 * @since 0.1.0
 * @category models
 */
export type PartOf<C, FreshOnly extends boolean> = C extends Component<infer P, infer E, infer _R, infer S>
  ? PartGiven<P, FreshOnly> | MissingUnlessNever<ErrorGiven<E, S, FreshOnly>>
  : C extends FailFast<infer P, infer _E, infer _R, infer _S> ? PartGiven<P, FreshOnly>
  : never

/**
 * The error with which a fail-fast component fails `all`.
 *
 * @since 0.1.0
 * @category models
 */
export type FailFastError<C, FreshOnly extends boolean> = C extends FailFast<infer _P, infer E, infer _R, infer S>
  ? ErrorGiven<E, S, FreshOnly>
  : never

/**
 * What the sources of a component require.
 *
 * @since 0.1.0
 * @category models
 */
export type ContextOf<C> = C extends Component<infer _P, infer _E, infer R, infer _S> ? R
  : C extends FailFast<infer _P, infer _E, infer R, infer _S> ? R
  : never

/**
 * A source ended with a defect, in a component with `catchDefects`.
 *
 * @since 0.1.0
 * @category errors
 */
export class SourceDefect extends Data.TaggedError("SourceDefect")<{
  readonly component: string
  readonly source: string
  readonly defect: unknown
}> {
  override get message(): string {
    return `Source "${this.source}" of component "${this.component}" died: ${errorText(this.defect)}`
  }
}

/**
 * A chain of these sources.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <P, E, R, S>(
  name: string,
  primary: Effect.Effect<P, S, R>,
  fallbacks: ReadonlyArray<Fallback<P, R>>,
  options: Options
): Component<P, E, R, S> => new Chain(name, primary, fallbacks, options)

/**
 * The chain with one more fallback at its end.
 *
 * @throws InvalidOption when the chain has that source already, or ends in a constant
 * @since 0.1.0
 * @category combinators
 */
export const append = <P, E, R, S>(
  self: Component<P, unknown, R, S>,
  fallback: Fallback<P, R>
): Component<P, E, R, S> => {
  for (const { quality, source } of self.fallbacks) {
    if (quality === "constant" || source === fallback.source) {
      const why = quality === "constant" ? "comes after a constant and would never run" : "is in the chain already"
      throw new InvalidOption(`Degradation "${self.name}": "${fallback.source}" ${why}`)
    }
  }
  return make(self.name, self.primary, [...self.fallbacks, fallback], self.options)
}

/**
 * The source, with its defects as `SourceDefect` if the options say so.
 *
 * @since 0.1.0
 * @category combinators
 */
export const guardDefects = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  at: { readonly component: string; readonly source: string },
  options: Options
): Effect.Effect<A, E | SourceDefect, R> =>
  options.catchDefects === true
    ? Effect.catchAllDefect(effect, (defect) => Effect.fail(new SourceDefect({ ...at, defect })))
    : effect

/**
 * What a chain answered: `error` is what the asked sources failed with and `since` when the primary began to fail
 * (milliseconds since the epoch); a fresh part has neither (`""` and 0).
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer<P, S> {
  readonly part: P | Missing<S>
  readonly error: string
  readonly since: number
}

/**
 * Asks the sources in order until one gives a part.
 *
 * @since 0.1.0
 * @category running
 */
export const ask = <P extends Valued<unknown>, E, R, S>(
  self: Component<P, E, R, S>,
  freshOnly: boolean
): Effect.Effect<Answer<P, S>, never, R> =>
  Effect.gen(function*() {
    const spells = yield* DegradationSpells.DegradationSpells
    const first = yield* settle(self.primary)
    if (Either.isRight(first)) {
      const began = spells.unsafeSucceeded(self.name)
      if (Option.isSome(began)) {
        const afterMillis = (yield* Clock.currentTimeMillis) - began.value
        yield* Events.publish({ _tag: "ComponentRecovered", component: self.name, afterMillis })
      }
      return { part: first.right, error: "", since: 0 }
    }
    const since = spells.unsafeFailed(self.name, yield* Clock.currentTimeMillis)
    const errors = [errorText(first.left)]
    let part: P | Missing<S> = DegradationPart.missing(first.left)
    let quality: Exclude<Quality, "fresh"> = "absent"
    let source = "none"
    for (const fallback of self.fallbacks) {
      if (freshOnly && fallback.quality !== "alternate") continue
      const next = yield* settle(fallback.ask)
      if (Either.isLeft(next)) {
        errors.push(`${fallback.source}: ${errorText(next.left)}`)
      } else if (Option.isSome(next.right)) {
        part = next.right.value
        quality = fallback.quality
        source = fallback.source
        break
      }
    }
    const error = errors.join("; ")
    yield* Events.publish({ _tag: "ComponentDegraded", component: self.name, quality, source, error })
    return { part, error, since }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type MissingUnlessNever<E> = [E] extends [never] ? never : Missing<E>

const variance = { _E: (_: never) => _ }

class Chain<P, E, R, S> extends Pipeable.Class() implements Component<P, E, R, S> {
  readonly [TypeId] = variance
  readonly _tag = "Component"
  constructor(
    readonly name: string,
    readonly primary: Effect.Effect<P, S, R>,
    readonly fallbacks: ReadonlyArray<Fallback<P, R>>,
    readonly options: Options
  ) {
    super()
  }
}

/** A typed failure as a value; a defect or an interruption passes through. */
const settle = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Either.Either<A, E>, never, R> =>
  Effect.matchCauseEffect(effect, {
    onSuccess: (value) => Effect.succeed(Either.right(value)),
    onFailure: (cause) =>
      Option.match(Cause.keepDefects(cause), {
        onSome: Effect.failCause,
        onNone: () =>
          Either.match(Cause.failureOrCause(cause), {
            onLeft: (error) => Effect.succeed(Either.left(error)),
            onRight: Effect.failCause
          })
      })
  })
