/** The tests of `CheckpointEngineSuite` of what a run waits for: times, signals, children. */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Checkpoint from "../Checkpoint.js"
import type { CheckpointEngine } from "../CheckpointEngine.js"
import {
  failsWith,
  flowOf,
  journal,
  one,
  Payload,
  Refused,
  type Registered,
  runId,
  type Test,
  type World
} from "./checkpointEngineContract.js"

/** When the run has begun to wait under that name. */
const waiting = ({ pass }: World, name: string, id = runId): Effect.Effect<void, unknown, CheckpointEngine> => {
  const look: Effect.Effect<void, unknown, CheckpointEngine> = Effect.flatMap(
    Checkpoint.load(id),
    (found) =>
      Option.exists(found, ({ started }) => started.some((_) => _.name === name))
        ? Effect.void
        : Effect.zipRight(pass(0.01), look)
  )
  return look
}

/** Lives until the run waits under that name, and dies then. */
export const crashWaiting = (
  world: World,
  flow: {
    readonly layer: Registered
    readonly run: (payload: typeof one) => Effect.Effect<unknown, unknown, CheckpointEngine>
  },
  name: string
) =>
  Effect.flatMap(Deferred.make<void>(), (reached) =>
    world.crash(
      [flow.layer],
      Effect.zipRight(
        Effect.fork(flow.run(one)),
        Effect.zipRight(waiting(world, name), Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never))
      ),
      reached
    ))

export const signalled = (value: Option.Option<number>): ReadonlyArray<number> => [Option.getOrElse(value, () => -1)]

/** Waits for a number sent as `go`. */
export const go = (world: World, within?: number) =>
  Checkpoint.signal("go", {
    success: Schema.Number,
    within: within === undefined ? undefined : Duration.times(world.unit, within)
  })

const waits: ReadonlyArray<Test> = [
  {
    title: "sleeps for as long as it should, and after a crash for the rest",
    needs: ["sleep", "progress"],
    body: (world) =>
      Effect.gen(function*() {
        const { again, pass, process, unit } = world
        const { note, take } = journal()
        const flow = flowOf(
          Checkpoint.sleep("nap", Duration.times(unit, 10)).pipe(Effect.zipRight(note("awake")), Effect.as([1]))
        )
        yield* crashWaiting(world, flow, "nap")
        yield* pass(6)
        const fiber = yield* Effect.forkScoped(process([flow.layer], again(flow.run(one))))
        yield* pass(2)
        assert.deepStrictEqual(take(), [])
        yield* pass(3)
        assert.deepStrictEqual(yield* Fiber.join(fiber), [1])
        assert.deepStrictEqual(take(), ["awake"])
      })
  },
  {
    title: "a signal sent before the run began is there, and the first counts",
    needs: ["signals"],
    body: (world) =>
      Effect.gen(function*() {
        const flow = flowOf(Effect.map(go(world), signalled))
        const result = yield* world.process(
          [flow.layer],
          Effect.gen(function*() {
            assert.strictEqual(yield* flow.send("one", "go", 7), "Sent")
            assert.strictEqual(yield* flow.send("one", "go", 8), "AlreadySent")
            return yield* flow.run(one)
          })
        )
        assert.deepStrictEqual(result, [7])
      })
  },
  {
    title: "a signal reaches a run that waits, and one that a crash has left waiting",
    needs: ["signals", "progress"],
    body: (world) =>
      Effect.gen(function*() {
        const flow = flowOf(Effect.map(go(world), signalled))
        yield* crashWaiting(world, flow, "go")
        assert.strictEqual(yield* world.process([], flow.send("one", "go", 7)), "Sent")
        assert.deepStrictEqual(yield* world.process([flow.layer], world.again(flow.run(one))), [7])

        const other = { ...one, id: "other" }
        const result = yield* world.process(
          [flow.layer],
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(flow.run(other))
            yield* waiting(world, "go", "flow/other")
            yield* flow.send("other", "go", 8)
            return yield* Fiber.join(fiber)
          })
        )
        assert.deepStrictEqual(result, [8])
      })
  },
  {
    title: "a signal that does not come in time is none, whoever lives then, and is too late after it",
    needs: ["signals", "progress"],
    body: (world) =>
      Effect.gen(function*() {
        const { note, take } = journal()
        const last = Checkpoint.signal("end", {})
        const flow = flowOf(
          Effect.map(go(world, 4), signalled).pipe(
            Effect.tap((values) => note(`${values[0]}`)),
            Effect.zipLeft(last)
          )
        )
        yield* crashWaiting(world, flow, "go")
        yield* world.pass(5)
        yield* crashWaiting(world, flow, "end")
        assert.deepStrictEqual(take(), ["-1"])
        const sent = yield* world.process([flow.layer], flow.send("one", "go", 7))
        assert.strictEqual(sent, "TooLate")
        yield* world.process([flow.layer], Checkpoint.send(runId, "end", Schema.Void, undefined))
        assert.deepStrictEqual(yield* world.process([flow.layer], world.again(flow.run(one))), [-1])
      })
  },
  {
    title: "a signal is too late when its time was over while nobody executed the run",
    needs: ["signals", "progress"],
    body: (world) =>
      Effect.gen(function*() {
        const flow = flowOf(Effect.map(go(world, 4), signalled))
        yield* crashWaiting(world, flow, "go")
        yield* world.pass(5)
        assert.strictEqual(yield* world.process([], flow.send("one", "go", 7)), "TooLate")
        assert.deepStrictEqual(yield* world.process([flow.layer], world.again(flow.run(one))), [-1])
      })
  }
]

const child = <R>(body: Effect.Effect<number, Refused, R>) =>
  Checkpoint.workflow(
    "child",
    { payload: Payload, key: ({ id }) => id, success: Schema.Number, error: Refused },
    () => body
  )

const families: ReadonlyArray<Test> = [
  {
    title: "a child is a step of its parent: it runs once, and goes on after a crash",
    needs: ["children"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, step, take } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const sub = child(Effect.zipLeft(step("x", 7), halted))
        const flow = flowOf(Effect.all([step("a", 1), sub.runChild({ id: "c", n: 0 }).pipe(Effect.orDie)]))
        const flows = [flow.layer, sub.layer]
        yield* crash(flows, flow.run(one), reached)
        assert.deepStrictEqual(yield* process(flows, again(flow.run(one))), [1, 7])
        assert.deepStrictEqual(yield* process(flows, flow.run(one)), [1, 7])
        assert.deepStrictEqual(take(), ["a", "x"])
      })
  },
  {
    title: "the failure of a child is its parent's to handle",
    needs: ["children"],
    body: ({ process }) =>
      Effect.gen(function*() {
        const sub = child(Effect.fail(new Refused({ status: 5 })))
        const flow = flowOf(
          Effect.match(sub.runChild({ id: "c", n: 0 }), {
            onFailure: (error) => error._tag === "Refused" ? [error.status] : [],
            onSuccess: (n) => [n]
          })
        )
        for (let i = 0; i < 2; i++) {
          assert.deepStrictEqual(yield* process([flow.layer, sub.layer], flow.run(one)), [5])
        }
      })
  },
  {
    title: "a child is cancelled with its parent, and undone before it",
    needs: ["children", "cancel", "compensation"],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { take, undone } = journal()
        const reached = yield* Deferred.make<void>()
        const stuck = Checkpoint.step("stuck", {}, Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never))
        const sub = child(Effect.zipLeft(undone("x", 7), stuck))
        const flow = flowOf(
          Effect.all([undone("a", 1), Effect.orDie(sub.runChild({ id: "c", n: 0 }))])
        )
        const ends = yield* process(
          [flow.layer, sub.layer],
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(flow.run(one))
            yield* Deferred.await(reached)
            yield* flow.cancel("one", { reason: "enough" })
            const own = yield* failsWith(Fiber.join(fiber))
            const [run] = yield* Checkpoint.list({ workflow: "child" })
            return [own, run?.status]
          })
        )
        assert.deepStrictEqual(ends, ["RunCancelled", "cancelled"])
        assert.deepStrictEqual(take(), ["a", "x", "undo x 7", "undo a 1"])
      })
  }
]

export const waitTests: ReadonlyArray<Test> = [...waits, ...families]
