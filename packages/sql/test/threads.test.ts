/** A run whose requests are committed by the main thread when they are alone, and by the writer thread when they are not. */
import { assert, describe, it } from "@effect/vitest"
import * as CheckpointStore from "@firebreak/core/CheckpointStore"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as SqlStore from "../src/SqlStore.js"
import { temporaryFile } from "./fixtures/temporary.js"

type Store = Context.Tag.Service<CheckpointStore.CheckpointStore>

const open = (filename: string): Effect.Effect<Store, unknown, any> =>
  Effect.map(Layer.build(SqlStore.layerSqlite({ filename })), Context.get(CheckpointStore.CheckpointStore))

const lease = Duration.seconds(10)

const begin = (store: Store, key: string) =>
  Effect.flatMap(
    store.begin({ runId: `w/${key}`, workflow: "w", version: "1", key, payload: "{}", lease, maxStalls: 20 }),
    (begun) => begun._tag === "Claimed" ? Effect.succeed(begun) : Effect.dieMessage(begun._tag)
  )

const named = (key: string, name: string) => ({
  runId: `w/${key}`,
  name,
  kind: "step" as const,
  branch: "main" as const,
  startedAt: 0
})

const step = (key: string, seq: number, name: string) => ({ ...named(key, name), seq, exit: "null", endedAt: 0 })

/** What is known of the run: its steps, and those begun without a record. */
const seen = (store: Store, key: string) =>
  Effect.map(store.load(`w/${key}`), (found) => {
    const { started, steps } = Option.getOrThrow(found)
    return { steps: steps.map(({ name }) => name), started: started.map(({ name }) => name) }
  })

const together = <A, B, E, R>(a: Effect.Effect<A, E, R>, b: Effect.Effect<B, E, R>) =>
  Effect.all([a, b], { concurrency: 2 })

describe("the two threads that write", () => {
  it.scoped("a step begun by one and recorded by the other is no longer in doubt", () =>
    Effect.gen(function*() {
      const store = yield* open(yield* temporaryFile)
      const [a, b] = yield* together(begin(store, "a"), begin(store, "b"))
      const start = (name: string) => store.start({ token: a.token, step: named("a", name) })
      const save = (seq: number, name: string) => store.save({ token: a.token, step: step("a", seq, name) })
      const other = (seq: number) => store.save({ token: b.token, step: step("b", seq, `other ${seq}`) })

      // begun here, recorded there
      yield* start("one")
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: [], started: ["one"] })
      assert.deepStrictEqual(yield* together(save(0, "one"), other(0)), [true, true])
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one"], started: [] })

      // begun there, recorded here
      yield* together(start("two"), other(1))
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one"], started: ["two"] })
      assert.isTrue(yield* save(1, "two"))
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one", "two"], started: [] })

      // again here, after the other has recorded one
      yield* together(start("three"), other(2))
      yield* together(save(2, "three"), other(3))
      yield* start("four")
      assert.isTrue(yield* save(3, "four"))
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one", "two", "three", "four"], started: [] })
    }))

  it.scoped("neither records a step of a run that was taken over", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [store, successor] = [yield* open(filename), yield* open(filename)]
      const [a, b] = yield* together(begin(store, "a"), begin(store, "b"))
      const save = (seq: number) => store.save({ token: a.token, step: step("a", seq, `step ${seq}`) })
      assert.isTrue(yield* save(0))
      yield* TestClock.adjust(Duration.seconds(11))
      yield* begin(successor, "a")
      const other = store.save({ token: b.token, step: step("b", 0, "other") })
      assert.isFalse(yield* save(1))
      assert.deepStrictEqual(yield* together(save(1), other), [false, true])
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["step 0"], started: [] })
    }))

  /** A run that the one store has left, the other has gone on with and left, and the one has taken up again. */
  const back = (change: (other: Store, token: number) => Effect.Effect<unknown, unknown>) =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [store, successor] = [yield* open(filename), yield* open(filename)]
      const [first, b] = yield* together(begin(store, "a"), begin(store, "b"))
      const other = store.save({ token: b.token, step: step("b", 0, "other") })
      assert.isTrue(yield* store.save({ token: first.token, step: step("a", 0, "one") }))
      yield* store.start({ token: first.token, step: named("a", "doubt") })
      // with the other, so that the main thread does not see it
      yield* together(store.release({ runId: "w/a", token: first.token }), other)
      yield* change(successor, first.token)
      const { token } = yield* begin(store, "a")
      const save = (seq: number, name: string) => store.save({ token, step: step("a", seq, name) })
      return { store, save, token }
    })

  it.scoped("add to what another store has added meanwhile", () =>
    Effect.gen(function*() {
      const { save, store, token } = yield* back((other) =>
        Effect.flatMap(begin(other, "a"), ({ token }) =>
          Effect.all([
            other.save({ token, step: step("a", 1, "two") }),
            other.start({ token, step: named("a", "three") }),
            other.release({ runId: "w/a", token })
          ]))
      )
      assert.isTrue(yield* save(2, "three"))
      assert.isTrue(yield* save(3, "doubt"))
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one", "two", "three", "doubt"], started: [] })
      assert.isTrue(yield* store.finish({ runId: "w/a", token, status: "succeeded", exit: "null" }))
      assert.deepStrictEqual(yield* store.verify ?? Effect.succeed([]), [])
    }))

  it.scoped("add to what was settled by another store", () =>
    Effect.gen(function*() {
      const { save, store, token } = yield* back((other) =>
        other.settle({ runId: "w/a", name: "doubt", exit: Option.some("null") })
      )
      assert.isTrue(yield* save(2, "two"))
      assert.deepStrictEqual(yield* seen(store, "a"), { steps: ["one", "doubt", "two"], started: [] })
      assert.isTrue(yield* store.finish({ runId: "w/a", token, status: "succeeded", exit: "null" }))
      assert.deepStrictEqual(yield* store.verify ?? Effect.succeed([]), [])
    }))

  it.scoped("know of each other's steps, however many runs there are", () =>
    Effect.gen(function*() {
      const store = yield* open(yield* temporaryFile)
      const keys = Array.from({ length: 200 }, (_, i) => `${i}`)
      const all = <A, E>(f: (key: string, token: number) => Effect.Effect<A, E>) =>
        Effect.forEach(keys, (key, i) => f(key, runs[i]!.token), { concurrency: "unbounded" })
      const runs = yield* Effect.forEach(keys, (key) => begin(store, key))
      yield* all((key, token) => store.save({ token, step: step(key, 0, "together") }))
      for (const [i, key] of keys.entries()) {
        assert.isTrue(yield* store.save({ token: runs[i]!.token, step: step(key, 1, "alone") }))
      }
      yield* all((key, token) => store.save({ token, step: step(key, 2, "together again") }))
      assert.deepStrictEqual(yield* store.verify ?? Effect.succeed([]), [])
    }))
})
