/**
 * One call that fails three times, retried with each jitter. Then a thousand clients that fail at the same moment: the
 * jitter decides whether they all come back at the same moment too.
 */
import * as Backoff from "@firebreak/core/Backoff"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { seconds } from "./internal/print.js"

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly attempt: number }> {
  override get message(): string {
    return `API unavailable (attempt ${this.attempt})`
  }
}

// #region usage
const schedule = (jitter: Backoff.Jitter, onRetry?: Backoff.Options<Unavailable>["onRetry"]) =>
  Backoff.make<Unavailable>({
    base: "1 second",
    cap: "16 seconds",
    maxRetries: 5,
    maxTotalDelay: "30 seconds",
    jitter,
    onRetry
  })
// #endregion

/** Fails three times, then succeeds. */
const makeFlakyCall = () => {
  let attempt = 0
  return Effect.suspend(() => ++attempt <= 3 ? Effect.fail(new Unavailable({ attempt })) : Effect.succeed("Success!"))
}

const oneClient = Effect.fnUntraced(function*(jitter: Backoff.Jitter) {
  yield* Console.log(jitter === jitters[0] ? jitter : `\n${jitter}`)
  let waited = Duration.zero
  const result = yield* Effect.retry(
    makeFlakyCall(),
    schedule(jitter, ({ delay, error, totalDelay }) => {
      waited = totalDelay
      return Console.log(`  ✗ ${error.message}, retrying in ${seconds(delay)}`)
    })
  )
  yield* Console.log(`  ✓ ${result} Waited ${seconds(waited)}`)
}, Effect.orDie)

/** The most retries that arrive within one tenth of a second. */
const busiestMoment = Effect.fnUntraced(function*(jitter: Backoff.Jitter) {
  const began = yield* Clock.currentTimeMillis
  const arrivals = new Map<number, number>()
  const arrive = Effect.map(Clock.currentTimeMillis, (now) => {
    const moment = Math.floor((now - began) / 100)
    if (now > began) arrivals.set(moment, (arrivals.get(moment) ?? 0) + 1)
  })
  const client = Effect.suspend(() => arrive.pipe(Effect.zipRight(makeFlakyCall()), Effect.retry(schedule(jitter))))
  yield* Effect.replicateEffect(client, 1_000, { concurrency: "unbounded", discard: true })
  const busiest = Math.max(...arrivals.values())
  yield* Console.log(`  ${jitter.padEnd(14)}${String(busiest).padStart(5)}  ${"█".repeat(Math.ceil(busiest / 25))}`)
}, Effect.orDie)

const jitters = ["none", "full", "equal", "proportional", "decorrelated"] as const

export const main: Effect.Effect<void> = Effect.gen(function*() {
  yield* Effect.forEach(jitters, oneClient, { discard: true })
  yield* Console.log("\n1,000 clients fail at once; the most retries within a tenth of a second:\n")
  yield* Effect.forEach(jitters, busiestMoment, { discard: true })
}).pipe(Effect.withRandom(Random.make("chapter 21")))
