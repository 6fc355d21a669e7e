/**
 * Lets only so many calls run at once, so that one slow dependency cannot take every fiber, connection or byte of memory
 * there is. A few more may wait in line; what finds the line full is turned away at once.
 *
 * Slots are handed over directly, first in, first out: a call that ends wakes exactly one waiter, and a waiter that is
 * interrupted or has waited too long leaves the line at once. A slot is held until the effect has ended, finalizers
 * included.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Events from "./Events.js"
import { Waiter } from "./internal/line.js"
import * as Check from "./internal/options.js"
import { partTag } from "./internal/partTag.js"
import { Slots } from "./internal/slots.js"
import { stackless } from "./internal/stackless.js"
import * as Stage from "./internal/stage.js"
import * as Time from "./internal/time.js"
import * as Traced from "./internal/traced.js"
import * as Rejection from "./Rejection.js"
import * as Telemetry from "./Telemetry.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Calls that run at once. Default 10. */
  readonly maxConcurrent?: number | undefined
  /** Calls that may wait for a slot: 0 for none, `Infinity` for any number. Default 100. */
  readonly maxQueued?: number | undefined
  /** The longest wait for a slot. Default: no limit but the caller's own. */
  readonly maxWait?: Duration.DurationInput | undefined
}

/**
 * 10 calls at once, 100 in line.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { maxConcurrent: 10, maxQueued: 100 } as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly running: number
  readonly waiting: number
  /** Calls turned away since it was made: the line was full, or the wait too long. */
  readonly rejected: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Bulkhead extends Stage.Staged {
  readonly name: string
  /** Runs the effect in a slot, after waiting for one if need be. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BulkheadFull, R>
  readonly stats: Effect.Effect<Stats>
  /**
   * Changes how many calls run at once. More slots go to waiting calls at once; with fewer, no running call is cut short
   * and none starts until enough have ended.
   */
  readonly resize: (maxConcurrent: number) => Effect.Effect<void>
}

/**
 * There was no slot for the call: it was not started.
 *
 * @since 0.1.0
 * @category errors
 */
export class BulkheadFull extends Data.TaggedError("BulkheadFull")<{
  readonly bulkhead: string
  readonly running: number
  readonly waiting: number
  /** `full`: no place in the line; `timeout`: no slot within `maxWait`. */
  readonly reason: "full" | "timeout"
}> {
  /**
   * @since 0.1.0
   */
  readonly [Rejection.TypeId] = true as const
  override get message(): string {
    const what = this.reason === "full" ? "is full" : "had no slot in time"
    return `Bulkhead "${this.bulkhead}" ${what} (${this.running} running, ${this.waiting} waiting); ` +
      "the call was not started"
  }
}

/**
 * Makes a bulkhead.
 *
 * @example
 * import * as Bulkhead from "@firebreak/core/Bulkhead"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const bulkhead = yield* Bulkhead.make({ name: "reports", maxConcurrent: 4, maxQueued: 20, maxWait: "2 seconds" })
 *   return yield* Effect.succeed("a report").pipe(bulkhead.protect)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<Bulkhead> => {
  Check.known("Bulkhead", options, { name: true, maxConcurrent: true, maxQueued: true, maxWait: true })
  const name = Check.name("Bulkhead", "name", options.name)
  const maxConcurrent = checkConcurrent(options.maxConcurrent ?? defaults.maxConcurrent)
  const maxQueued = Check.whole("Bulkhead", "maxQueued", options.maxQueued ?? defaults.maxQueued, {
    min: 0,
    infinite: true
  })
  const maxWait = options.maxWait === undefined ? undefined : Check.millis("Bulkhead", "maxWait", options.maxWait)
  return Telemetry.observed(
    Effect.map(Events.Events, (events) => new Live(name, new Slots(maxConcurrent, maxQueued), maxWait, events)),
    Live.measures
  )
}

/**
 * The class of a bulkhead's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/Bulkhead/${Name}`, Bulkhead>
{
  /** Builds this bulkhead. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Runs the effect in a slot of this bulkhead. */
  readonly protect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BulkheadFull, R | Self>
}

/**
 * Declares the bulkhead of one dependency.
 *
 * @example
 * import * as Bulkhead from "@firebreak/core/Bulkhead"
 * import * as Effect from "effect/Effect"
 *
 * class Reports extends Bulkhead.Tag("reports")<Reports>() {}
 *
 * const ReportsLive = Reports.layer({ maxConcurrent: 4 })
 *
 * const program = Effect.succeed("a report").pipe(Reports.protect, Effect.provide(ReportsLive))
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  const tag = partTag<Self>()("Bulkhead", name, make)
  return Object.assign(tag, { protect: protect(tag) })
}

/**
 * Runs the effect in a slot of a tag's bulkhead; the same as the tag's own `protect`.
 *
 * @example
 * import * as Bulkhead from "@firebreak/core/Bulkhead"
 * import * as Effect from "effect/Effect"
 *
 * class Reports extends Bulkhead.Tag("reports")<Reports>() {}
 *
 * const call = Effect.succeed("a report").pipe(Bulkhead.protect(Reports))
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect: <I>(
  tag: Context.Tag<I, Bulkhead>
) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BulkheadFull, R | I> = Stage.protectBy

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const checkConcurrent = (value: number) => Check.whole("Bulkhead", "maxConcurrent", value, { min: 1 })

/** A slot is as good as any other. */
const slot = "slot"

class Call extends Waiter {
  isLate = false
}

class Live implements Bulkhead, Stage.Stage {
  static readonly measures: ReadonlyArray<Telemetry.Measure<Live>> = [
    ["firebreak_bulkhead_running", {}, ({ slots }) => slots.running],
    ["firebreak_bulkhead_waiting", {}, ({ slots }) => slots.line.size],
    ["firebreak_bulkhead_rejected_total", {}, ({ rejected }) => rejected]
  ]

  readonly [Stage.StageId]: Stage.Stage = this
  readonly holds = true
  private rejected = 0

  constructor(
    readonly name: string,
    private readonly slots: Slots<Call>,
    private readonly maxWait: number | undefined,
    private readonly events: Events.Service
  ) {}

  readonly protect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | BulkheadFull, R> =>
    Stage.protect<A, E, R, BulkheadFull>(this, effect)

  get stats(): Effect.Effect<Stats> {
    return Effect.sync(() => ({
      running: this.slots.running,
      waiting: this.slots.line.size,
      rejected: this.rejected
    }))
  }

  resize(maxConcurrent: number): Effect.Effect<void> {
    const total = checkConcurrent(maxConcurrent)
    return Effect.sync(() => this.slots.resize(total))
  }

  enter(fiber: Stage.Running, restore: Stage.Restore): unknown {
    if (this.slots.take()) return slot
    const call = new Call()
    if (!this.slots.join(call)) return new Stage.Refused(this.rejection("full", fiber))
    const wait = this.maxWait === undefined ? this.wait(call, restore) : this.waitAtMost(call, restore)
    return new Stage.Waiting(Traced.within(fiber, `Bulkhead/${this.name}/wait`, {}, wait))
  }

  leave(_ticket: unknown, _cause: Cause.Cause<unknown> | undefined, _fiber: Stage.Running): void {
    this.slots.release()
  }

  private wait(call: Call, restore: Stage.Restore): Effect.Effect<unknown, BulkheadFull> {
    return Effect.matchCauseEffect(restore(call.woken), {
      // woken and interrupted may both have happened: a slot that was given goes to the next
      onFailure: (cause) => {
        if (!call.isLate) this.slots.abandon(call)
        return Exit.failCause(cause)
      },
      onSuccess: () =>
        call.isLate
          ? Effect.withFiberRuntime<never, BulkheadFull>((fiber) => Exit.fail(this.rejection("timeout", fiber)))
          : Exit.succeed(slot)
    })
  }

  private waitAtMost(call: Call, restore: Stage.Restore): Effect.Effect<unknown, BulkheadFull> {
    const expire = Effect.sync(() => {
      if (!this.slots.line.leave(call)) return
      call.isLate = true
      call.wake()
    })
    const timer = Effect.interruptible(Effect.zipRight(Effect.sleep(this.maxWait!), expire))
    return Effect.flatMap(Effect.forkDaemon(timer), (running) =>
      Effect.onExit(this.wait(call, restore), () => {
        running.unsafeInterruptAsFork(running.id())
        return Effect.void
      }))
  }

  private rejection(reason: BulkheadFull["reason"], fiber: Stage.Running): BulkheadFull {
    this.rejected++
    const refusal = { bulkhead: this.name, running: this.slots.running, waiting: this.slots.line.size, reason }
    if (this.events.isActive()) {
      this.events.unsafePublish({ _tag: "BulkheadRejected", ...refusal }, Time.wallMillis(fiber))
    }
    return stackless(() => new BulkheadFull(refusal))
  }
}
