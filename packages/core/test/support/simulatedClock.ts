/** A Clock of which only `runUntil` moves the time, from one sleep to the next: many times faster than TestClock. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

interface Sleep {
  readonly at: number
  readonly wake: () => void
}

export interface SimulatedClock {
  readonly clock: Clock.Clock
  readonly now: () => number
  /** Lets every fiber come to rest, then wakes the earliest sleep, and so on until the given millisecond. */
  readonly runUntil: (end: number) => Effect.Effect<void>
  /** Sleeps that are under way. */
  readonly sleeping: () => number
}

/** `wakeAt` says when a sleep that ends at a time really ends: to have timers that are coarse, or a process that pauses. */
export const make = (wakeAt: (at: number) => number = (at) => at): SimulatedClock => {
  let now = 0
  const sleeps = new Set<Sleep>()
  const nanos = () => BigInt(Math.round(now * 1e6))
  const clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => now,
    unsafeCurrentTimeNanos: nanos,
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.async((resume) => {
        const sleep = { at: wakeAt(now + Duration.toMillis(duration)), wake: () => resume(Effect.void) }
        sleeps.add(sleep)
        return Effect.sync(() => sleeps.delete(sleep))
      })
  }
  // fibers go on in microtasks, all of which run before the next macrotask
  const rest = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
  const runUntil = (end: number): Effect.Effect<void> =>
    Effect.flatMap(rest, () => {
      let earliest: Sleep | undefined
      for (const sleep of sleeps) if (earliest === undefined || sleep.at < earliest.at) earliest = sleep
      if (earliest === undefined || earliest.at > end) {
        now = end
        return Effect.void
      }
      now = Math.max(now, earliest.at)
      sleeps.delete(earliest)
      earliest.wake()
      return runUntil(end)
    })
  return { clock, now: () => now, runUntil, sleeping: () => sleeps.size }
}
