/** Runs a demo without waiting: under a clock that jumps to the next alarm as soon as every fiber sleeps. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * The monotonic time starts at zero, the wall clock on the morning of the chapter's incident. Only for programs that wait for nothing but time: under a wait for a disk or a network the clock
 * would run on.
 */
export const fastForward = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.withClock(effect, makeClock()))

interface Alarm {
  readonly at: number
  readonly ring: () => void
}

const morning = Date.UTC(2024, 0, 11, 9)

const makeClock = (): Clock.Clock => {
  const alarms = new Set<Alarm>()
  let now = 0
  let jumping = false

  const jump = () => {
    if (alarms.size > 0) {
      let next = Infinity
      for (const alarm of alarms) next = Math.min(next, alarm.at)
      now = next
      for (const alarm of alarms) {
        if (alarm.at > now) continue
        alarms.delete(alarm)
        alarm.ring()
      }
    }
    jumping = alarms.size > 0
    if (jumping) setImmediate(jump)
  }

  const unsafeCurrentTimeMillis = () => morning + now
  const unsafeCurrentTimeNanos = () => BigInt(Math.round(now * 1e6))
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis,
    unsafeCurrentTimeNanos,
    currentTimeMillis: Effect.sync(unsafeCurrentTimeMillis),
    currentTimeNanos: Effect.sync(unsafeCurrentTimeNanos),
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        const alarm = { at: now + Duration.toMillis(duration), ring: () => resume(Effect.void) }
        if (Number.isFinite(alarm.at)) alarms.add(alarm)
        // fibers run in microtasks, so by the next turn of the event loop all that can run has run
        if (!jumping) setImmediate(jump)
        jumping = true
        return Effect.sync(() => alarms.delete(alarm))
      })
  }
}
