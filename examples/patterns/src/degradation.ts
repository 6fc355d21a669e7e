/** Five requests to three unreliable services: what fails comes from the cache, and what was never seen is missing. */
import * as Degradation from "@firebreak/core/Degradation"
import * as DegradationPart from "@firebreak/core/DegradationPart"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly service: string }> {
  override get message(): string {
    return `${this.service} did not answer`
  }
}

/** A service that fails at the given rate, and whose last good answer is kept for an hour. */
const unreliable = (name: string, failureRate: number) => {
  let calls = 0
  const call = Effect.gen(function*() {
    calls += 1
    if ((yield* Random.next) < failureRate) return yield* new Unavailable({ service: name })
    yield* Effect.sleep("5 millis")
    return `answer ${calls} of ${name}`
  })
  return Degradation.component(name, call, { advice: `read ${name} on the node itself` }).pipe(
    Degradation.orCached({ key: "INC-12345", schema: Schema.String, maxAge: "1 hour" })
  )
}

const request = Degradation.all({
  metrics: unreliable("metrics", 0.3),
  logs: unreliable("logs", 0.5),
  alerts: unreliable("alerts", 0.1)
}, { tolerate: "moderate" })

const attempt = Effect.fnUntraced(
  function*(number: number) {
    yield* Console.log(`${number === 1 ? "" : "\n"}Attempt ${number}`)
    const report = yield* request
    yield* Console.log(`  level ${report.level}`)
    for (const [name, part] of Object.entries(report.parts)) {
      const value = Option.getOrElse(Degradation.value(part), () => "nothing")
      yield* Console.log(`  ${name}: ${value} (${DegradationPart.describe(part)})`)
    }
    const banner = Degradation.banner(report)
    if (Option.isSome(banner)) yield* Console.log(`  ${banner.value}`)
  },
  Effect.catchTag("DegradedBeyond", (error) => Console.log(`  refused: ${error.message}`))
)

/** The same seed gives the same failures at every run. */
export const main: Effect.Effect<void> = Effect.forEach(
  [1, 2, 3, 4, 5],
  (number) => Effect.zipLeft(attempt(number), Effect.sleep("20 millis")),
  { discard: true }
).pipe(Effect.withRandom(Random.make("14")), Effect.provide(Degradation.layerMemory))
