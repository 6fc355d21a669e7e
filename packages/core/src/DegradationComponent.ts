/**
 * A component: a primary source, its fallbacks, and what it says of itself. Chains are built with `Degradation`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Pipeable from "effect/Pipeable"
import type * as Types from "effect/Types"
import type { Quality } from "./DegradationLevel.js"
import type { Constant, Live, Missing, Valued } from "./DegradationPart.js"
import type { DegradedBeyond, Report } from "./DegradationReport.js"
import { durationText } from "./internal/durationText.js"
import { errorText } from "./internal/errorText.js"
import * as Check from "./internal/options.js"
import * as Timer from "./internal/timer.js"

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
 * What a component tells about itself when it is down, and how it treats sources that die or hang.
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
  /**
   * How long each live source, the primary and every alternate, may take. Then it is interrupted and has failed with
   * `SourceTimeout`. Default: as long as it likes.
   */
  readonly timeout?: Duration.DurationInput | undefined
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
 * What the primary gave: the part, and what stores it as the last good one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<out P, out R> {
  readonly part: P
  readonly keep: Effect.Effect<void, never, R>
}

/**
 * A part that is served without asking the primary. A stale one says since when it is stale, in wall-clock milliseconds
 * since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ahead<out P> {
  readonly part: P
  readonly staleSince: Option.Option<number>
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
  readonly primary: Effect.Effect<Given<P, R>, S, R>
  readonly fallbacks: ReadonlyArray<Fallback<P, R>>
  readonly options: Options
  /** Looked at before the primary is asked. */
  readonly ahead: Effect.Effect<Option.Option<Ahead<P>>, never, R>
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
 * The same with a deadline: `Late` is added wherever the chain has no constant that answers at once.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorWithin<P, E, S, FreshOnly extends boolean, Late> =
  | ErrorGiven<E, S, FreshOnly>
  | ([Extract<PartGiven<P, FreshOnly>, Constant<unknown>>] extends [never] ? Late : never)

/**
 * `SourceTimeout` if there is a limit of time.
 *
 * @since 0.1.0
 * @category models
 */
export type LateWithin<D> = [D] extends [undefined] ? never : SourceTimeout

/**
 * The part that a component has in a report.
 *
 * @since 0.1.0
 * @category models
 */
export type PartOf<C, FreshOnly extends boolean, Late = never> = C extends
  Component<infer P, infer E, infer _R, infer S>
  ? PartGiven<P, FreshOnly> | MissingUnlessNever<ErrorWithin<P, E, S, FreshOnly, Late>>
  : C extends FailFast<infer P, infer _E, infer _R, infer _S> ? PartGiven<P, FreshOnly>
  : never

/**
 * The error with which a fail-fast component fails `all`.
 *
 * @since 0.1.0
 * @category models
 */
export type FailFastError<C, FreshOnly extends boolean, Late = never> = C extends
  FailFast<infer P, infer E, infer _R, infer S> ? ErrorWithin<P, E, S, FreshOnly, Late>
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
 * What `all` gives for these components.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<
  C extends Readonly<Record<string, Any>>,
  FreshOnly extends boolean,
  Deadline
> = Effect.Effect<
  Report<
    { readonly [Name in keyof C]: PartOf<C[Name], FreshOnly, LateWithin<Deadline>> }
  >,
  DegradedBeyond | FailFastError<C[keyof C], FreshOnly, LateWithin<Deadline>>,
  ContextOf<C[keyof C]>
>

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
 * A source did not answer within the time of its component, or of the whole answer. It was interrupted, or not started if
 * there was no time left.
 *
 * @since 0.1.0
 * @category errors
 */
export class SourceTimeout extends Data.TaggedError("SourceTimeout")<{
  readonly component: string
  readonly source: string
  readonly after: Duration.Duration
}> {
  override get message(): string {
    return `Source "${this.source}" of component "${this.component}" gave no answer within ${durationText(this.after)}`
  }
}

/**
 * A chain of these sources.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <P, E, R, S>(
  chain: Pick<Component<P, E, R, S>, "name" | "primary" | "fallbacks" | "options" | "ahead">
): Component<P, E, R, S> => new Chain(chain.name, chain.primary, chain.fallbacks, chain.options, chain.ahead)

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
      throw new Check.InvalidOption(`Degradation "${self.name}": "${fallback.source}" ${why}`)
    }
  }
  return new Chain(self.name, self.primary, [...self.fallbacks, fallback], self.options, self.ahead)
}

/**
 * The source with its defects as `SourceDefect` and for at most `timeout`, where the options say so.
 *
 * @throws InvalidOption when `timeout` is no finite duration of at least 1 ms
 * @since 0.1.0
 * @category combinators
 */
export const guard = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  at: { readonly component: string; readonly source: string },
  { catchDefects = false, timeout }: Options
): Effect.Effect<A, E | SourceDefect | SourceTimeout, R> => {
  const guarded = catchDefects
    ? Effect.catchAllDefect(effect, (defect) => Effect.fail(new SourceDefect({ ...at, defect })))
    : effect
  if (timeout === undefined) return guarded
  const millis = Check.millis(`Degradation "${at.component}"`, "timeout", timeout, { min: 1 })
  return Timer.within(guarded, millis, () => new SourceTimeout({ ...at, after: Duration.millis(millis) }))
}

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
    readonly primary: Effect.Effect<Given<P, R>, S, R>,
    readonly fallbacks: ReadonlyArray<Fallback<P, R>>,
    readonly options: Options,
    readonly ahead: Effect.Effect<Option.Option<Ahead<P>>, never, R>
  ) {
    super()
  }
}
