/** Asks several components side by side, and counts the answer. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Any } from "../DegradationComponent.js"
import type { Level } from "../DegradationLevel.js"
import * as DegradationPart from "../DegradationPart.js"
import * as DegradationReport from "../DegradationReport.js"
import { DegradationSlo } from "../DegradationSlo.js"
import * as Events from "../Events.js"
import { ask, type AskOptions } from "./askChain.js"
import { InvalidOption } from "./options.js"
import * as Time from "./time.js"

export interface Settings {
  readonly name: string
  readonly freshOnly: boolean
  readonly tolerate: Level
  readonly weightOf: (name: string) => number
  /** In milliseconds from when the answer is asked for. */
  readonly deadline: number | undefined
}

export const askAll = (
  entries: ReadonlyArray<readonly [name: string, component: Any]>,
  { deadline, freshOnly, name, tolerate, weightOf }: Settings
) => {
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
    const until = deadline === undefined
      ? undefined
      : { at: Time.monotonicMillis(fiber) + deadline, after: Duration.millis(deadline) }
    return Effect.gen(function*() {
      const slo = yield* DegradationSlo
      const answers = yield* Effect.forEach(entries, ([name, entry]) => askOne(name, entry, until), {
        concurrency: "unbounded"
      }).pipe(
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

/** The weights by name, none of them wrong. */
export const checkWeights = (
  names: ReadonlyArray<string>,
  weights: Readonly<Record<string, number | undefined>>
): ReadonlyMap<string, number | undefined> => {
  if (names.length === 0) throw new InvalidOption("Degradation: all needs at least one component, got none")
  for (const [name, weight] of Object.entries(weights)) {
    if (!names.includes(name)) {
      throw new InvalidOption(`Degradation: weights.${name} is of no component, there are ${names.join(", ")}`)
    }
    if (weight !== undefined && !(weight > 0 && weight < Infinity)) {
      throw new InvalidOption(`Degradation: weights.${name} must be positive and finite, got ${weight}`)
    }
  }
  return new Map(Object.entries(weights))
}
