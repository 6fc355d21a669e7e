/** Connections that are kept for a moment: who uses them, and when they go back. */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { afterEach, assert, beforeEach, it, vi } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { Connections, NoAnswer } from "../src/internal/postgres/Connections.js"

type Callback = (error: unknown, result: { readonly rows: ReadonlyArray<unknown> } | undefined) => void

beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] }))
afterEach(() => void vi.useRealTimers())

const ticks = Effect.repeatN(Effect.yieldNow(), 20)

/** A pool that gives connections without limit; `asked` are the driver's callbacks, `given` and `back` are counted. */
const pool = () => {
  const seen = { given: 0, back: 0, ended: 0, asked: [] as Array<Callback> }
  const connections = new Connections(
    Effect.acquireRelease(
      Effect.sync(() => {
        seen.given++
        const pg = {
          query: (_: unknown, callback: Callback) => void seen.asked.push(callback),
          end: () => void seen.ended++
        }
        return { pg } as unknown as Connection
      }),
      () => Effect.sync(() => void seen.back++)
    ),
    Duration.seconds(5)
  )
  const statement = { name: "s", text: "SELECT" }
  const query = Effect.clockWith((clock) =>
    connections.query<number>(
      clock.unsafeCurrentTimeNanos() + 5_000_000_000n,
      statement,
      [],
      () => Effect.as(ticks, [0])
    )
  )
  return { connections, seen, query }
}

it.effect("the first statement takes a connection from the pool, those that follow have it at once", () =>
  Effect.gen(function*() {
    const { query, seen } = pool()
    assert.deepStrictEqual(yield* query, [0])
    const fiber = yield* Effect.fork(query)
    yield* ticks
    seen.asked[0]?.(null, { rows: [1] })
    assert.deepStrictEqual(yield* Fiber.join(fiber), [1])
    assert.deepStrictEqual([seen.given, seen.back], [1, 0])
  }))

it.effect("goes back when it is kept long enough, used or not", () =>
  Effect.gen(function*() {
    const { query, seen } = pool()
    yield* query
    vi.advanceTimersByTime(19)
    assert.strictEqual(seen.back, 0)
    const fiber = yield* Effect.fork(query)
    yield* ticks
    vi.advanceTimersByTime(30)
    assert.strictEqual(seen.back, 0)
    seen.asked[0]?.(null, { rows: [1] })
    yield* Fiber.join(fiber)
    assert.deepStrictEqual([seen.given, seen.back], [1, 1])
    yield* query
    vi.advanceTimersByTime(40)
    assert.deepStrictEqual([seen.given, seen.back], [2, 2])
    assert.strictEqual(vi.getTimerCount(), 0)
  }))

it.scoped("goes back at once to who waits for the pool", () =>
  Effect.gen(function*() {
    const { connections, query, seen } = pool()
    yield* query
    yield* connections.reserve
    assert.deepStrictEqual([seen.given, seen.back], [2, 1])
  }))

it.effect("none that is kept is used after a statement has failed", () =>
  Effect.gen(function*() {
    const { query, seen } = pool()
    yield* query
    const fiber = yield* Effect.fork(Effect.flip(query))
    yield* ticks
    seen.asked[0]?.(new Error("gone"), undefined)
    assert.instanceOf(yield* Fiber.join(fiber), SqlError)
    yield* ticks
    assert.deepStrictEqual([seen.given, seen.back], [1, 1])
    yield* query
    assert.deepStrictEqual([seen.given, seen.back], [2, 1])
  }))

it.effect("an interrupted caller does not wait, and the connection is kept when its statement has ended", () =>
  Effect.gen(function*() {
    const { query, seen } = pool()
    yield* query
    const fiber = yield* Effect.fork(query)
    yield* ticks
    yield* Fiber.interrupt(fiber)
    const other = yield* query
    assert.deepStrictEqual([other, seen.given], [[0], 2])
    seen.asked[0]?.(null, { rows: [1] })
    const [one, two] = yield* Effect.all([Effect.fork(query), Effect.fork(query)])
    yield* ticks
    for (const answer of seen.asked.slice(1)) answer(null, { rows: [2] })
    assert.deepStrictEqual([yield* Fiber.join(one), yield* Fiber.join(two)], [[2], [2]])
    assert.deepStrictEqual([seen.given, seen.back], [2, 0])
  }))

it.effect("a statement without an answer loses its connection when its time is up, and says so", () =>
  Effect.gen(function*() {
    const { query, seen } = pool()
    yield* query
    yield* TestClock.adjust("3 seconds")
    const fiber = yield* Effect.fork(Effect.exit(query))
    yield* ticks
    yield* TestClock.adjust("4999 millis")
    assert.strictEqual(seen.ended, 0)
    yield* TestClock.adjust("1 millis")
    assert.strictEqual(seen.ended, 1)
    seen.asked[0]?.(new Error("terminated"), undefined)
    const exit = yield* Fiber.join(fiber)
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
    assert.instanceOf(error?.cause, NoAnswer)
    assert.strictEqual(error?.message, "no answer for 5s")
    yield* ticks
    assert.strictEqual(seen.back, 1)
  }))

it.effect("what ended in time is never cut, however many there were", () =>
  Effect.gen(function*() {
    const { connections, query, seen } = pool()
    for (let i = 0; i < 10; i++) {
      const fiber = yield* Effect.fork(query)
      yield* ticks
      for (const answer of seen.asked.splice(0)) answer(null, { rows: [1] })
      yield* Fiber.join(fiber)
      yield* TestClock.adjust("2 seconds")
    }
    yield* connections.close
    yield* TestClock.adjust("1 hours")
    assert.deepStrictEqual([seen.ended, seen.given - seen.back], [0, 0])
  }))
