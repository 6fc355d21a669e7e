/**
 * Idempotency without a key, for what can be read: act only where the world is not yet as it should be, and name the
 * target, never a difference. Reachable as `Idempotency.ensure` and `Idempotency.setTo`.
 *
 * Reading and acting are two calls: of two writers at the same moment both may act. Where that matters, put the call
 * inside an action with a key.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Equivalence from "effect/Equivalence"
import type * as Schedule from "effect/Schedule"
import * as Check from "./internal/options.js"

/**
 * What was found, and what was done about it: `Already` as desired, or `Changed` from `before` to `value`.
 *
 * @since 0.1.0
 * @category models
 */
export type Ensured<A> =
  | { readonly _tag: "Already"; readonly value: A }
  | { readonly _tag: "Changed"; readonly before: A; readonly value: A }

/**
 * The state was changed, and what was read afterwards is still not as desired.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReached extends Data.TaggedError("NotReached")<{
  readonly name: string
  /** What was read last. */
  readonly value: unknown
}> {
  override get message(): string {
    return `"${this.name}" was changed, and still does not read as desired afterwards; the change did run`
  }
}

/**
 * Reads, acts only if the state is not the desired one, and reads again to see that it is.
 *
 * `settle` says how to go on reading where the change takes its time to show; by default it is read once.
 *
 * @example
 * import * as Idempotency from "@firebreak/core/Idempotency"
 * import * as Effect from "effect/Effect"
 * import * as Ref from "effect/Ref"
 *
 * const program = Effect.gen(function*() {
 *   const config = yield* Ref.make<string | undefined>(undefined)
 *   return yield* Idempotency.ensure({
 *     name: "config",
 *     read: Ref.get(config),
 *     isDesired: (value) => value === "on",
 *     act: () => Ref.set(config, "on")
 *   })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const ensure = <A, E, R, B, E2, R2, C = never, R3 = never>(options: {
  readonly name: string
  readonly read: Effect.Effect<A, E, R>
  readonly isDesired: (value: A) => boolean
  readonly act: (value: A) => Effect.Effect<B, E2, R2>
  readonly settle?: Schedule.Schedule<C, A, R3> | undefined
}): Effect.Effect<Ensured<A>, E | E2 | NotReached, R | R2 | R3> => {
  Check.known("DesiredState.ensure", options, { name: true, read: true, isDesired: true, act: true, settle: true })
  const { act, isDesired, name, read, settle } = options
  const reread: Effect.Effect<A, E, R | R3> = settle === undefined
    ? read
    : Effect.suspend(() => {
      let last: A
      const remembered = Effect.tap(read, (value) => Effect.sync(() => last = value))
      return Effect.map(Effect.repeat(remembered, { schedule: settle, until: isDesired }), () => last)
    })
  return Effect.flatMap(read, (before): Effect.Effect<Ensured<A>, E | E2 | NotReached, R | R2 | R3> => {
    if (isDesired(before)) return Effect.succeed({ _tag: "Already", value: before })
    return Effect.flatMap(Effect.zipRight(act(before), reread), (value) =>
      isDesired(value)
        ? Effect.succeed({ _tag: "Changed", before, value })
        : Effect.fail(new NotReached({ name, value })))
  })
}

/**
 * Writes a value if it is not the target yet: `setTo` three replicas, never one more. Values are compared by `Equal`
 * unless an `equivalence` is given.
 *
 * @example
 * import * as Idempotency from "@firebreak/core/Idempotency"
 * import * as Effect from "effect/Effect"
 * import * as Ref from "effect/Ref"
 *
 * const program = Effect.gen(function*() {
 *   const replicas = yield* Ref.make(2)
 *   const write = (target: number) => Ref.set(replicas, target)
 *   return yield* Idempotency.setTo({ name: "replicas", target: 3, read: Ref.get(replicas), write })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const setTo = <A, E, R, B, E2, R2, C = never, R3 = never>(options: {
  readonly name: string
  readonly target: A
  readonly read: Effect.Effect<A, E, R>
  readonly write: (target: A) => Effect.Effect<B, E2, R2>
  readonly equivalence?: Equivalence.Equivalence<A> | undefined
  readonly settle?: Schedule.Schedule<C, A, R3> | undefined
}): Effect.Effect<Ensured<A>, E | E2 | NotReached, R | R2 | R3> => {
  const own = { target: true, write: true, equivalence: true } as const
  Check.known("DesiredState.setTo", options, { name: true, read: true, settle: true, ...own })
  const same = options.equivalence ?? Equal.equals
  return ensure({
    name: options.name,
    read: options.read,
    isDesired: (value) => same(value, options.target),
    act: () => options.write(options.target),
    settle: options.settle
  })
}
