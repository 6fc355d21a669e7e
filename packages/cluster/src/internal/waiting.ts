/** Those who wait for runs: told at once of a reply that this process saves, and all with one query every so often. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"

export interface Options {
  /** Which of these messages have their last reply. */
  readonly settledOf: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, SqlError>
  /** Milliseconds between looks for those who have waited long. */
  readonly poll: number
}

/** Milliseconds between looks while somebody has just begun to wait, and how many of them. */
const eager = 200
const looks = 25

export const make = ({ poll, settledOf }: Options) =>
  Effect.gen(function*() {
    const waiting = new Map<
      string,
      { readonly settled: Deferred.Deferred<void>; readonly count: { waiters: number } }
    >()
    const due = Effect.unsafeMakeLatch(false)
    let left = 0

    const look = Effect.gen(function*() {
      due.unsafeClose()
      for (const id of yield* settledOf(Array.from(waiting.keys()))) {
        const found = waiting.get(id)
        waiting.delete(id)
        if (found !== undefined) yield* Deferred.succeed(found.settled, undefined)
      }
      left--
    })

    yield* Effect.gen(function*() {
      while (true) {
        if (waiting.size === 0) yield* due.await
        else {
          yield* Effect.raceFirst(due.await, Effect.sleep(Duration.millis(left > 0 ? Math.min(eager, poll) : poll)))
        }
        if (waiting.size > 0) yield* Effect.ignore(look)
        else due.unsafeClose()
      }
    }).pipe(Effect.interruptible, Effect.forkScoped)

    return {
      /** Until the message has its last reply; `replied` may tell before the next look. */
      wait: (id: string, replied: Effect.Effect<void>): Effect.Effect<void> =>
        Effect.suspend(() => {
          let entry = waiting.get(id)
          if (entry === undefined) {
            waiting.set(id, entry = { settled: Deferred.unsafeMake<void>(FiberId.none), count: { waiters: 0 } })
          }
          const { count, settled } = entry
          count.waiters++
          left = looks
          due.unsafeOpen()
          return Effect.ensuring(
            Effect.raceFirst(Deferred.await(settled), replied),
            Effect.sync(() => {
              if (--count.waiters === 0 && waiting.get(id)?.settled === settled) waiting.delete(id)
            })
          )
        })
    }
  })
