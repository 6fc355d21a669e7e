/**
 * Faults on purpose: calls that fail, are late, answer wrongly or hang, for a share of them, for a span of time.
 *
 * A call is marked once by its target; what happens to it is said by a Layer, in a test or in an exercise. Without that
 * Layer a marked call costs one look into the context. The lots are drawn from Effect's `Random`, so a seed replays them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Events from "./Events.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"

/**
 * How often and when a rule applies.
 *
 * @since 0.1.0
 * @category options
 */
export interface Span {
  /** The share of calls, 0 to 1. Default 1: every call. */
  readonly rate?: number | undefined
  /** From when on, counted from when the Layer was built. Default: at once. */
  readonly from?: Duration.DurationInput | undefined
  /** Until when, counted likewise. Default: for ever. */
  readonly until?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { rate: 1 } as const

/**
 * What may happen to the calls of a target.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rule extends Span {
  readonly target: string
  readonly kind: "fault" | "latency" | "outcome" | "hang"
  /** What happens: it fails, is awaited, or answers in the call's place. */
  readonly effect: Effect.Effect<unknown, unknown>
}

/**
 * Calls that faults can be injected into: of the errors `E` and the answers `A`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target<E, A> {
  readonly name: string
  /** Marks a call. It can then fail and answer as the target can, which is normally what the call itself can. */
  readonly inject: <A2, E2, R>(effect: Effect.Effect<A2, E2, R>) => Effect.Effect<A | A2, E | E2, R>
  /** Fails with an error of the target, made anew for each call; the call is not started. */
  readonly fault: (options: Span & { readonly error: () => E }) => Rule
  /** Waits before the call is started; rules that follow may still happen to it. */
  readonly latency: (options: Span & { readonly delay: Duration.DurationInput }) => Rule
  /** Answers in the call's place; the call is not started. */
  readonly outcome: (options: Span & { readonly value: () => A }) => Rule
  /** Never answers; the call is not started, and can be interrupted. */
  readonly hang: (options?: Span) => Rule
}

/**
 * Declares a target. Its errors and answers are those of the calls that will be marked by it.
 *
 * @example
 * import * as Chaos from "@firebreak/core/Chaos"
 * import * as Effect from "effect/Effect"
 *
 * const datadog = Chaos.target<"down">("datadog")
 *
 * const metrics = Effect.succeed(42).pipe(datadog.inject)
 *
 * const exercise = metrics.pipe(Effect.provide(Chaos.layer([
 *   datadog.latency({ delay: "2 seconds", rate: 0.2 }),
 *   datadog.fault({ error: () => "down", from: "10 seconds", until: "40 seconds" })
 * ])))
 *
 * @since 0.1.0
 * @category constructors
 */
export const target = <E = never, A = never>(name: string): Target<E, A> => {
  Check.name("Chaos.target", "name", name)
  const rule = (kind: Rule["kind"], options: Span, effect: Effect.Effect<unknown, unknown>): Rule => {
    const { from, rate, until, ...rest } = options
    const own = { fault: { error: true }, latency: { delay: true }, outcome: { value: true }, hang: {} }[kind]
    Check.known(`Chaos.${kind}`, rest, own)
    return { target: name, kind, rate, from, until, effect }
  }
  return {
    name,
    // what the rules of this target fail with and answer is E and A: only its own methods make them
    inject: inject(name) as Target<E, A>["inject"],
    fault: (options) => rule("fault", options, Effect.failSync(options.error)),
    latency: (options) => rule("latency", options, Effect.sleep(Check.millis("Chaos.latency", "delay", options.delay))),
    outcome: (options) => rule("outcome", options, Effect.sync(options.value)),
    hang: (options = {}) => rule("hang", options, Effect.never)
  }
}

/**
 * Makes the rules hold for everything below. They are tried in order, and the first fault, outcome or hang decides. Rules
 * of an outer Layer do not count within an inner one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (rules: ReadonlyArray<Rule>): Layer.Layer<never> => {
  const byTarget = new Map<string, Array<Checked>>()
  for (const rule of rules) {
    const from = rule.from === undefined ? 0 : Check.millis("Chaos", "from", rule.from)
    const checked = {
      rule,
      rate: Check.between("Chaos", "rate", rule.rate ?? defaults.rate, { min: 0, max: 1 }),
      from,
      until: rule.until === undefined ? Infinity : Check.millis("Chaos", "until", rule.until, { min: from })
    }
    byTarget.set(rule.target, [...byTarget.get(rule.target) ?? [], checked])
  }
  return Layer.effect(
    Chaos,
    Effect.withFiberRuntime((fiber) => Effect.succeed({ begun: Time.monotonicMillis(fiber), byTarget }))
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Checked {
  readonly rule: Rule
  readonly rate: number
  /** Milliseconds from when the layer was built. */
  readonly from: number
  readonly until: number
}

interface Active {
  /** Monotonic milliseconds. */
  readonly begun: number
  readonly byTarget: ReadonlyMap<string, ReadonlyArray<Checked>>
}

class Chaos extends Context.Reference<Chaos>()("@firebreak/core/Chaos", {
  defaultValue: (): Active | undefined => undefined
}) {}

const inject = (name: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<unknown, unknown, R> =>
  Effect.withFiberRuntime<unknown, unknown, R>((fiber) => {
    const active = Context.unsafeGet(fiber.currentContext, Chaos)
    const rules = active?.byTarget.get(name)
    return rules === undefined ? effect : disturbed(effect, rules, active!.begun, 0)
  })

/** The call behind the rules from the i-th on. */
const disturbed = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  rules: ReadonlyArray<Checked>,
  begun: number,
  i: number
): Effect.Effect<unknown, unknown, R> =>
  Effect.withFiberRuntime<unknown, unknown, R>((fiber) => {
    const age = Time.monotonicMillis(fiber) - begun
    const at = rules.findIndex(({ from, until }, at) => at >= i && age >= from && age < until)
    if (at === -1) return effect
    const { rate, rule } = rules[at]!
    return Effect.flatMap(Random.next, (draw): Effect.Effect<unknown, unknown, R> => {
      if (draw >= rate) return disturbed(effect, rules, begun, at + 1)
      const happens = Effect.zipRight(
        Events.publish({ _tag: "ChaosInjected", target: rule.target, kind: rule.kind }),
        rule.effect
      )
      return rule.kind === "latency" ? Effect.zipRight(happens, disturbed(effect, rules, begun, at + 1)) : happens
    })
  })
