/** A server that is slow for ten seconds. Its clients' retries can keep it down for good, or not. */
import * as Backoff from "@firebreak/core/Backoff"
import * as Policy from "@firebreak/core/Policy"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

/** The server does 100 requests a second, 20 during the brown-out; its clients want 80. */
export const world = { perSecond: 100, slowPerSecond: 20, offered: 80, slowFrom: 10, slowTo: 20, seconds: 60 } as const

const patience = 1_000
const attempts = 4

class Dropped extends Data.TaggedError("Dropped") {}

type Call = Effect.Effect<void, Dropped>

/** What happened in each second: calls answered in time, and requests that reached the server. */
export interface Second {
  readonly answered: number
  readonly requests: number
}

/** Runs the world with the given protection around each call, and with a server that drops expired work or does not. */
const simulate = (options: {
  readonly protect: (call: Call) => Effect.Effect<void, unknown>
  readonly dropsExpired: boolean
}): Effect.Effect<ReadonlyArray<Second>> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const seconds = Array.from({ length: world.seconds }, () => ({ answered: 0, requests: 0 }))
    const second = (now: number) => seconds[Math.floor((now - start) / 1_000)]
    const line = yield* Queue.unbounded<
      { readonly reply: Deferred.Deferred<void, Dropped>; readonly deadline: number }
    >()

    const server = Effect.gen(function*() {
      const { deadline, reply } = yield* Queue.take(line)
      const now = yield* Clock.currentTimeMillis
      // the caller has left: an answer would help nobody
      if (options.dropsExpired && now >= deadline) return yield* Deferred.fail(reply, new Dropped())
      const slow = now - start >= world.slowFrom * 1_000 && now - start < world.slowTo * 1_000
      yield* Effect.sleep(1_000 / (slow ? world.slowPerSecond : world.perSecond))
      return yield* Deferred.succeed(reply, undefined)
    })

    const request: Call = Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const seen = second(now)
      if (seen !== undefined) seen.requests++
      const reply = yield* Deferred.make<void, Dropped>()
      yield* Queue.offer(line, { reply, deadline: now + patience })
      yield* Deferred.await(reply)
    })

    const client = Effect.gen(function*() {
      yield* options.protect(request)
      const seen = second(yield* Clock.currentTimeMillis)
      if (seen !== undefined) seen.answered++
    })

    yield* Effect.forkScoped(Effect.forever(server))
    for (let i = 0; i < world.offered * world.seconds; i++) {
      yield* Effect.forkScoped(Effect.ignore(client))
      yield* Effect.sleep(1_000 / world.offered)
    }
    return seconds
  }).pipe(Effect.scoped, Effect.withRandom(Random.make("metastable")))

/** Four attempts of a second each, as most clients are written. */
export const naive = simulate({
  dropsExpired: false,
  protect: (call) => call.pipe(Effect.timeout(patience), Effect.retry(Schedule.recurs(attempts - 1)))
})

/** The same four attempts behind a retry budget and a throttle, and a server that drops what nobody waits for. */
export const guarded = Effect.gen(function*() {
  const budget = yield* RetryBudget.make({
    name: "server",
    allowance: RetryBudget.ratio({ share: 0.1, minPerSecond: 1, within: "1 second" })
  })
  // a throttle forgets an overload as fast as its window passes
  const throttle = yield* Throttle.make({ name: "server", within: "2 seconds" })
  const schedule = Backoff.make({ base: "100 millis", maxRetries: attempts - 1 })
  const policy = Policy.make({
    retry: { schedule, while: (_: Dropped) => true, budget },
    throttle,
    attemptTimeout: patience
  })
  return yield* simulate({ dropsExpired: true, protect: policy })
})

/** The share of what was offered that was answered, in each second. */
export const goodput = (seconds: ReadonlyArray<Second>): ReadonlyArray<number> =>
  seconds.map(({ answered }) => answered / world.offered)

const draw = (name: string, seconds: ReadonlyArray<Second>) =>
  Effect.gen(function*() {
    yield* Console.log(name)
    yield* Console.log("  time  answered                  requests (of 80 offered)")
    for (let at = 0; at < world.seconds; at += 4) {
      const { answered, requests } = seconds[at]!
      const note = at >= world.slowFrom && at < world.slowTo ? "  brown-out" : ""
      yield* Console.log(
        `  ${String(at).padStart(3)} s  ${"#".repeat(Math.round(answered / 4)).padEnd(24)}  ${
          String(requests).padStart(4)
        }${note}`
      )
    }
    const late = goodput(seconds.slice(-10)).reduce((sum, share) => sum + share, 0) / 10
    yield* Console.log(`  answered in the last 10 s: ${(late * 100).toFixed(0)} %\n`)
  })

export const main = Effect.gen(function*() {
  yield* Console.log("A server for 100 requests a second, 80 are wanted; from second 10 to 20 it manages only 20.\n")
  yield* draw("four attempts and nothing else: it never recovers", yield* naive)
  yield* draw("retry budget, throttle, expired work dropped", yield* guarded)
})
