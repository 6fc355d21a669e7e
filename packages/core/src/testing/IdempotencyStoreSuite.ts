/**
 * The contract of `IdempotencyStore`: every store passes this suite. It needs `@effect/vitest`.
 *
 * Time passes only through the Clock: by default the TestClock is adjusted, so the store must read Effect's Clock. A
 * store that lives by another clock (a database's) gives `advance` and a small `unit` and runs the same tests.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import type { Claim, Service } from "../IdempotencyStore.js"
import { IdempotencyStore } from "../IdempotencyStore.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Two owners of the same empty records; without it, what needs two owners is not tested. */
  readonly owners?: Effect.Effect<readonly [Service, Service], unknown, Scope.Scope> | undefined
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
export const suite = <E>(name: string, layer: Layer.Layer<IdempotencyStore, E>, options: Options = {}): void => {
  const unit = Duration.decode(options.unit ?? "1 second")
  const advance = options.advance ?? TestClock.adjust
  const pass = (units: number) => advance(Duration.times(unit, units))
  const long = Duration.times(unit, 100)

  const ask = (key: string, fingerprint = "f") => ({ scope: "", operation: "op", key, fingerprint, lease: unit })
  const id = (key: string) => ({ scope: "", operation: "op", key })

  const test = (title: string, body: (store: Service) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.scoped(title, () => Effect.provide(Effect.flatMap(IdempotencyStore, body), layer))

  describe(`${name}: IdempotencyStore contract`, () => {
    test("claims a new key, not in doubt", (store) =>
      Effect.gen(function*() {
        const claim = yield* store.claim(ask("a"))
        assert.isFalse(claimed(claim).inDoubt)
        const record = Option.getOrThrow(yield* store.get(id("a")))
        assert.strictEqual(record.state, "started")
        assert.strictEqual(record.fingerprint, "f")
        assert.isTrue(Option.isNone(record.exit))
        assert.isTrue(Option.isNone(record.completedAt))
        assert.isTrue(Option.isNone(record.expiresAt))
      }))

    test("lets one of many concurrent claims through", (store) =>
      Effect.gen(function*() {
        const claims = yield* Effect.all(Array.from({ length: 64 }, () => store.claim(ask("a"))), {
          concurrency: "unbounded"
        })
        assert.strictEqual(claims.filter((_) => _._tag === "Claimed").length, 1)
        assert.strictEqual(claims.filter((_) => _._tag === "InProgress").length, 63)
      }))

    test("says how long at most a claim in progress lasts", (store) =>
      Effect.gen(function*() {
        yield* store.claim(ask("a"))
        const claim = yield* store.claim(ask("a"))
        if (claim._tag !== "InProgress") return assert.fail(`expected InProgress, got ${claim._tag}`)
        assert.isTrue(Duration.lessThanOrEqualTo(claim.retryAfter, unit))
        assert.isTrue(Duration.greaterThan(claim.retryAfter, Duration.zero))
      }))

    test("keeps keys apart, operations of the same key, and scopes of the same operation", (store) =>
      Effect.gen(function*() {
        claimed(yield* store.claim(ask("a")))
        claimed(yield* store.claim(ask("b", "g")))
        claimed(yield* store.claim({ ...ask("a", "g"), operation: "other" }))
        claimed(yield* store.claim({ ...ask("pa"), operation: "o" }))
        claimed(yield* store.claim({ ...ask(""), operation: "opa" }))
        claimed(yield* store.claim({ ...ask("a", "g"), scope: "s" }))
        claimed(yield* store.claim({ ...ask("pa"), scope: "so", operation: "" }))
        claimed(yield* store.claim({ ...ask("pa"), scope: "s", operation: "o" }))
        claimed(yield* store.claim({ ...ask("a", "g"), scope: "", operation: "sop" }))
        assert.strictEqual((yield* store.list()).length, 9)
      }))

    test("a record of one scope is nothing to another: outcome, list, reset", (store) =>
      Effect.gen(function*() {
        for (const scope of ["one", "two"]) {
          const { token } = claimed(yield* store.claim({ ...ask("a", scope), scope }))
          assert.isTrue(yield* store.complete({ ...id("a"), scope, token, exit: `"${scope}"`, retention: long }))
        }
        for (const scope of ["one", "two"]) {
          const replayed = yield* store.claim({ ...ask("a", scope), scope })
          assert.deepStrictEqual(replayed, { _tag: "Completed", exit: `"${scope}"` })
          assert.deepStrictEqual((yield* store.list({ scope })).map((_) => [_.scope, _.key]), [[scope, "a"]])
          assert.strictEqual(Option.getOrThrow(yield* store.get({ ...id("a"), scope })).scope, scope)
        }
        assert.isTrue(Option.isNone(yield* store.get(id("a"))))
        assert.deepStrictEqual(yield* store.list({ scope: "" }), [])
        assert.strictEqual(yield* store.reset({ scope: "" }), 0)
        assert.strictEqual(yield* store.reset({ scope: "one", key: "a" }), 1)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.scope), ["two"])
        assert.isFalse(claimed(yield* store.claim({ ...ask("a", "anew"), scope: "one" })).inDoubt)
      }))

    test("a token of one scope settles nothing in another", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim({ ...ask("a"), scope: "one" }))
        const other = { ...id("a"), scope: "two", token }
        assert.isFalse(yield* store.renew({ ...other, lease: unit }))
        assert.isFalse(yield* store.complete({ ...other, exit: "1", retention: long }))
        yield* store.release({ ...other, inDoubt: false })
        assert.isTrue(yield* store.renew({ ...other, scope: "one", lease: unit }))
      }))

    test("replays a completed key with the very outcome, until its retention ends", (store) =>
      Effect.gen(function*() {
        const exit = JSON.stringify({ text: "line\nä 💥 \u0000 end", list: [1.5, null, true] })
        const { token } = claimed(yield* store.claim(ask("a")))
        assert.isTrue(yield* store.complete({ ...id("a"), token, exit, retention: long }))
        assert.deepStrictEqual(yield* store.claim(ask("a")), { _tag: "Completed", exit })
        yield* pass(99)
        assert.deepStrictEqual(yield* store.claim(ask("a")), { _tag: "Completed", exit })
        const record = Option.getOrThrow(yield* store.get(id("a")))
        assert.strictEqual(record.state, "completed")
        assert.deepStrictEqual(record.exit, Option.some(exit))
        assert.isAtLeast(Option.getOrThrow(record.completedAt), record.startedAt)
        assert.strictEqual(
          Math.round(Option.getOrThrow(record.expiresAt) - Option.getOrThrow(record.completedAt)),
          Duration.toMillis(long)
        )
        yield* pass(2)
        assert.isFalse(claimed(yield* store.claim(ask("a"))).inDoubt)
      }))

    test("refuses another payload, in whatever state the key is", (store) =>
      Effect.gen(function*() {
        const reused: Claim = { _tag: "Reused", fingerprint: "f" }
        const { token } = claimed(yield* store.claim(ask("running")))
        assert.deepStrictEqual(yield* store.claim(ask("running", "g")), reused)
        yield* store.complete({ ...id("running"), token, exit: "1", retention: long })
        assert.deepStrictEqual(yield* store.claim(ask("running", "g")), reused)

        const doubt = claimed(yield* store.claim(ask("doubt")))
        yield* store.release({ ...id("doubt"), token: doubt.token, inDoubt: true })
        assert.deepStrictEqual(yield* store.claim(ask("doubt", "g")), reused)

        yield* store.claim(ask("dead"))
        yield* pass(2)
        assert.deepStrictEqual(yield* store.claim(ask("dead", "g")), reused)
      }))

    test("leaves nothing of a claim given back before it started", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* store.release({ ...id("a"), token, inDoubt: false })
        assert.isTrue(Option.isNone(yield* store.get(id("a"))))
        const again = claimed(yield* store.claim(ask("a", "another payload")))
        assert.isFalse(again.inDoubt)
        assert.isAbove(again.token, token)
      }))

    test("hands a claim given back in doubt to the next at once, marked", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* store.release({ ...id("a"), token, inDoubt: true })
        assert.strictEqual(Option.getOrThrow(yield* store.get(id("a"))).state, "in-doubt")
        const again = claimed(yield* store.claim(ask("a")))
        assert.isTrue(again.inDoubt)
        assert.isAbove(again.token, token)
      }))

    test("keeps a renewed claim, and takes over one whose lease has passed", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim(ask("a")))
        for (let i = 0; i < 5; i++) {
          yield* pass(0.5)
          assert.isTrue(yield* store.renew({ ...id("a"), token, lease: unit }))
        }
        yield* pass(0.5)
        assert.strictEqual((yield* store.claim(ask("a")))._tag, "InProgress")
        yield* pass(1)
        const again = claimed(yield* store.claim(ask("a")))
        assert.isTrue(again.inDoubt)
        assert.isAbove(again.token, token)
      }))

    test("lets an owner finish late as long as nobody has taken over", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* pass(2)
        assert.isTrue(yield* store.complete({ ...id("a"), token, exit: "1", retention: long }))
        assert.deepStrictEqual(yield* store.claim(ask("a")), { _tag: "Completed", exit: "1" })
      }))

    test("refuses every write of an owner that was taken over", (store) =>
      Effect.gen(function*() {
        const old = claimed(yield* store.claim(ask("a")))
        yield* pass(2)
        const current = claimed(yield* store.claim(ask("a")))
        assert.isFalse(yield* store.renew({ ...id("a"), token: old.token, lease: unit }))
        assert.isFalse(yield* store.complete({ ...id("a"), token: old.token, exit: "old", retention: long }))
        yield* store.release({ ...id("a"), token: old.token, inDoubt: false })
        assert.strictEqual((yield* store.claim(ask("a")))._tag, "InProgress")
        assert.isTrue(yield* store.complete({ ...id("a"), token: current.token, exit: "new", retention: long }))
        assert.isFalse(yield* store.complete({ ...id("a"), token: old.token, exit: "old", retention: long }))
        yield* store.release({ ...id("a"), token: old.token, inDoubt: true })
        assert.deepStrictEqual(yield* store.claim(ask("a")), { _tag: "Completed", exit: "new" })
      }))

    test("refuses writes to a key given back or never claimed", (store) =>
      Effect.gen(function*() {
        assert.isFalse(yield* store.renew({ ...id("never"), token: 1, lease: unit }))
        assert.isFalse(yield* store.complete({ ...id("never"), token: 1, exit: "1", retention: long }))
        yield* store.release({ ...id("never"), token: 1, inDoubt: true })
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* store.release({ ...id("a"), token, inDoubt: true })
        assert.isFalse(yield* store.renew({ ...id("a"), token, lease: unit }))
        assert.isFalse(yield* store.complete({ ...id("a"), token, exit: "1", retention: long }))
        assert.strictEqual((yield* store.list()).length, 1)
      }))

    test("lists records in order of their start, of one operation or of all", (store) =>
      Effect.gen(function*() {
        for (const key of ["c", "a", "b"]) {
          yield* store.claim(ask(key))
          yield* pass(0.1)
        }
        yield* store.claim({ ...ask("z"), operation: "other" })
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key), ["c", "a", "b", "z"])
        assert.deepStrictEqual((yield* store.list({ operation: "op" })).map((_) => _.key), ["c", "a", "b"])
        assert.deepStrictEqual(yield* store.list({ operation: "none" }), [])
      }))

    test("resets one key, one operation or all, but never what is in progress", (store) =>
      Effect.gen(function*() {
        for (const operation of ["op", "other"]) {
          for (const key of ["done", "doubt"]) {
            const { token } = claimed(yield* store.claim({ ...ask(key), operation }))
            yield* key === "done"
              ? store.complete({ scope: "", operation, key, token, exit: "1", retention: long })
              : store.release({ scope: "", operation, key, token, inDoubt: true })
          }
        }
        const running = claimed(yield* store.claim(ask("running")))
        assert.strictEqual(yield* store.reset({ operation: "op", key: "running" }), 0)
        assert.strictEqual(yield* store.reset({ operation: "op", key: "done" }), 1)
        assert.strictEqual(yield* store.reset({ operation: "op" }), 1)
        assert.strictEqual(yield* store.reset(), 2)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key), ["running"])
        assert.isTrue(yield* store.renew({ ...id("running"), token: running.token, lease: unit }))
      }))

    test("resets what a dead owner left", (store) =>
      Effect.gen(function*() {
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* pass(2)
        assert.strictEqual(yield* store.reset({ operation: "op", key: "a" }), 1)
        assert.isFalse(yield* store.complete({ ...id("a"), token, exit: "1", retention: long }))
        assert.isFalse(claimed(yield* store.claim(ask("a"))).inDoubt)
      }))

    test("prunes completed records past their retention and nothing else", (store) =>
      Effect.gen(function*() {
        for (const [key, retention] of [["short", unit], ["long", long]] as const) {
          const { token } = claimed(yield* store.claim(ask(key)))
          yield* store.complete({ ...id(key), token, exit: "1", retention })
        }
        const { token } = claimed(yield* store.claim(ask("doubt")))
        yield* store.release({ ...id("doubt"), token, inDoubt: true })
        yield* store.claim(ask("dead"))
        assert.strictEqual(yield* store.prune, 0)
        yield* pass(2)
        yield* store.claim({ ...ask("running"), lease: long })
        assert.strictEqual(yield* store.prune, 1)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key).toSorted(), ["dead", "doubt", "long", "running"])
        yield* pass(99)
        assert.strictEqual(yield* store.prune, 1)
        assert.deepStrictEqual((yield* store.list()).map((_) => _.key).toSorted(), ["dead", "doubt", "running"])
      }))

    test("takes any text as scope, operation, key, fingerprint and outcome", (store) =>
      Effect.gen(function*() {
        const odd = { scope: `s\n'%_`, operation: `o'";--`, key: `../../x\n💥 %_ "'`, fingerprint: "ü", lease: unit }
        const { token } = claimed(yield* store.claim(odd))
        const exit = `"'; DROP TABLE x; --`
        assert.isTrue(yield* store.complete({ ...odd, token, exit, retention: long }))
        assert.deepStrictEqual(yield* store.claim(odd), { _tag: "Completed", exit })
        assert.deepStrictEqual((yield* store.list()).map((_) => [_.scope, _.operation, _.key]), [
          [odd.scope, odd.operation, odd.key]
        ])
      }))

    test("if it can read at once: what is completed, within its retention, and nothing else", (store) =>
      Effect.gen(function*() {
        const { peek } = store
        if (peek === undefined) return
        const look = (of = id("a")) => Effect.clockWith((clock) => Effect.sync(() => peek(of, clock)))
        assert.isUndefined(yield* look())
        const { token } = claimed(yield* store.claim(ask("a")))
        assert.isUndefined(yield* look())
        yield* store.release({ ...id("a"), token, inDoubt: true })
        assert.isUndefined(yield* look())
        const again = claimed(yield* store.claim(ask("a")))
        yield* store.complete({ ...id("a"), token: again.token, exit: "1", retention: long })
        const found = yield* look()
        assert.deepStrictEqual([found?.exit, found?.fingerprint], ["1", "f"])
        assert.isAtMost(found?.validFor ?? Infinity, Duration.toMillis(long))
        assert.isAbove(found?.validFor ?? 0, 0)
        assert.isUndefined(yield* look({ ...id("a"), scope: "other" }))
        yield* pass(101)
        assert.isUndefined(yield* look())
      }))

    test("says by its generation that records were reset", (store) =>
      Effect.gen(function*() {
        if (store.caching === undefined) return
        const before = store.caching.generation()
        const { token } = claimed(yield* store.claim(ask("a")))
        yield* store.complete({ ...id("a"), token, exit: "1", retention: long })
        assert.strictEqual(store.caching.generation(), before)
        yield* store.reset({ operation: "op" })
        assert.notStrictEqual(store.caching.generation(), before)
      }))

    const owners = options.owners
    if (owners !== undefined) {
      const both = (title: string, body: (one: Service, two: Service) => Effect.Effect<void, unknown>) =>
        it.scoped(title, () => Effect.flatMap(owners, ([one, two]) => body(one, two)))

      both("two owners: one claims, both see the outcome", (one, two) =>
        Effect.gen(function*() {
          const claims = yield* Effect.all([one.claim(ask("a")), two.claim(ask("a"))], { concurrency: 2 })
          assert.deepStrictEqual(claims.map((_) => _._tag).toSorted(), ["Claimed", "InProgress"])
          const [winner, token] = claims[0]._tag === "Claimed"
            ? [one, claims[0].token] as const
            : [two, claimed(claims[1]).token] as const
          assert.isTrue(yield* winner.complete({ ...id("a"), token, exit: "1", retention: long }))
          assert.deepStrictEqual(yield* one.claim(ask("a")), { _tag: "Completed", exit: "1" })
          assert.deepStrictEqual(yield* two.claim(ask("a")), { _tag: "Completed", exit: "1" })
        }))

      both(
        "two owners: a stopped one is taken over and refused when it comes back",
        (one, two) =>
          Effect.gen(function*() {
            const old = claimed(yield* one.claim(ask("a")))
            yield* pass(2)
            const current = claimed(yield* two.claim(ask("a")))
            assert.isTrue(current.inDoubt)
            assert.isAbove(current.token, old.token)
            assert.isFalse(yield* one.renew({ ...id("a"), token: old.token, lease: unit }))
            assert.isFalse(yield* one.complete({ ...id("a"), token: old.token, exit: "old", retention: long }))
            assert.isTrue(yield* two.complete({ ...id("a"), token: current.token, exit: "new", retention: long }))
          })
      )

      both("two owners: what one resets, the other may begin anew", (one, two) =>
        Effect.gen(function*() {
          const { token } = claimed(yield* one.claim(ask("a")))
          assert.strictEqual(yield* two.reset(), 0)
          yield* one.release({ ...id("a"), token, inDoubt: true })
          assert.strictEqual(yield* two.reset(), 1)
          assert.isFalse(claimed(yield* one.claim(ask("a"))).inDoubt)
        }))
    }
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const claimed = (claim: Claim): Extract<Claim, { _tag: "Claimed" }> => {
  assert.strictEqual(claim._tag, "Claimed")
  return claim as Extract<Claim, { _tag: "Claimed" }>
}
