/** Asks several components side by side, and counts the answer. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Any } from "../DegradationComponent.js"
import type { Level } from "../DegradationLevel.js"
import * as DegradationPart from "../DegradationPart.js"
import * as DegradationReport from "../DegradationReport.js"
import { DegradationSlo } from "../DegradationSlo.js"
import * as Events from "../Events.js"
import { ask, type AskOptions } from "./askChain.js"
import * as Check from "./options.js"
import * as Time from "./time.js"

export interface Settings {
  readonly name: string
  readonly freshOnly: boolean
  readonly tolerate: Level
  readonly weightOf: (name: string) => number
  /** From when the answer is asked for. */
  readonly deadline: Duration.DurationInput | undefined
}

export const askAll = (
  entries: ReadonlyArray<readonly [name: string, component: Any]>,
  { deadline, freshOnly, name, tolerate, weightOf }: Settings
) => {
  const limit = deadline === undefined
    ? undefined
    : Check.millis("Degradation.all", "deadline", deadline, { min: 1 })
  const askOne = Effect.fnUntraced(function*(name: string, entry: Any, deadline: AskOptions["deadline"]) {
    const self = entry._tag === "FailFast" ? entry.component : entry
    const { error, part, since } = yield* ask(self, { freshOnly, deadline })
    if (entry._tag === "FailFast" && part._tag === "Missing") return yield* Effect.fail(part.error)
    const quality = DegradationPart.quality(part)
    const outcome = { component: name, quality, weight: weightOf(name), error, since, options: self.options }
    return { name, part, outcome }
  })

  return Effect.withFiberRuntime<
    DegradationReport.Report<Readonly<Record<string, DegradationPart.Part<unknown, unknown>>>>,
    unknown,
    any
  >((fiber) => {
    const until = limit === undefined
      ? undefined
      : { at: Time.monotonicMillis(fiber) + limit, after: Duration.millis(limit) }
    return Effect.gen(function*() {
      const slo = yield* DegradationSlo
      const answers = yield* sideBySide(entries.map(([name, entry]) => askOne(name, entry, until))).pipe(
        // without one of its parts there is no answer at all; who was interrupted wants none
        Effect.tapErrorCause((cause) =>
          Cause.isInterruptedOnly(cause)
            ? Effect.void
            : Effect.sync(() => slo.unsafeRecord(name, { level: "failed", hasCached: false }))
        )
      )
      const { beyond, level, outages } = DegradationReport.assess(answers.map(({ outcome }) => outcome), tolerate)
      slo.unsafeRecord(name, { level, hasCached: outages.some(({ quality }) => quality === "cached") })
      if (level !== "full") {
        const components = outages.map(({ component }) => component)
        yield* Events.publish({ _tag: "ResponseDegraded", level, components })
      }
      if (Option.isSome(beyond)) return yield* beyond.value
      return { level, parts: Object.fromEntries(answers.map(({ name, part }) => [name, part])), outages }
    })
  })
}

/**
 * Each on a fiber of its own, until one fails. What a branch of `Effect.forEach` forks belongs to the fiber around it, so
 * an `Effect.timeout` within a source would not be interrupted with its source, and would hold up the answer.
 */
const sideBySide = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>): Effect.Effect<ReadonlyArray<A>, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forEach(effects, (effect) => Effect.fork(restore(effect))), (fibers) => {
      const succeeded = Effect.async<void, E>((resume) => {
        let left = fibers.length
        for (const fiber of fibers) {
          fiber.addObserver((exit) => {
            if (Exit.isFailure(exit)) resume(exit)
            else if (--left === 0) resume(Effect.void)
          })
        }
      })
      return Effect.onExit(
        restore(Effect.zipRight(succeeded, Effect.forEach(fibers, Fiber.join))),
        () => Fiber.interruptAll(fibers)
      )
    })
  )

/** The weights by name, none of them wrong. */
export const checkWeights = (
  names: ReadonlyArray<string>,
  weights: Readonly<Record<string, number | undefined>>
): ReadonlyMap<string, number | undefined> => {
  if (names.length === 0) throw new Check.InvalidOption("Degradation: all needs at least one component, got none")
  for (const [name, weight] of Object.entries(weights)) {
    if (!names.includes(name)) {
      throw new Check.InvalidOption(`Degradation: weights.${name} is of no component, there are ${names.join(", ")}`)
    }
    if (weight !== undefined && !(weight > 0 && weight < Infinity)) {
      throw new Check.InvalidOption(`Degradation: weights.${name} must be positive and finite, got ${weight}`)
    }
  }
  return new Map(Object.entries(weights))
}
