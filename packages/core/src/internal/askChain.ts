/** Asks the sources of a chain. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { type Ahead, type Component, SourceTimeout } from "../DegradationComponent.js"
import type { Quality } from "../DegradationLevel.js"
import type { Missing, Valued } from "../DegradationPart.js"
import * as DegradationPart from "../DegradationPart.js"
import * as Events from "../Events.js"
import { errorText } from "./errorText.js"
import * as Spell from "./spell.js"
import * as Time from "./time.js"
import * as Timer from "./timer.js"

/**
 * What a chain answered: `error` is what the asked sources failed with and `since` when the primary began to fail
 * (milliseconds since the epoch); a fresh part has neither (`""` and 0).
 */
export interface Answer<P, S> {
  readonly part: P | Missing<S>
  readonly error: string
  readonly since: number
}

export interface AskOptions {
  /** Skips what is not live. */
  readonly freshOnly: boolean
  /** When live sources must have answered, in milliseconds of the monotonic clock, and how long that was. */
  readonly deadline?: { readonly at: number; readonly after: Duration.Duration } | undefined
}

/**
 * Asks the sources in order until one gives a part. After the deadline only those are asked that answer at once.
 */
export const ask = <P extends Valued<unknown>, E, R, S>(
  self: Component<P, E, R, S>,
  { deadline, freshOnly }: AskOptions
): Effect.Effect<Answer<P, S | SourceTimeout>, never, R> =>
  Effect.gen(function*() {
    const { name: component } = self
    const ahead = freshOnly ? Option.none() : yield* self.ahead
    if (Option.isSome(ahead)) return yield* servedAhead(component, ahead.value)

    const first = yield* settle(before(self.primary, deadline, { component, source: "primary" }))
    if (Either.isRight(first)) {
      yield* Effect.ignore(before(first.right.keep, deadline, { component, source: "cache" }))
      yield* Spell.ended(component)
      return { part: first.right.part, error: "", since: 0 }
    }
    const since = yield* Spell.began(component)
    const errors = [errorText(first.left)]
    let part: P | Missing<S | SourceTimeout> = DegradationPart.missing(first.left)
    let quality: Exclude<Quality, "fresh"> = "absent"
    let source = "none"
    for (const fallback of self.fallbacks) {
      const isLive = fallback.quality === "alternate"
      if (freshOnly && !isLive) continue
      const next = yield* settle(
        isLive ? before(fallback.ask, deadline, { component, source: fallback.source }) : fallback.ask
      )
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
    yield* Events.publish({ _tag: "ComponentDegraded", component, quality, source, error })
    return { part, error, since }
  })

/** A part from ahead of the primary. One within its ttl is no news; a stale one is, though the primary was not asked. */
const servedAhead = <P>(component: string, { part, staleSince }: Ahead<P>): Effect.Effect<Answer<P, never>> =>
  Effect.gen(function*() {
    if (Option.isNone(staleSince)) return { part, error: "", since: 0 }
    const since = yield* Spell.began(component, staleSince.value)
    const error = "stale, and being refreshed"
    yield* Events.publish({ _tag: "ComponentDegraded", component, quality: "cached", source: "cache", error })
    return { part, error, since }
  })

/** The effect if it ends before the deadline. */
const before = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  deadline: AskOptions["deadline"],
  at: { readonly component: string; readonly source: string }
): Effect.Effect<A, E | SourceTimeout, R> => {
  if (deadline === undefined) return effect
  const late = () => new SourceTimeout({ ...at, after: deadline.after })
  return Effect.withFiberRuntime<A, E | SourceTimeout, R>((fiber) => {
    const left = deadline.at - Time.monotonicMillis(fiber)
    return left > 0 ? Timer.within(effect, left, late) : Exit.fail(late())
  })
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
