/**
 * The contract of `HealingStore`: every store of what healers have tried passes this suite. It needs `@effect/vitest`.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { HealingStore, type Service, type Snapshot } from "../HealingStore.js"

/**
 * Registers the contract's tests under `name`. The layer builds an empty store each time.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = <E>(name: string, layer: Layer.Layer<never, E>): void => {
  const test = (title: string, body: (store: Service) => Effect.Effect<void, unknown>) =>
    it.effect(title, () => Effect.provide(Effect.flatMap(HealingStore, body), layer))

  const snapshot = (attempts: number): Snapshot => ({
    state: "healing",
    consecutiveFailures: 2,
    used: [{ remedy: "restart \"api\" 🔥", attempts, lastAt: 1_700_000_000_000.25 }]
  })

  describe(`${name}: HealingStore contract`, () => {
    test("gives what was saved last under a name, and none where nothing was", (store) =>
      Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* store.load("a")))
        yield* store.save("a", snapshot(1))
        assert.deepStrictEqual(yield* store.load("a"), Option.some(snapshot(1)))
        yield* store.save("a", snapshot(2))
        assert.deepStrictEqual(yield* store.load("a"), Option.some(snapshot(2)))
      }))

    test("keeps names apart", (store) =>
      Effect.gen(function*() {
        const names = ["a", "A", "a ", "'; --", "🔥"]
        for (const [i, healer] of names.entries()) yield* store.save(healer, snapshot(i))
        for (const [i, healer] of names.entries()) {
          assert.deepStrictEqual(yield* store.load(healer), Option.some(snapshot(i)))
        }
      }))

    test("keeps why people are called", (store) =>
      Effect.gen(function*() {
        for (
          const undelivered of [
            { _tag: "TooManyFailures", consecutiveFailures: 5 },
            { _tag: "Exhausted", checks: ["api", "database"] }
          ] as const
        ) {
          const escalated: Snapshot = { ...snapshot(3), state: "escalated", undelivered }
          yield* store.save("a", escalated)
          assert.deepStrictEqual(yield* store.load("a"), Option.some(escalated))
        }
        yield* store.save("a", { ...snapshot(3), state: "escalated" })
        assert.deepStrictEqual(yield* store.load("a"), Option.some<Snapshot>({ ...snapshot(3), state: "escalated" }))
      }))
  })
}
