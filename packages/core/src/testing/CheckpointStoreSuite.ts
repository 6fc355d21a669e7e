/**
 * The contract of `CheckpointStore`: every store passes this suite. It needs `@effect/vitest`.
 *
 * Time passes only through the Clock: by default the TestClock is adjusted, so the store must read Effect's Clock. A
 * store that lives by another clock (a database's) gives `advance` and a small `unit` and runs the same tests.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { type Begin, type BeginRequest, CheckpointStore, type Service, type Step } from "../CheckpointStore.js"
import { claimed, contract, exitOf, renewed } from "../internal/checkpointStoreContract.js"
import { sharing, transactions } from "../internal/checkpointStoreOptions.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Two owners of the same empty records; without it, what needs two owners is not tested. */
  readonly owners?: Effect.Effect<readonly [Service, Service], unknown, Scope.Scope> | undefined
  /** Whether `transact` is tested. Default false. */
  readonly transaction?: boolean | undefined
  /** Lets time pass. Default: `TestClock.adjust`. */
  readonly advance?: ((duration: Duration.Duration) => Effect.Effect<void>) | undefined
  /** The length of a lease in the tests; every other duration is a multiple of it. Default 1 second. */
  readonly unit?: Duration.DurationInput | undefined
}

/**
 * Registers the contract's tests under `name`. The layer builds an empty store each time.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = <E>(name: string, layer: Layer.Layer<CheckpointStore, E>, options: Options = {}): void => {
  const unit = Duration.decode(options.unit ?? "1 second")
  const advance = options.advance ?? TestClock.adjust
  const pass = (units: number) => advance(Duration.times(unit, units))

  const ask = (key: string, payload = "{}"): BeginRequest => ({
    runId: `wf/${key}`,
    workflow: "wf",
    key,
    payload,
    version: "1",
    lease: unit,
    maxStalls: 5
  })
  const step = (key: string, seq: number, name = `step-${seq}`, exit = `"${name}"`): Step => ({
    runId: `wf/${key}`,
    seq,
    name,
    kind: "step",
    branch: "main",
    exit,
    startedAt: 1_000 + seq,
    endedAt: 2_000 + seq
  })
  const end = (key: string, token: number, exit = "1") => ({
    runId: `wf/${key}`,
    token,
    status: "succeeded" as const,
    exit
  })

  const test = (title: string, body: (store: Service) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.scoped(title, () => Effect.provide(Effect.flatMap(CheckpointStore, body), layer))

  describe(`${name}: CheckpointStore contract`, () => {
    test("creates a run with nothing done", (store) =>
      Effect.gen(function*() {
        const begun = claimed(yield* store.begin(ask("a", `{"n":1}`)))
        assert.isFalse(begun.resumed)
        assert.deepStrictEqual(begun.steps, [])
        const { run, steps } = Option.getOrThrow(yield* store.load("wf/a"))
        assert.deepStrictEqual(steps, [])
        assert.strictEqual(run.runId, "wf/a")
        assert.strictEqual(run.workflow, "wf")
        assert.strictEqual(run.key, "a")
        assert.strictEqual(run.payload, `{"n":1}`)
        assert.strictEqual(run.status, "running")
        assert.strictEqual(run.recoveries, 0)
        assert.isTrue(Option.isNone(run.exit))
        assert.isTrue(Option.isNone(run.completedAt))
        assert.isAtLeast(run.updatedAt, run.createdAt)
      }))

    test("lets one of many concurrent callers own a run", (store) =>
      Effect.gen(function*() {
        const begun = yield* Effect.all(Array.from({ length: 64 }, () => store.begin(ask("a"))), {
          concurrency: "unbounded"
        })
        assert.strictEqual(begun.filter((_) => _._tag === "Claimed").length, 1)
        assert.strictEqual(begun.filter((_) => _._tag === "InProgress").length, 63)
      }))

    test("says how long at most a run in progress is held", (store) =>
      Effect.gen(function*() {
        yield* store.begin(ask("a"))
        const begun = yield* store.begin(ask("a"))
        if (begun._tag !== "InProgress") return assert.fail(`expected InProgress, got ${begun._tag}`)
        assert.isTrue(Duration.lessThanOrEqualTo(begun.retryAfter, unit))
        assert.isTrue(Duration.greaterThan(begun.retryAfter, Duration.zero))
      }))

    test("gives back every saved step unchanged, in order of seq", (store) =>
      Effect.gen(function*() {
        const odd = step(
          "a",
          1,
          "náme/💥#2",
          JSON.stringify({ text: "line\nä 💥 \u0000 end", list: [1.5, null, true] })
        )
        const steps = [step("a", 0), odd, step("a", 2)]
        const { token } = claimed(yield* store.begin(ask("a")))
        for (const seq of [0, 2, 1]) assert.isTrue(yield* store.save({ token, step: steps[seq]! }))
        assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, steps)
        yield* store.release({ runId: "wf/a", token })
        assert.deepStrictEqual(claimed(yield* store.begin(ask("a"))).steps, steps)
      }))

    test("keeps the steps of concurrent saves", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        const saved = yield* Effect.all(
          Array.from({ length: 64 }, (_, seq) => store.save({ token, step: step("a", seq) })),
          { concurrency: "unbounded" }
        )
        assert.isTrue(saved.every((_) => _))
        assert.strictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps.length, 64)
      }))

    test("changes nothing when a step is saved again", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        assert.isTrue(yield* store.save({ token, step: step("a", 0, "one", "first") }))
        assert.isTrue(yield* store.save({ token, step: step("a", 0, "one", "second") }))
        assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [step("a", 0, "one", "first")])
      }))

    test("refuses another step in the place of a saved one", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* store.save({ token, step: step("a", 0, "one") })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(store.save({ token, step: step("a", 0, "other") }))))
        assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [step("a", 0, "one")])
      }))

    test("keeps runs apart", (store) =>
      Effect.gen(function*() {
        const a = claimed(yield* store.begin(ask("a")))
        const b = claimed(yield* store.begin(ask("b", "other payload")))
        yield* store.save({ token: a.token, step: step("a", 0) })
        assert.isFalse(yield* store.save({ token: a.token, step: step("b", 0) }))
        yield* store.finish(end("a", a.token))
        assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/b")).steps, [])
        assert.isTrue(yield* renewed(store, { runId: "wf/b", token: b.token, lease: unit }))
      }))

    test("answers a finished run with its outcome, for ever", (store) =>
      Effect.gen(function*() {
        const exit = JSON.stringify({ text: "ä 💥 \u0000" })
        const { token } = claimed(yield* store.begin(ask("a")))
        assert.isTrue(yield* store.finish({ runId: "wf/a", token, status: "failed", exit }))
        yield* pass(1_000)
        assert.deepStrictEqual(exitOf(yield* store.begin(ask("a"))), exit)
        const { run } = Option.getOrThrow(yield* store.load("wf/a"))
        assert.strictEqual(run.status, "failed")
        assert.deepStrictEqual(run.exit, Option.some(exit))
        assert.isAtLeast(Option.getOrThrow(run.completedAt), run.createdAt)
      }))

    test("takes the first outcome, and no step after it", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        assert.isTrue(yield* store.finish(end("a", token, "first")))
        assert.isTrue(yield* store.finish(end("a", token, "second")))
        assert.isFalse(yield* store.save({ token, step: step("a", 0) }))
        assert.isFalse(yield* renewed(store, { runId: "wf/a", token, lease: unit }))
        assert.deepStrictEqual(exitOf(yield* store.begin(ask("a"))), "first")
      }))

    test("refuses another payload, in whatever state the run is", (store) =>
      Effect.gen(function*() {
        const mismatch: Begin = { _tag: "Mismatch", payload: "{}" }
        const { token } = claimed(yield* store.begin(ask("a")))
        assert.deepStrictEqual(yield* store.begin(ask("a", "[]")), mismatch)
        yield* store.finish(end("a", token))
        assert.deepStrictEqual(yield* store.begin(ask("a", "[]")), mismatch)

        const released = claimed(yield* store.begin(ask("released")))
        yield* store.release({ runId: "wf/released", token: released.token })
        assert.deepStrictEqual(yield* store.begin(ask("released", "[]")), mismatch)
        yield* store.begin(ask("dead"))
        yield* pass(2)
        assert.deepStrictEqual(yield* store.begin(ask("dead", "[]")), mismatch)
      }))

    test("hands a run given back to the next at once, and counts it", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* store.save({ token, step: step("a", 0) })
        yield* store.release({ runId: "wf/a", token })
        const again = claimed(yield* store.begin(ask("a")))
        assert.isTrue(again.resumed)
        assert.isAbove(again.token, token)
        assert.deepStrictEqual(again.steps, [step("a", 0)])
        assert.strictEqual(Option.getOrThrow(yield* store.load("wf/a")).run.recoveries, 1)
      }))

    test("keeps a renewed run, and takes over one whose lease has passed", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        for (let i = 0; i < 5; i++) {
          yield* pass(0.5)
          assert.isTrue(yield* renewed(store, { runId: "wf/a", token, lease: unit }))
        }
        yield* pass(0.5)
        assert.strictEqual((yield* store.begin(ask("a")))._tag, "InProgress")
        yield* pass(1)
        const again = claimed(yield* store.begin(ask("a")))
        assert.isTrue(again.resumed)
        assert.isAbove(again.token, token)
      }))

    test("lets an owner go on late as long as nobody has taken over", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* pass(2)
        assert.isTrue(yield* store.save({ token, step: step("a", 0) }))
        assert.isTrue(yield* renewed(store, { runId: "wf/a", token, lease: unit }))
        assert.isTrue(yield* store.finish(end("a", token)))
      }))

    test("refuses every write of an owner that was taken over", (store) =>
      Effect.gen(function*() {
        const old = claimed(yield* store.begin(ask("a")))
        yield* pass(2)
        const current = claimed(yield* store.begin(ask("a")))
        assert.isFalse(yield* renewed(store, { runId: "wf/a", token: old.token, lease: unit }))
        assert.isFalse(yield* store.save({ token: old.token, step: step("a", 0, "old") }))
        assert.isFalse(yield* store.finish(end("a", old.token, "old")))
        yield* store.release({ runId: "wf/a", token: old.token })
        assert.strictEqual((yield* store.begin(ask("a")))._tag, "InProgress")
        assert.isTrue(yield* store.save({ token: current.token, step: step("a", 0, "new") }))
        assert.isFalse(yield* store.save({ token: old.token, step: step("a", 0, "new") }))
        assert.isTrue(yield* store.finish(end("a", current.token, "new")))
        assert.isFalse(yield* store.finish(end("a", old.token, "old")))
        assert.deepStrictEqual(exitOf(yield* store.begin(ask("a"))), "new")
        assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [step("a", 0, "new")])
      }))

    test("refuses writes to a run given back or never begun", (store) =>
      Effect.gen(function*() {
        assert.isFalse(yield* renewed(store, { runId: "wf/never", token: 1, lease: unit }))
        assert.isFalse(yield* store.save({ token: 1, step: step("never", 0) }))
        assert.isFalse(yield* store.finish(end("never", 1)))
        yield* store.release({ runId: "wf/never", token: 1 })
        assert.isTrue(Option.isNone(yield* store.load("wf/never")))

        const { token } = claimed(yield* store.begin(ask("a")))
        yield* store.release({ runId: "wf/a", token })
        assert.isFalse(yield* renewed(store, { runId: "wf/a", token, lease: unit }))
        assert.isFalse(yield* store.save({ token, step: step("a", 0) }))
        assert.isFalse(yield* store.finish(end("a", token)))
        assert.strictEqual(Option.getOrThrow(yield* store.load("wf/a")).run.status, "running")
      }))

    test("load and list wake nothing", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* pass(2)
        yield* store.load("wf/a")
        yield* store.list()
        const { run } = Option.getOrThrow(yield* store.load("wf/a"))
        assert.strictEqual(run.recoveries, 0)
        assert.isTrue(yield* renewed(store, { runId: "wf/a", token, lease: unit }))
      }))

    test("lists runs in order of their creation, by workflow and by status", (store) =>
      Effect.gen(function*() {
        for (const key of ["c", "a", "b"]) {
          const { token } = claimed(yield* store.begin(ask(key)))
          if (key !== "c") {
            yield* store.finish({ runId: `wf/${key}`, token, status: key === "a" ? "succeeded" : "failed", exit: "1" })
          }
          yield* pass(0.1)
        }
        yield* store.begin({ ...ask("z"), runId: "other/z", workflow: "other" })
        const keys = (filter?: Parameters<Service["list"]>[0]) =>
          Effect.map(store.list(filter), (runs) => runs.map((_) => _.key))
        assert.deepStrictEqual(yield* keys(), ["c", "a", "b", "z"])
        assert.deepStrictEqual(yield* keys({ workflow: "wf" }), ["c", "a", "b"])
        assert.deepStrictEqual(yield* keys({ status: "running" }), ["c", "z"])
        assert.deepStrictEqual(yield* keys({ workflow: "wf", status: "running" }), ["c"])
        assert.deepStrictEqual(yield* keys({ status: "succeeded" }), ["a"])
        assert.deepStrictEqual(yield* keys({ workflow: "wf", status: "failed" }), ["b"])
        assert.deepStrictEqual(yield* keys({ workflow: "none" }), [])
      }))

    test("clears a run that nobody holds, with its steps", (store) =>
      Effect.gen(function*() {
        assert.isFalse(yield* store.clear("wf/never"))
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* store.save({ token, step: step("a", 0) })
        assert.isFalse(yield* store.clear("wf/a"))
        yield* store.finish(end("a", token))
        assert.isTrue(yield* store.clear("wf/a"))
        assert.isFalse(yield* store.clear("wf/a"))
        assert.isTrue(Option.isNone(yield* store.load("wf/a")))
        const anew = claimed(yield* store.begin(ask("a", "another payload")))
        assert.isFalse(anew.resumed)
        assert.deepStrictEqual(anew.steps, [])
      }))

    test("clears what a dead owner left, and refuses it then", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.begin(ask("a")))
        yield* pass(2)
        assert.isTrue(yield* store.clear("wf/a"))
        const anew = claimed(yield* store.begin(ask("a")))
        assert.isFalse(yield* store.save({ token, step: step("a", 0) }))
        assert.isFalse(yield* store.finish(end("a", token)))
        assert.isTrue(yield* store.finish(end("a", anew.token)))
      }))

    test("prunes runs that ended long enough ago, with their steps, and nothing else", (store) =>
      Effect.gen(function*() {
        const old = claimed(yield* store.begin(ask("old")))
        yield* store.save({ token: old.token, step: step("old", 0) })
        yield* store.finish(end("old", old.token))
        yield* store.begin(ask("dead"))
        const released = claimed(yield* store.begin(ask("released")))
        yield* store.release({ runId: "wf/released", token: released.token })
        yield* pass(10)
        const recent = claimed(yield* store.begin(ask("recent")))
        yield* store.finish(end("recent", recent.token))
        yield* pass(1)
        assert.strictEqual(yield* store.prune({ olderThan: Duration.times(unit, 5) }), 1)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key).toSorted(), ["dead", "recent", "released"])
        assert.deepStrictEqual(claimed(yield* store.begin(ask("old"))).steps, [])
        assert.strictEqual(yield* store.prune({ olderThan: Duration.zero }), 1)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key).toSorted(), ["dead", "old", "released"])
      }))

    test("takes any text as workflow, key, payload and outcome", (store) =>
      Effect.gen(function*() {
        const odd = {
          ...ask("a"),
          runId: `../../x\n💥 %_ "'`,
          workflow: `w'";--`,
          key: "ü\u0001",
          payload: `"';--`
        }
        const { token } = claimed(yield* store.begin(odd))
        const saved = { ...step("a", 0, `s'";--`, `"'; DROP TABLE x; --`), runId: odd.runId }
        assert.isTrue(yield* store.save({ token, step: saved }))
        const { run, steps } = Option.getOrThrow(yield* store.load(odd.runId))
        assert.deepStrictEqual(steps, [saved])
        assert.deepStrictEqual([run.workflow, run.key, run.payload], [odd.workflow, odd.key, odd.payload])
        assert.deepStrictEqual((yield* store.list({ workflow: odd.workflow })).length, 1)
      }))

    const tools = { test, unit, pass, ask, step, end }
    contract(tools)
    if (options.transaction === true) transactions(tools)

    test("claims what it can do", (store) =>
      Effect.sync(() => {
        assert.strictEqual(store.capabilities.has("chain"), store.verify !== undefined)
        if (store.capabilities.has("transaction")) assert.isDefined(store.transact)
        if (store.capabilities.has("shared")) assert.isDefined(options.owners)
      }))
    if (options.owners !== undefined) sharing(tools, options.owners)
  })
}
