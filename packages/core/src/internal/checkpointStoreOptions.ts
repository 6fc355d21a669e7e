/** The parts of the contract of `CheckpointStore` that not every store has: transactions, and owners that share records. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Service } from "../CheckpointStore.js"
import { claimed, exitOf, renewed, type Tools } from "./checkpointStoreContract.js"

/** The contract of `transact`. */
export const transactions = ({ ask, pass, step, test }: Tools): void => {
  const saved = { ...step("a", 0, "pay"), kind: "transaction" } as const

  test("a transaction saves its step and gives its value", (store) =>
    Effect.gen(function*() {
      const { token } = claimed(yield* store.begin(ask("a")))
      const body = Effect.succeed({ step: saved, value: 7 })
      assert.deepStrictEqual(yield* store.transact!({ token, runId: "wf/a", body }), Option.some(7))
      assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [saved])
    }))

  test("a transaction that fails, dies or is interrupted saves nothing", (store) =>
    Effect.gen(function*() {
      const { token } = claimed(yield* store.begin(ask("a")))
      for (const body of [Effect.fail("no"), Effect.die("bug"), Effect.interrupt]) {
        const exit = yield* Effect.exit(store.transact!({ token, runId: "wf/a", body }))
        assert.isTrue(Exit.isFailure(exit))
      }
      assert.deepStrictEqual(
        yield* Effect.flip(store.transact!({ token, runId: "wf/a", body: Effect.fail("no") })),
        "no"
      )
      assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [])
      assert.isTrue(yield* store.save({ token, step: step("a", 0) }))
    }))

  test("a transaction of an owner that was taken over saves nothing", (store) =>
    Effect.gen(function*() {
      const { token } = claimed(yield* store.begin(ask("a")))
      yield* pass(2)
      claimed(yield* store.begin(ask("a")))
      const body = Effect.succeed({ step: saved, value: 7 })
      assert.deepStrictEqual(yield* store.transact!({ token, runId: "wf/a", body }), Option.none())
      assert.deepStrictEqual(Option.getOrThrow(yield* store.load("wf/a")).steps, [])
    }))
}

/** The contract of two owners of the same records. */
export const sharing = (
  { ask, end, pass, step, unit }: Tools,
  owners: Effect.Effect<readonly [Service, Service], unknown, Scope.Scope>
): void => {
  const both = (title: string, body: (one: Service, two: Service) => Effect.Effect<void, unknown>) =>
    it.scoped(title, () => Effect.flatMap(owners, ([one, two]) => body(one, two)))

  both("two owners: one owns the run, both see its steps and its outcome", (one, two) =>
    Effect.gen(function*() {
      const begun = yield* Effect.all([one.begin(ask("a")), two.begin(ask("a"))], { concurrency: 2 })
      assert.deepStrictEqual(begun.map((_) => _._tag).toSorted(), ["Claimed", "InProgress"])
      const [winner, token] = begun[0]._tag === "Claimed"
        ? [one, begun[0].token] as const
        : [two, claimed(begun[1]).token] as const
      assert.isTrue(yield* winner.save({ token, step: step("a", 0) }))
      for (const owner of [one, two]) {
        assert.deepStrictEqual(Option.getOrThrow(yield* owner.load("wf/a")).steps, [step("a", 0)])
      }
      assert.isTrue(yield* winner.finish(end("a", token)))
      for (const owner of [one, two]) {
        assert.deepStrictEqual(exitOf(yield* owner.begin(ask("a"))), "1")
      }
    }))

  both(
    "two owners: a stopped one is taken over and refused when it comes back",
    (one, two) =>
      Effect.gen(function*() {
        const old = claimed(yield* one.begin(ask("a")))
        assert.isTrue(yield* one.save({ token: old.token, step: step("a", 0) }))
        yield* pass(2)
        const current = claimed(yield* two.begin(ask("a")))
        assert.isTrue(current.resumed)
        assert.isAbove(current.token, old.token)
        assert.deepStrictEqual(current.steps, [step("a", 0)])
        assert.isTrue(yield* two.save({ token: current.token, step: step("a", 1) }))
        assert.isFalse(yield* renewed(one, { runId: "wf/a", token: old.token, lease: unit }))
        assert.isFalse(yield* one.save({ token: old.token, step: step("a", 1) }))
        assert.isFalse(yield* one.finish(end("a", old.token, "old")))
        assert.isTrue(yield* two.save({ token: current.token, step: step("a", 2) }))
        assert.isTrue(yield* two.finish(end("a", current.token)))
        assert.strictEqual(Option.getOrThrow(yield* one.load("wf/a")).steps.length, 3)
      })
  )

  both("two owners: a run goes to and fro as each gives it back", (one, two) =>
    Effect.gen(function*() {
      for (let seq = 0; seq < 6; seq++) {
        const owner = seq % 2 === 0 ? one : two
        const { steps, token } = claimed(yield* owner.begin(ask("a")))
        assert.strictEqual(steps.length, seq)
        assert.isTrue(yield* owner.save({ token, step: step("a", seq) }))
        yield* owner.release({ runId: "wf/a", token })
      }
      const { run, steps } = Option.getOrThrow(yield* one.load("wf/a"))
      assert.strictEqual(run.recoveries, 5)
      assert.deepStrictEqual(steps.map((_) => _.seq), [0, 1, 2, 3, 4, 5])
    }))
}
