import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Checkpoint from "../src/Checkpoint.js"
import * as CheckpointMemory from "../src/CheckpointMemory.js"
import { CheckpointStore, type Service } from "../src/CheckpointStore.js"
import * as Events from "../src/Events.js"
import { pauseAfter } from "../src/internal/resumePause.js"
import { shellRuns } from "./support/runs.js"

class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Number }) {}

const runId = "saga/one"

const saga = <R>(
  body: Effect.Effect<number, Refused, R>,
  options: Partial<Checkpoint.RunOptions<Schema.Schema.Any, Schema.Schema.All>> = {}
) =>
  Checkpoint.workflow(
    "saga",
    { ...options, payload: Schema.String, key: (id) => id, success: Schema.Number, error: Refused },
    () => body
  )

/** An engine of its own over this store, as in another process. */
const over = (store: Service) => Layer.provide(Checkpoint.layerEngine, Layer.succeed(CheckpointStore, store))

const settled = TestClock.adjust(0)

const journal = () => {
  const notes: Array<string> = []
  const note = (text: string) => Effect.sync(() => void notes.push(text))
  return {
    note,
    take: () => notes.splice(0),
    undone: (name: string) => Checkpoint.step(name, { compensate: () => note(`undo ${name}`) }, note(name))
  }
}

const test = <E>(title: string, body: () => Effect.Effect<void, E, any>) =>
  it.scoped(title, () => Effect.provide(Effect.suspend(body), Checkpoint.layerMemory) as Effect.Effect<void, E>)

describe("compensation", () => {
  test("of a run that is cut short by a crash in concurrent branches: all that was done is undone", () =>
    Effect.gen(function*() {
      const { note, take, undone } = journal()
      let crash = true
      const stuck = Effect.suspend(() => crash ? Effect.never : Effect.die("must not run"))
      const branch = (name: string) => Effect.zipRight(undone(name), Checkpoint.step(`${name} stuck`, {}, stuck))
      const flow = saga(Effect.as(Effect.all([branch("a"), branch("b"), branch("c")], { concurrency: 3 }), 1))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* settled
      yield* Fiber.interrupt(fiber)
      crash = false
      assert.deepStrictEqual(take(), ["a", "b", "c"])
      yield* flow.cancel("one", { reason: "enough" })
      assert.strictEqual((yield* Effect.flip(flow.run("one")))._tag, "RunCancelled")
      assert.deepStrictEqual(take().toSorted(), ["undo a", "undo b", "undo c"])
      yield* note("")
    }))

  test("a recorded failure of one branch is replayed after what its siblings had done before it", () =>
    Effect.gen(function*() {
      const { take, undone } = journal()
      let dies = true
      const first = Checkpoint.compensate("first", Effect.suspend(() => dies ? Effect.die("bug") : Effect.void))
      const bad = Checkpoint.step(
        "bad",
        { error: Refused },
        Effect.delay(Effect.fail(new Refused({ status: 1 })), "1 second")
      )
      // in the list the one that fails comes first, in time it comes last
      const both = Effect.all([bad, Effect.zipRight(Effect.yieldNow(), undone("a"))], { concurrency: 2 })
      const flow = saga(Effect.as(Effect.zipRight(both, first), 1))
      const fiber = yield* Effect.fork(
        flow.run("one").pipe(Effect.provide(over({ ...(yield* CheckpointStore), finish: () => Effect.die("crash") })))
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.await(fiber)
      take()
      dies = false
      assert.strictEqual((yield* Effect.flip(flow.run("one")))._tag, "Refused")
      // undone once before the crash, and recorded
      assert.deepStrictEqual(take(), [])
      const { steps } = Option.getOrThrow(yield* Checkpoint.load(runId))
      assert.deepStrictEqual(steps.map(({ kind, name }) => [kind, name]), [
        ["step", "a"],
        ["step", "bad"],
        ["compensation", "a"]
      ])
    }))

  test("one that dies leaves the run unfinished, and is tried again", () =>
    Effect.gen(function*() {
      const { note, take, undone } = journal()
      let broken = true
      const flow = saga(Effect.gen(function*() {
        yield* Checkpoint.compensate(
          "b",
          Effect.suspend(() => broken ? Effect.die("bug") : note("undo b"))
        )
        yield* undone("a")
        return yield* new Refused({ status: 1 })
      }))
      const exit = yield* Effect.exit(flow.run("one"))
      assert.isTrue(Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause)))
      assert.deepStrictEqual(take(), ["a", "undo a"])
      assert.strictEqual(Option.getOrThrow(yield* Checkpoint.load(runId)).run.status, "running")
      broken = false
      assert.deepStrictEqual(yield* Effect.flip(flow.run("one")), new Refused({ status: 1 }))
      assert.deepStrictEqual(take(), ["undo b"])
    }))

  test("has a key of its own that stays the same", () =>
    Effect.gen(function*() {
      const keys: Array<string | undefined> = []
      const look = Effect.map(Checkpoint.CurrentStep, (step) => void keys.push(Option.getOrUndefined(step)?.key))
      let broken = true
      const flow = saga(Effect.gen(function*() {
        yield* Checkpoint.step("a", {
          compensate: () => Effect.zipRight(look, Effect.suspend(() => broken ? Effect.die("bug") : Effect.void))
        }, look)
        return yield* new Refused({ status: 1 })
      }))
      yield* Effect.exit(flow.run("one"))
      broken = false
      yield* Effect.exit(flow.run("one"))
      assert.strictEqual(keys.length, 3)
      assert.isString(keys[1])
      assert.strictEqual(keys[1], keys[2])
      assert.notStrictEqual(keys[0], keys[1])
    }))

  test("a name twice is a mistake that is told", () =>
    Effect.gen(function*() {
      const flow = saga(Effect.gen(function*() {
        yield* Checkpoint.step("a", { compensate: () => Effect.void }, Effect.void)
        yield* Checkpoint.compensate("a", Effect.void)
        return 1
      }))
      const exit = yield* Effect.exit(flow.run("one"))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `compensation "a" twice`)
    }))

  test("is told in events", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { undone } = journal()
      const flow = saga(Effect.zipRight(undone("a"), new Refused({ status: 1 })))
      yield* Effect.exit(flow.run("one"))
      const cancelled = saga(Effect.as(Checkpoint.step("stuck", {}, Effect.never), 1))
      const fiber = yield* Effect.fork(cancelled.run("two"))
      yield* settled
      yield* cancelled.cancel("two", { reason: "enough" })
      yield* Fiber.await(fiber)
      const tags = Array.from(yield* Queue.takeAll(queue)).map(({ _tag }) => _tag)
      assert.deepStrictEqual(tags, [
        "RunStarted",
        "StepStarted",
        "StepSaved",
        "StepCompensated",
        "RunCompleted",
        "RunStarted",
        "StepStarted",
        "RunCancelled"
      ])
    }).pipe(Effect.provide(Events.layer)))

  // each tick may be the moment of death
  it.effect.prop(
    "whatever the program and wherever it crashes: a run that does not succeed is undone, in reverse, all of it",
    {
      length: FastCheck.integer({ min: 1, max: 6 }),
      fails: FastCheck.boolean(),
      cancelAfter: FastCheck.option(FastCheck.nat(4)),
      crashes: FastCheck.array(FastCheck.integer({ min: 0, max: 20 }), { maxLength: 5 })
    },
    ({ cancelAfter, crashes, fails, length }) =>
      Effect.gen(function*() {
        const store = yield* CheckpointMemory.make
        let ticks = Infinity
        const tick = Effect.suspend(() => --ticks < 0 ? Effect.interrupt : Effect.void)
        const done = new Map<string, number>()
        const undone: Array<string> = []
        const step = (name: string) =>
          Checkpoint.step(
            name,
            {
              compensate: () =>
                Effect.zipRight(tick, Effect.sync(() => void undone.push(name))).pipe(Effect.zipLeft(tick))
            },
            Effect.zipRight(tick, Effect.sync(() => void done.set(name, (done.get(name) ?? 0) + 1)))
          ).pipe(Effect.zipLeft(tick))
        const names = Array.from({ length }, (_, i) => `s${i}`)
        const flow = saga(
          Effect.zipRight(
            Effect.forEach(names, step, { discard: true }),
            fails ? Effect.fail(new Refused({ status: 1 })) : Effect.succeed(1)
          )
        )
        const attempt = Effect.provide(flow.run("one"), over(store))
        let exit: Exit.Exit<number, Refused | Checkpoint.RunError> = Exit.fail(new Refused({ status: 0 }))
        let cancelled = false
        for (const [i, crash] of [...crashes, Infinity].entries()) {
          ticks = crash
          exit = yield* Effect.exit(attempt)
          if (Exit.isSuccess(exit) || !Cause.isInterrupted(exit.cause)) break
          if (cancelAfter === i) {
            cancelled = (yield* store.cancel({ runId, reason: "enough" })) === "Requested"
          }
        }
        const { run, steps } = Option.getOrThrow(yield* store.load(runId))
        const recorded = steps.filter(({ kind }) => kind === "step").map(({ name }) => name)
        assert.notStrictEqual(run.status, "running")
        if (run.status === "succeeded") {
          assert.isFalse(fails || cancelled)
          assert.deepStrictEqual(undone, [])
          assert.deepStrictEqual(recorded, names)
        } else {
          assert.strictEqual(run.status, cancelled ? "cancelled" : "failed")
          // every one that completed is undone and recorded as that, in reverse, none before a later one
          const compensated = steps.filter(({ kind }) => kind === "compensation").map(({ name }) => name)
          assert.deepStrictEqual(compensated, recorded.toReversed())
          const last = new Map(undone.map((name, i) => [name, i]))
          assert.deepStrictEqual(Array.from(last).toSorted((a, b) => a[1] - b[1]).map(([name]) => name), compensated)
          if (cancelled) {
            assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Checkpoint.RunCancelled)
          } else assert.deepStrictEqual(recorded, names)
        }
      }),
    shellRuns
  )
})

describe("cancellation", () => {
  test("by another process is noticed at the next renewal", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore
      const { take, undone } = journal()
      const flow = saga(Effect.as(Effect.zipRight(undone("a"), Checkpoint.step("stuck", {}, Effect.never)), 1))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* TestClock.adjust("1 second")
      yield* Effect.provide(Checkpoint.cancel(runId, { reason: "from afar" }), over(store))
      yield* settled
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(
        yield* Effect.flip(Fiber.join(fiber)),
        new Checkpoint.RunCancelled({ runId, reason: "from afar" })
      )
      assert.deepStrictEqual(take(), ["a", "undo a"])
    }))

  test("cannot be caught by the body", () =>
    Effect.gen(function*() {
      const { note, take } = journal()
      const stuck = Checkpoint.step("stuck", {}, Effect.never)
      const flow = saga(
        stuck.pipe(
          Effect.catchAllCause(() => Effect.void),
          Effect.zipRight(Checkpoint.step("more", {}, note("more"))),
          Effect.as(1)
        )
      )
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* settled
      yield* flow.cancel("one", { reason: "enough" })
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "RunCancelled")
      assert.deepStrictEqual(take(), [])
    }))

  test("of a run whose code hangs before its next step ends it all the same", () =>
    Effect.gen(function*() {
      const { take, undone } = journal()
      const flow = saga(Effect.as(Effect.zipRight(undone("a"), Effect.never), 1))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* settled
      yield* Fiber.interrupt(fiber)
      yield* flow.cancel("one", { reason: "enough" })
      const again = yield* Effect.fork(flow.run("one"))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Effect.flip(Fiber.join(again)))._tag, "RunCancelled")
      assert.deepStrictEqual(take(), ["a", "undo a"])
    }))

  test("of a run whose code has lost a recorded step is a mismatch: nobody knows how to undo it", () =>
    Effect.gen(function*() {
      const { take, undone } = journal()
      yield* Effect.exit(saga(Effect.zipRight(undone("a"), Effect.interrupt)).run("one"))
      yield* Checkpoint.cancel(runId, { reason: "enough" })
      assert.strictEqual((yield* Effect.flip(saga(Effect.succeed(1)).run("one")))._tag, "HistoryMismatch")
      assert.strictEqual((yield* Effect.flip(saga(Effect.as(undone("b"), 1)).run("one")))._tag, "HistoryMismatch")
      assert.deepStrictEqual(take(), ["a"])
      assert.strictEqual((yield* Effect.flip(saga(Effect.as(undone("a"), 1)).run("one")))._tag, "RunCancelled")
      assert.deepStrictEqual(take(), ["undo a"])
    }))

  test("of a run that compensates for a failure changes nothing", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const flow = saga(Effect.gen(function*() {
        yield* Checkpoint.compensate("a", Deferred.await(gate))
        yield* Checkpoint.step("b", {}, Effect.void)
        return yield* new Refused({ status: 1 })
      }))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* settled
      assert.strictEqual(yield* flow.cancel("one", { reason: "late" }), "Requested")
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Effect.flip(Fiber.join(fiber)), new Refused({ status: 1 }))
    }))
})

describe("waiting", () => {
  test("sleeps longer than a timer can", () =>
    Effect.gen(function*() {
      const flow = saga(Effect.as(Checkpoint.sleep("long", "100 days"), 1), { lease: "40 days" })
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* TestClock.adjust("99 days")
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust("1 day")
      assert.strictEqual(yield* Fiber.join(fiber), 1)
    }))

  test("a signal from another process is looked for every second", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore
      const flow = saga(Effect.map(Checkpoint.signal("go", { success: Schema.Number }), Option.getOrElse(() => 0)))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* TestClock.adjust("5 seconds")
      yield* Effect.provide(Checkpoint.send(runId, "go", Schema.Number, 7), over(store))
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), 7)
    }))

  test("the first signal counts, the second wait is for the second signal", () =>
    Effect.gen(function*() {
      const go = Effect.map(Checkpoint.signal("go", { success: Schema.Number }), Option.getOrElse(() => 0))
      const flow = Checkpoint.workflow(
        "saga",
        { payload: Schema.String, key: (id) => id, success: Schema.Number, signals: { go: Schema.Number } },
        () => Effect.zipWith(go, go, (a, b) => 10 * a + b)
      )
      yield* flow.send("one", "go", 1)
      yield* flow.send("one", "go", 3)
      yield* flow.send("one", "go#2", 2)
      assert.strictEqual(yield* flow.run("one"), 12)
    }))

  test("one that is raced and lost waits on when it is called again", () =>
    Effect.gen(function*() {
      const nap = Checkpoint.sleep("nap", "1 minute")
      const flow = saga(Effect.gen(function*() {
        yield* Effect.timeoutOption(nap, "50 seconds")
        yield* nap
        return 1
      }))
      const fiber = yield* Effect.fork(flow.run("one"))
      yield* TestClock.adjust("59 seconds")
      assert.isNull(fiber.unsafePoll())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), 1)
    }))

  test("a signal that does not fit its schema stops the run, and is mended by code that reads it", () =>
    Effect.gen(function*() {
      yield* Checkpoint.send(runId, "go", Schema.String, "seven")
      const asNumber = saga(Effect.map(Checkpoint.signal("go", { success: Schema.Number }), Option.getOrElse(() => 0)))
      const error = yield* Effect.flip(asNumber.run("one"))
      assert.strictEqual(error._tag, "StepCodecError")
      const asText = saga(Effect.map(
        Checkpoint.signal("go", { success: Schema.String }),
        Option.match({ onNone: () => 0, onSome: (text) => text.length })
      ))
      assert.strictEqual(yield* asText.run("one"), 5)
    }))

  test("in a step it does not compile, and where the types are talked out of it it is a mistake that is told", () =>
    Effect.gen(function*() {
      const flow = saga(Effect.gen(function*() {
        const context = yield* Effect.context<Checkpoint.CurrentRun>()
        yield* Checkpoint.step("outer", {}, Effect.provide(Checkpoint.sleep("inner", "1 second"), context))
        return 1
      }))
      const exit = yield* Effect.exit(flow.run("one"))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", `"inner" inside step "outer"`)
    }))
})

describe("history", () => {
  test("a step that was begun and is gone from the code is a mismatch before anything runs", () =>
    Effect.gen(function*() {
      const { note, take } = journal()
      const before = saga(Effect.as(Checkpoint.step("charge", { onInDoubt: "escalate" }, Effect.never), 1))
      const fiber = yield* Effect.fork(before.run("one"))
      yield* settled
      yield* Fiber.interrupt(fiber)
      const after = saga(Effect.as(Checkpoint.step("pay", {}, note("pay")), 1))
      const error = yield* Effect.flip(after.run("one"))
      if (error._tag !== "HistoryMismatch") return assert.fail(error._tag)
      assert.deepStrictEqual([error.recorded, error.called], ["charge", "pay"])
      const without = yield* Effect.flip(saga(Effect.succeed(1)).run("one"))
      if (without._tag !== "HistoryMismatch") return assert.fail(without._tag)
      assert.deepStrictEqual([without.recorded, without.called], ["charge", null])
      assert.deepStrictEqual(take(), [])
    }))

  test("a step that became something else is a mismatch that names both", () =>
    Effect.gen(function*() {
      yield* Effect.exit(saga(Effect.zipRight(Checkpoint.step("wait", {}, Effect.void), Effect.interrupt)).run("one"))
      const error = yield* Effect.flip(saga(Effect.as(Checkpoint.sleep("wait", "1 second"), 1)).run("one"))
      if (error._tag !== "HistoryMismatch") return assert.fail(error._tag)
      assert.deepStrictEqual([error.recorded, error.called], ["wait (step)", "wait (sleep)"])
    }))
})

test("tells once that a run died, however often it is called, and again when it dies again", () =>
  Effect.gen(function*() {
    const queue = yield* Events.subscribe
    const flow = saga(Effect.die("bug"), { maxRecoveries: 0 })
    for (let i = 0; i < 5; i++) yield* Effect.exit(flow.run("one"))
    assert.isTrue(yield* Checkpoint.requeue(runId))
    for (let i = 0; i < 5; i++) yield* Effect.exit(flow.run("one"))
    const told = Array.from(yield* Queue.takeAll(queue)).filter(({ _tag }) => _tag === "RunDied")
    assert.deepStrictEqual(told.map(({ at: _, ...event }) => event), [
      { _tag: "RunDied", workflow: "saga", runId, stalls: 1 },
      { _tag: "RunDied", workflow: "saga", runId, stalls: 1 }
    ])
  }).pipe(Effect.provide(Events.layer)))

describe("layers", () => {
  test("layerResume takes up what its owner left, at once and later, and what fails ever more rarely", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore
      let bodies = 0
      let broken = true
      const flow = saga(Effect.suspend(() => {
        bodies++
        return broken ? Effect.interrupt : Effect.succeed(1)
      }))
      yield* Effect.exit(flow.run("one"))
      yield* Layer.build(Layer.mergeAll(flow.layer, Checkpoint.layerResume()).pipe(Layer.provide(over(store))))
      yield* settled
      assert.strictEqual(bodies, 2)
      yield* TestClock.adjust("10 minutes")
      assert.isTrue(bodies < 12, `${bodies}`)
      broken = false
      yield* TestClock.adjust("20 minutes")
      assert.deepStrictEqual(yield* flow.outcome("one"), Option.some(Exit.succeed(1)))

      broken = true
      yield* Effect.exit(flow.run("two"))
      broken = false
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(yield* flow.outcome("two"), Option.some(Exit.succeed(1)))
    }))

  test("runs that wait do not keep others from being resumed", () =>
    Effect.gen(function*() {
      let crash = true
      const flow = Checkpoint.workflow(
        "saga",
        { payload: Schema.String, key: (id) => id },
        (id) =>
          Effect.suspend(() =>
            crash ? Effect.interrupt : id === "last" ? Effect.void : Checkpoint.sleep("nap", "1 minute")
          )
      )
      for (const id of ["a", "b", "c", "last"]) yield* Effect.exit(flow.run(id))
      crash = false
      yield* Layer.build(flow.layer)
      const fiber = yield* Effect.fork(Checkpoint.resumeAll({ concurrency: 1 }))
      yield* settled
      assert.isTrue(Option.isSome(yield* flow.outcome("last")))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(fiber)).length, 4)
    }))

  test("hundreds that wait for their turn are each woken once", () =>
    Effect.gen(function*() {
      let crash = true
      let running = 0
      let most = 0
      const flow = saga(Effect.suspend(() => {
        if (crash) return Effect.interrupt
        most = Math.max(most, ++running)
        return Effect.as(Effect.zipRight(Effect.yieldNow(), Effect.sync(() => running--)), 1)
      }))
      for (let i = 0; i < 300; i++) yield* Effect.exit(flow.run(`${i}`))
      crash = false
      yield* Layer.build(flow.layer)
      const resumed = yield* Checkpoint.resumeAll({ concurrency: 3 })
      assert.strictEqual(resumed.filter(({ exit }) => Exit.isSuccess(exit)).length, 300)
      assert.strictEqual(most, 3)
    }))

  test("layerResume holds to its concurrency however often it looks, and takes up no run twice", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore
      let crash = true
      let running = 0
      let most = 0
      let begun = 0
      const flow = saga(Effect.suspend(() => {
        if (crash) return Effect.interrupt
        most = Math.max(most, ++running)
        return Effect.ensuring(Effect.as(Effect.sleep("1 minute"), 1), Effect.sync(() => running--))
      }))
      for (let i = 0; i < 9; i++) yield* Effect.exit(flow.run(`${i}`))
      crash = false
      const engine = yield* Layer.build(
        over({ ...store, begin: (request) => Effect.zipRight(Effect.sync(() => begun++), store.begin(request)) })
      )
      yield* Layer.build(
        Layer.mergeAll(flow.layer, Checkpoint.layerResume({ concurrency: 2, every: "5 seconds" })).pipe(
          Layer.provide(Layer.succeedContext(engine))
        )
      )
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual(running, 2)
      // all are under way, also those that wait for their turn
      const others = yield* Effect.fork(Effect.provide(Checkpoint.resumeAll({ concurrency: 2 }), engine))
      yield* settled
      assert.deepStrictEqual(yield* Fiber.poll(others), Option.some(Exit.succeed([])))
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual([most, begun], [2, 9])
      assert.deepStrictEqual((yield* Checkpoint.list({ status: "succeeded" })).length, 9)
    }))

  test("layerRetention forgets what has ended long ago, dead runs apart", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore
      const flow = saga(Effect.succeed(1))
      yield* flow.run("one")
      const dying = saga(Effect.die("bug"), { maxRecoveries: 0 })
      for (let i = 0; i < 2; i++) yield* Effect.exit(dying.run("dead"))
      yield* Layer.build(Layer.provide(Checkpoint.layerRetention({ olderThan: "1 day" }), over(store)))
      yield* TestClock.adjust("23 hours")
      assert.strictEqual((yield* Checkpoint.list()).length, 2)
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual((yield* Checkpoint.list()).map((_) => _.status), ["dead"])
    }))

  it("a run that cannot go on is left alone twice as long each time, up to 10 minutes", () => {
    assert.deepStrictEqual([1, 2, 3, 4, 20].map((times) => pauseAfter(times, 10_000)), [
      0,
      10_000,
      20_000,
      40_000,
      600_000
    ])
    assert.strictEqual(pauseAfter(50, 3_600_000), 3_600_000)
  })
})

it("refuses options that make no sense", () => {
  const options = { payload: Schema.String, key: () => "k" }
  const define = (more: object) => () => Checkpoint.workflow("w", { ...options, ...more }, () => Effect.void)
  assert.throws(define({ deadline: "-1 second" }), /deadline/)
  assert.throws(define({ maxRecoveries: -1 }), /maxRecoveries/)
  assert.throws(define({ version: "" }), /version/)
  assert.throws(() => Checkpoint.sleep("a", "-1 second"), /duration/)
  assert.throws(() => Checkpoint.signal("a#1"), /name/)
  assert.throws(() => Checkpoint.compensate(" ", Effect.void), /name/)
  assert.throws(() => Checkpoint.layerResume({ every: 0 }), /every/)
  assert.throws(() => Checkpoint.resumeAll({ concurrency: 0 }), /concurrency/)
  assert.throws(() => Checkpoint.layerEngineWith({ poll: 0 }), /poll/)
})
