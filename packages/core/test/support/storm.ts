/**
 * An interrupt storm: calls by the ten thousand, many at once, whose run loops yield after every so many steps (12 to
 * 64), and of which most are interrupted, each after another number of yields. So an interruption strikes wherever the
 * runtime can look at one. In the end nothing may be left: no fiber, no timer, and nothing held that had to come back.
 *
 * `STORM_CALLS` sets the number of calls: 25,000 by default, 100,000 in `pnpm verify`.
 */
import { expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import * as Supervisor from "effect/Supervisor"
import { vi } from "vitest"

export interface Subject {
  /** One call. Beside an interruption only an error with one of these tags may end it. */
  readonly call: Effect.Effect<unknown, unknown>
  readonly mayFailWith: ReadonlyArray<string>
  /** Fails if anything is held, when no call is under way. */
  readonly idle: Effect.Effect<unknown, unknown>
}

/** The calls of one storm. */
export const total = Number(process.env["STORM_CALLS"] ?? 25_000)

/** Storms a fresh subject for each number of steps. A call that is to be hit everywhere takes fewer than `yields` yields. */
export const storm = (options: {
  readonly make: (ops: number) => Effect.Effect<Subject>
  readonly atOnce?: number
  readonly yields?: number
}): Effect.Effect<void> => {
  const { atOnce = 30, make, yields = 16 } = options
  const loops = Array.from({ length: 64 - 12 + 1 }, (_, i) => 12 + i)
  const rounds = Math.ceil(total / loops.length / atOnce)
  const fibers = new LiveFibers()
  return Effect.gen(function*() {
    const timers = yield* liveTimers
    let interrupted = 0
    for (const ops of loops) {
      const { call, idle, mayFailWith } = yield* make(ops)
      const one = Effect.withMaxOpsBeforeYield(call, ops)
      for (let round = 0; round < rounds; round++) {
        const calls: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
        for (let i = 0; i < atOnce; i++) calls.push(yield* Effect.forkDaemon(one))
        for (let yielded = 0; yielded < yields; yielded++) {
          // one in four is left alone
          for (let i = 0; i < atOnce; i++) {
            if ((i * 7 + round) % (yields + (yields >> 2)) === yielded) calls[i]!.unsafeInterruptAsFork(calls[i]!.id())
          }
          yield* Effect.yieldNow()
        }
        for (const fiber of calls) {
          const exit = yield* Fiber.await(fiber)
          if (Exit.isSuccess(exit)) continue
          if (Cause.isInterruptedOnly(exit.cause)) interrupted++
          else expect(mayFailWith).toContain((Cause.squash(exit.cause) as { readonly _tag?: string })._tag)
        }
      }
      yield* rest
      expect([fibers.count, timers.size]).toEqual([0, 0])
      yield* Effect.orDie(idle)
    }
    // or it was no storm
    expect(interrupted).toBeGreaterThan(total / 10)
    expect(fibers.most).toBeGreaterThanOrEqual(atOnce)
  }).pipe(Effect.supervised(fibers), Effect.scoped)
}

/** Lets fibers that are no longer waited for come to their end. */
const rest = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

class LiveFibers extends Supervisor.AbstractSupervisor<number> {
  count = 0
  most = 0
  override readonly value = Effect.sync(() => this.count)
  override onStart<A, E, R>(
    _context: Context.Context<R>,
    _effect: Effect.Effect<A, E, R>,
    _parent: Option.Option<Fiber.RuntimeFiber<any, any>>,
    _fiber: Fiber.RuntimeFiber<A, E>
  ): void {
    this.most = Math.max(this.most, ++this.count)
  }
  override onEnd<A, E>(_exit: Exit.Exit<A, E>, _fiber: Fiber.RuntimeFiber<A, E>): void {
    this.count--
  }
}

/** The timers of the host that are set and have neither fired nor been cleared. */
const liveTimers = Effect.acquireRelease(
  Effect.sync(() => {
    const live = new Set<NodeJS.Timeout>()
    const { clearTimeout, setTimeout } = globalThis
    vi.stubGlobal(
      "setTimeout",
      <Args extends Array<unknown>>(run: (...args: Args) => void, millis: number, ...args: Args) => {
        const timer = setTimeout(() => {
          live.delete(timer)
          run(...args)
        }, millis)
        live.add(timer)
        return timer
      }
    )
    vi.stubGlobal("clearTimeout", (timer: NodeJS.Timeout | undefined) => {
      if (timer !== undefined) live.delete(timer)
      clearTimeout(timer)
    })
    return live
  }),
  () => Effect.sync(() => vi.unstubAllGlobals())
)
