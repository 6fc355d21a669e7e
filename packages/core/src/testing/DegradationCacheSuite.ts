/**
 * The contract of `DegradationCache`: every cache of last good values passes this suite. It needs `@effect/vitest`.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Degradation from "../Degradation.js"
import { DegradationCache, type Service } from "../DegradationCache.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How many keys of a component the layer keeps, exactly: a small number. Without it, that is not tested. */
  readonly capacity?: number | undefined
  /**
   * Gives what opens one and the same empty cache as often as it is run, each for a scope. Without it, what a restart
   * leaves is not tested.
   */
  readonly reopen?: Effect.Effect<Effect.Effect<Service, unknown, Scope.Scope>, unknown, Scope.Scope> | undefined
}

/**
 * Registers the contract's tests under `name`. The layer builds an empty cache each time.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = <E>(name: string, layer: Layer.Layer<DegradationCache, E>, options: Options = {}): void => {
  const { capacity, reopen } = options
  const entry = (value: string, storedAt = 0) => ({ value, storedAt })

  const test = (title: string, body: (cache: Service) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.scoped(title, () => Effect.provide(Effect.flatMap(DegradationCache, body), layer))

  const keysOf = (cache: Service, component: string, keys: ReadonlyArray<string>) =>
    Effect.filter(keys, (key) => Effect.map(cache.get(component, key), Option.isSome))

  describe(`${name}: DegradationCache contract`, () => {
    test("gives what was set last, with its time, and none where nothing was", (cache) =>
      Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* cache.get("c", "k")))
        yield* cache.set("c", "k", entry("1", 10))
        assert.deepStrictEqual(yield* cache.get("c", "k"), Option.some(entry("1", 10)))
        yield* cache.set("c", "k", entry("2", 20))
        assert.deepStrictEqual(yield* cache.get("c", "k"), Option.some(entry("2", 20)))
        // the wall clock may have been set back
        yield* cache.set("c", "k", entry("3", 5))
        assert.deepStrictEqual(yield* cache.get("c", "k"), Option.some(entry("3", 5)))
      }))

    test("gives texts back as they were", (cache) =>
      Effect.gen(function*() {
        const text = JSON.stringify({ text: "“ä” 𝄞 '\"\\\n;--", large: "x".repeat(200_000) })
        yield* cache.set("c'\"", "ключ; DROP", entry(text, 1_700_000_000_000))
        assert.deepStrictEqual(yield* cache.get("c'\"", "ключ; DROP"), Option.some(entry(text, 1_700_000_000_000)))
      }))

    test("keeps keys apart, and the same key of different components", (cache) =>
      Effect.gen(function*() {
        const ids = [["a", "bc"], ["ab", "c"], ["", "abc"], ["abc", ""], ["b", "bc"]] as const
        for (const [component, key] of ids) yield* cache.set(component, key, entry(`${component}/${key}`))
        for (const [component, key] of ids) {
          assert.deepStrictEqual(yield* cache.get(component, key), Option.some(entry(`${component}/${key}`)))
        }
      }))

    test("removes one key, or every key of one component", (cache) =>
      Effect.gen(function*() {
        for (const component of ["a", "b"]) {
          for (const key of ["1", "2", "3"]) yield* cache.set(component, key, entry(key))
        }
        yield* cache.remove("a", "1")
        yield* cache.remove("a", "never there")
        assert.deepStrictEqual(yield* keysOf(cache, "a", ["1", "2", "3"]), ["2", "3"])
        yield* cache.clear("a")
        yield* cache.clear("never there")
        assert.deepStrictEqual(yield* keysOf(cache, "a", ["1", "2", "3"]), [])
        assert.deepStrictEqual(yield* keysOf(cache, "b", ["1", "2", "3"]), ["1", "2", "3"])
        yield* cache.set("a", "1", entry("again"))
        assert.deepStrictEqual(yield* cache.get("a", "1"), Option.some(entry("again")))
      }))

    test("takes sets at the same time: every key has its value, and one key one of them", (cache) =>
      Effect.gen(function*() {
        const count = capacity ?? 50
        const values = Array.from({ length: count }, (_, i) => `${i}`)
        yield* Effect.forEach(values, (value, i) => cache.set("many", value, entry(value, i)), {
          concurrency: "unbounded",
          discard: true
        })
        yield* Effect.forEach(values, (value, i) => cache.set("one", "k", entry(value, i)), {
          concurrency: "unbounded",
          discard: true
        })
        for (const [i, value] of values.entries()) {
          assert.deepStrictEqual(yield* cache.get("many", value), Option.some(entry(value, i)))
        }
        const { storedAt, value } = Option.getOrThrow(yield* cache.get("one", "k"))
        assert.strictEqual(value, `${storedAt}`)
      }))

    if (capacity !== undefined) {
      test("beyond its capacity loses the value stored longest ago, of this component only", (cache) =>
        Effect.gen(function*() {
          const keys = Array.from({ length: capacity }, (_, i) => `${i}`)
          yield* cache.set("other", "k", entry("1"))
          for (const [i, key] of keys.entries()) yield* cache.set("c", key, entry(key, i))
          yield* cache.set("c", "0", entry("again", capacity))
          yield* cache.set("c", "new", entry("new", capacity + 1))
          const left = [...keys.filter((key) => key !== "1"), "new"]
          assert.deepStrictEqual(yield* keysOf(cache, "c", [...keys, "new"]), left)
          assert.deepStrictEqual(yield* cache.get("c", "0"), Option.some(entry("again", capacity)))
          assert.deepStrictEqual(yield* keysOf(cache, "other", ["k"]), ["k"])
        }))
    }

    if (reopen !== undefined) {
      const program = (answer: Effect.Effect<number, string>) =>
        Degradation.run(
          Degradation.component("cpu", answer).pipe(Degradation.orCached({ key: "k", schema: Schema.Number }))
        )

      it.scoped("has the last good value of a program that ended, and of one that runs beside", () =>
        Effect.gen(function*() {
          const open = yield* reopen
          const during = (answer: Effect.Effect<number, string>) =>
            Effect.scoped(
              Effect.flatMap(open, (cache) => Effect.provideService(program(answer), DegradationCache, cache))
            )
          yield* during(Effect.succeed(7))
          const part = yield* during(Effect.fail("down"))
          assert.deepStrictEqual([part._tag, part.value], ["Cached", 7])

          const [one, two] = yield* Effect.all([open, open])
          yield* one.set("c", "k", entry("1", 10))
          assert.deepStrictEqual(yield* two.get("c", "k"), Option.some(entry("1", 10)))
          yield* two.clear("c")
          assert.isTrue(Option.isNone(yield* one.get("c", "k")))
        }))
    }
  })
}
