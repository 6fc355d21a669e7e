/** What a run and its steps leave behind in the fibers that run them: nothing of their own, all of their body's. */
import { assert, describe, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import * as Schema from "effect/Schema"
import * as Supervisor from "effect/Supervisor"
import * as TestClock from "effect/TestClock"
import * as Checkpoint from "../src/Checkpoint.js"
import { make as makeMemory } from "../src/CheckpointMemory.js"
import { CheckpointStore } from "../src/CheckpointStore.js"

class Get extends Request.TaggedClass("Get")<number, never, { readonly id: number }> {}

const Answers = { success: Schema.Array(Schema.String) }
const number = { success: Schema.Number }
const none = { success: Schema.Void }

/** The name of the current step. */
const here = Effect.map(Checkpoint.CurrentStep, Option.match({ onNone: () => "none", onSome: ({ step }) => step }))

describe("the fibers of a run", () => {
  it.effect("with request batching a step that goes on in another fiber ends there, and is undone from there", () =>
    Effect.gen(function*() {
      const undone: Array<string> = []
      let batches = 0
      const resolver = RequestResolver.makeBatched((requests: ReadonlyArray<Get>) => {
        batches++
        return Effect.forEach(requests, (request) => Request.succeed(request, request.id), { discard: true })
      })
      const branch = (id: number) =>
        Effect.gen(function*() {
          yield* Checkpoint.step(`get ${id}`, {
            ...number,
            compensate: () => Effect.map(here, (name) => void undone.push(name))
          }, Effect.request(new Get({ id }), resolver))
          const between = yield* here
          return `${between}, ${yield* Checkpoint.step(`then ${id}`, { success: Schema.String }, here)}`
        })
      const body = Effect.gen(function*() {
        const answers = yield* Effect.forEach([1, 2], branch, { concurrency: "unbounded", batching: true })
        assert.deepStrictEqual([...answers, yield* here], ["none, then 1", "none, then 2", "none"])
        return yield* Effect.fail("undo it")
      })
      const exit = yield* Effect.exit(Checkpoint.run("r", { ...Answers, error: Schema.String }, body))
      assert.deepStrictEqual([exit._tag, batches], ["Failure", 1])
      assert.deepStrictEqual(undone, ["undo get 2", "undo get 1"])
    }).pipe(Effect.provide(Checkpoint.layerMemory)))

  it.effect("keep what the body of a step sets in a FiberRef", () =>
    Effect.gen(function*() {
      const ref = FiberRef.unsafeMake(0)
      const body = Effect.gen(function*() {
        yield* Checkpoint.step("set", none, FiberRef.set(ref, 1))
        assert.deepStrictEqual([yield* FiberRef.get(ref), yield* here], [1, "none"])
        yield* Checkpoint.step(
          "fork",
          none,
          Effect.zipRight(FiberRef.set(ref, 2), Effect.flatMap(Effect.fork(here), Fiber.join))
        )
        assert.deepStrictEqual([yield* FiberRef.get(ref), yield* here], [2, "none"])
      })
      yield* Checkpoint.run("r", body)
    }).pipe(Effect.provide(Checkpoint.layerMemory)))

  it.effect("are seen by whoever supervises the caller", () =>
    Effect.gen(function*() {
      const supervisor = yield* Supervisor.track
      const body = Effect.gen(function*() {
        const forked = yield* Effect.forkDaemon(Effect.never)
        const seen = yield* supervisor.value
        yield* Fiber.interrupt(forked)
        assert.isTrue(seen.some((fiber) => fiber.id() === forked.id()))
      })
      yield* Effect.supervised(Checkpoint.run("r", body), supervisor)
    }).pipe(Effect.provide(Checkpoint.layerMemory)))

  /** An engine whose store counts the renewals. */
  const counted = Effect.map(makeMemory, (store) => {
    const seen = { renewals: 0 }
    const counting = Layer.succeed(CheckpointStore, {
      ...store,
      renew: (request) => Effect.zipRight(Effect.sync(() => seen.renewals++), store.renew(request))
    })
    return { seen, engine: Layer.provide(Checkpoint.layerEngine, counting) }
  })

  it.scoped("nobody renews the lease of a run that has ended", () =>
    Effect.gen(function*() {
      const { engine, seen } = yield* counted
      yield* Effect.gen(function*() {
        yield* Checkpoint.run("r", Checkpoint.step("a", {}, Effect.void))
        yield* TestClock.adjust("5 minutes")
        assert.strictEqual(seen.renewals, 0)
      }).pipe(Effect.provide(engine))
    }))

  it.scopedLive("under the live Clock a lease is renewed at each third of it, and no timer is left", () =>
    Effect.gen(function*() {
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })),
        () => Effect.sync(() => vi.useRealTimers())
      )
      const advance = (millis: number) => Effect.promise(() => vi.advanceTimersByTimeAsync(millis))
      const { engine, seen } = yield* counted
      const go = yield* Deferred.make<void>()
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.fork(Checkpoint.run("r", Checkpoint.step("a", {}, Deferred.await(go))))
        yield* advance(9_999)
        assert.strictEqual(seen.renewals, 0)
        yield* advance(1)
        assert.strictEqual(seen.renewals, 1)
        yield* advance(20_000)
        assert.strictEqual(seen.renewals, 3)
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(fiber)
        yield* advance(60_000)
        assert.deepStrictEqual([seen.renewals, vi.getTimerCount()], [3, 0])
      }).pipe(Effect.provide(engine))
    }))
})
