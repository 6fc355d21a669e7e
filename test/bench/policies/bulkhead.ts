/** 1,000 calls of 1 ms at once through 10 slots: the time until the last is done. */
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Cockatiel from "cockatiel"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { type Case, constant, once } from "../measure.js"

const slots = 10
const count = 1_000
const nap = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))
const napEffect = Effect.sleep(1)

/** Ten fibers that take no turns. */
const tenFibers = () => {
  const hundred = Effect.repeatN(napEffect, count / slots - 1)
  return Effect.runPromise(Effect.forEach(Array.from({ length: slots }), () => hundred, { concurrency: "unbounded" }))
}

/** Forked one by one: `Effect.all` of a thousand takes longer than the bulkhead. */
const allAtOnce = (call: Effect.Effect<unknown, unknown>) => () =>
  Effect.runPromise(Effect.gen(function*() {
    const fibers = []
    for (let i = 0; i < count; i++) fibers.push(yield* Effect.fork(call))
    for (const fiber of fibers) yield* Fiber.join(fiber)
  }))

const oneSlot = async () => {
  for (let i = 0; i < count / slots; i++) await nap()
}

export const cases: ReadonlyArray<Case> = [{
  name: "bulkhead",
  unit: "ms",
  rounds: 3,
  baselines: ["ideal", "timers", "sleeps", "effect", "cockatiel"],
  candidates: async () => {
    const bulkhead = await Effect.runPromise(
      Bulkhead.make({ name: "vendor", maxConcurrent: slots, maxQueued: count })
    )
    const semaphore = Effect.unsafeMakeSemaphore(slots)
    const cockatiel = Cockatiel.bulkhead(slots, count)
    return [
      once("firebreak", "first in, first out; a bounded line; fibers included", allAtOnce(bulkhead.protect(napEffect))),
      constant("ideal", "100 ms: what the calls themselves take", count / slots),
      once(
        "timers",
        "10 loops of 100 timers of 1 ms: what this machine's timers make of it",
        () => Promise.all(Array.from({ length: slots }, oneSlot))
      ),
      once("sleeps", "10 fibers of 100 sleeps of 1 ms: the same of Effect's, without a line", tenFibers),
      once("effect", "Effect's semaphore: a line without bound", allAtOnce(semaphore.withPermits(1)(napEffect))),
      once(
        "cockatiel",
        "first in, first out; a bounded line",
        () => Promise.all(Array.from({ length: count }, () => cockatiel.execute(nap)))
      )
    ]
  }
}]
