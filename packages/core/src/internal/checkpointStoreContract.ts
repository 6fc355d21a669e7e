/** The part of the contract of `CheckpointStore` that concerns what a run may do beside steps, and how it may end. */
import { assert } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Begin, BeginRequest, Claimed, Filter, Run, Service, Started, Step } from "../CheckpointStore.js"

/** What the tests of one store share. */
export interface Tools {
  readonly test: (title: string, body: (store: Service) => Effect.Effect<void, unknown, Scope.Scope>) => void
  /** The length of a lease. */
  readonly unit: Duration.Duration
  /** Lets that many units pass. */
  readonly pass: (units: number) => Effect.Effect<void>
  /** The request for the run `wf/key`. */
  readonly ask: (key: string, payload?: string) => BeginRequest
  readonly step: (key: string, seq: number, name?: string, exit?: string) => Step
  /** The request that ends the run `wf/key`. */
  readonly end: (key: string, token: number, exit?: string) => Parameters<Service["finish"]>[0]
}

export const claimed = (begun: Begin): Claimed => {
  if (begun._tag !== "Claimed") return assert.fail(`expected Claimed, got ${begun._tag}`)
  return begun
}

export const ended = (begun: Begin): Run => {
  if (begun._tag !== "Finished") return assert.fail(`expected Finished, got ${begun._tag}`)
  return begun.run
}

export const exitOf = (begun: Begin): string => Option.getOrThrow(ended(begun).exit)

export const renewed = (store: Service, request: Parameters<Service["renew"]>[0]): Effect.Effect<boolean, unknown> =>
  Effect.map(store.renew(request), (renewal) => renewal._tag === "Held")

export const contract = ({ ask, pass, step, test, unit }: Tools): void => {
  const id = "wf/a"
  const begin = (store: Service, request: Partial<BeginRequest> = {}) =>
    Effect.map(store.begin({ ...ask("a"), ...request }), claimed)
  const loaded = (store: Service, runId = id) => Effect.map(store.load(runId), Option.getOrThrow)
  const finish = (store: Service, token: number, status: "succeeded" | "failed" | "cancelled" = "succeeded") =>
    store.finish({ runId: id, token, status, exit: "1" })
  const starting = (name: string, kind: Started["kind"] = "step"): Omit<Started, "wakeAt"> => ({
    runId: id,
    name,
    kind,
    branch: "main",
    startedAt: 1_000
  })
  const waiting = (seq: number, name: string, exit = "null"): Step => ({
    ...step("a", seq, name, exit),
    kind: "signal"
  })

  // a run

  test("keeps version, parent and deadline of a run as they were at its beginning", (store) =>
    Effect.gen(function*() {
      const first = yield* begin(store, { version: "7", parent: "wf/parent", deadline: Duration.times(unit, 10) })
      const { createdAt, deadlineAt } = first.run
      assert.strictEqual(first.run.version, "7")
      assert.deepStrictEqual(first.run.parent, Option.some("wf/parent"))
      assert.strictEqual(Option.getOrThrow(deadlineAt) - createdAt, 10 * Duration.toMillis(unit))
      assert.isAtLeast(first.now, createdAt)
      yield* store.release({ runId: id, token: first.token })
      yield* pass(1)
      const again = yield* begin(store, { version: "8", accepts: ["7"], deadline: unit })
      assert.deepStrictEqual([again.run.version, again.run.parent, again.run.deadlineAt], [
        "7",
        Option.some("wf/parent"),
        deadlineAt
      ])
      const plain = claimed(yield* store.begin(ask("b"))).run
      assert.deepStrictEqual([plain.parent, plain.deadlineAt, plain.cancelled], [
        Option.none(),
        Option.none(),
        Option.none()
      ])
    }))

  test("takes up a run of another version only if it is accepted", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store, { version: "1" })
      const other: Begin = { _tag: "OtherVersion", version: "1" }
      assert.deepStrictEqual(yield* store.begin({ ...ask("a"), version: "2" }), other)
      yield* store.release({ runId: id, token })
      assert.deepStrictEqual(yield* store.begin({ ...ask("a"), version: "2", accepts: ["0"] }), other)
      assert.strictEqual((yield* loaded(store)).run.recoveries, 0)
      const taken = yield* begin(store, { version: "2", accepts: ["0", "1"] })
      yield* finish(store, taken.token)
      assert.strictEqual(ended(yield* store.begin({ ...ask("a"), version: "3" })).version, "1")
    }))

  test("makes nothing anew where only what exists was asked for", (store) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* store.begin({ ...ask("a"), existing: true }), { _tag: "Missing" })
      assert.isTrue(Option.isNone(yield* store.load(id)))
      const { token } = yield* begin(store)
      yield* store.release({ runId: id, token })
      assert.isTrue((yield* begin(store, { existing: true })).resumed)
    }))

  test("keeps kind and branch of a step", (store) =>
    Effect.gen(function*() {
      const kinds = ["step", "transaction", "sleep", "signal", "child", "compensation"] as const
      const steps = kinds.flatMap((kind, i) =>
        (["main", "side"] as const).map((branch, j) => ({ ...step("a", 2 * i + j), kind, branch }))
      )
      const { token } = yield* begin(store)
      for (const one of steps) assert.isTrue(yield* store.save({ token, step: one }))
      assert.deepStrictEqual((yield* loaded(store)).steps, steps)
    }))

  // what was begun

  test("tells what was begun and has no outcome, until it has one", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      const answer = yield* store.start({ token, step: starting("charge") })
      const started = { ...starting("charge"), wakeAt: Option.none() }
      if (answer._tag === "Lost") return assert.fail("Lost")
      assert.deepStrictEqual(answer.started, started)
      assert.deepStrictEqual((yield* loaded(store)).started, [started])
      yield* pass(2)
      const again = yield* begin(store)
      assert.deepStrictEqual(again.started, [started])
      assert.isTrue(yield* store.save({ token: again.token, step: step("a", 0, "charge") }))
      assert.deepStrictEqual((yield* loaded(store)).started, [])
    }))

  test("keeps the time a wait is over as it was at first", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      const wait = Duration.times(unit, 10)
      const ask = { token, step: { ...starting("nap", "sleep"), branch: "side" } as const, wait }
      const first = yield* store.start(ask)
      yield* pass(0.5)
      const second = yield* store.start({ ...ask, step: { ...ask.step, startedAt: 9 } })
      if (first._tag === "Lost" || second._tag === "Lost") return assert.fail("Lost")
      const wakeAt = Option.getOrThrow(first.started.wakeAt)
      const slack = wakeAt - first.now - Duration.toMillis(wait)
      assert.isTrue(slack <= 0 && slack > -Duration.toMillis(unit) / 2, `${slack}`)
      assert.deepStrictEqual(second.started, first.started)
      assert.isAtLeast(second.now, first.now)
      yield* store.release({ runId: id, token })
      const again = yield* begin(store)
      assert.deepStrictEqual(again.started, [first.started])
      assert.isAbove(wakeAt, again.now)
    }))

  test("lets nobody begin a step of a run that was taken over", (store) =>
    Effect.gen(function*() {
      const old = yield* begin(store)
      yield* pass(2)
      yield* begin(store)
      assert.deepStrictEqual(yield* store.start({ token: old.token, step: starting("a") }), { _tag: "Lost" })
      assert.deepStrictEqual(yield* store.start({ token: 1, step: { ...starting("a"), runId: "wf/never" } }), {
        _tag: "Lost"
      })
      assert.deepStrictEqual((yield* loaded(store)).started, [])
    }))

  test("settles a step in doubt of a run that nobody holds, either way", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      yield* store.save({ token, step: step("a", 3, "before") })
      yield* store.start({ token, step: starting("one") })
      yield* store.start({ token, step: { ...starting("two"), branch: "side" } })
      const settle = (name: string, exit: Option.Option<string>) => store.settle({ runId: id, name, exit })
      assert.isFalse(yield* settle("one", Option.some("{}")))
      yield* store.release({ runId: id, token })
      assert.isFalse(yield* settle("three", Option.none()))
      assert.isTrue(yield* settle("one", Option.none()))
      assert.isFalse(yield* settle("one", Option.none()))
      assert.isTrue(yield* settle("two", Option.some(`{"n":2}`)))
      const { started, steps } = yield* begin(store)
      assert.deepStrictEqual(started, [])
      assert.deepStrictEqual(steps.map(({ branch, exit, name, seq }) => [seq, name, branch, exit]), [
        [3, "before", "main", `"before"`],
        [4, "two", "side", `{"n":2}`]
      ])
      assert.isFalse(yield* store.settle({ runId: "wf/never", name: "one", exit: Option.none() }))
    }))

  test("settling a step fences an owner past its lease", (store) =>
    Effect.gen(function*() {
      for (const exit of [Option.none(), Option.some(`"by hand"`)]) {
        const runId = Option.isSome(exit) ? "wf/b" : id
        const key = runId.slice(3)
        const { token } = claimed(yield* store.begin(ask(key)))
        yield* store.start({ token, step: { ...starting("one"), runId } })
        yield* pass(2)
        assert.isTrue(yield* store.settle({ runId, name: "one", exit }))
        assert.isFalse(yield* store.save({ token, step: step(key, 7, "one") }))
        assert.isFalse(yield* renewed(store, { runId, token, lease: unit }))
        assert.isFalse(yield* store.finish({ runId, token, status: "succeeded", exit: "1" }))
        const { steps } = yield* loaded(store, runId)
        assert.deepStrictEqual(steps.map((_) => _.exit), Option.toArray(exit))
      }
    }))

  // signals

  test("keeps the first signal of a name, sent before the run began or in it", (store) =>
    Effect.gen(function*() {
      const send = (name: string, payload: string) => store.send({ runId: id, name, payload })
      assert.strictEqual(yield* send("early", `{"n":1}`), "Sent")
      assert.strictEqual(yield* send("early", "2"), "AlreadySent")
      assert.isTrue(Option.isNone(yield* store.load(id)))
      const begun = yield* begin(store)
      assert.deepStrictEqual(begun.signals.map((_) => [_.runId, _.name, _.payload]), [[id, "early", `{"n":1}`]])
      assert.strictEqual(yield* send("late ä'\"", "3"), "Sent")
      assert.strictEqual(yield* store.send({ runId: "wf/b", name: "early", payload: "other" }), "Sent")
      const payloads = (runIds: ReadonlyArray<string>) =>
        Effect.map(store.received(runIds), (signals) => signals.map((_) => _.payload).toSorted())
      assert.deepStrictEqual(yield* payloads([id]), ["3", `{"n":1}`])
      assert.deepStrictEqual(yield* payloads(["wf/b", id, "wf/none"]), ["3", "other", `{"n":1}`])
      assert.deepStrictEqual(yield* payloads([]), [])
      assert.deepStrictEqual((yield* loaded(store)).signals.length, 2)
    }))

  test("one of many concurrent signals of a name counts", (store) =>
    Effect.gen(function*() {
      yield* begin(store)
      const answers = yield* Effect.forEach(
        Array.from({ length: 32 }, (_, i) => `${i}`),
        (payload) => Effect.map(store.send({ runId: id, name: "go", payload }), (sent) => [sent, payload] as const),
        { concurrency: "unbounded" }
      )
      const winners = answers.filter(([sent]) => sent === "Sent")
      assert.strictEqual(winners.length, 1)
      assert.deepStrictEqual((yield* store.received([id])).map((_) => _.payload), [winners[0]![1]])
    }))

  test("takes no signal for a run that has ended, but for one that is given back", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      yield* store.release({ runId: id, token })
      assert.strictEqual(yield* store.send({ runId: id, name: "one", payload: "1" }), "Sent")
      const again = yield* begin(store)
      yield* finish(store, again.token)
      assert.strictEqual(yield* store.send({ runId: id, name: "two", payload: "1" }), "Ended")
      assert.strictEqual(yield* store.send({ runId: id, name: "one", payload: "1" }), "AlreadySent")
    }))

  test("a wait that is over and the signal: whichever comes first, both sides agree", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      const send = (name: string) => store.send({ runId: id, name, payload: "7" })
      yield* store.start({ token, step: starting("late", "signal"), wait: unit })
      assert.deepStrictEqual(yield* store.expire({ token, step: waiting(0, "late") }), { _tag: "Expired" })
      assert.strictEqual(yield* send("late"), "TooLate")
      assert.strictEqual(yield* send("early"), "Sent")
      assert.deepStrictEqual(yield* store.expire({ token, step: waiting(1, "early") }), {
        _tag: "Received",
        payload: "7"
      })
      const { signals, started, steps } = yield* loaded(store)
      assert.deepStrictEqual(steps, [waiting(0, "late")])
      assert.deepStrictEqual(started, [])
      assert.deepStrictEqual(signals.map((_) => _.name), ["early"])
      for (let i = 0; i < 8; i++) {
        const name = `both-${i}`
        const [sent, expiry] = yield* Effect.all(
          [send(name), store.expire({ token, step: waiting(2 + i, name) })],
          { concurrency: 2 }
        )
        assert.strictEqual(sent === "Sent", expiry._tag === "Received", `${sent} and ${expiry._tag}`)
      }
    }))

  test("a signal after the time its run waits for it is too late, whether or not the run has seen that", (store) =>
    Effect.gen(function*() {
      const { token } = yield* begin(store)
      yield* store.start({ token, step: starting("go", "signal"), wait: Duration.times(unit, 2) })
      yield* store.release({ runId: id, token })
      yield* pass(1)
      assert.strictEqual(yield* store.send({ runId: id, name: "other", payload: "1" }), "Sent")
      yield* pass(2)
      assert.strictEqual(yield* store.send({ runId: id, name: "go", payload: "1" }), "TooLate")
      const again = yield* begin(store)
      assert.deepStrictEqual(again.signals.map((_) => _.name), ["other"])
      assert.deepStrictEqual(yield* store.expire({ token: again.token, step: waiting(0, "go") }), { _tag: "Expired" })
    }))

  test("an owner that was taken over decides no signal", (store) =>
    Effect.gen(function*() {
      const old = yield* begin(store)
      yield* pass(2)
      yield* begin(store)
      assert.deepStrictEqual(yield* store.expire({ token: old.token, step: waiting(0, "go") }), { _tag: "Lost" })
      assert.strictEqual(yield* store.send({ runId: id, name: "go", payload: "1" }), "Sent")
    }))

  // the end

  test("tells the owner at its renewal that the run shall stop, and whoever takes it up", (store) =>
    Effect.gen(function*() {
      const cancel = (reason: string, runId = id) => store.cancel({ runId, reason })
      assert.strictEqual(yield* cancel("no such"), "Missing")
      const { run, token } = yield* begin(store)
      assert.deepStrictEqual(run.cancelled, Option.none())
      const renew = store.renew({ runId: id, token, lease: unit })
      assert.deepStrictEqual(yield* renew, { _tag: "Held", cancelled: Option.none() })
      assert.strictEqual(yield* cancel("by ops"), "Requested")
      assert.strictEqual(yield* cancel("twice"), "AlreadyRequested")
      assert.deepStrictEqual(yield* renew, { _tag: "Held", cancelled: Option.some("by ops") })
      assert.isTrue(yield* store.save({ token, step: step("a", 0) }))
      yield* store.release({ runId: id, token })
      const again = yield* begin(store)
      assert.deepStrictEqual(again.run.cancelled, Option.some("by ops"))
      assert.isTrue(yield* finish(store, again.token, "cancelled"))
      assert.strictEqual(ended(yield* store.begin(ask("a"))).status, "cancelled")
      assert.strictEqual(yield* cancel("late"), "Ended")
    }))

  test("gives a run up that died too often without a step in between, until it is queued again", (store) =>
    Effect.gen(function*() {
      const dies = (request: Partial<BeginRequest> = {}) =>
        Effect.flatMap(begin(store, { maxStalls: 2, ...request }), (begun) => Effect.as(pass(2), begun))
      assert.strictEqual((yield* dies()).run.stalls, 0)
      const second = yield* dies()
      assert.strictEqual(second.run.stalls, 1)
      assert.isTrue(yield* store.save({ token: second.token, step: step("a", 0) }))
      assert.strictEqual((yield* dies()).run.stalls, 1)
      assert.strictEqual((yield* dies()).run.stalls, 2)
      const begun = yield* store.begin({ ...ask("a"), maxStalls: 2 })
      const run = ended(begun)
      assert.propertyVal(begun, "died", true)
      assert.deepStrictEqual([run.status, run.stalls, run.exit], ["dead", 3, Option.none()])
      assert.isTrue(Option.isSome(run.completedAt))
      const again = yield* store.begin({ ...ask("a"), maxStalls: 100 })
      assert.strictEqual(ended(again).status, "dead")
      assert.propertyVal(again, "died", false)
      assert.deepStrictEqual((yield* store.list({ status: "dead" })).map((_) => _.runId), [id])
      assert.strictEqual(yield* store.prune({ olderThan: Duration.zero }), 0)
      assert.isFalse(yield* store.requeue("wf/never"))
      assert.isTrue(yield* store.requeue(id))
      assert.isFalse(yield* store.requeue(id))
      const { run: anew, steps } = yield* begin(store, { maxStalls: 2 })
      assert.deepStrictEqual([anew.status, anew.stalls, anew.completedAt], ["running", 0, Option.none()])
      assert.deepStrictEqual(steps, [step("a", 0)])
    }))

  test("a run given back is not dying, but for one that failed", (store) =>
    Effect.gen(function*() {
      for (let i = 0; i < 5; i++) {
        const { run, token } = yield* begin(store, { maxStalls: 1 })
        assert.strictEqual(run.stalls, 0)
        yield* store.release({ runId: id, token })
      }
      for (let i = 0; i < 2; i++) {
        const { token } = yield* begin(store, { maxStalls: 1 })
        yield* store.release({ runId: id, token, failed: true })
      }
      assert.strictEqual(ended(yield* store.begin({ ...ask("a"), maxStalls: 1 })).status, "dead")
    }))

  test("clears and prunes signals with their runs, and those that no run came for", (store) =>
    Effect.gen(function*() {
      const send = (runId: string) => store.send({ runId, name: "go", payload: "1" })
      const { token } = yield* begin(store)
      for (const runId of [id, "wf/none"]) yield* send(runId)
      yield* store.start({ token, step: starting("a") })
      yield* finish(store, token)
      yield* pass(10)
      yield* send("wf/recent")
      assert.strictEqual(yield* store.prune({ olderThan: Duration.times(unit, 5) }), 1)
      assert.deepStrictEqual((yield* store.received([id, "wf/none", "wf/recent"])).map((_) => _.runId), ["wf/recent"])
      const anew = yield* begin(store)
      assert.deepStrictEqual([anew.steps, anew.started, anew.signals], [[], [], []])
      yield* send(id)
      yield* store.release({ runId: id, token: anew.token })
      assert.isTrue(yield* store.clear(id))
      assert.deepStrictEqual(yield* store.received([id]), [])
    }))

  // search

  test("finds runs by key, by parent, by time, and page by page", (store) =>
    Effect.gen(function*() {
      const keys = ["b", "a%", "ab", "a_c"]
      const times: Array<number> = []
      for (const key of keys) {
        times.push(claimed(yield* store.begin({ ...ask(key), parent: key === "ab" ? "wf/b" : undefined })).now)
        yield* pass(0.1)
      }
      const found = (filter: Filter) => Effect.map(store.list(filter), (runs) => runs.map((_) => _.key))
      assert.deepStrictEqual(yield* found({ key: "ab" }), ["ab"])
      assert.deepStrictEqual(yield* found({ keyPrefix: "a" }), ["a%", "ab", "a_c"])
      assert.deepStrictEqual(yield* found({ keyPrefix: "a%" }), ["a%"])
      assert.deepStrictEqual(yield* found({ keyPrefix: "a_" }), ["a_c"])
      assert.deepStrictEqual(yield* found({ parent: "wf/b" }), ["ab"])
      assert.deepStrictEqual(yield* found({ createdFrom: times[1]!, createdBefore: times[3]! }), ["a%", "ab"])
      assert.deepStrictEqual(yield* found({ limit: 2 }), ["b", "a%"])
      const seen: Array<string> = []
      let after: Filter["after"]
      for (let page = 0; page < 4; page++) {
        const runs = yield* store.list({ after, limit: 3 })
        seen.push(...runs.map((_) => _.key))
        after = runs.at(-1) ?? after
      }
      assert.deepStrictEqual(seen, keys)
      assert.deepStrictEqual(yield* found({ status: "running", workflow: "wf", keyPrefix: "a", limit: 1, after }), [])
    }))
}
