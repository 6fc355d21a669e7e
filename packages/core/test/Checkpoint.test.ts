import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Checkpoint from "../src/Checkpoint.js"
import type { CheckpointEngine } from "../src/CheckpointEngine.js"
import { make as makeMemory } from "../src/CheckpointMemory.js"
import { CheckpointStore, type Service } from "../src/CheckpointStore.js"
import * as Events from "../src/Events.js"
import { StoreError } from "../src/StoreError.js"
import { shellRuns } from "./support/runs.js"

class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Number }) {}

const Incident = Schema.Struct({ id: Schema.String, at: Schema.DateFromString })
const one = { id: "INC-1", at: new Date(0) }
const runId = "handle/INC-1"

/** A workflow over incidents that succeeds with a list of numbers. */
const handle = <R>(body: Effect.Effect<ReadonlyArray<number>, Refused, R>) =>
  Checkpoint.workflow(
    "handle",
    { payload: Incident, key: ({ id }) => id, success: Schema.Array(Schema.Number), error: Refused },
    () => body
  )

/** Steps that count how often their bodies began. */
const counter = () => {
  const begun: Array<string> = []
  const numbered = (name: string, value: Effect.Effect<number, Refused>) =>
    Checkpoint.step(
      name,
      { success: Schema.Number, error: Refused },
      Effect.suspend(() => {
        begun.push(name)
        return value
      })
    )
  return {
    begun,
    step: (name: string, value: number | Effect.Effect<number, Refused> = 0) =>
      numbered(name, typeof value === "number" ? Effect.succeed(value) : value),
    take: () => begun.splice(0)
  }
}

type Needs = CheckpointEngine | CheckpointStore | Scope.Scope

const live = Checkpoint.layerMemory

const test = <E>(title: string, body: () => Effect.Effect<void, E, Needs>) =>
  it.scoped(title, () => Effect.provide(Effect.suspend(body), live))

/** Lets every fiber go as far as it can without time passing. */
const settled = TestClock.adjust(0)

const stored = Effect.map(Checkpoint.load(runId), Option.getOrThrow)
const names = Effect.map(stored, ({ steps }) => steps.map((step) => step.name))

/** An engine of its own over this store, as in another process. */
const over = (store: Service) => Layer.provide(Checkpoint.layerEngine, Layer.succeed(CheckpointStore, store))

/** A store of which one operation does something else. */
const withStore = <A, E, R>(effect: Effect.Effect<A, E, R>, change: (store: Service) => Partial<Service>) =>
  Effect.flatMap(CheckpointStore, (store) => Effect.provide(effect, over({ ...store, ...change(store) })))

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) return assert.fail("expected a failure")
  return Option.getOrThrowWith(Cause.failureOption(exit.cause), () => new Error(Cause.pretty(exit.cause)))
}

const disk = new StoreError({ store: "test", operation: "save", reason: "full", detail: "no space" })

describe("a run", () => {
  test("runs its steps in order and gives the body's success", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.all([step("a", 1), step("b", 2), step("c", 3)]))
      assert.deepStrictEqual(yield* flow.run(one), [1, 2, 3])
      assert.deepStrictEqual(begun, ["a", "b", "c"])
      const { run, steps } = yield* stored
      assert.strictEqual(flow.runId(one), runId)
      assert.strictEqual(run.status, "succeeded")
      assert.deepStrictEqual(steps.map(({ name, seq }) => [seq, name]), [[0, "a"], [1, "b"], [2, "c"]])
    }))

  test("runs nothing again once it has ended, and gives the recorded outcome", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      let bodies = 0
      const flow = handle(Effect.suspend(() => {
        bodies++
        return Effect.map(step("a", 1), (a) => [a])
      }))
      assert.deepStrictEqual(yield* flow.run(one), [1])
      assert.deepStrictEqual(yield* flow.run(one), [1])
      assert.deepStrictEqual(begun, ["a"])
      assert.strictEqual(bodies, 1)
    }))

  test("records a declared failure and replays it", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.zipRight(step("a"), Effect.fail(new Refused({ status: 409 }))))
      for (let i = 0; i < 2; i++) {
        assert.deepStrictEqual(yield* Effect.flip(flow.run(one)), new Refused({ status: 409 }))
      }
      assert.deepStrictEqual(begun, ["a"])
      assert.strictEqual((yield* stored).run.status, "failed")
    }))

  test("a defect is no outcome: the run stays unfinished and goes on after its steps", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      let broken = true
      const flow = handle(Effect.gen(function*() {
        const a = yield* step("a", 1)
        if (broken) return yield* Effect.die("bug")
        return [a, yield* step("b", 2)]
      }))
      const exit = yield* Effect.exit(flow.run(one))
      assert.isTrue(Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause)))
      assert.strictEqual((yield* stored).run.status, "running")
      assert.deepStrictEqual(take(), ["a"])
      broken = false
      assert.deepStrictEqual(yield* flow.run(one), [1, 2])
      assert.deepStrictEqual(take(), ["b"])
    }))

  test("an interrupted run is given back, so that anyone may resume it at once", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const gate = yield* Deferred.make<number>()
      const flow = handle(Effect.all([step("a", 1), step("b", Deferred.await(gate))]))
      const fiber = yield* Effect.fork(flow.run(one))
      yield* settled
      assert.deepStrictEqual(take(), ["a", "b"])
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      yield* Deferred.succeed(gate, 2)
      assert.deepStrictEqual(yield* flow.run(one), [1, 2])
      assert.deepStrictEqual(take(), ["b"])
      assert.strictEqual((yield* stored).run.recoveries, 1)
    }))

  test("keeps runs of different keys apart", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.map(step("a", 1), (a) => [a]))
      yield* flow.run(one)
      yield* flow.run({ ...one, id: "INC-2" })
      assert.deepStrictEqual(begun, ["a", "a"])
      assert.deepStrictEqual((yield* Checkpoint.list({ workflow: "handle" })).map((_) => _.key), ["INC-1", "INC-2"])
    }))

  test("refuses the same key with another payload, naming workflow and key", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.map(step("a", 1), (a) => [a]))
      yield* flow.run(one)
      const error = yield* Effect.flip(flow.run({ ...one, at: new Date(1) }))
      assert.strictEqual(error._tag, "PayloadMismatch")
      assert.include(error.message, `"handle"`)
      assert.include(error.message, `"INC-1"`)
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("is in progress for everybody else while its owner lives", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.map(step("a", Effect.never), (a) => [a]))
      yield* Effect.fork(flow.run(one))
      yield* settled
      const error = yield* Effect.flip(flow.run(one))
      if (error._tag !== "RunInProgress") return assert.fail(error._tag)
      assert.isTrue(Duration.greaterThan(error.retryAfter, Duration.zero))
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual((yield* Effect.flip(flow.run(one)))._tag, "RunInProgress")
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("without a definition: the same id is the same run", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const program = Effect.zipRight(step("a", 1), step("b", 2))
      const simple = Checkpoint.run("incident-INC-1", { success: Schema.Number, error: Refused }, program)
      assert.strictEqual(yield* simple, 2)
      assert.strictEqual(yield* simple, 2)
      assert.deepStrictEqual(begun, ["a", "b"])
      assert.isUndefined(yield* Checkpoint.run("nothing", Effect.asVoid(step("c").pipe(Effect.orDie))))
      assert.deepStrictEqual((yield* Checkpoint.list()).map((_) => _.runId), ["run/incident-INC-1", "run/nothing"])
    }))

  test("can be cleared and pruned", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.map(step("a", 1), (a) => [a]))
      yield* flow.run(one)
      assert.isTrue(yield* Checkpoint.clear(runId))
      yield* flow.run(one)
      assert.deepStrictEqual(begun, ["a", "a"])
      yield* TestClock.adjust("2 days")
      assert.strictEqual(yield* Checkpoint.prune({ olderThan: "3 days" }), 0)
      assert.strictEqual(yield* Checkpoint.prune({ olderThan: "1 day" }), 1)
      assert.isTrue(Option.isNone(yield* Checkpoint.load(runId)))
    }))

  it("refuses a name or a lease that makes no sense", () => {
    const options = { payload: Incident, key: () => "k" }
    for (const name of [" ", "a/b", "run"]) {
      assert.throws(() => Checkpoint.workflow(name, options, () => Effect.void), /name/)
    }
    assert.throws(() => Checkpoint.workflow("w", { ...options, lease: "1 milli" }, () => Effect.void), /lease/)
    for (const name of ["", "a#2"]) assert.throws(() => Checkpoint.step(name, {}, Effect.void), /name/)
  })
})

describe("a step", () => {
  test("is saved durably before the next line runs", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const saving = yield* Deferred.make<void>()
      const flow = handle(Effect.all([step("a", 1), step("b", 2)]))
      const fiber = yield* Effect.fork(
        withStore(flow.run(one), (store) => ({
          save: (request) => Effect.zipRight(Deferred.await(saving), store.save(request))
        }))
      )
      yield* settled
      assert.deepStrictEqual(begun, ["a"])
      yield* Deferred.succeed(saving, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
    }))

  test("that is being saved is not lost when the run is interrupted", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const saving = yield* Deferred.make<void>()
      const flow = handle(Effect.all([step("a", 1), step("b", 2)]))
      const fiber = yield* Effect.fork(
        withStore(flow.run(one), (store) => ({
          save: (request) => Effect.zipRight(Deferred.await(saving), store.save(request))
        }))
      )
      yield* settled
      yield* Fiber.interruptFork(fiber)
      yield* settled
      yield* Deferred.succeed(saving, undefined)
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(yield* names, ["a"])
      take()
      assert.deepStrictEqual(yield* flow.run(one), [1, 2])
      assert.deepStrictEqual(take(), ["b"])
    }))

  test("its declared failure is recorded and replayed", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      let crash = true
      const flow = handle(
        Effect.gen(function*() {
          const seen = yield* Effect.flip(step("a", Effect.fail(new Refused({ status: 409 }))))
          assert.deepStrictEqual(seen, new Refused({ status: 409 }))
          if (crash) return yield* Effect.interrupt
          return [yield* step("b", 2)]
        }).pipe(Effect.orDieWith((error) => error))
      )
      assert.isTrue(Exit.isFailure(yield* Effect.exit(flow.run(one))))
      assert.deepStrictEqual(take(), ["a"])
      crash = false
      assert.deepStrictEqual(yield* flow.run(one), [2])
      assert.deepStrictEqual(take(), ["b"])
    }))

  test("a defect or an interruption in it is never recorded", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const ends = [Effect.die("bug"), Effect.interrupt, Effect.succeed(1)]
      const flow = handle(Effect.map(step("a", Effect.suspend(() => ends.shift()!)), (a) => [a]))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(flow.run(one))))
      assert.deepStrictEqual(yield* names, [])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(flow.run(one))))
      assert.deepStrictEqual(yield* names, [])
      assert.deepStrictEqual(yield* flow.run(one), [1])
      assert.deepStrictEqual(take(), ["a", "a", "a"])
    }))

  for (const [schema, options] of [["no schema", {}], ["the schema Void", { success: Schema.Void }]] as const) {
    test(`with ${schema} gives nothing, now and later, whatever its body gave`, () =>
      Effect.gen(function*() {
        let crash = true
        const seen: Array<void> = []
        const flow = Checkpoint.workflow("handle", {
          payload: Incident,
          key: ({ id }) => id,
          ...options
        }, () =>
          Effect.gen(function*() {
            seen.push(yield* Checkpoint.step("count", options, Effect.sync(() => new Map([[1, 1n]]))))
            return crash ? yield* Effect.interrupt : 2
          }))
        yield* Effect.exit(flow.run(one))
        crash = false
        assert.isUndefined(yield* flow.run(one))
        assert.deepStrictEqual(seen, [undefined, undefined])
      }))
  }

  test("of the same name again is numbered, and told apart after a crash", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      let crash = true
      const flow = handle(
        Effect.all([
          step("a", 1),
          step("b", 2),
          step("a", 3),
          Effect.suspend(() => crash ? Effect.interrupt : step("a", 4))
        ])
      )
      yield* Effect.exit(flow.run(one))
      assert.deepStrictEqual(yield* names, ["a", "b", "a#2"])
      take()
      crash = false
      assert.deepStrictEqual(yield* flow.run(one), [1, 2, 3, 4])
      assert.deepStrictEqual(take(), ["a"])
      assert.deepStrictEqual(yield* names, ["a", "b", "a#2", "a#3"])
    }))

  test("knows its run, its name and a key that stays the same", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const look = Effect.map(Checkpoint.CurrentStep, (current) => seen.push(Option.getOrNull(current)?.key))
      let crash = true
      const flow = handle(Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* Checkpoint.CurrentStep))
        yield* Checkpoint.step(
          "a",
          {},
          Effect.gen(function*() {
            yield* look
            const current = Option.getOrThrow(yield* Checkpoint.CurrentStep)
            assert.strictEqual(current.runId, runId)
            assert.strictEqual(current.step, "a")
            if (crash) yield* Effect.interrupt
          })
        )
        yield* Checkpoint.step("b", {}, look)
        return []
      }))
      yield* Effect.exit(flow.run(one))
      crash = false
      yield* flow.run(one)
      assert.strictEqual(seen.length, 3)
      assert.match(String(seen[0]), /^[0-9a-f]{64}$/)
      assert.strictEqual(seen[0], seen[1])
      assert.notStrictEqual(seen[1], seen[2])
    }))

  test("goes through its schema: what is replayed equals what was there", () =>
    Effect.gen(function*() {
      const seen: Array<Date> = []
      let crash = true
      const flow = handle(Effect.gen(function*() {
        seen.push(yield* Checkpoint.step("now", { success: Schema.Date }, Effect.succeed(new Date(5))))
        yield* Checkpoint.step("nothing", {}, Effect.void)
        if (crash) yield* Effect.interrupt
        return []
      }))
      yield* Effect.exit(flow.run(one))
      crash = false
      yield* flow.run(one)
      assert.deepStrictEqual(seen, [new Date(5), new Date(5)])
    }))

  test("that cannot be encoded is an error naming run, step and path; the run can go on when it is mended", () =>
    Effect.gen(function*() {
      const cyclic: { self?: unknown } = {}
      cyclic.self = cyclic
      let deep: unknown = 0
      for (let i = 0; i < 70; i++) deep = [deep]
      const bad: Array<unknown> = [{ a: NaN }, { a: 1n }, { a: cyclic }, { a: deep }, { a: new Map() }, {
        a: JSON.parse(`{"__proto__":1}`)
      }]
      for (const [i, value] of bad.entries()) {
        let current: unknown = value
        const flow = handle(
          Effect.as(Checkpoint.step("bad", { success: Schema.Unknown }, Effect.sync(() => current)), [1])
        )
        const incident = { ...one, id: `INC-${i}` }
        const error = yield* Effect.flip(flow.run(incident))
        if (error._tag !== "StepCodecError") return assert.fail(error._tag)
        assert.strictEqual(error.step, "bad")
        assert.strictEqual(error.part, "success")
        assert.isTrue(error.path.startsWith("a"), error.path)
        for (const part of ["handle", `INC-${i}`, "bad", error.path]) assert.include(error.message, part)
        assert.deepStrictEqual(Option.getOrThrow(yield* Checkpoint.load(flow.runId(incident))).steps, [])
        current = "good"
        assert.deepStrictEqual(yield* flow.run(incident), [1])
      }
    }))

  test("whose record no longer fits its schema stops the run before anything else runs", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      yield* Effect.exit(handle(Effect.zipRight(step("a", 1), Effect.interrupt)).run(one))
      const changed = handle(
        Effect.zipRight(
          Checkpoint.step("a", { success: Schema.String }, Effect.succeed("text")),
          Effect.map(step("b"), (b) => [b])
        )
      )
      const error = yield* Effect.flip(changed.run(one))
      if (error._tag !== "StepCodecError") return assert.fail(error._tag)
      assert.strictEqual(error.part, "record")
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("cannot be part of another step, even where the types are talked out of it", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.gen(function*() {
        const context = yield* Effect.context<Checkpoint.CurrentRun>()
        yield* Checkpoint.step("outer", {}, Effect.provide(Effect.orDie(step("inner")), context))
        return []
      }))
      const exit = yield* Effect.exit(flow.run(one))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "inner")
      assert.deepStrictEqual(begun, [])
      assert.deepStrictEqual(yield* names, [])
    }))
})

describe("history", () => {
  /** Runs `steps` and dies in the next line. */
  const halfDone = (step: ReturnType<typeof counter>["step"], steps: ReadonlyArray<string>) =>
    Effect.exit(handle(Effect.zipRight(Effect.forEach(steps, (name) => step(name)), Effect.interrupt)).run(one))

  const cases: ReadonlyArray<
    readonly [
      title: string,
      before: ReadonlyArray<string>,
      after: ReadonlyArray<string>,
      seq: number,
      recorded: string,
      called: string | null
    ]
  > = [
    ["renamed", ["a", "b"], ["a", "x", "c"], 1, "b", "x"],
    ["removed", ["a", "b", "c"], ["a", "c", "d"], 1, "b", "c"],
    ["inserted", ["a", "b"], ["a", "x", "b"], 1, "b", "x"],
    ["reordered", ["a", "b", "c"], ["b", "a", "c"], 0, "a", "b"],
    ["removed at the end", ["a", "b"], ["a"], 1, "b", null],
    ["all removed", ["a"], [], 0, "a", null],
    ["repeated less often", ["a", "a", "b"], ["a", "b"], 1, "a#2", "b"]
  ]
  for (const [title, before, after, seq, recorded, called] of cases) {
    test(`a step ${title} is a mismatch, and nothing unrecorded runs`, () =>
      Effect.gen(function*() {
        const { step, take } = counter()
        yield* halfDone(step, before)
        take()
        const error = yield* Effect.flip(handle(Effect.forEach(after, (name) => step(name))).run(one))
        if (error._tag !== "HistoryMismatch") return assert.fail(error._tag)
        assert.deepStrictEqual([error.seq, error.recorded, error.called], [seq, recorded, called])
        assert.include(error.message, recorded)
        if (called !== null) assert.include(error.message, called)
        assert.deepStrictEqual(take(), [])
        assert.strictEqual((yield* stored).run.status, "running")
        // the code that began it can still finish it
        yield* handle(Effect.forEach(before, (name) => step(name))).run(one)
        assert.deepStrictEqual(take(), [])
      }))
  }

  test("a mismatch cannot be caught by the body", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      yield* halfDone(step, ["a"])
      const flow = handle(
        step("x").pipe(
          Effect.catchAllCause(() => Effect.succeed(7)),
          Effect.zipRight(Effect.map(step("y"), (y) => [y]))
        )
      )
      assert.strictEqual((yield* Effect.flip(flow.run(one)))._tag, "HistoryMismatch")
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("a mismatch ends the run in an uninterruptible region too", () =>
    Effect.gen(function*() {
      const { step } = counter()
      yield* halfDone(step, ["a"])
      const flow = handle(Effect.map(Effect.uninterruptible(step("x")), (x) => [x]))
      assert.strictEqual((yield* Effect.flip(flow.run(one)))._tag, "HistoryMismatch")
    }))
})

describe("concurrent branches", () => {
  const both = (
    step: ReturnType<typeof counter>["step"],
    delays: Record<string, Duration.DurationInput>,
    last: Effect.Effect<number, Refused> = Effect.succeed(9)
  ) => {
    const slow = (name: string, value: number) => step(name, Effect.delay(Effect.succeed(value), delays[name] ?? 0))
    return handle(Effect.gen(function*() {
      const first = yield* step("first", 0)
      const branches = yield* Effect.all([
        Effect.all([slow("a1", 1), slow("a2", 2)]),
        Effect.all([slow("b1", 3), slow("b2", 4)])
      ], { concurrency: "unbounded" })
      return [first, ...branches.flat(), yield* step("last", last)]
    }))
  }

  test("are matched by name, in whatever order they ended", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const fiber = yield* Effect.fork(
        both(step, { a1: "4 seconds", b1: "1 second", b2: "1 second" }, Effect.never).run(one)
      )
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* names, ["first", "b1", "b2", "a1", "a2"])
      take()
      assert.deepStrictEqual(yield* both(step, {}).run(one), [0, 1, 2, 3, 4, 9])
      assert.deepStrictEqual(take(), ["last"])
    }))

  test("run again only what was in flight", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const fiber = yield* Effect.fork(both(step, { a1: "1 hour", b1: "1 second", b2: "1 hour" }).run(one))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(fiber)
      take()
      assert.deepStrictEqual(yield* both(step, {}).run(one), [0, 1, 2, 3, 4, 9])
      assert.deepStrictEqual(take().toSorted(), ["a1", "a2", "b2", "last"])
    }))

  test("a bounded pool of workers may hand out its work differently", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const pool = (slow: ReadonlyArray<number>) =>
        handle(Effect.forEach(
          Array.from({ length: 8 }, (_, i) => i),
          (i) => step(`item-${i}`, Effect.delay(Effect.succeed(i), slow.includes(i) ? "1 hour" : "1 second")),
          { concurrency: 3 }
        ))
      const fiber = yield* Effect.fork(pool([0, 4]).run(one))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.interrupt(fiber)
      const done = yield* names
      take()
      const again = yield* Effect.fork(pool([]).run(one))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(again), [0, 1, 2, 3, 4, 5, 6, 7])
      assert.deepStrictEqual(done.filter((name) => take().includes(name)), [])
    }))

  test("refuse one name in two of them", () =>
    Effect.gen(function*() {
      const { step } = counter()
      const flow = handle(Effect.all([step("a", Effect.never), step("a", Effect.never)], { concurrency: 2 }))
      const exit = yield* Effect.exit(flow.run(one))
      assert.isTrue(Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause)))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `"a"`)
    }))

  test("one that failed, as recorded, ends the others; the run goes on where it was", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = (last: Effect.Effect<number>) =>
        handle(
          Effect.all([
            Effect.zipRight(Effect.yieldNow(), Effect.zipRight(step("x"), step("y"))),
            Effect.zipRight(step("z"), step("bad", Effect.delay(Effect.fail(new Refused({ status: 1 })), "1 second")))
          ], { concurrency: 2 }).pipe(
            Effect.catchAll(() => step("instead", last)),
            Effect.map(() => [])
          )
        )
      const fiber = yield* Effect.fork(flow(Effect.never).run(one))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual((yield* names).toSorted(), ["bad", "x", "y", "z"])
      take()
      assert.deepStrictEqual(yield* flow(Effect.succeed(1)).run(one), [])
      assert.deepStrictEqual(take(), ["instead"])
    }))

  test("one that is gone from the code is a mismatch before anything new runs", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = (branches: ReadonlyArray<string>, last: Effect.Effect<number>) =>
        handle(Effect.zipRight(
          Effect.forEach(branches, (name) => step(name), { concurrency: "unbounded" }),
          Effect.map(step("last", last), (_) => [_])
        ))
      const fiber = yield* Effect.fork(flow(["a", "b"], Effect.never).run(one))
      yield* settled
      yield* Fiber.interrupt(fiber)
      take()
      const error = yield* Effect.flip(flow(["a"], Effect.succeed(1)).run(one))
      if (error._tag !== "HistoryMismatch") return assert.fail(error._tag)
      assert.strictEqual(error.recorded, "b")
      assert.deepStrictEqual(take(), [])
    }))

  test("a step that a timeout gave up may be tried again under its name", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const delays: Array<Duration.DurationInput> = ["1 hour", "0 seconds"]
      const attempt = Effect.timeoutOption(
        step("slow", Effect.suspend(() => Effect.delay(Effect.succeed(1), delays.shift()!))),
        "1 minute"
      )
      let crash = true
      const flow = handle(Effect.gen(function*() {
        let result = Option.none<number>()
        while (Option.isNone(result)) result = yield* attempt
        if (crash) yield* Effect.interrupt
        return [result.value]
      }))
      const fiber = yield* Effect.fork(flow.run(one))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(yield* names, ["slow"])
      take()
      crash = false
      assert.deepStrictEqual(yield* flow.run(one), [1])
      assert.deepStrictEqual(take(), [])
    }))
})

describe("branches that are cut short", () => {
  test("by a race: the loser's record is no mismatch", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = (last: Effect.Effect<number>) =>
        handle(Effect.gen(function*() {
          const winner = yield* Effect.race(
            Effect.zipRight(step("fast", 1), step("fast2", 2)),
            Effect.zipRight(step("slow", 3), Effect.zipRight(Effect.sleep("1 second"), step("slow2", 4)))
          )
          return [winner, yield* step("last", last)]
        }))
      const fiber = yield* Effect.fork(flow(Effect.never).run(one))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(fiber)
      take()
      assert.deepStrictEqual(yield* flow(Effect.succeed(5)).run(one), [2, 5])
      assert.deepStrictEqual(take(), ["last"])
    }))

  test("by a failure outside of steps: what a sibling had recorded is no mismatch", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = (last: Effect.Effect<number>) =>
        handle(Effect.gen(function*() {
          yield* Effect.all([
            Effect.forEach(["x", "y", "z"], (name) => Effect.zipRight(Effect.sleep("1 second"), step(name))),
            Effect.zipRight(Effect.sleep(take().length > 0 ? 0 : "10 seconds"), Effect.fail("no"))
          ], { concurrency: 2 }).pipe(Effect.ignore)
          return [yield* step("last", last)]
        }))
      const fiber = yield* Effect.fork(flow(Effect.never).run(one))
      yield* TestClock.adjust("11 seconds")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* names, ["x", "y", "z"])
      assert.deepStrictEqual(yield* flow(Effect.succeed(5)).run(one), [5])
      assert.deepStrictEqual(take(), ["last"])
    }))

  test("a run under a timeout replays and goes on", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      let crash = true
      const flow = handle(
        Effect.gen(function*() {
          const a = yield* step("a", 1)
          const b = yield* step("b", 2)
          if (crash) yield* Effect.interrupt
          return [a, b, yield* step("c", 3)]
        }).pipe(Effect.timeout("1 minute"), Effect.orDie)
      )
      yield* Effect.exit(flow.run(one))
      take()
      crash = false
      assert.deepStrictEqual(yield* flow.run(one), [1, 2, 3])
      assert.deepStrictEqual(take(), ["c"])
    }))
})

describe("ownership", () => {
  test("renews its lease for as long as it runs", () =>
    Effect.gen(function*() {
      const { step } = counter()
      const flow = handle(Effect.all([step("a", Effect.delay(Effect.succeed(1), "5 minutes")), step("b", 2)]))
      const fiber = yield* Effect.fork(flow.run(one))
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
    }))

  test("renews at a third of the lease", () =>
    Effect.gen(function*() {
      const renewed: Array<number> = []
      const flow = handle(Effect.as(Checkpoint.step("a", {}, Effect.never), []))
      yield* Effect.fork(withStore(flow.run(one), (store) => ({
        renew: (request) =>
          Effect.flatMap(TestClock.currentTimeMillis, (now) => {
            renewed.push(now)
            return store.renew(request)
          })
      })))
      yield* TestClock.adjust("31 seconds")
      assert.deepStrictEqual(renewed, [10_000, 20_000, 30_000])
    }))

  test("stops its body when the run was taken over", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      let interrupted = false
      const flow = handle(Effect.all([
        step("a", Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true))),
        step("b", 2)
      ]))
      const fiber = yield* Effect.fork(
        withStore(flow.run(one), () => ({ renew: () => Effect.succeed({ _tag: "Lost" } as const) }))
      )
      yield* TestClock.adjust("11 seconds")
      const error = failureOf(yield* Fiber.await(fiber))
      assert.strictEqual(error._tag, "RunFenced")
      assert.isTrue(interrupted)
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("stops when a save is refused", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.all([step("a", 1), step("b", 2)]))
      const error = yield* Effect.flip(withStore(flow.run(one), () => ({ save: () => Effect.succeed(false) })))
      assert.strictEqual(error._tag, "RunFenced")
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("stops when the end is refused", () =>
    Effect.gen(function*() {
      const { step } = counter()
      const flow = handle(Effect.all([step("a", 1)]))
      const error = yield* Effect.flip(withStore(flow.run(one), () => ({ finish: () => Effect.succeed(false) })))
      assert.strictEqual(error._tag, "RunFenced")
    }))

  test("starts no step once its own clock says that the lease is over and another has the run", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const store = yield* CheckpointStore
      const flow = handle(
        Effect.gen(function*() {
          yield* step("a", 1)
          // stands still past the lease, without a chance to renew; meanwhile another owner takes over
          yield* TestClock.setTime(3_600_000)
          const claim = yield* Effect.orDie(store.begin({
            runId,
            workflow: "handle",
            key: "INC-1",
            payload: (yield* stored).run.payload,
            version: "1",
            maxStalls: 20,
            lease: Duration.seconds(30)
          }))
          assert.strictEqual(claim._tag, "Claimed")
          yield* step("b", 2)
          return []
        }).pipe(Effect.catchTag("StoreError", Effect.die))
      )
      const error = yield* Effect.flip(withStore(flow.run(one), () => ({ renew: () => Effect.never })))
      assert.strictEqual(error._tag, "RunFenced")
      assert.deepStrictEqual(begun, ["a"])
    }))

  test("a store out of reach is asked again, and the run stopped when the lease is over", () =>
    Effect.gen(function*() {
      let down = true
      let asked = 0
      const flow = (id: string) =>
        withStore(
          handle(Effect.as(Checkpoint.step("a", {}, Effect.sleep("20 seconds")), [])).run({ ...one, id }),
          (store) => ({
            renew: (request) =>
              Effect.suspend(() => {
                asked++
                return down ? Effect.fail(disk) : store.renew(request)
              })
          })
        )
      const recovers = yield* Effect.fork(flow("recovers"))
      yield* TestClock.adjust("11 seconds")
      assert.strictEqual(asked, 1)
      down = false
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(recovers), [])

      down = true
      const stops = yield* Effect.fork(withStore(
        handle(Effect.as(Checkpoint.step("a", {}, Effect.never), [])).run({ ...one, id: "stops" }),
        () => ({ renew: () => Effect.fail(disk) })
      ))
      yield* TestClock.adjust("41 seconds")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(stops)))
    }))

  test("a save that fails is told as it is, and the run goes on when there is space again", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = handle(Effect.all([step("a", 1), step("b", 2)]))
      let saves = 0
      const error = yield* Effect.flip(withStore(flow.run(one), (store) => ({
        save: (request) => ++saves === 2 ? Effect.fail(disk) : store.save(request)
      })))
      assert.strictEqual(error, disk)
      take()
      assert.deepStrictEqual(yield* flow.run(one), [1, 2])
      assert.deepStrictEqual(take(), ["b"])
    }))
})

describe("resumeAll", () => {
  class Client extends Context.Tag("Client")<Client, { readonly value: number }>() {}

  test("takes up every unfinished run of the registered workflows, and says how each ended", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      let crash = true
      const flow = Checkpoint.workflow(
        "handle",
        { payload: Incident, key: ({ id }) => id, success: Schema.Number, error: Refused },
        (incident) =>
          Effect.gen(function*() {
            yield* step("a")
            if (crash) return yield* Effect.interrupt
            assert.deepStrictEqual(incident.at, new Date(0))
            if (incident.id === "INC-2") return yield* new Refused({ status: 2 })
            return (yield* Client).value
          })
      )
      const withClient = Effect.provideService(Client, { value: 7 })
      for (const id of ["INC-1", "INC-2", "INC-3"]) yield* Effect.exit(withClient(flow.run({ ...one, id })))
      yield* Effect.exit(Checkpoint.run("unregistered", {}, Effect.interrupt))
      take()
      crash = false
      yield* withClient(flow.run({ ...one, id: "INC-3" }))

      yield* Layer.build(Layer.provide(flow.layer, Layer.succeed(Client, { value: 7 })))
      const resumed = yield* Checkpoint.resumeAll()
      assert.deepStrictEqual(
        resumed.map((_) => [_.runId, _.exit] as const),
        [["handle/INC-1", Exit.succeed(7)], ["handle/INC-2", Exit.fail(new Refused({ status: 2 }))]]
      )
      assert.deepStrictEqual(take(), [])
      assert.deepStrictEqual(yield* Checkpoint.resumeAll(), [])
    }))

  test("leaves alone what a live owner holds", () =>
    Effect.gen(function*() {
      const { begun, step } = counter()
      const flow = handle(Effect.map(step("a", Effect.never), (a) => [a]))
      yield* Effect.fork(flow.run(one))
      yield* settled
      yield* Layer.build(flow.layer)
      assert.deepStrictEqual(yield* Checkpoint.resumeAll(), [])
      assert.deepStrictEqual(begun, ["a"])
      assert.strictEqual((yield* stored).run.recoveries, 0)
    }))

  test("does not make a run anew that was cleared after it had been listed", () =>
    Effect.gen(function*() {
      const { step, take } = counter()
      const flow = handle(Effect.zipRight(step("a"), Effect.interrupt))
      yield* Effect.exit(flow.run(one))
      take()
      const resumed = yield* withStore(Effect.provide(Checkpoint.resumeAll(), flow.layer), (store) => ({
        list: (filter) => Effect.zipLeft(store.list(filter), store.clear(runId))
      }))
      assert.deepStrictEqual(resumed, [])
      assert.deepStrictEqual(take(), [])
      assert.isTrue(Option.isNone(yield* Checkpoint.load(runId)))
    }))

  test("refuses a second workflow of one name", () =>
    Effect.gen(function*() {
      const flow = () => handle(Effect.succeed([]))
      yield* Effect.scoped(Layer.build(flow().layer))
      yield* Layer.build(flow().layer)
      const exit = yield* Effect.exit(Layer.build(flow().layer))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `"handle" is registered twice`)
    }))

  test("resumes by what is stored, not by what the code makes of it now", () =>
    Effect.gen(function*() {
      const options = { key: ({ id }: { readonly id: string }) => id, success: Schema.String }
      const before = Schema.Struct({ id: Schema.String })
      yield* Effect.exit(
        Checkpoint.workflow("handle", { ...options, payload: before }, () => Effect.interrupt).run({ id: "INC-1" })
      )
      const after = Schema.Struct({
        id: Schema.String,
        severity: Schema.optionalWith(Schema.String, { default: () => "high" })
      })
      yield* Layer.build(
        Checkpoint.workflow("handle", { ...options, payload: after }, ({ severity }) => Effect.succeed(severity)).layer
      )
      const [resumed] = yield* Checkpoint.resumeAll()
      assert.deepStrictEqual(resumed?.exit, Exit.succeed("high"))
    }))

  test("does not run more at once than it may", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      let crash = true
      const flow = handle(Effect.gen(function*() {
        if (crash) return yield* Effect.interrupt
        most = Math.max(most, ++running)
        yield* Effect.sleep("1 second")
        running--
        return []
      }))
      for (let i = 0; i < 10; i++) yield* Effect.exit(flow.run({ ...one, id: `INC-${i}` }))
      crash = false
      yield* Layer.build(flow.layer)
      const fiber = yield* Effect.fork(Checkpoint.resumeAll({ concurrency: 3 }))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).length, 10)
      assert.strictEqual(most, 3)
    }))
})

test("outcome says how a run ended, and wakes nothing", () =>
  Effect.gen(function*() {
    const { begun, step } = counter()
    let crash = true
    const flow = handle(Effect.gen(function*() {
      const a = yield* step("a", 1)
      return crash ? yield* Effect.interrupt : [a]
    }))
    assert.deepStrictEqual(yield* flow.outcome(one), Option.none())
    yield* Effect.exit(flow.run(one))
    assert.deepStrictEqual(yield* flow.outcome(one), Option.none())
    crash = false
    yield* flow.run(one)
    assert.deepStrictEqual(yield* flow.outcome(one), Option.some(Exit.succeed([1])))
    assert.deepStrictEqual(begun, ["a"])
  }))

test("tells what it does, in events", () =>
  Effect.gen(function*() {
    const queue = yield* Events.subscribe
    const { step } = counter()
    let crash = true
    const flow = handle(Effect.gen(function*() {
      yield* step("a")
      yield* Effect.ignore(step("b", Effect.fail(new Refused({ status: 1 }))))
      if (crash) yield* Effect.interrupt
      return [yield* step("c")]
    }))
    yield* Effect.exit(flow.run(one))
    crash = false
    yield* flow.run(one)
    const run = { workflow: "handle", runId, at: 0 }
    assert.deepStrictEqual(Array.from(yield* Queue.takeAll(queue)), [
      { _tag: "RunStarted", ...run },
      { _tag: "StepStarted", ...run, step: "a" },
      { _tag: "StepSaved", ...run, step: "a", seq: 0, outcome: "success" },
      { _tag: "StepStarted", ...run, step: "b" },
      { _tag: "StepSaved", ...run, step: "b", seq: 1, outcome: "failure" },
      { _tag: "RunResumed", ...run, completedSteps: 2 },
      { _tag: "StepReplayed", ...run, step: "a", seq: 0 },
      { _tag: "StepReplayed", ...run, step: "b", seq: 1 },
      { _tag: "StepStarted", ...run, step: "c" },
      { _tag: "StepSaved", ...run, step: "c", seq: 2, outcome: "success" },
      { _tag: "RunCompleted", ...run, outcome: "success" }
    ])
  }).pipe(Effect.provide(Events.layer)))

test("a run within a step of another has steps, branches and a history of its own", () =>
  Effect.gen(function*() {
    const { step, take } = counter()
    let crash = true
    const child = Checkpoint.workflow(
      "child",
      { payload: Schema.String, key: (id) => id, success: Schema.Number },
      () =>
        Effect.gen(function*() {
          yield* Effect.all([step("x"), Effect.zipRight(Effect.sleep("1 second"), step("y"))], { concurrency: 2 })
          return crash ? yield* Effect.interrupt : yield* step("z", 7)
        }).pipe(Effect.orDie)
    )
    const flow = handle(Effect.gen(function*() {
      yield* step("a")
      return [yield* Checkpoint.step("child", { success: Schema.Number }, Effect.orDie(child.run("c")))]
    }))
    for (const expected of [["a", "x", "y"], ["z"]]) {
      const fiber = yield* Effect.fork(flow.run(one))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(take(), expected)
      crash = false
    }
    assert.deepStrictEqual(yield* flow.run(one), [7])
  }))

test("a store that cannot begin is told as it is", () =>
  Effect.gen(function*() {
    const flow = handle(Effect.succeed([]))
    const error = yield* Effect.flip(withStore(flow.run(one), () => ({ begin: () => Effect.fail(disk) })))
    assert.strictEqual(error, disk)
  }))

test("a step called after the end of its run does not run", () =>
  Effect.gen(function*() {
    const { begun, step } = counter()
    const late = yield* Deferred.make<Exit.Exit<number, Refused>>()
    const flow = handle(
      Effect.zipRight(Effect.sleep("1 second"), step("late")).pipe(
        Effect.exit,
        Effect.flatMap((exit) => Deferred.succeed(late, exit)),
        Effect.forkDaemon,
        Effect.as([])
      )
    )
    yield* flow.run(one)
    yield* TestClock.adjust("2 seconds")
    const exit = yield* Deferred.await(late)
    assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `"late"`)
    assert.deepStrictEqual(begun, [])
  }))

describe("whatever the program and wherever it crashes", () => {
  /** Four steps, two of them side by side, over a store that takes its time. */
  const program = (begun: Array<string>) => {
    const step = (name: string, value: number) =>
      Checkpoint.step(
        name,
        { success: Schema.Number },
        Effect.zipRight(Effect.sync(() => begun.push(name)), Effect.as(Effect.yieldNow(), value))
      )
    return handle(Effect.gen(function*() {
      const a = yield* step("a", 1)
      const [b, c] = yield* Effect.all([step("b", 2), step("c", 3)], { concurrency: 2 })
      return [a, b, c, yield* step("d", 4)]
    }))
  }
  const slowly = (store: Service): Service => ({
    ...store,
    begin: (request) => Effect.zipLeft(store.begin(request), Effect.yieldNow()),
    save: (request) => Effect.yieldNow().pipe(Effect.zipRight(store.save(request)), Effect.zipLeft(Effect.yieldNow())),
    finish: (request) => Effect.zipRight(Effect.yieldNow(), store.finish(request))
  })

  it.effect("interrupted at any moment, it goes on where it was", () =>
    Effect.gen(function*() {
      let ended = false
      for (let moment = 0; !ended; moment++) {
        const store = slowly(yield* makeMemory)
        const begun: Array<string> = []
        const run = Effect.provide(program(begun).run(one), over(store))
        const fiber = yield* Effect.fork(run)
        for (let i = 0; i < moment; i++) yield* Effect.yieldNow()
        ended = Exit.isSuccess(yield* Fiber.interrupt(fiber))
        const saved = Option.match(yield* store.load(runId), {
          onNone: (): ReadonlyArray<string> => [],
          onSome: ({ steps }) => steps.map((_) => _.name)
        })
        begun.splice(0)
        assert.deepStrictEqual(yield* run, [1, 2, 3, 4])
        assert.deepStrictEqual(begun.filter((name) => saved.includes(name)), [])
        assert.strictEqual(saved.length + begun.length, 4)
      }
    }))

  it.effect("abandoned at any moment, it is taken over when its lease is over", () =>
    Effect.gen(function*() {
      let finished = false
      for (let moment = 0; !finished; moment++) {
        const memory = yield* makeMemory
        const begun: Array<string> = []
        const flow = program(begun)
        // from that moment on nothing that the owner asks for comes back
        let asked = 0
        const dies = <A, E>(effect: Effect.Effect<A, E>) =>
          Effect.suspend(() => ++asked > moment ? Effect.never : effect)
        const dead: Service = {
          ...memory,
          renew: () => Effect.never,
          save: (request) => dies(Effect.zipLeft(memory.save(request), dies(Effect.void))),
          finish: (request) => dies(Effect.zipLeft(memory.finish(request), dies(Effect.void)))
        }
        const fiber = yield* Effect.forkDaemon(Effect.provide(flow.run(one), over(dead)))
        yield* settled
        const { run, steps } = Option.getOrThrow(yield* memory.load(runId))
        finished = fiber.unsafePoll() !== null
        const again = Effect.provide(flow.run(one), over(memory))
        if (run.status === "running") {
          assert.strictEqual((yield* Effect.flip(again))._tag, "RunInProgress")
          yield* TestClock.adjust("31 seconds")
        }
        begun.splice(0)
        assert.deepStrictEqual(yield* again, [1, 2, 3, 4])
        assert.deepStrictEqual(
          begun.toSorted(),
          ["a", "b", "c", "d"].filter((name) => !steps.some((_) => _.name === name))
        )
      }
    }))

  // steps in a row, or branches side by side
  const parts = FastCheck.array(
    FastCheck.oneof(
      FastCheck.record({ _tag: FastCheck.constant("Step" as const), fails: FastCheck.boolean() }),
      FastCheck.record({
        _tag: FastCheck.constant("Branches" as const),
        branches: FastCheck.array(FastCheck.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 }),
        concurrency: FastCheck.integer({ min: 1, max: 4 })
      })
    ),
    { minLength: 1, maxLength: 6 }
  )

  it.effect.prop(
    "every step completes exactly once and the result is that of a run without crashes",
    { parts, crashes: FastCheck.array(FastCheck.integer({ min: 0, max: 60 }), { maxLength: 6 }) },
    ({ crashes, parts }) =>
      Effect.gen(function*() {
        let started: Array<string> = []
        const completed = new Map<string, number>()
        // each tick may be the moment of death: before a body, in it, after it, before and after its record
        let ticks = Infinity
        const tick = Effect.suspend(() => --ticks < 0 ? Effect.interrupt : Effect.void)

        const step = (name: string, value: number, fails = false) =>
          Checkpoint.step(
            name,
            { success: Schema.Number, error: Refused },
            Effect.zipRight(
              Effect.suspend(() => {
                started.push(name)
                return tick
              }),
              fails ? Effect.fail(new Refused({ status: value })) : Effect.succeed(value)
            )
          ).pipe(Effect.catchTag("Refused", (error) => Effect.succeed(1_000 + error.status)), Effect.zipLeft(tick))

        const body = Effect.gen(function*() {
          const results: Array<number> = []
          for (const [i, part] of parts.entries()) {
            if (part._tag === "Step") {
              results.push(yield* step("own", i, part.fails))
            } else {
              const branch = (n: number, b: number) =>
                Effect.forEach(Array.from({ length: n }), (_, s) => step(`${i}.${b}.${s}`, i * 100 + b * 10 + s))
              results.push(
                ...(yield* Effect.forEach(part.branches, branch, { concurrency: part.concurrency })).flat()
              )
            }
          }
          return results
        })
        const flow = handle(body)
        const expected = yield* Effect.provide(flow.run(one), Checkpoint.layerMemory)
        assert.isTrue(started.length >= parts.length)

        const memory = yield* makeMemory
        const store: Service = {
          ...memory,
          save: (request) =>
            Effect.tap(memory.save(request), () => {
              completed.set(request.step.name, (completed.get(request.step.name) ?? 0) + 1)
            })
        }
        const attempt = Effect.provide(flow.run(one), over(store))
        for (const crash of crashes) {
          const before = new Set(completed.keys())
          started = []
          ticks = crash
          const exit = yield* Effect.exit(attempt)
          const numbered = new Map<string, number>()
          for (const name of started) {
            const n = (numbered.get(name) ?? [...before].filter((_) => _.split("#")[0] === name).length) + 1
            numbered.set(name, n)
            assert.isFalse(before.has(n === 1 ? name : `${name}#${n}`), `${name} ran again`)
          }
          if (Exit.isSuccess(exit)) assert.deepStrictEqual(exit.value, expected)
        }
        ticks = Infinity
        assert.deepStrictEqual(yield* attempt, expected)
        for (const [name, times] of completed) assert.strictEqual(times, 1, name)
      }),
    shellRuns
  )
})
