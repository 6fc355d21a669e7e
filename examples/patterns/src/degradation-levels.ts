/** One and the same outage under three configurations: how much degradation is still an answer is a decision. */
import * as Degradation from "@firebreak/core/Degradation"
import type * as DegradationLevel from "@firebreak/core/DegradationLevel"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly service: string }> {
  override get message(): string {
    return `${this.service} did not answer`
  }
}

/** Fails at the given rate and has no fallback: the response is partial. */
const unreliable = (name: string, failureRate: number) =>
  Degradation.component(
    name,
    Effect.flatMap(
      Random.next,
      (draw) => draw < failureRate ? Effect.fail(new Unavailable({ service: name })) : Effect.succeed(`some ${name}`)
    ),
    { recovery: "within 15 minutes", contact: "#observability" }
  )

const configurations: ReadonlyArray<readonly [name: string, tolerate: DegradationLevel.Level]> = [
  ["Permissive", "minimal"],
  ["Moderate", "moderate"],
  ["Strict", "slight"]
]

const respond = (name: string, tolerate: DegradationLevel.Level) =>
  Degradation.all({ metrics: unreliable("metrics", 0.7), logs: unreliable("logs", 0.7) }, { tolerate }).pipe(
    Effect.matchEffect({
      onSuccess: (report) => Console.log(`${name} (no worse than ${tolerate}): accepted at level ${report.level}`),
      onFailure: (error) => Console.log(`${name} (no worse than ${tolerate}): refused. ${error.message}`)
    }),
    // each configuration meets the same failures
    Effect.withRandom(Random.make("levels"))
  )

export const main: Effect.Effect<void> = Effect.forEach(
  configurations,
  ([name, tolerate]) => respond(name, tolerate),
  { discard: true }
)
