import { describe, expect, it } from "@effect/vitest"
import * as Deadline from "@firebreak/core/Deadline"
import * as Policy from "@firebreak/core/Policy"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { vi } from "vitest"

/**
 * The timer of the live Clock with the passing of time in our hands: what is tested is the order of things, and no test
 * waits for real time. `Effect.timeout` sets its timer by the same function, so both ways go through one suite.
 */
const withTimers = <A, E>(body: (tick: (millis: number) => Effect.Effect<void>) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })),
    () => body((millis) => Effect.promise(() => vi.advanceTimersByTimeAsync(millis).then(() => undefined))),
    () => Effect.sync(() => vi.useRealTimers())
  )

const settle = Effect.gen(function*() {
  for (let i = 0; i < 50; i++) yield* Effect.yieldNow()
})

class Get extends Request.TaggedClass("Get")<number, never, { readonly id: number }> {}

type Within = (millis: number) => <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E | { readonly _tag: string }>

const ways: Readonly<Record<string, Within>> = {
  "attempt timeout by a timer": (millis: number) => Policy.make({ attemptTimeout: millis, timeoutBy: "timer" }),
  "attempt timeout by Effect.timeout": (millis: number) => Policy.make({ attemptTimeout: millis, timeoutBy: "fiber" }),
  "deadline": (millis: number) => Deadline.within(millis)
}

for (const [way, within] of Object.entries(ways)) {
  const tag = way === "deadline" ? "DeadlineExceeded" : "AttemptTimeout"

  describe(way, () => {
    it.live("passes success, failure and defect through, and leaves no timer", () =>
      withTimers(() =>
        Effect.gen(function*() {
          expect(yield* within(100)(Effect.succeed(1))).toBe(1)
          expect(yield* Effect.exit(within(100)(Effect.fail("no")))).toEqual(Exit.fail("no"))
          expect(yield* Effect.exit(within(100)(Effect.die("bug")))).toEqual(Exit.die("bug"))
          expect(vi.getTimerCount()).toBe(0)
        })
      ))

    it.live("reaches the fibers that a branch of a concurrent forEach has forked", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const inner = Effect.timeoutFail(Effect.never, { duration: 1_000, onTimeout: () => "inner" })
          const branches = Effect.forEach([1, 2], () => Effect.flip(within(500)(inner)), { concurrency: "unbounded" })
          const fiber = yield* Effect.fork(branches)
          yield* settle
          yield* tick(500)
          yield* settle
          expect(yield* Fiber.join(fiber)).toMatchObject([{ _tag: tag }, { _tag: tag }])
        })
      ))

    it.live("cuts the effect short, after its finalizers, innermost first", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const order: Array<string> = []
          const note = (what: string) => Effect.sync(() => order.push(what))
          const work = Effect.never.pipe(Effect.onInterrupt(() => note("inner")), Effect.ensuring(note("outer")))
          const fiber = yield* Effect.fork(Effect.flip(within(100)(work)))
          yield* settle
          yield* tick(99)
          yield* settle
          expect(order).toEqual([])
          yield* tick(1)
          const error = yield* Fiber.join(fiber)
          expect(error._tag).toBe(tag)
          expect(order).toEqual(["inner", "outer"])
        })
      ))

    it.live("leaves the fiber as if nobody had interrupted it", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const program = Effect.gen(function*() {
            yield* Effect.ignore(within(100)(Effect.never))
            yield* Effect.yieldNow()
            const interrupted = yield* Effect.flatMap(
              FiberRef.get(FiberRef.interruptedCause),
              (cause) => Effect.succeed(Cause.isEmpty(cause))
            )
            return interrupted
          })
          const fiber = yield* Effect.fork(program)
          yield* settle
          yield* tick(100)
          expect(yield* Fiber.join(fiber)).toBe(true)
        })
      ))

    it.live("interrupts the children of the effect, and none that its fiber had before", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<string>()
          const program = Effect.gen(function*() {
            const before = yield* Effect.fork(Deferred.await(gate))
            const inside: Array<Fiber.RuntimeFiber<never>> = []
            const work = Effect.gen(function*() {
              inside.push(yield* Effect.fork(Effect.never))
              return yield* Effect.never
            })
            yield* Effect.ignore(within(100)(work))
            const exit = yield* Fiber.await(inside[0]!)
            yield* Deferred.succeed(gate, "lives")
            return [Exit.isInterrupted(exit), yield* Fiber.join(before)]
          })
          const fiber = yield* Effect.fork(program)
          yield* settle
          yield* tick(100)
          expect(yield* Fiber.join(fiber)).toEqual([true, "lives"])
        })
      ))

    it.live("waits for uninterruptible work, and its time is up all the same", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const work = Effect.uninterruptible(Effect.as(Deferred.await(gate), "done"))
          const fiber = yield* Effect.fork(Effect.flip(within(100)(work)))
          yield* settle
          yield* tick(200)
          yield* settle
          expect(fiber.unsafePoll()).toBe(null)
          yield* Deferred.succeed(gate, undefined)
          expect((yield* Fiber.join(fiber))._tag).toBe(tag)
        })
      ))

    for (const [inner, outer] of [[100, 300], [300, 100]] as const) {
      it.live(`nested: the one that is up cuts (inner ${inner}, outer ${outer})`, () =>
        withTimers((tick) =>
          Effect.gen(function*() {
            const work = Effect.either(within(inner)(Effect.never)).pipe(
              Effect.flatMap(() => Effect.succeed("inner was cut")),
              within(outer)
            )
            const fiber = yield* Effect.fork(Effect.either(work))
            yield* settle
            yield* tick(100)
            const result = yield* Fiber.join(fiber)
            expect(result._tag === "Right" ? result.right : result.left._tag).toBe(
              // a deadline within another ends with it, so the inner one may be the first to say so
              inner < outer || way === "deadline" ? "inner was cut" : tag
            )
            expect(vi.getTimerCount()).toBe(0)
          })
        ))
    }

    it.live("an interruption from outside stays one, also at the very moment the time is up", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          for (const wait of [0, 99, 100]) {
            const started = yield* Deferred.make<void>()
            const fiber = yield* Effect.fork(
              within(100)(Effect.zipRight(Deferred.succeed(started, undefined), Effect.never))
            )
            yield* Deferred.await(started)
            // the interruption is sent first, the timer strikes before the fiber has a chance to run
            yield* tick(wait)
            const exit = yield* Fiber.interrupt(fiber)
            expect(Exit.isFailure(exit)).toBe(true)
            if (wait < 100) expect(Exit.isInterrupted(exit)).toBe(true)
            expect(vi.getTimerCount()).toBe(0)
          }
          // both at once, in either order, before the fiber has a chance to run
          for (const timerFirst of [true, false]) {
            const both = yield* Effect.fork(Effect.zipRight(within(100)(Effect.never), Effect.never))
            yield* settle
            yield* Effect.sync(() => {
              if (timerFirst) vi.advanceTimersByTime(100)
              both.unsafeInterruptAsFork(both.id())
              if (!timerFirst) vi.advanceTimersByTime(100)
            })
            yield* settle
            const exit = both.unsafePoll()
            expect(exit !== null && Exit.isInterrupted(exit)).toBe(true)
          }
        })
      ))

    it.live("in an uninterruptible region it does not cut, as Effect.timeout does not", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(
            Effect.uninterruptible(Effect.flip(within(100)(Effect.as(Deferred.await(gate), "done"))))
          )
          yield* settle
          yield* tick(200)
          yield* settle
          expect(fiber.unsafePoll()).toBe(null)
          yield* Deferred.succeed(gate, undefined)
          expect((yield* Fiber.join(fiber))._tag).toBe(tag)
        })
      ))

    it.live("storms of interruptions at every yield leave no timer and no interrupted fiber behind", () =>
      withTimers((tick) =>
        Effect.gen(function*() {
          for (const ops of [12, 23, 64]) {
            for (let i = 0; i < 200; i++) {
              const fiber = yield* Effect.fork(Effect.withMaxOpsBeforeYield(
                Effect.forEach([1, 2], () =>
                  Effect.ignore(within(5)(Effect.forEach([1, 2, 3], () => Effect.yieldNow())))),
                ops
              ))
              for (let yields = 0; yields < i % 9; yields++) {
                yield* Effect.yieldNow()
              }
              if (i % 3 === 0) {
                yield* tick(5)
              }
              yield* Fiber.interrupt(fiber)
            }
          }
          expect(vi.getTimerCount()).toBe(0)
        })
      ))
  })
}

describe("attempt timeout", () => {
  it.live("by a fiber cuts a batched request short", () =>
    withTimers((tick) =>
      Effect.gen(function*() {
        const resolver = RequestResolver.makeBatched((requests: ReadonlyArray<Get>) =>
          Effect.zipRight(
            Effect.sleep(300),
            Effect.forEach(requests, (request) => Request.succeed(request, request.id), { discard: true })
          )
        )
        const timed = (id: number) =>
          Effect.flip(ways["attempt timeout by Effect.timeout"]!(100)(Effect.request(new Get({ id }), resolver)))
        const fiber = yield* Effect.fork(Effect.forEach([1, 2], timed, { concurrency: "unbounded", batching: true }))
        yield* settle
        yield* tick(100)
        yield* settle
        const exit = fiber.unsafePoll()
        expect(exit !== null && Exit.isSuccess(exit) && exit.value.map(({ _tag }) => _tag)).toEqual([
          "AttemptTimeout",
          "AttemptTimeout"
        ])
      })
    ))

  it.effect("a child that outlives its attempt is the caller's by a timer, and ends with the attempt by a fiber", () =>
    Effect.gen(function*() {
      for (const timeoutBy of ["timer", "fiber"] as const) {
        const children: Array<Fiber.RuntimeFiber<never>> = []
        const attempt = Effect.gen(function*() {
          children.push(yield* Effect.fork(Effect.never))
          yield* Effect.yieldNow()
          if (children.length < 3) return yield* Effect.fail("down")
        })
        const policy = Policy.make({
          attemptTimeout: "1 hour",
          timeoutBy,
          retry: { schedule: Schedule.recurs(3), while: (_: string) => true }
        })
        const gate = yield* Deferred.make<void>()
        const caller = yield* Effect.fork(Effect.zipRight(policy(attempt), Deferred.await(gate)))
        yield* settle
        const ended = () => children.map((child) => child.unsafePoll() !== null)
        expect(ended()).toEqual([1, 2, 3].map(() => timeoutBy === "fiber"))
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(caller)
        yield* settle
        expect(ended()).toEqual([true, true, true])
      }
    }))

  it.effect("is up to the TestClock where that is the Clock", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(Effect.flip(Policy.make({ attemptTimeout: "1 hour" })(Effect.never)))
      yield* TestClock.adjust("1 hour")
      expect((yield* Fiber.join(fiber))._tag).toBe("AttemptTimeout")
    }))
})
