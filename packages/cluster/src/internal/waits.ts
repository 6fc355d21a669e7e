/** How a run waits: in place where it is short or other steps are under way, else suspended. */
import type * as Store from "@firebreak/core/CheckpointStore"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { Calls } from "./calls.js"
import * as Model from "./model.js"
import { persistently, sleepUntil } from "./retrying.js"

export class Waits extends Calls {
  /** Opened when something was sent to the run. */
  private readonly news = Effect.unsafeMakeLatch(false)

  /** Something was sent to the run. */
  get hear(): Effect.Effect<void> {
    return Effect.asVoid(this.news.open)
  }

  /**
   * Waits until `sent` gives something, or for the duration, counted from when it was first waited. A long wait suspends
   * the run, once its other steps have ended: it is executed anew when something is sent or the time is over.
   */
  protected waitFor(
    clock: string,
    started: Omit<Store.Started, "wakeAt" | "startedAt" | "runId">,
    duration: Option.Option<Duration.Duration>,
    sent: Effect.Effect<Option.Option<string>, unknown>
  ): Effect.Effect<Option.Option<string>> {
    return Effect.gen(this, function*() {
      let wakeAt: number | undefined
      while (true) {
        this.news.unsafeClose()
        const found = yield* persistently(sent)
        if (Option.isSome(found)) return found
        wakeAt ??= yield* this.wakeAt(clock, started, duration)
        const left = wakeAt - (yield* Clock.currentTimeMillis)
        if (left <= 0) return Option.none<string>()
        const news = Number.isFinite(wakeAt) ? Effect.race(sleepUntil(wakeAt), this.news.await) : this.news.await
        if (left <= this.wiring.patience) yield* news
        else if (this.busy > 0) yield* Effect.raceFirst(this.idle.await, news)
        else {
          // what was forked beside this fiber may be about to begin a step
          yield* Effect.yieldNow()
          if (this.busy === 0) return yield* this.suspend
        }
      }
    })
  }

  /** When a wait is over, by the wall clock: as it was said when it began. */
  private wakeAt(
    clock: string,
    { branch, kind, name }: Omit<Store.Started, "wakeAt" | "startedAt" | "runId">,
    duration: Option.Option<Duration.Duration>
  ): Effect.Effect<number> {
    return Effect.flatMap(Clock.currentTimeMillis, (startedAt) => {
      const { deferreds, run, started } = this.recorded
      // its clock has rung, whatever the time is here
      if (deferreds.has(Model.rung(clock))) return Effect.succeed(startedAt)
      const before = started.find((other) => other.name === name && other.kind === kind)
      const left = before === undefined
        ? duration
        : Option.map(before.wakeAt, (wakeAt) => Duration.millis(Math.max(0, wakeAt - startedAt)))
      const step = before === undefined ? { runId: this.runId, name, kind, branch, startedAt } : undefined
      return persistently(this.wiring.journal.wake(run, clock, step, left))
    })
  }

  /** Gives up this fiber; the run is suspended when all have. */
  private get suspend(): Effect.Effect<never> {
    return Effect.withFiberRuntime((fiber) => {
      this.suspended = true
      return Effect.zipRight(Fiber.interruptFork(fiber), Effect.interruptible(Effect.never))
    })
  }
}
