/** Batches that fail: who is asked for again. */
import { assert, it } from "@effect/vitest"
import { StoreError } from "@firebreak/core/StoreError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Lane from "../src/internal/postgres/Lane.js"

const error = (reason: StoreError["reason"]) => new StoreError({ store: "s", operation: "save", reason, detail: "" })
const closed = () => error("closed")

/** A lane that is kept busy until `go`, so that what is asked for meanwhile is one batch; `sent` is all it was given. */
const busy = (fail: (batch: ReadonlyArray<number>) => Effect.Effect<void, StoreError>) =>
  Effect.gen(function*() {
    const go = yield* Deferred.make<void>()
    const sent: Array<ReadonlyArray<number>> = []
    const lane = yield* Lane.make((batch: ReadonlyArray<number>) => {
      if (batch.includes(0)) return Effect.as(Deferred.await(go), batch.map((n) => Exit.succeed(n)))
      sent.push(batch)
      return Effect.as(fail(batch), batch.map((n) => Exit.succeed(n)))
    }, closed)
    yield* Effect.fork(lane.ask(0))
    yield* Effect.yieldNow()
    const asked = yield* Effect.forEach([1, 2, 3], (n) => Effect.fork(lane.ask(n)))
    yield* Effect.yieldNow()
    return { asked, sent, go: Deferred.succeed(go, undefined) }
  })

for (const reason of ["io", "busy", "full"] as const) {
  it.scoped(`a batch that fails as ${reason} is not asked for again: all fail at once`, () =>
    Effect.gen(function*() {
      const { asked, go, sent } = yield* busy(() => Effect.fail(error(reason)))
      yield* go
      const exits = yield* Effect.forEach(asked, Fiber.await)
      assert.deepStrictEqual(exits, [1, 2, 3].map(() => Exit.fail(error(reason))))
      assert.deepStrictEqual(sent, [[1, 2, 3]])
    }))
}

it.scoped("one request at fault fails alone, and what was interrupted meanwhile is not sent", () =>
  Effect.gen(function*() {
    const reached = yield* Deferred.make<void>()
    const interrupted = yield* Deferred.make<void>()
    const { asked, go, sent } = yield* busy((batch) => {
      if (batch.length === 1) return batch[0] === 1 ? Effect.fail(error("corrupt")) : Effect.void
      return Effect.zipRight(
        Deferred.succeed(reached, undefined),
        Effect.zipRight(Deferred.await(interrupted), Effect.fail(error("corrupt")))
      )
    })
    yield* go
    yield* Deferred.await(reached)
    yield* Fiber.interrupt(asked[1]!)
    yield* Deferred.succeed(interrupted, undefined)
    assert.isTrue(Exit.isFailure(yield* Fiber.await(asked[0]!)))
    assert.strictEqual(yield* Fiber.join(asked[2]!), 3)
    assert.deepStrictEqual(sent, [[1, 2, 3], [1], [3]])
  }))

/** Gives way after every 16 frames. */
const yielding: Scheduler.Scheduler = {
  shouldYield: (fiber) => fiber.currentOpCount >= 16 ? 0 : false,
  scheduleTask: (task, priority, fiber) => Scheduler.defaultScheduler.scheduleTask(task, priority, fiber)
}

it.scoped("who asks while the lane gives way is heard, and so is its end", () =>
  Effect.gen(function*() {
    // so that it gives way at each of its frames
    for (let frames = 0; frames < 32; frames++) {
      const padding = Effect.forEach(Array.from({ length: frames }), () => Effect.void, { discard: true })
      const made = Lane.make(
        (batch: ReadonlyArray<number>) => Effect.as(padding, batch.map((n) => Exit.succeed(n))),
        closed
      )
      for (let turns = 0; turns < 4; turns++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const lane = yield* Effect.withScheduler(made, yielding)
          for (let n = 0; n < 3; n++) {
            assert.strictEqual(yield* lane.ask(n), n)
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow()
          }
        }))
      }
    }
  }))
