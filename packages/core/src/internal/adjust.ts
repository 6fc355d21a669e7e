/** Schedules whose delays are changed, and where a delay comes from an error. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/** What was asked for in milliseconds, at most `cap`; 0 where nothing, or nonsense, was. */
export const floorOf = (retryAfter: Option.Option<Duration.Duration>, cap: number): number => {
  if (Option.isNone(retryAfter)) return 0
  const millis = Duration.toMillis(retryAfter.value)
  return millis > 0 && Number.isFinite(millis) ? Math.min(millis, cap) : 0
}

export const continueAfter = (now: number, delay: number) =>
  ScheduleDecision.continueWith(ScheduleInterval.after(now + delay))

/** A schedule with each delay replaced by `f`, which ends the schedule by returning undefined. */
export const adjust = <Out, In, R, S>(
  self: Schedule.Schedule<Out, In, R>,
  initial: S,
  f: (
    state: S,
    delay: number,
    now: number,
    input: In
  ) => Effect.Effect<readonly [state: S, delay: number] | undefined>
): Schedule.Schedule<Out, In, R> =>
  Schedule.makeWithState(
    [self.initial, initial] as const,
    (now, input: In, [inner, state]) =>
      Effect.flatMap(self.step(now, input, inner), ([next, out, decision]) => {
        const ended = [[next, state] as const, out, ScheduleDecision.done] as const
        if (ScheduleDecision.isDone(decision)) return Effect.succeed(ended)
        const delay = Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
        return Effect.map(f(state, delay, now, input), (adjusted) =>
          adjusted === undefined
            ? ended
            : [[next, adjusted[0]] as const, out, continueAfter(now, adjusted[1])] as const)
      })
  )
