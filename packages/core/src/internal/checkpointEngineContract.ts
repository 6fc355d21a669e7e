/** The tests of `CheckpointEngineSuite`: programs, and what must come of them. */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Checkpoint from "../Checkpoint.js"
import type { Capability, CheckpointEngine } from "../CheckpointEngine.js"

/** A workflow, so that a process can take up its runs. */
export type Registered = Layer.Layer<never, never, CheckpointEngine>

/** The records of one test, and the processes that come and go over them. */
export interface World {
  readonly unit: Duration.Duration
  /** Lets that many units pass. */
  readonly pass: (units: number) => Effect.Effect<void>
  /** Runs it in a process of its own, with these workflows. */
  readonly process: <A, E>(
    flows: ReadonlyArray<Registered>,
    effect: Effect.Effect<A, E, CheckpointEngine>
  ) => Effect.Effect<A, unknown>
  /** Runs it in a process that dies when that is reached. */
  readonly crash: (
    flows: ReadonlyArray<Registered>,
    effect: Effect.Effect<unknown, unknown, CheckpointEngine>,
    reached: Deferred.Deferred<void>
  ) => Effect.Effect<void, unknown>
  /** Asks again for as long as somebody else has the run. */
  readonly again: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export interface Test {
  readonly title: string
  readonly needs: ReadonlyArray<Capability>
  readonly body: (world: World) => Effect.Effect<void, unknown, Scope.Scope>
}

export class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Number }) {}

export const Payload = Schema.Struct({ id: Schema.String, n: Schema.optionalWith(Schema.Number, { default: () => 0 }) })
export const one = { id: "one", n: 0 }
export const runId = "flow/one"

/** A workflow of numbers, by name `flow`. */
export const flowOf = <R>(
  body: Effect.Effect<ReadonlyArray<number>, Refused, R>,
  options: Partial<Checkpoint.RunOptions<Schema.Schema.Any, Schema.Schema.All>> = {}
) =>
  Checkpoint.workflow("flow", {
    ...options,
    payload: Payload,
    key: ({ id }) => id,
    success: Schema.Array(Schema.Number),
    error: Refused,
    signals: { go: Schema.Number }
  }, () => body)

/** Notes what happens. */
export const journal = () => {
  const notes: Array<string> = []
  const note = (text: string) => Effect.sync(() => void notes.push(text))
  return {
    note,
    take: () => notes.splice(0),
    step: (name: string, value: number) =>
      Checkpoint.step(name, { success: Schema.Number }, Effect.as(note(name), value)),
    undone: (name: string, value: number) =>
      Checkpoint.step(
        name,
        { success: Schema.Number, compensate: (n) => note(`undo ${name} ${n}`) },
        Effect.as(note(name), value)
      ),
    /** The first time it is come to: says so, and goes no further. */
    halt: (reached: Deferred.Deferred<void>) => {
      let first = true
      return Effect.suspend(() => {
        if (!first) return Effect.void
        first = false
        return Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never)
      })
    }
  }
}

const tagOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error)

/** The error it fails with, by its tag. */
export const failsWith = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(Effect.flip(effect), tagOf)

export const tests: ReadonlyArray<Test> = [
  {
    title: "runs its steps in order, once, and gives the recorded outcome ever after",
    needs: [],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        const flow = flowOf(Effect.all([step("a", 1), step("b", 2), step("a", 3)]))
        for (let i = 0; i < 3; i++) {
          assert.deepStrictEqual(yield* process([flow.layer], flow.run(one)), [1, 2, 3])
        }
        assert.deepStrictEqual(take(), ["a", "b", "a"])
        assert.deepStrictEqual(
          yield* process([flow.layer], flow.outcome(one)),
          Option.some(Exit.succeed([1, 2, 3]))
        )
      })
  },
  {
    title: "records a declared failure and replays it",
    needs: [],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        const flow = flowOf(Effect.zipRight(step("a", 1), new Refused({ status: 409 })))
        for (let i = 0; i < 2; i++) {
          const error = yield* process([flow.layer], Effect.flip(flow.run(one)))
          assert.deepStrictEqual(error, new Refused({ status: 409 }))
        }
        assert.deepStrictEqual(take(), ["a"])
      })
  },
  {
    title: "after a crash goes on with the first step that was not finished",
    needs: [],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, note, step, take } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const b = Checkpoint.step("b", { success: Schema.Number }, Effect.as(Effect.zipRight(note("b"), halted), 2))
        const flow = flowOf(Effect.all([step("a", 1), b, step("c", 3)]))
        yield* crash([flow.layer], flow.run(one), reached)
        assert.deepStrictEqual(take(), ["a", "b"])
        assert.deepStrictEqual(yield* process([flow.layer], again(flow.run(one))), [1, 2, 3])
        assert.deepStrictEqual(take(), ["b", "c"])
      })
  },
  {
    title: "takes up what a crash has left, and says how it ended",
    needs: [],
    body: ({ again, crash, pass, process }) =>
      Effect.gen(function*() {
        const { halt, step, take } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const flow = flowOf(Effect.zipWith(step("a", 1), halted, (a) => [a]))
        yield* crash([flow.layer], flow.run(one), reached)
        yield* process(
          [flow.layer],
          Effect.gen(function*() {
            yield* Checkpoint.resumeAll()
            let outcome = yield* flow.outcome(one)
            while (Option.isNone(outcome)) {
              yield* pass(0.5)
              outcome = yield* flow.outcome(one)
            }
            assert.deepStrictEqual(outcome.value, Exit.succeed([1]))
          })
        )
        assert.deepStrictEqual(yield* process([flow.layer], again(flow.run(one))), [1])
        assert.deepStrictEqual(take(), ["a"])
      })
  },
  {
    title: "refuses the same key with another payload",
    needs: [],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { step } = journal()
        const flow = flowOf(Effect.map(step("a", 1), (a) => [a]))
        yield* process([flow.layer], flow.run(one))
        const other = failsWith(flow.run({ ...one, n: 1 }))
        assert.strictEqual(yield* process([flow.layer], other), "PayloadMismatch")
      })
  },
  {
    title: "runs one of many callers, and the others see its outcome or that it is in progress",
    needs: [],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        const flow = flowOf(Effect.map(Effect.zipLeft(step("a", 1), Effect.yieldNow()), (a) => [a]))
        const exits = yield* process(
          [flow.layer],
          Effect.all(Array.from({ length: 8 }, () => Effect.exit(flow.run(one))), { concurrency: "unbounded" })
        )
        for (const exit of exits) {
          if (Exit.isSuccess(exit)) assert.deepStrictEqual(exit.value, [1])
          else assert.strictEqual(exit.cause._tag === "Fail" ? exit.cause.error._tag : "", "RunInProgress")
        }
        assert.deepStrictEqual(take(), ["a"])
      })
  },
  {
    title: "refuses code that is not the one that was begun, before it runs anything",
    needs: [],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, step, take } = journal()
        const reached = yield* Deferred.make<void>()
        const before = flowOf(Effect.zipWith(step("a", 1), halt(reached), (a) => [a]))
        yield* crash([before.layer], before.run(one), reached)
        take()
        const after = flowOf(Effect.all([step("x", 1), step("y", 2)]))
        assert.strictEqual(yield* process([after.layer], failsWith(again(after.run(one)))), "HistoryMismatch")
        assert.deepStrictEqual(take(), [])
        assert.deepStrictEqual(yield* process([before.layer], again(before.run(one))), [1])
      })
  }
]
