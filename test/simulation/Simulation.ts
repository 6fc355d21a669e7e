/**
 * Runs a program on simulated time: a clock whose sleeps are entries of an event queue, and a scheduler that runs every
 * fiber to its rest before the clock moves. Nothing waits, so a month of a loop takes seconds; nothing depends on the
 * machine, so a seed repeats it.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as RuntimeFiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"

export interface Options {
  readonly seed: string
  /** The wall clock at the beginning, milliseconds since the epoch. */
  readonly startsAt?: number
}

/**
 * The exit of the program, which must not wait for anything but time. Rejects where the program rests
 * with nothing to wake it.
 */
export const run = async <A, E>(program: Effect.Effect<A, E>, options: Options): Promise<Exit.Exit<A, E>> => {
  const tasks = new Tasks()
  const alarms = new Alarms()
  const clock = new SimulatedClock(alarms, options.startsAt ?? 0)
  let exit: Exit.Exit<A, E> | undefined
  const fiber = Effect.runFork(
    program.pipe(Effect.withRandom(Random.make(options.seed)), Effect.withClock(clock)),
    { scheduler: tasks }
  )
  fiber.addObserver((ended) => {
    exit = ended
  })
  for (let turns = 0;; turns++) {
    tasks.runAll()
    if (exit !== undefined) return exit
    const next = alarms.next()
    if (next === undefined) throw new Error(`Simulation: everything rests at ${clock.now} ms, and nothing will wake it`)
    clock.now = Math.max(clock.now, next.at)
    next.ring()
    // whoever watches from outside (a test's own timeout) gets a turn now and then
    if (turns % 100_000 === 99_999) await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Runs tasks in the order in which they came. */
class Tasks implements Scheduler.Scheduler {
  private queue: Array<() => void> = []

  shouldYield(fiber: RuntimeFiber.RuntimeFiber<unknown, unknown>): number | false {
    return Scheduler.defaultShouldYield(fiber)
  }

  scheduleTask(task: () => void): void {
    this.queue.push(task)
  }

  runAll(): void {
    while (this.queue.length > 0) {
      const tasks = this.queue
      this.queue = []
      for (const task of tasks) task()
    }
  }
}

interface Alarm {
  readonly at: number
  /** Of two at the same time, the one that was set first rings first. */
  readonly order: number
  readonly ring: () => void
  off: boolean
}

/** A binary heap of alarms, the earliest on top. Those that were switched off are dropped when they come up. */
class Alarms {
  private readonly heap: Array<Alarm> = []
  private count = 0

  set(at: number, ring: () => void): () => void {
    const alarm: Alarm = { at, order: this.count++, ring, off: false }
    const { heap } = this
    let i = heap.push(alarm) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(alarm, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = alarm
    return () => {
      alarm.off = true
    }
  }

  next(): Alarm | undefined {
    while (this.heap.length > 0) {
      const top = this.pop()
      if (!top.off) return top
    }
    return undefined
  }

  private pop(): Alarm {
    const { heap } = this
    const top = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return top
    let i = 0
    for (;;) {
      const left = 2 * i + 1
      if (left >= heap.length) break
      const child = left + 1 < heap.length && before(heap[left + 1]!, heap[left]!) ? left + 1 : left
      if (!before(heap[child]!, last)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
    return top
  }
}

const before = (a: Alarm, b: Alarm): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

class SimulatedClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  /** Milliseconds since the beginning. */
  now = 0
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())

  constructor(private readonly alarms: Alarms, private readonly startsAt: number) {}

  unsafeCurrentTimeMillis(): number {
    return this.startsAt + this.now
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.now * 1e6))
  }

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async((resume) => {
      const millis = Duration.toMillis(duration)
      if (!Number.isFinite(millis)) return
      return Effect.sync(this.alarms.set(this.now + millis, () => resume(Effect.void)))
    })
  }
}
