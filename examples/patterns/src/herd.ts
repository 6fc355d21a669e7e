/** A thousand clients lose their server at the same moment, and ask for it again until it is back. */
import * as Backoff from "@firebreak/core/Backoff"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

export const clients = 1_000
export const outage = 30_000
export const bin = 2_000

/** Retries per 2 seconds of the outage. */
export const herd = (schedule: Schedule.Schedule<unknown>): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function*() {
    const bins = Array.from({ length: outage / bin }, () => 0)
    const start = yield* Clock.currentTimeMillis
    const client = Effect.suspend(() => {
      let attempts = 0
      const call = Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (now - start >= outage) return Effect.void
        if (attempts++ > 0) bins[Math.floor((now - start) / bin)]!++
        return Effect.fail("down")
      })
      return Effect.ignore(Effect.retry(call, schedule))
    })
    yield* Effect.replicateEffect(client, clients, { concurrency: "unbounded", discard: true })
    return bins
  }).pipe(Effect.withRandom(Random.make("herd")))

/** How far the busiest bin is above the average. */
export const peakOverMean = (bins: ReadonlyArray<number>): number =>
  Math.max(...bins) / (bins.reduce((sum, count) => sum + count, 0) / bins.length)

const figures = { base: "1 second", cap: "32 seconds", maxRetries: Infinity } as const

/** The naive herd, the one of Effect's own jitter, and two of Firebreak's. */
export const herds: Readonly<Record<string, Schedule.Schedule<unknown>>> = {
  "no jitter": Backoff.make({ ...figures, jitter: "none" }),
  "Schedule.jittered": Schedule.exponential("1 second").pipe(Backoff.capped("32 seconds"), Schedule.jittered),
  full: Backoff.make({ ...figures, jitter: "full" }),
  decorrelated: Backoff.make({ ...figures, jitter: "decorrelated" })
}

export const main = Effect.gen(function*() {
  yield* Console.log(
    `${clients} clients, a server that is down for ${outage / 1_000} s; each # is 40 retries in ${bin / 1_000} s\n`
  )
  for (const [name, schedule] of Object.entries(herds)) {
    const bins = yield* herd(schedule)
    yield* Console.log(`${name}: the busiest moment is ${peakOverMean(bins).toFixed(1)} times the average`)
    for (const [i, count] of bins.entries()) {
      yield* Console.log(
        `  ${String(i * bin / 1_000).padStart(3)} s  ${String(count).padStart(4)}  ${"#".repeat(Math.ceil(count / 40))}`
      )
    }
    yield* Console.log("")
  }
})
