/** The engine in memory: what `@effect/workflow` does that users must not meet. */
import { assert, describe, it } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as ClusterEngine from "../src/ClusterEngine.js"

const test = <A, E>(name: string, effect: Effect.Effect<A, E, CheckpointEngine>) =>
  it.effect(name, () => Effect.provide(effect, ClusterEngine.layerMemory), 5_000)

const counted = (ran: Array<string>, name: string) =>
  Checkpoint.step(name, { success: Schema.Number }, Effect.sync(() => ran.push(name)))

const define = <R>(body: Effect.Effect<unknown, never, R>, deadline?: Duration.DurationInput) =>
  Checkpoint.workflow(
    "flow",
    { payload: Schema.String, key: (key) => key, success: Schema.Unknown, signals: { go: Schema.Number }, deadline },
    () => body
  )

/** A signal as something that a run may end with. */
const go = (within?: Duration.DurationInput) =>
  Effect.map(Checkpoint.signal("go", { success: Schema.Number, within }), Option.getOrNull)

const stepsOf = (runId: string) =>
  Effect.map(Checkpoint.load(runId), (found) => Option.getOrThrow(found).steps.map((step) => step.name))

describe("ClusterEngine in memory", () => {
  test(
    "numbers a step that is called again, so that it does not get the first result",
    Effect.gen(function*() {
      const ran: Array<string> = []
      const Flow = define(Effect.all([counted(ran, "a"), counted(ran, "a")]))
      assert.deepStrictEqual(yield* Flow.run("k"), [1, 2])
      assert.deepStrictEqual(yield* stepsOf("flow/k"), ["a", "a#2"])
    })
  )

  test(
    "runs a step again that is retried from outside, under the next number",
    Effect.gen(function*() {
      let tries = 0
      const Flow = define(
        Checkpoint.step(
          "call",
          { success: Schema.Number, error: Schema.String },
          Effect.suspend(() => ++tries < 3 ? Effect.fail("no") : Effect.succeed(tries))
        ).pipe(Effect.retry({ times: 5 }), Effect.orDie)
      )
      assert.strictEqual(yield* Flow.run("k"), 3)
      assert.deepStrictEqual(yield* stepsOf("flow/k"), ["call", "call#2", "call#3"])
    })
  )

  test(
    "does not record a defect: the caller gets it, and the run goes on with that step when it is run again",
    Effect.gen(function*() {
      const ran: Array<string> = []
      const boom = new Error("boom")
      let broken = true
      const Flow = define(Effect.zipRight(
        counted(ran, "a"),
        Checkpoint.step(
          "b",
          { success: Schema.Number },
          Effect.suspend(() => broken ? Effect.die(boom) : Effect.succeed(7))
        )
      ))
      const exit = yield* Effect.exit(Flow.run("k"))
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === boom)
      assert.deepStrictEqual(yield* stepsOf("flow/k"), ["a"])
      assert.deepStrictEqual((yield* Checkpoint.list({ status: "running" })).map((run) => run.runId), ["flow/k"])
      broken = false
      assert.strictEqual(yield* Flow.run("k"), 7)
      assert.deepStrictEqual(ran, ["a"])
    })
  )

  test(
    "lets the body catch the defect of a step, and go on",
    Effect.gen(function*() {
      const Flow = define(Effect.zipRight(
        Effect.catchAllDefect(Checkpoint.step("a", {}, Effect.die("boom")), () => Effect.void),
        Checkpoint.step("b", { success: Schema.Number }, Effect.succeed(1))
      ))
      assert.strictEqual(yield* Flow.run("k"), 1)
    })
  )

  test(
    "does not record an interruption: the loser of a race may run again",
    Effect.gen(function*() {
      const slow = Checkpoint.step("slow", { success: Schema.String }, Effect.as(Effect.sleep("1 hour"), "slow"))
      const fast = Checkpoint.step("fast", { success: Schema.String }, Effect.as(Effect.sleep("1 minute"), "fast"))
      const Flow = define(
        Effect.all([
          Effect.raceFirst(slow, fast),
          Checkpoint.step("then", { success: Schema.Number }, Effect.succeed(1))
        ])
      )
      const run = yield* Effect.fork(Flow.run("k"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(run), ["fast", 1])
      assert.deepStrictEqual(yield* stepsOf("flow/k"), ["fast", "then"])
    })
  )

  test(
    "sleeps without being executed, for as long as it is said",
    Effect.gen(function*() {
      let executions = 0
      const Flow = define(Effect.zipRight(Effect.sync(() => executions++), Checkpoint.sleep("night", "30 days")))
      const run = yield* Effect.fork(Flow.run("k"))
      yield* TestClock.adjust("29 days")
      assert.isNull(run.unsafePoll())
      assert.strictEqual(executions, 1)
      yield* TestClock.adjust("1 day")
      yield* Fiber.join(run)
      assert.strictEqual(executions, 2)
    })
  )

  test(
    "takes a signal that was sent before the run began, and the first of two",
    Effect.gen(function*() {
      const Flow = define(go("1 hour"))
      assert.strictEqual(yield* Flow.send("k", "go", 1), "Sent")
      assert.strictEqual(yield* Flow.send("k", "go", 2), "AlreadySent")
      assert.strictEqual(yield* Flow.run("k"), 1)
      assert.strictEqual(yield* Flow.send("k", "go", 3), "Ended")
    })
  )

  test(
    "tells the sender of a signal that it is too late, once the run has gone on without",
    Effect.gen(function*() {
      const Flow = define(Effect.all([
        go("1 hour"),
        Effect.as(Checkpoint.sleep("more", "1 hour"), null)
      ]))
      const run = yield* Effect.fork(Flow.run("k"))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* Flow.send("k", "go", 1), "TooLate")
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* Fiber.join(run), [null, null])
    })
  )

  test(
    "does not lose a signal that comes while the run is about to be suspended",
    Effect.gen(function*() {
      const Flow = define(go())
      for (let yields = 0; yields < 40; yields++) {
        const run = yield* Effect.fork(Flow.run(`k${yields}`))
        for (let i = 0; i < yields; i++) yield* Effect.yieldNow()
        yield* Flow.send(`k${yields}`, "go", yields)
        assert.strictEqual(yield* Fiber.join(run), yields)
      }
    })
  )

  test(
    "waits for the steps beside it before it is suspended",
    Effect.gen(function*() {
      const ran: Array<string> = []
      const Flow = define(
        Effect.all([
          go(),
          Effect.zipRight(
            Checkpoint.step("slow", {}, Effect.zipRight(Effect.sleep("1 hour"), Effect.sync(() => ran.push("slow")))),
            counted(ran, "next")
          )
        ], { concurrency: 2, discard: true }).pipe(Effect.as(null))
      )
      const run = yield* Effect.fork(Flow.run("k"))
      yield* TestClock.adjust("1 hour")
      yield* Flow.send("k", "go", 1)
      yield* Fiber.join(run)
      assert.deepStrictEqual(ran, ["slow", "next"])
    })
  )

  test(
    "refuses the key with another payload",
    Effect.gen(function*() {
      const Pay = Checkpoint.workflow(
        "pay",
        { payload: Schema.Number, key: () => "k", success: Schema.Number },
        (amount) => Checkpoint.step("pay", { success: Schema.Number }, Effect.succeed(amount))
      )
      assert.strictEqual(yield* Pay.run(1), 1)
      const refused = yield* Effect.either(Pay.run(2))
      assert.isTrue(Either.isLeft(refused) && refused.left._tag === "PayloadMismatch")
      assert.strictEqual(yield* Pay.run(1), 1)
    })
  )

  test(
    "cancels a step in flight, and undoes what was done, the last first",
    Effect.gen(function*() {
      const undone: Array<string> = []
      const done = (name: string) =>
        Checkpoint.step(name, { compensate: () => Effect.sync(() => undone.push(name)) }, Effect.void)
      const Flow = define(Effect.all([done("a"), done("b"), Checkpoint.step("stuck", {}, Effect.never)]))
      const run = yield* Effect.fork(Effect.flip(Flow.run("k")))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Flow.cancel("k", { reason: "no longer wanted" }), "Requested")
      assert.strictEqual((yield* Fiber.join(run))._tag, "RunCancelled")
      assert.deepStrictEqual(undone, ["b", "a"])
      assert.deepStrictEqual((yield* Checkpoint.list({ status: "cancelled" })).map((run) => run.key), ["k"])
    })
  )

  test(
    "ends a run at its deadline while it waits, and while it works",
    Effect.gen(function*() {
      const Waits = define(Checkpoint.signal("go"), "1 hour")
      const waits = yield* Effect.fork(Effect.flip(Waits.run("waits")))
      const works = yield* Effect.fork(
        Effect.flip(define(Checkpoint.step("stuck", {}, Effect.never), "1 hour").run("works"))
      )
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Fiber.join(waits))._tag, "RunDeadlineExceeded")
      assert.strictEqual((yield* Fiber.join(works))._tag, "RunDeadlineExceeded")
    })
  )

  test(
    "refuses a step inside a step",
    Effect.gen(function*() {
      const hidden: Effect.Effect<void, never, never> = Checkpoint.step("inner", {}, Effect.void) as never
      const exit = yield* Effect.exit(define(Checkpoint.step("outer", {}, hidden)).run("k"))
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "a step cannot contain another")
    })
  )

  test(
    "stops a run whose code has changed, before a step that is not recorded",
    Effect.gen(function*() {
      const ran: Array<string> = []
      const stuck = Checkpoint.step("stuck", {}, Effect.die("boom"))
      yield* Effect.exit(define(Effect.zipRight(counted(ran, "a"), stuck)).run("k"))
      const changed = yield* Effect.either(define(Effect.zipRight(counted(ran, "b"), stuck)).run("k"))
      assert.isTrue(Either.isLeft(changed) && changed.left._tag === "HistoryMismatch")
      assert.deepStrictEqual(ran, ["a"])
    })
  )

  test(
    "goes on with a run when the caller is interrupted",
    Effect.gen(function*() {
      const Flow = define(Checkpoint.step("a", { success: Schema.Number }, Effect.as(Effect.sleep("1 minute"), 1)))
      const caller = yield* Effect.fork(Flow.run("k"))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.interrupt(caller)
      yield* TestClock.adjust("50 seconds")
      assert.deepStrictEqual(yield* Flow.outcome("k"), Option.some(Exit.succeed(1)))
    })
  )

  test(
    "says by name what it does not offer",
    Effect.gen(function*() {
      const engine = yield* CheckpointEngine
      for (const capability of ["fencing", "transaction", "dead-letter", "chain"] as const) {
        assert.isFalse(engine.capabilities.has(capability))
      }
      const run = yield* Effect.either(define(Checkpoint.transaction("t", {}, Effect.void)).run("k"))
      assert.isTrue(Either.isLeft(run) && run.left._tag === "Unsupported")
      assert.include(String(yield* Effect.flip(Checkpoint.verify)), "does not offer chain")
    })
  )
})

describe("the options of ClusterEngine", () => {
  const runner = { host: "127.0.0.1", port: 34431 }
  const url = "postgres://localhost/none"

  it("refuse too few connections, saying why", () => {
    assert.throws(
      () => ClusterEngine.layer({ url, runner, connections: 4 }),
      "ClusterEngine: connections must be a whole number of at least 5, got 4; with fewer the engine waits for itself"
    )
  })

  it("refuse what makes no sense, by name", () => {
    assert.throws(() => ClusterEngine.layer({ url: "", runner }), "url")
    assert.throws(() => ClusterEngine.layer({ url, runner: { host: "", port: 1 } }), "runner.host")
    assert.throws(() => ClusterEngine.layer({ url, runner: { host: "h", port: 0 } }), "runner.port")
    assert.throws(
      () => ClusterEngine.layer({ url, runner, refresh: "3 seconds" }),
      "refresh must be at most a third of expiration"
    )
    assert.throws(() => ClusterEngine.layerClient({ url, poll: "1 milli" }), "poll")
  })

  it.effect("a database out of reach is a StoreError", () =>
    Effect.gen(function*() {
      const layer = ClusterEngine.layerClient({ url: "postgres://127.0.0.1:1/none" })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
      assert.strictEqual(error._tag, "StoreError")
      assert.include(error.message, `Store "cluster" could not open (io)`)
    }))
})
