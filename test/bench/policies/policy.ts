/** Bulkhead, retry, breaker and timeout around a call that succeeds. */
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Policy from "@firebreak/core/Policy"
import * as Cockatiel from "cockatiel"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import { calls, type Case } from "../measure.js"
import { cockatielBreaker, options, Vendor } from "./breaker.js"
import { buildForever, fromPromise, inAsync, inEffect, workloads } from "./work.js"

class VendorCalls extends Bulkhead.Tag("vendor")<VendorCalls>() {}

const policy = Policy.make({
  bulkhead: VendorCalls,
  retry: { schedule: Backoff.make({ maxRetries: 3 }), while: () => true },
  breaker: Vendor,
  attemptTimeout: "2 seconds"
})

const cockatiel = () =>
  Cockatiel.wrap(
    Cockatiel.bulkhead(10, 100),
    Cockatiel.retry(Cockatiel.handleAll, { maxAttempts: 3, backoff: new Cockatiel.ExponentialBackoff() }),
    cockatielBreaker(),
    Cockatiel.timeout(2_000, Cockatiel.TimeoutStrategy.Aggressive)
  )

class NaiveOpen extends Data.TaggedError("NaiveOpen") {}

/** What one writes who needs a breaker and has only Effect. */
const naiveBreaker = () => {
  const state = Ref.unsafeMake({ failures: 0, openUntil: 0 })
  return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | NaiveOpen, R> =>
    Effect.gen(function*() {
      const { openUntil } = yield* Ref.get(state)
      if (openUntil > 0 && (yield* Clock.currentTimeMillis) < openUntil) return yield* new NaiveOpen()
      return yield* Effect.onExit(effect, (exit) =>
        Exit.isSuccess(exit)
          ? Ref.set(state, { failures: 0, openUntil: 0 })
          : Effect.flatMap(Clock.currentTimeMillis, (now) =>
            Ref.update(state, ({ failures }) => ({
              failures: failures + 1,
              openUntil: failures + 1 >= 5 ? now + 3_600_000 : 0
            }))))
    })
}

const recurs = Schedule.recurs(3)

export const cases: ReadonlyArray<Case> = workloads.map(({ call, effect, suffix }) => ({
  name: `policy${suffix}`,
  unit: "ns",
  baselines: ["cockatiel", "cockatiel-in-effect", "effect"],
  candidates: async () => {
    const context = await buildForever(
      Layer.merge(Vendor.layer(options), VendorCalls.layer({ maxConcurrent: 10, maxQueued: 100 }))
    )
    const wrapped = cockatiel()
    const breaker = naiveBreaker()
    const semaphore = Effect.unsafeMakeSemaphore(10)
    return [
      calls(
        "firebreak",
        "a slot for the call; each attempt counts at the breaker and is interrupted at its timeout",
        inEffect(() => policy(effect), context)
      ),
      calls(
        "cockatiel",
        "a slot for the call; each attempt counts at the breaker and is abandoned at its timeout",
        inAsync(() => wrapped.execute(call))
      ),
      calls(
        "cockatiel-in-effect",
        "the same, called from an Effect program",
        inEffect(() => fromPromise(() => wrapped.execute(call)))
      ),
      calls(
        "effect",
        "Effect.timeout, a breaker of Ref and onExit, Effect.retry, a semaphore with a line without bound",
        inEffect(() =>
          effect.pipe(Effect.timeout("2 seconds"), breaker, Effect.retry(recurs), semaphore.withPermits(1))
        )
      )
    ]
  }
}))
