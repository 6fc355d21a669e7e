import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Events from "../src/Events.js"
import * as Idempotency from "../src/Idempotency.js"
import * as State from "../src/IdempotencyState.js"
import type { Record, Service } from "../src/IdempotencyStore.js"
import { IdempotencyStore, makeMemory } from "../src/IdempotencyStore.js"
import { sha256 } from "../src/internal/hash.js"
import * as Rejection from "../src/Rejection.js"
import { StoreError } from "../src/StoreError.js"

class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Number }) {}

class Full extends Data.TaggedError("Full")<{}> {
  readonly [Rejection.TypeId] = true as const
}

const Payload = Schema.Struct({ incident: Schema.String, at: Schema.DateFromString })
const at = new Date(0)

/** An action that counts its runs and does as it is told. */
const counted = <E extends Refused | Rejection.Rejection = never>(
  body: (run: number) => Effect.Effect<number, E> = Effect.succeed,
  options?: {
    readonly onUnknown?: "retry" | "escalate" | { readonly probe: () => Effect.Effect<Option.Option<number>, Refused> }
    readonly inFlight?: "wait" | "fail"
    readonly lease?: Duration.DurationInput
    readonly retention?: Duration.DurationInput
  }
) => {
  let runs = 0
  const call = Idempotency.make(
    "restart",
    {
      payload: Payload,
      key: ({ incident }) => incident,
      success: Schema.Number,
      error: Refused,
      classify: ({ status }) => status >= 500 ? "unknown" : "failed",
      ...options
    },
    () => Effect.suspend(() => body(++runs))
  )
  return {
    call,
    get runs() {
      return runs
    }
  }
}

const one = { incident: "INC-1", at }

/** Lets every fiber go as far as it can without time passing. */
const settled = TestClock.adjust(0)

const test = <E>(title: string, body: Effect.Effect<void, E, IdempotencyStore | Scope.Scope>, timeout?: number) =>
  it.scoped(title, () => Effect.provide(body, Idempotency.layerMemory), timeout)

const state = Effect.map(
  Idempotency.get({ operation: "restart", key: "INC-1" }),
  Option.match({ onNone: () => "none", onSome: (record) => record.state })
)

describe("Idempotency", () => {
  describe("one key, one outcome", () => {
    test(
      "runs once and replays the success",
      Effect.gen(function*() {
        const action = counted()
        assert.strictEqual(yield* action.call(one), 1)
        assert.strictEqual(yield* action.call(one), 1)
        assert.strictEqual(yield* action.call({ ...one, incident: "INC-2" }), 2)
        assert.strictEqual(action.runs, 2)
      })
    )

    test(
      "replays a recorded failure, decoded to its class",
      Effect.gen(function*() {
        const action = counted(() => Effect.fail(new Refused({ status: 400 })))
        const first = yield* Effect.flip(action.call(one))
        const second = yield* Effect.flip(action.call(one))
        assert.deepStrictEqual(second, first)
        assert.instanceOf(second, Refused)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "decodes a replayed success through its schema",
      Effect.gen(function*() {
        const call = Idempotency.once(
          { operation: "when", key: "k", success: Schema.Struct({ at: Schema.DateFromString }) },
          Effect.succeed({ at })
        )
        assert.deepStrictEqual(yield* call, { at })
        assert.deepStrictEqual(yield* call, { at })
      })
    )

    test(
      "replays a void success",
      Effect.gen(function*() {
        let runs = 0
        const call = Idempotency.once({ operation: "clear", key: "k" }, Effect.sync(() => void runs++))
        assert.isUndefined(yield* call)
        assert.isUndefined(yield* call)
        assert.strictEqual(runs, 1)
      })
    )

    test(
      "refuses the key with another payload, naming operation and key, without running",
      Effect.gen(function*() {
        const action = counted()
        yield* action.call(one)
        const error = yield* Effect.flip(action.call({ ...one, at: new Date(1) }))
        assert.instanceOf(error, Idempotency.KeyReused)
        assert.include(error.message, `"restart"`)
        assert.include(error.message, `"INC-1"`)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "takes payloads for the same whatever the order of their keys",
      Effect.gen(function*() {
        let runs = 0
        const call = (payload: unknown) =>
          Idempotency.once(
            { operation: "op", key: "k", payload, success: Schema.Number },
            Effect.sync(() => ++runs)
          )
        yield* call({ a: 1, b: { c: [1, 2], d: null } })
        assert.strictEqual(yield* call({ b: { d: null, c: [1, 2] }, a: 1 }), 1)
        assert.instanceOf(yield* Effect.flip(call({ a: 1, b: { c: [2, 1], d: null } })), Idempotency.KeyReused)
      })
    )

    test(
      "runs again after reset, and after the retention has passed",
      Effect.gen(function*() {
        const action = counted()
        yield* action.call(one)
        assert.strictEqual(yield* Idempotency.reset({ operation: "restart", key: "INC-1" }), 1)
        assert.strictEqual(yield* action.call(one), 2)
        yield* TestClock.adjust("23 hours")
        assert.strictEqual(yield* action.call(one), 2)
        assert.strictEqual(yield* Idempotency.prune, 0)
        yield* TestClock.adjust("2 hours")
        assert.strictEqual(yield* Idempotency.prune, 1)
        assert.strictEqual(yield* action.call(one), 3)
      })
    )

    test(
      "lists what is known",
      Effect.gen(function*() {
        yield* counted().call(one)
        yield* Idempotency.once({ operation: "other", key: "k" }, Effect.void)
        assert.deepStrictEqual((yield* Idempotency.list()).map((_) => _.operation), ["restart", "other"])
        assert.deepStrictEqual((yield* Idempotency.list({ operation: "other" })).map((_) => _.key), ["k"])
      })
    )

    it("hashes name and payload for payloadKey", () => {
      const key = Idempotency.payloadKey("restart")
      assert.strictEqual(key(undefined, { a: 1, b: 2 }), key(undefined, { b: 2, a: 1 }))
      assert.notStrictEqual(key(undefined, { a: 1 }), key(undefined, { a: 2 }))
      assert.notStrictEqual(key(undefined, { a: 1 }), Idempotency.payloadKey("other")(undefined, { a: 1 }))
    })
  })

  describe("single flight", () => {
    test(
      "runs once for 10,000 concurrent callers; those who leave disturb nobody, the others get the result",
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const action = counted((run) => Effect.as(Deferred.await(gate), run))
        const callers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => Effect.fork(action.call(one)))
        yield* settled
        const [leaving, staying] = [callers.slice(0, 3_000), callers.slice(3_000)]
        yield* Fiber.interruptAll(leaving)
        yield* Deferred.succeed(gate, undefined)
        const results = yield* Fiber.join(Fiber.all(staying))
        assert.strictEqual(action.runs, 1)
        assert.strictEqual(results.length, 7_000)
        assert.isTrue(results.every((result) => result === 1))
      }),
      20_000
    )

    test(
      "goes on when the first caller is interrupted, and does not poison the others",
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const action = counted((run) => Effect.as(Deferred.await(gate), run))
        const first = yield* Effect.fork(action.call(one))
        yield* settled
        const second = yield* Effect.fork(action.call(one))
        yield* settled
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(first)))
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(second), 1)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "goes on when every caller has left, even by their timeout",
      Effect.gen(function*() {
        const action = counted((run) => Effect.as(Effect.sleep("10 seconds"), run))
        const callers = yield* Effect.fork(
          Effect.all([1, 2, 3].map(() => Effect.timeoutOption(action.call(one), "1 second")), { concurrency: 3 })
        )
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(callers), [Option.none(), Option.none(), Option.none()])
        assert.strictEqual(yield* state, "started")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* state, "completed")
        assert.strictEqual(yield* action.call(one), 1)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "runs even for a caller who called from an uninterruptible region, and stays interruptible itself",
      Effect.gen(function*() {
        const action = counted(() => Effect.never, { onUnknown: "retry" })
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Idempotency.layerMemory, scope)
        const caller = yield* Effect.fork(Effect.uninterruptible(Effect.provide(action.call(one), context)))
        yield* settled
        yield* Scope.close(scope, Exit.void)
        assert.instanceOf(yield* Effect.flip(Fiber.join(caller)), Idempotency.OutcomeUnknown)
      })
    )

    test(
      "keeps the first caller's context",
      Effect.gen(function*() {
        class Name extends Context.Tag("Name")<Name, string>() {}
        const greet = Idempotency.once({ operation: "greet", key: "k", success: Schema.String }, Name)
        assert.strictEqual(yield* Effect.provideService(greet, Name, "Ada"), "Ada")
        assert.strictEqual(yield* Effect.provideService(greet, Name, "Bob"), "Ada")
      })
    )

    test(
      "refuses another payload while the key is running",
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const action = counted((run) => Effect.as(Deferred.await(gate), run))
        const caller = yield* Effect.fork(action.call(one))
        yield* settled
        assert.instanceOf(yield* Effect.flip(action.call({ ...one, at: new Date(1) })), Idempotency.KeyReused)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(caller), 1)
      })
    )

    test(
      "a caller with a wrong payload does not get in the way of one with the right one",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const slow: Service = {
          ...store,
          claim: (request) => Effect.zipRight(Effect.sleep("1 second"), store.claim(request))
        }
        const action = counted()
        const call = (payload: typeof one) => Effect.provideService(action.call(payload), IdempotencyStore, slow)
        yield* action.call(one)
        const wrong = yield* Effect.fork(Effect.flip(call({ ...one, at: new Date(1) })))
        yield* settled
        const right = yield* Effect.fork(call(one))
        yield* TestClock.adjust("5 seconds")
        assert.instanceOf(yield* Fiber.join(wrong), Idempotency.KeyReused)
        assert.strictEqual(yield* Fiber.join(right), 1)
      })
    )

    test(
      "fails with InProgress for who does not want to wait, here and in another process",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const gate = yield* Deferred.make<void>()
        const action = counted((run) => Effect.as(Deferred.await(gate), run), { inFlight: "fail" })
        const caller = yield* Effect.fork(action.call(one))
        yield* settled
        const here = yield* Effect.flip(action.call(one))
        assert.instanceOf(here, Idempotency.InProgress)
        const elsewhere = yield* Effect.flip(Effect.provideService(action.call(one), IdempotencyStore, { ...store }))
        assert.instanceOf(elsewhere, Idempotency.InProgress)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(caller), 1)
        assert.strictEqual(yield* action.call(one), 1)
      })
    )

    test(
      "gives an action the same downstream key on every attempt, and none outside",
      Effect.gen(function*() {
        const keys: Array<Option.Option<string>> = []
        const call = Idempotency.once(
          { operation: "op", key: "ключ/💥", error: Refused, classify: () => "unknown", onUnknown: "retry" },
          Effect.flatMap(Idempotency.currentKey, (key) => {
            keys.push(key)
            return Effect.fail(new Refused({ status: 503 }))
          })
        )
        yield* Effect.flip(call)
        yield* Effect.flip(call)
        const key = Idempotency.downstreamKey({ operation: "op", key: "ключ/💥" })
        assert.match(key, /^[0-9a-f]{64}$/)
        assert.deepStrictEqual(keys, [Option.some(key), Option.some(key)])
        assert.deepStrictEqual(yield* Idempotency.currentKey, Option.none())
      })
    )
  })

  describe("scopes", () => {
    test(
      "the same key in two scopes means two actions, and each replays its own",
      Effect.gen(function*() {
        const action = counted()
        assert.strictEqual(yield* action.call(one), 1)
        assert.strictEqual(yield* action.call(one).pipe(Idempotency.scoped("a")), 2)
        assert.strictEqual(yield* Idempotency.scoped(action.call({ ...one, at: new Date(1) }), "b"), 3)
        assert.strictEqual(yield* action.call(one).pipe(Idempotency.scoped("a")), 2)
        assert.strictEqual(yield* action.call(one), 1)
        const reused = yield* Effect.flip(Idempotency.scoped(action.call(one), "b"))
        assert.instanceOf(reused, Idempotency.KeyReused)
        assert.include(reused.message, `in the scope "b"`)
        assert.strictEqual(action.runs, 3)
      })
    )

    test(
      "two scopes do not share a flight",
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const action = counted((run) => Effect.as(Deferred.await(gate), run))
        const calls = yield* Effect.fork(
          Effect.all([action.call(one), Idempotency.scoped(action.call(one), "a")], { concurrency: 2 })
        )
        yield* settled
        assert.strictEqual(action.runs, 2)
        yield* Deferred.succeed(gate, undefined)
        assert.deepStrictEqual((yield* Fiber.join(calls)).toSorted(), [1, 2])
      })
    )

    test(
      "reaches an action within an action, and the key sent downstream; that of the default scope is as it always was",
      Effect.gen(function*() {
        const inner = Idempotency.once(
          { operation: "inner", key: "k", success: Schema.String },
          Effect.map(Idempotency.currentKey, Option.getOrThrow)
        )
        const outer = Idempotency.once({ operation: "outer", key: "k", success: Schema.String }, Effect.orDie(inner))
        const unscoped = yield* outer
        const tenant = yield* Idempotency.scoped(outer, "tenant")
        assert.strictEqual(unscoped, sha256(JSON.stringify(["inner", "k"])))
        assert.strictEqual(unscoped, Idempotency.downstreamKey({ operation: "inner", key: "k" }))
        assert.strictEqual(tenant, Idempotency.downstreamKey({ scope: "tenant", operation: "inner", key: "k" }))
        assert.notStrictEqual(tenant, unscoped)
      })
    )

    test(
      "get, list and reset see the current scope, one that is named, or all",
      Effect.gen(function*() {
        const action = counted()
        yield* action.call(one)
        yield* Idempotency.scoped(action.call(one), "a")
        yield* Idempotency.scoped(action.call(one), "b")
        const id = { operation: "restart", key: "INC-1" }
        const scopes = (records: ReadonlyArray<Record>) => records.map((_) => _.scope)
        assert.deepStrictEqual(scopes(yield* Idempotency.list()), [""])
        assert.deepStrictEqual(scopes(yield* Idempotency.scoped(Idempotency.list(), "a")), ["a"])
        assert.deepStrictEqual(scopes(yield* Idempotency.list({ scope: "b" })), ["b"])
        assert.deepStrictEqual(scopes(yield* Idempotency.list({ scope: Idempotency.everyScope })), ["", "a", "b"])
        assert.strictEqual(Option.getOrThrow(yield* Idempotency.scoped(Idempotency.get(id), "a")).scope, "a")
        assert.strictEqual(Option.getOrThrow(yield* Idempotency.get({ ...id, scope: "b" })).scope, "b")
        assert.strictEqual(yield* Idempotency.scoped(Idempotency.reset(), "a"), 1)
        assert.deepStrictEqual(scopes(yield* Idempotency.list({ scope: Idempotency.everyScope })), ["", "b"])
        assert.strictEqual(yield* Idempotency.reset({ scope: Idempotency.everyScope, operation: "restart" }), 2)
      })
    )

    test(
      "an empty scope is a defect: it would be everybody's",
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Idempotency.scoped(counted().call(one), ""))
        assert.include(Cause.pretty(Option.getOrThrow(Exit.causeOption(exit))), "Idempotency.scoped: scope")
      })
    )

    test(
      "is told in events, where it is not the default",
      Effect.gen(function*() {
        const events = yield* Events.subscribe
        yield* counted().call(one)
        yield* Idempotency.scoped(counted().call(one), "a")
        const seen = Array.from(yield* Queue.takeAll(events), ({ at: _, ...event }) => event)
        assert.deepStrictEqual(seen.slice(-2), [
          { _tag: "ActionStarted", operation: "restart", key: "INC-1", scope: "a" },
          { _tag: "ActionCompleted", operation: "restart", key: "INC-1", scope: "a", outcome: "success" }
        ])
        assert.isFalse(Object.hasOwn(seen[0]!, "scope"))
      }).pipe(Effect.provide(Events.layer))
    )
  })

  describe("a completed key", () => {
    /** The store of the test, counting what is asked of it. */
    const watched = Effect.map(IdempotencyStore, (store) => {
      const asked = { peeks: 0, claims: 0 }
      const service: Service = {
        ...store,
        peek: (id, clock) => {
          asked.peeks++
          return store.peek?.(id, clock)
        },
        claim: (request) => Effect.suspend(() => (asked.claims++, store.claim(request)))
      }
      return {
        asked,
        service,
        call: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, IdempotencyStore, service)
      }
    })

    test(
      "is answered at once: no claim, no fiber, and from memory for a second",
      Effect.gen(function*() {
        const { asked, call, service } = yield* watched
        const action = counted()
        yield* call(action.call(one))
        assert.deepStrictEqual(asked, { peeks: 1, claims: 1 })
        const clock = yield* Effect.clock
        // what neither waits nor forks ends in one go
        const replay = Effect.runSyncExit(
          Effect.withClock(Effect.provideService(action.call(one), IdempotencyStore, service), clock)
        )
        assert.deepStrictEqual(replay, Exit.succeed(1))
        for (let i = 0; i < 10; i++) assert.strictEqual(yield* call(action.call(one)), 1)
        assert.strictEqual(asked.claims, 1)
      })
    )

    test(
      "gives each caller an outcome of its own, which it may change",
      Effect.gen(function*() {
        const List = Schema.mutable(Schema.Array(Schema.Number))
        const list = Idempotency.make(
          "list",
          { payload: Schema.Boolean, key: String, success: List, error: List },
          (fails) => fails ? Effect.fail([1]) : Effect.succeed([1])
        )
        for (const fails of [false, true]) {
          const call = Effect.merge(list(fails))
          for (let i = 0; i < 3; i++) {
            const found = yield* call
            assert.deepStrictEqual(found, [1])
            if (Array.isArray(found)) found.push(99)
          }
        }
      })
    )

    test(
      "is read from the store again after a second, so that another owner's reset shows",
      Effect.gen(function*() {
        const { asked, service } = yield* watched
        // who resets is another owner, so nothing tells this one
        const here: Service = { ...service, caching: { capacity: 10, generation: () => 0 } }
        const action = counted()
        const call = Effect.provideService(action.call(one), IdempotencyStore, here)
        yield* call
        yield* call
        const { peeks } = asked
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(yield* Idempotency.reset(), 1)
        assert.strictEqual(yield* call, 1)
        assert.strictEqual(asked.peeks, peeks)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* call, 2)
      })
    )

    it("is not forgotten by a reset with a field that is undefined", () => {
      for (const field of ["scope", "operation", "key"]) {
        const filter = { operation: "restart", key: "INC-1", [field]: undefined }
        assert.throws(
          () => Idempotency.reset(filter),
          `Idempotency.reset: ${field} must not be undefined; to forget all, leave it out`
        )
      }
    })

    test(
      "is forgotten at once by a reset here, and at the end of its retention",
      Effect.gen(function*() {
        const action = counted(undefined, { retention: "500 millis" })
        for (const run of [1, 2]) {
          for (let i = 0; i < 3; i++) assert.strictEqual(yield* action.call(one), run)
          assert.strictEqual(yield* Idempotency.reset({ operation: "restart" }), 1)
        }
        yield* action.call(one)
        yield* TestClock.adjust("499 millis")
        assert.strictEqual(yield* action.call(one), 3)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* action.call(one), 4)
      })
    )

    test(
      "is known by its payload's value, not by the object, which the caller may change",
      Effect.gen(function*() {
        let runs = 0
        const action = Idempotency.make(
          "set",
          { payload: Schema.Struct({ id: Schema.String, tags: Schema.Array(Schema.String) }), key: (_) => _.id },
          () => Effect.sync(() => void runs++)
        )
        const payload = { id: "a", tags: ["x"] }
        for (let i = 0; i < 3; i++) yield* action(payload)
        yield* action({ tags: ["x"], id: "a" })
        payload.tags.push("y")
        assert.instanceOf(yield* Effect.flip(action(payload)), Idempotency.KeyReused)
        payload.tags.pop()
        yield* action(payload)
        assert.strictEqual(runs, 1)
      })
    )

    test(
      "is found by what the schema encodes: fields it does not know are nothing to it",
      Effect.gen(function*() {
        const action = Idempotency.make(
          "set",
          { payload: Schema.Struct({ id: Schema.String }), key: Idempotency.payloadKey("set"), success: Schema.Number },
          () => Effect.succeed(1)
        )
        const wider: { readonly id: string } = { id: "a", extra: 1 } as { readonly id: string }
        for (let i = 0; i < 3; i++) {
          yield* action({ id: "a" })
          yield* action(wider)
        }
        assert.strictEqual((yield* Idempotency.list()).length, 1)
      })
    )

    test(
      "still refuses a payload that is not JSON, and decodes by the schemas of whoever asks",
      Effect.gen(function*() {
        const read = <A, I>(success: Schema.Schema<A, I>, payload: unknown = 1) =>
          Idempotency.once({ operation: "op", key: "k", payload, success }, Effect.die("must not run"))
        yield* Idempotency.once({ operation: "op", key: "k", payload: 1, success: Schema.String }, Effect.succeed("7"))
        for (let i = 0; i < 2; i++) {
          assert.strictEqual(yield* read(Schema.String), "7")
          assert.strictEqual(yield* read(Schema.NumberFromString), 7)
          assert.strictEqual(((yield* Effect.flip(read(Schema.Boolean))) as Idempotency.CodecError).part, "record")
          assert.strictEqual(((yield* Effect.flip(read(Schema.String, NaN))) as Idempotency.CodecError).part, "payload")
          assert.instanceOf(yield* Effect.flip(read(Schema.String, 2)), Idempotency.KeyReused)
        }
      })
    )

    test(
      "is replayed by schemas that wait or ask for a service",
      Effect.gen(function*() {
        class Suffix extends Context.Tag("Suffix")<Suffix, string>() {}
        const Slow = Schema.transformOrFail(Schema.String, Schema.String, {
          strict: true,
          decode: (text) => Effect.as(Effect.sleep("1 second"), text),
          encode: (text) => Effect.map(Suffix, (suffix) => text + suffix)
        })
        const action = Idempotency.make("slow", { payload: Slow, key: (_) => _, success: Slow }, Effect.succeed)
        const call = Effect.provideService(action("a"), Suffix, "!")
        assert.strictEqual(yield* call, "a")
        const replay = yield* Effect.fork(call)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(replay), "a!")
      })
    )

    test(
      "is claimed from a store that cannot read at once, with the same answers",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const plain: Service = { ...store, peek: undefined, caching: undefined }
        const action = counted()
        const call = (payload: typeof one) => Effect.provideService(action.call(payload), IdempotencyStore, plain)
        assert.strictEqual(yield* call(one), 1)
        assert.strictEqual(yield* call(one), 1)
        assert.instanceOf(yield* Effect.flip(call({ ...one, at: new Date(1) })), Idempotency.KeyReused)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "is kept in memory for the keys used last, and for none where the capacity is 0",
      Effect.gen(function*() {
        const { asked, service } = yield* watched
        for (const [capacity, peeks] of [[2, 8], [0, 40], [20, 0]] as const) {
          const limited: Service = { ...service, caching: { capacity, generation: () => 0 } }
          const use = (keys: ReadonlyArray<number>) =>
            Effect.provideService(
              Effect.forEach(keys, (key) => Idempotency.once({ operation: "op", key: `${key}` }, Effect.void)),
              IdempotencyStore,
              limited
            )
          const all = Array.from({ length: 10 }, (_, i) => i)
          yield* use(all)
          yield* use(all)
          asked.peeks = 0
          for (let i = 0; i < 4; i++) yield* use([...all.slice(0, 2), ...all.slice(0, 2), ...all.slice(0, 6)])
          if (capacity === 2) assert.isAtMost(asked.peeks, 4 * 6)
          else assert.strictEqual(asked.peeks, peeks)
        }
      })
    )
  })

  describe("what is no outcome", () => {
    test(
      "a rejection is not recorded, and needs neither schema nor classify",
      Effect.gen(function*() {
        const action = counted((run) => run === 1 ? Effect.fail(new Full()) : Effect.succeed(run))
        assert.instanceOf(yield* Effect.flip(action.call(one)), Full)
        assert.strictEqual(yield* state, "none")
        assert.strictEqual(yield* action.call(one), 2)
      })
    )

    test(
      "an error classified not-started is not recorded",
      Effect.gen(function*() {
        let runs = 0
        const call = Idempotency.once(
          { operation: "restart", key: "INC-1", error: Refused, classify: () => "not-started" },
          Effect.suspend(() => ++runs === 1 ? Effect.fail(new Refused({ status: 422 })) : Effect.void)
        )
        yield* Effect.flip(call)
        assert.strictEqual(yield* state, "none")
        yield* call
      })
    )

    test(
      "a rejection does not clear an older doubt",
      Effect.gen(function*() {
        const action = counted(
          (run): Effect.Effect<never, Refused | Full> =>
            Effect.fail(run === 1 ? new Refused({ status: 503 }) : new Full()),
          { onUnknown: "retry" }
        )
        yield* Effect.flip(action.call(one))
        assert.instanceOf(yield* Effect.flip(action.call(one)), Full)
        assert.strictEqual(yield* state, "in-doubt")
      })
    )

    test(
      "a defect goes to the callers, is not recorded, and leaves the key in doubt",
      Effect.gen(function*() {
        const action = counted(() => Effect.die("bug"))
        const exit = yield* Effect.exit(action.call(one))
        assert.deepStrictEqual(Exit.causeOption(exit).pipe(Option.flatMap(Cause.dieOption)), Option.some("bug"))
        assert.strictEqual(yield* state, "in-doubt")
        const error = yield* Effect.flip(action.call(one))
        assert.instanceOf(error, Idempotency.OutcomeUnknown)
        assert.strictEqual((error as Idempotency.OutcomeUnknown).reason, "earlier")
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "a run that interrupts itself is OutcomeUnknown to the callers, not their interruption",
      Effect.gen(function*() {
        const bySignal = counted(() => Effect.interrupt)
        const error = yield* Effect.flip(bySignal.call(one))
        assert.strictEqual((error as Idempotency.OutcomeUnknown).reason, "interrupted")
        assert.strictEqual(yield* state, "in-doubt")
        const ownFiber = counted(() =>
          Effect.withFiberRuntime<never>((fiber) => {
            fiber.unsafeInterruptAsFork(fiber.id())
            return Effect.never
          })
        )
        const other = yield* Effect.flip(ownFiber.call({ ...one, incident: "INC-2" }))
        assert.strictEqual((other as Idempotency.OutcomeUnknown).reason, "interrupted")
      })
    )

    it.scoped("closing the store interrupts the run, and gives the key back in doubt first", () =>
      Effect.gen(function*() {
        const inner = yield* makeMemory
        const scope = yield* Scope.make()
        const released = yield* Ref.make(false)
        const action = counted(() => Effect.onInterrupt(Effect.never, () => Ref.set(released, true)))
        const caller = yield* Effect.fork(
          Effect.provideService(action.call(one), IdempotencyStore, { ...inner, scope })
        )
        yield* settled
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(yield* Ref.get(released))
        assert.strictEqual(
          Option.getOrThrow(yield* inner.get({ scope: "", operation: "restart", key: "INC-1" })).state,
          "in-doubt"
        )
        assert.instanceOf(yield* Effect.flip(Fiber.join(caller)), Idempotency.OutcomeUnknown)
      }))

    it.scoped("a call on a closed store fails with StoreError and runs nothing", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Idempotency.layerMemory, scope)
        yield* Scope.close(scope, Exit.void)
        const action = counted()
        const error = yield* Effect.flip(Effect.provide(action.call(one), context))
        assert.instanceOf(error, StoreError)
        assert.strictEqual(action.runs, 0)
      }))
  })

  describe("onUnknown", () => {
    const failOnce = (run: number) => run === 1 ? Effect.fail(new Refused({ status: 503 })) : Effect.succeed(run)

    test(
      "retry: returns the error, and the next call runs",
      Effect.gen(function*() {
        const action = counted(failOnce, { onUnknown: "retry" })
        assert.instanceOf(yield* Effect.flip(action.call(one)), Refused)
        assert.strictEqual(yield* state, "in-doubt")
        assert.strictEqual(yield* action.call(one), 2)
        assert.strictEqual(yield* action.call(one), 2)
      })
    )

    test(
      "escalate, the default: OutcomeUnknown with the cause, until the key is reset",
      Effect.gen(function*() {
        const action = counted(failOnce)
        const first = yield* Effect.flip(action.call(one))
        assert.instanceOf(first, Idempotency.OutcomeUnknown)
        assert.strictEqual((first as Idempotency.OutcomeUnknown).reason, "unclear")
        assert.instanceOf((first as Idempotency.OutcomeUnknown).cause, Refused)
        for (let i = 0; i < 3; i++) {
          const later = yield* Effect.flip(action.call(one))
          assert.strictEqual((later as Idempotency.OutcomeUnknown).reason, "earlier")
        }
        assert.strictEqual(action.runs, 1)
        assert.strictEqual(yield* Idempotency.reset({ operation: "restart", key: "INC-1" }), 1)
        assert.strictEqual(yield* action.call(one), 2)
      })
    )

    test(
      "probe that finds it: records and returns what it found",
      Effect.gen(function*() {
        let probes = 0
        const action = counted(failOnce, { onUnknown: { probe: () => Effect.sync(() => Option.some(40 + ++probes)) } })
        assert.strictEqual(yield* action.call(one), 41)
        assert.strictEqual(yield* action.call(one), 41)
        assert.deepStrictEqual([action.runs, probes], [1, 1])
      })
    )

    test(
      "probe that finds nothing: returns the error; the next call looks again before it runs",
      Effect.gen(function*() {
        let probes = 0
        const action = counted(failOnce, { onUnknown: { probe: () => Effect.sync(() => (probes++, Option.none())) } })
        assert.instanceOf(yield* Effect.flip(action.call(one)), Refused)
        assert.deepStrictEqual([action.runs, probes], [1, 1])
        assert.strictEqual(yield* action.call(one), 2)
        assert.deepStrictEqual([action.runs, probes], [2, 2])
      })
    )

    test(
      "probe that finds the late effect of a request that had timed out: never runs again",
      Effect.gen(function*() {
        let happened = false
        const probe = () => Effect.sync(() => happened ? Option.some(7) : Option.none())
        const action = counted(failOnce, { onUnknown: { probe } })
        yield* Effect.flip(action.call(one))
        happened = true
        assert.strictEqual(yield* action.call(one), 7)
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "probe that fails: nothing is run on a guess, and both failures are in the cause",
      Effect.gen(function*() {
        const action = counted(failOnce, { onUnknown: { probe: () => Effect.fail(new Refused({ status: 500 })) } })
        const exit = yield* Effect.exit(action.call(one))
        const causes = Option.match(Exit.causeOption(exit), { onNone: () => [], onSome: (_) => [...Cause.failures(_)] })
        assert.deepStrictEqual(causes.map((_) => (_ as Refused).status), [503, 500])
        const later = yield* Effect.flip(action.call(one))
        assert.strictEqual((later as Refused).status, 500)
        assert.strictEqual(action.runs, 1)
        assert.strictEqual(yield* state, "in-doubt")
      })
    )

    test(
      "a probe sees the downstream key",
      Effect.gen(function*() {
        const seen: Array<Option.Option<string>> = []
        const probe = Effect.map(Idempotency.currentKey, (key) => (seen.push(key), Option.none()))
        yield* Effect.exit(Idempotency.once({ operation: "op", key: "k", onUnknown: { probe } }, Effect.die("bug")))
        yield* Idempotency.once({ operation: "op", key: "k", onUnknown: { probe } }, Effect.void)
        assert.deepStrictEqual(seen, [Option.some(Idempotency.downstreamKey({ operation: "op", key: "k" }))])
      })
    )
  })

  describe("an owner that died", () => {
    const died = Effect.gen(function*() {
      const store = yield* IdempotencyStore
      // the same action, claimed by a process that is no more
      const other = { ...store, scope: yield* Scope.make(), release: () => Effect.void }
      const dying = yield* Effect.fork(
        Effect.provideService(counted(() => Effect.never).call(one), IdempotencyStore, other)
      )
      yield* settled
      yield* Scope.close(other.scope, Exit.void)
      yield* Fiber.await(dying)
    })

    for (
      const { onUnknown, runs, title } of [
        { title: "is taken over and run again with retry", onUnknown: "retry", runs: 1 },
        { title: "is escalated", onUnknown: "escalate", runs: 0 },
        {
          title: "is run again when the probe finds nothing",
          onUnknown: { probe: () => Effect.succeed(Option.none()) },
          runs: 1
        },
        {
          title: "is recorded when the probe finds it",
          onUnknown: { probe: () => Effect.succeed(Option.some(1)) },
          runs: 0
        }
      ] as const
    ) {
      test(
        title,
        Effect.gen(function*() {
          yield* died
          const action = counted(Effect.succeed, { onUnknown })
          const caller = yield* Effect.fork(Effect.either(action.call(one)))
          yield* TestClock.adjust("29 seconds")
          assert.isTrue(Option.isNone(yield* Fiber.poll(caller)))
          yield* TestClock.adjust("2 seconds")
          const result = yield* Fiber.join(caller)
          assert.strictEqual(result._tag, onUnknown === "escalate" ? "Left" : "Right")
          assert.strictEqual(action.runs, runs)
        })
      )
    }
  })

  describe("leases", () => {
    test(
      "a live owner keeps its key for as long as it runs, and the other process gets its result",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const here = counted((run) => Effect.as(Effect.sleep("100 seconds"), run * 10))
        const there = counted()
        const first = yield* Effect.fork(here.call(one))
        yield* settled
        const second = yield* Effect.fork(Effect.provideService(there.call(one), IdempotencyStore, { ...store }))
        yield* TestClock.adjust("90 seconds")
        assert.isTrue(Option.isNone(yield* Fiber.poll(second)))
        yield* TestClock.adjust("12 seconds")
        assert.strictEqual(yield* Fiber.join(first), 10)
        assert.strictEqual(yield* Fiber.join(second), 10)
        assert.strictEqual(there.runs, 0)
      })
    )

    test(
      "polls no more often than backoff says, nor than the lease needs",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        let claims = 0
        const other: Service = { ...store, claim: (request) => (claims++, store.claim(request)) }
        const action = counted((run) => Effect.as(Effect.sleep("1 hour"), run))
        yield* Effect.fork(action.call(one))
        yield* settled
        yield* Effect.forkAll(
          Array.from({ length: 100 }, () => Effect.provideService(counted().call(one), IdempotencyStore, other))
        )
        yield* TestClock.adjust("60 seconds")
        // 50, 100, 200, 400, 800 ms, then every second, one poller for all
        assert.isAtMost(claims, 66)
        assert.isAtLeast(claims, 60)
      })
    )

    test(
      "stops polling when nobody waits any more",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        let claims = 0
        const other: Service = { ...store, claim: (request) => (claims++, store.claim(request)) }
        yield* Effect.fork(counted(() => Effect.never).call(one))
        yield* settled
        const caller = yield* Effect.fork(Effect.provideService(counted().call(one), IdempotencyStore, other))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.interrupt(caller)
        yield* TestClock.adjust("5 seconds")
        const then = claims
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(claims, then)
      })
    )

    test(
      "an owner that was taken over is interrupted, and its callers get what the new owner recorded",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const stopped = yield* Ref.make(false)
        const interrupted = yield* Ref.make(false)
        const renew: Service["renew"] = (request) =>
          Effect.flatMap(Ref.get(stopped), (stop) => stop ? Effect.never : store.renew(request))
        const old = counted(() => Effect.onInterrupt(Effect.never, () => Ref.set(interrupted, true)), {
          onUnknown: "retry"
        })
        const caller = yield* Effect.fork(
          Effect.provideService(old.call(one), IdempotencyStore, { ...store, renew })
        )
        yield* TestClock.adjust("15 seconds")
        yield* Ref.set(stopped, true)
        // the owner's store hangs until its lease is over; then another takes the key
        const there = counted(() => Effect.as(Effect.sleep("5 seconds"), 99), { onUnknown: "retry" })
        const second = yield* Effect.fork(there.call(one))
        yield* TestClock.adjust("2 minutes")
        assert.isTrue(yield* Ref.get(interrupted))
        assert.strictEqual(yield* Fiber.join(second), 99)
        assert.strictEqual(yield* Fiber.join(caller), 99)
        assert.deepStrictEqual([old.runs, there.runs], [1, 1])
      })
    )

    test(
      "an owner whose renewal says it was taken over is interrupted at once",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const interrupted = yield* Ref.make(false)
        const action = counted(() => Effect.onInterrupt(Effect.never, () => Ref.set(interrupted, true)))
        const renew: Service["renew"] = () => Effect.succeed(false)
        const caller = yield* Effect.fork(
          Effect.flip(Effect.provideService(action.call(one), IdempotencyStore, { ...store, renew }))
        )
        yield* TestClock.adjust("9 seconds")
        assert.isFalse(yield* Ref.get(interrupted))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* Ref.get(interrupted))
        const error = yield* Fiber.join(caller)
        assert.instanceOf(error, Idempotency.OutcomeUnknown)
        // it was this call that had begun it
        assert.strictEqual(error.reason, "interrupted")
        assert.strictEqual(action.runs, 1)
      })
    )

    test(
      "an owner that ends after it was taken over does not overwrite the record, nor answer with its own result",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        // believes that it still holds the key
        const renew: Service["renew"] = () => Effect.succeed(true)
        const late = counted(() => Effect.as(Effect.sleep("1 minute"), 1), { onUnknown: "retry" })
        const caller = yield* Effect.fork(
          Effect.provideService(late.call(one), IdempotencyStore, { ...store, renew })
        )
        yield* TestClock.adjust("31 seconds")
        assert.strictEqual(yield* counted(() => Effect.succeed(99), { onUnknown: "retry" }).call(one), 99)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(yield* Fiber.join(caller), 99)
        assert.strictEqual(yield* late.call(one), 99)
      })
    )

    test(
      "goes on through a store that is out of reach for less than the lease",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        let renewals = 0
        const busy = new StoreError({ store: "s", operation: "renew", reason: "busy", detail: "locked" })
        const renew: Service["renew"] = (request) => ++renewals % 2 === 1 ? Effect.fail(busy) : store.renew(request)
        const action = counted((run) => Effect.as(Effect.sleep("5 minutes"), run))
        const caller = yield* Effect.fork(
          Effect.provideService(action.call(one), IdempotencyStore, { ...store, renew })
        )
        yield* TestClock.adjust("6 minutes")
        assert.strictEqual(yield* Fiber.join(caller), 1)
        assert.isAbove(renewals, 20)
      })
    )

    test(
      "a process that stood still past its lease does not start",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const claimed = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        let claims = 0
        const claim: Service["claim"] = (request) =>
          ++claims > 1 ? store.claim(request) : store.claim(request).pipe(
            Effect.tap(Deferred.succeed(claimed, undefined)),
            Effect.tap(Deferred.await(go))
          )
        const action = counted((run) => Effect.succeed(run * 10))
        const caller = yield* Effect.fork(
          Effect.provideService(action.call(one), IdempotencyStore, { ...store, claim })
        )
        yield* Deferred.await(claimed)
        yield* TestClock.adjust("31 seconds")
        const there = counted(Effect.succeed, { onUnknown: "retry" })
        assert.strictEqual(yield* there.call(one), 1)
        yield* Deferred.succeed(go, undefined)
        assert.strictEqual(yield* Fiber.join(caller), 1)
        assert.strictEqual(action.runs, 0)
      })
    )

    test(
      "does not claim success when the outcome could not be recorded",
      Effect.gen(function*() {
        const store = yield* IdempotencyStore
        const full = new StoreError({ store: "s", operation: "complete", reason: "full", detail: "disk full" })
        const action = counted()
        const error = yield* Effect.flip(
          Effect.provideService(action.call(one), IdempotencyStore, { ...store, complete: () => Effect.fail(full) })
        )
        assert.strictEqual(error, full)
        assert.strictEqual(yield* state, "in-doubt")
        assert.instanceOf(yield* Effect.flip(action.call(one)), Idempotency.OutcomeUnknown)
      })
    )
  })

  describe("values that do not fit", () => {
    test(
      "a payload that is no JSON is a typed error that names the place; nothing runs",
      Effect.gen(function*() {
        const action = Idempotency.make("odd", {
          payload: Schema.Struct({ items: Schema.Array(Schema.Struct({ n: Schema.Number })) }),
          key: () => "k"
        }, () => Effect.die("must not run"))
        const error = yield* Effect.flip(action({ items: [{ n: 1 }, { n: NaN }] }))
        assert.instanceOf(error, Idempotency.CodecError)
        assert.strictEqual(
          error.message,
          `Action "odd" cannot encode its payload at items[1].n: NaN is not JSON; the action was not run`
        )
        assert.deepStrictEqual(yield* Idempotency.list(), [])
      })
    )

    test(
      "a payload that its schema refuses is a typed error",
      Effect.gen(function*() {
        const action = Idempotency.make(
          "odd",
          { payload: Schema.Struct({ name: Schema.NonEmptyString }), key: () => "k" },
          () => Effect.void
        )
        const error = yield* Effect.flip(action({ name: "" }))
        assert.strictEqual((error as Idempotency.CodecError).path, "name")
      })
    )

    test(
      "a success that cannot be encoded is a typed error that says the action ran; the key is in doubt",
      Effect.gen(function*() {
        let runs = 0
        const call = Idempotency.once(
          { operation: "restart", key: "INC-1", success: Schema.Struct({ big: Schema.Any }) },
          Effect.sync(() => (runs++, { big: { cpu: 1n } }))
        )
        const error = yield* Effect.flip(call)
        assert.instanceOf(error, Idempotency.CodecError)
        assert.strictEqual((error as Idempotency.CodecError).path, "big.cpu")
        assert.include(error.message, "the action was run and is in doubt")
        assert.strictEqual(yield* state, "in-doubt")
        assert.instanceOf(yield* Effect.flip(call), Idempotency.OutcomeUnknown)
        assert.strictEqual(runs, 1)
      })
    )

    for (const [schema, options] of [["no schema", {}], ["the schema Void", { success: Schema.Void }]] as const) {
      test(
        `with ${schema} a success is nothing, whatever the body gave: it is recorded and replayed`,
        Effect.gen(function*() {
          let runs = 0
          const body = Effect.sync(() => new Map([[++runs, 1n]]))
          const made = Idempotency.make("made", { payload: Schema.Void, key: () => "k", ...options }, () => body)
          const once = Idempotency.once({ operation: "once", key: "k", ...options }, body)
          for (const call of [made(), made(), once, once]) assert.isUndefined(yield* call)
          assert.strictEqual(runs, 2)
        })
      )
    }

    test(
      "a stored outcome that no longer fits the schema is a typed error; nothing runs",
      Effect.gen(function*() {
        yield* Idempotency.once({ operation: "op", key: "k", success: Schema.String }, Effect.succeed("old"))
        const error = yield* Effect.flip(
          Idempotency.once({ operation: "op", key: "k", success: Schema.Number }, Effect.die("must not run"))
        )
        assert.strictEqual((error as Idempotency.CodecError).part, "record")
      })
    )

    test(
      "an empty key is a defect that names the action",
      Effect.gen(function*() {
        const exit = yield* Effect.exit(counted().call({ ...one, incident: "" }))
        assert.include(Cause.pretty(Exit.causeOption(exit).pipe(Option.getOrThrow)), `Action "restart"`)
      })
    )

    it("refuses bad options at construction", () => {
      const make = (options: object, name = "op") =>
        Idempotency.make(name, { payload: Schema.Void, key: () => "k", ...options }, () => Effect.void)
      assert.throws(() => make({}, " "), "operation")
      assert.throws(() => make({ lease: "1 millis" }), "lease")
      assert.throws(() => make({ lease: Infinity }), "lease")
      assert.throws(() => make({ retention: -1 }), "retention")
    })

    it("has the defaults it documents", () => {
      assert.deepStrictEqual(Idempotency.defaults, {
        onUnknown: "escalate",
        lease: "30 seconds",
        retention: "24 hours",
        inFlight: "wait"
      })
    })

    test(
      "its errors survive their schemas",
      Effect.sync(() => {
        const errors = Schema.Union(Idempotency.KeyReused, Idempotency.InProgress, Idempotency.OutcomeUnknown)
        const error = new Idempotency.InProgress({ operation: "op", key: "k", retryAfter: Duration.seconds(3) })
        const json = JSON.stringify(Schema.encodeSync(errors)(error))
        assert.strictEqual(Schema.decodeUnknownSync(errors)(JSON.parse(json)).message, error.message)
      })
    )
  })

  test(
    "tells in events what it did",
    Effect.gen(function*() {
      const events = yield* Events.subscribe
      const tags = Effect.map(Queue.takeAll(events), (_) => Array.from(_, (event) => event._tag))
      const fine = counted()
      yield* fine.call(one)
      yield* fine.call(one)
      assert.deepStrictEqual(yield* tags, ["ActionStarted", "ActionCompleted", "ActionReplayed"])
      const rejected = counted(() => Effect.fail(new Full()))
      yield* Effect.flip(rejected.call({ ...one, incident: "INC-2" }))
      assert.deepStrictEqual(yield* tags, ["ActionStarted", "ActionNotStarted"])
      const unclear = counted(() => Effect.fail(new Refused({ status: 500 })))
      yield* Effect.flip(unclear.call({ ...one, incident: "INC-3" }))
      assert.deepStrictEqual(yield* tags, ["ActionStarted", "ActionInDoubt"])
      yield* Effect.flip(unclear.call({ ...one, incident: "INC-3" }))
      assert.deepStrictEqual(yield* tags, ["ActionInDoubt"])
    }).pipe(Effect.provide(Events.layer))
  )
})

describe("IdempotencyState", () => {
  const resolutions = FastCheck.constantFrom<State.Resolution>("retry", "probe", "escalate")
  const inputs = FastCheck.array(FastCheck.constantFrom<State.Input>(
    { _tag: "Succeeded" },
    { _tag: "Failed", classification: "failed" },
    { _tag: "Failed", classification: "unknown" },
    { _tag: "Failed", classification: "not-started" },
    { _tag: "Broke" },
    { _tag: "Found" },
    { _tag: "Absent" },
    { _tag: "ProbeFailed" }
  ))

  it.prop(
    "runs an action in doubt only by retry or after a probe that found nothing, and at most once per claim",
    [resolutions, FastCheck.boolean(), inputs],
    ([resolution, inDoubt, script]) => {
      let [state, decision] = State.start(resolution, inDoubt)
      let doubt = inDoubt
      let runs = 0
      for (const input of script) {
        if (decision._tag === "Run") {
          runs++
          assert.isFalse(doubt && resolution === "escalate")
          doubt = true
        }
        if (state._tag === "Settled") break
        if (state._tag === "Probing" && input._tag === "Absent") doubt = false
        ;[state, decision] = State.step(resolution, state, input)
      }
      assert.isAtMost(runs, 1)
    }
  )

  it.prop(
    "gives a claim back without doubt only if nothing ever started",
    [resolutions, FastCheck.boolean(), inputs],
    ([resolution, inDoubt, script]) => {
      let [state, decision] = State.start(resolution, inDoubt)
      let last: State.Input | undefined
      for (const input of script) {
        if (state._tag === "Settled") break
        ;[state, decision] = State.step(resolution, state, last = input)
      }
      if (decision._tag === "Release" && !decision.inDoubt) {
        assert.isFalse(inDoubt)
        assert.deepStrictEqual(last, { _tag: "Failed", classification: "not-started" })
      }
      if (decision._tag === "Record") {
        assert.include(["Succeeded", "Failed", "Found"], last?._tag)
      }
    }
  )
})

describe("Idempotency against a model", () => {
  type Outcome = "success" | "failed" | "unknown" | "rejected" | "defect"
  interface Step {
    readonly key: string
    readonly at: number
    readonly outcome: Outcome
    /** Whether the effect took place downstream, where the outcome leaves it open. */
    readonly happened: boolean
    /** The owner dies after the effect and before the record. */
    readonly dies: boolean
  }
  const steps = FastCheck.array(
    FastCheck.record<Step>({
      key: FastCheck.constantFrom("a", "b"),
      at: FastCheck.constantFrom(0, 0, 0, 1),
      outcome: FastCheck.constantFrom<Outcome>("success", "failed", "unknown", "rejected", "defect"),
      happened: FastCheck.boolean(),
      dies: FastCheck.boolean()
    }),
    { maxLength: 12 }
  )
  const policies = FastCheck.constantFrom<State.Resolution>("retry", "probe", "escalate")

  /** What one key has seen, by the plainest rules. */
  interface Model {
    readonly at: number
    readonly state: "in-doubt" | "completed"
  }

  it.effect.prop(
    "any sequence of calls, payloads, outcomes and deaths",
    [policies, steps],
    ([policy, script]) =>
      Effect.gen(function*() {
        const store = yield* makeMemory
        const model = new Map<string, Model>()
        const downstream = new Map<string, number>()
        for (const step of script) {
          const owner = yield* Scope.make()
          const release: Service["release"] = step.dies ? () => Effect.void : store.release
          const mine: Service = {
            ...store,
            scope: owner,
            release,
            complete: step.dies ? () => Effect.never : store.complete
          }
          let ran = false
          const effect = () => {
            downstream.set(step.key, (downstream.get(step.key) ?? 0) + 1)
          }
          const action = Idempotency.make("op", {
            payload: Schema.Struct({ key: Schema.String, at: Schema.Number }),
            key: (_) => _.key,
            error: Refused,
            classify: ({ status }) => status >= 500 ? "unknown" : "failed",
            onUnknown: policy === "probe"
              ? { probe: () => Effect.sync(() => downstream.has(step.key) ? Option.some(undefined) : Option.none()) }
              : policy
          }, () =>
            Effect.suspend((): Effect.Effect<void, Refused | Full> => {
              ran = true
              switch (step.outcome) {
                case "success":
                  return Effect.sync(effect)
                case "failed":
                  return Effect.fail(new Refused({ status: 400 }))
                case "unknown":
                  if (step.happened) effect()
                  return Effect.fail(new Refused({ status: 500 }))
                case "rejected":
                  return Effect.fail(new Full())
                case "defect":
                  if (step.happened) effect()
                  return Effect.die("bug")
              }
            }))

          const before = model.get(step.key)
          const happenedBefore = downstream.has(step.key)
          const caller = yield* Effect.fork(
            Effect.exit(Effect.provideService(action({ key: step.key, at: step.at }), IdempotencyStore, mine))
          )
          yield* settled
          if (step.dies) {
            // complete hangs for ever: the process is gone, only its lease is left
            yield* Fiber.interruptFork(caller)
          } else {
            yield* Fiber.join(caller)
            yield* Scope.close(owner, Exit.void)
          }
          // long enough for every lease, short of the retention
          yield* TestClock.adjust("1 minute")

          const mayRun = before === undefined ||
            (before.at === step.at && before.state === "in-doubt" &&
              (policy === "retry" || (policy === "probe" && !happenedBefore)))
          assert.strictEqual(ran, mayRun)

          // the model's next state
          if (before !== undefined && before.at !== step.at) continue
          if (before?.state === "completed") continue
          const foundBefore = before !== undefined && policy === "probe" && happenedBefore
          const foundAfter = ran && step.outcome === "unknown" && policy === "probe" && downstream.has(step.key)
          const settles = foundBefore || foundAfter ||
            (ran && (step.outcome === "success" || step.outcome === "failed"))
          if (settles && !step.dies) model.set(step.key, { at: step.at, state: "completed" })
          else if (step.outcome === "rejected" && ran && before === undefined && !step.dies) model.delete(step.key)
          else model.set(step.key, { at: step.at, state: "in-doubt" })
        }
        if (policy !== "retry") {
          for (const effects of downstream.values()) assert.strictEqual(effects, 1)
        }
        const records = yield* store.list()
        assert.deepStrictEqual(
          new Map(records.map((_) => [_.key, _.state])),
          new Map(Array.from(model, ([key, { state }]) => [key, state]))
        )
      }).pipe(Effect.scoped),
    { fastCheck: { numRuns: 60 }, timeout: 60_000 }
  )
})

describe("Idempotency without a key", () => {
  it.effect("ensure acts only when the state is not the desired one", () =>
    Effect.gen(function*() {
      const ref = yield* Ref.make("old")
      let acts = 0
      const ensure = Idempotency.ensure({
        name: "config",
        read: Ref.get(ref),
        isDesired: (value) => value === "new",
        act: () => Effect.zipRight(Effect.sync(() => acts++), Ref.set(ref, "new"))
      })
      assert.deepStrictEqual(yield* ensure, { _tag: "Changed", before: "old", value: "new" })
      assert.deepStrictEqual(yield* ensure, { _tag: "Already", value: "new" })
      assert.strictEqual(acts, 1)
    }))

  it.effect("ensure does not believe a change that does not show", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Idempotency.ensure({
        name: "config",
        read: Effect.succeed("old"),
        isDesired: (value) => value === "new",
        act: () => Effect.void
      }))
      assert.strictEqual(error._tag, "NotReached")
      assert.include(error.message, `"config"`)
    }))

  it.effect("ensure goes on reading while the change settles", () =>
    Effect.gen(function*() {
      let reads = 0
      const fiber = yield* Effect.fork(Idempotency.ensure({
        name: "replicas",
        read: Effect.sync(() => ++reads),
        isDesired: (value) => value >= 5,
        act: () => Effect.void,
        settle: Schedule.spaced("1 second")
      }))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { _tag: "Changed", before: 1, value: 5 })
    }))

  it.effect("ensure does not act when it cannot read", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Idempotency.ensure({
        name: "config",
        read: Effect.fail("down"),
        isDesired: () => false,
        act: () => Effect.die("must not act")
      }))
      assert.strictEqual(error, "down")
    }))

  it.effect("setTo writes the target, once, however often it is called", () =>
    Effect.gen(function*() {
      const replicas = yield* Ref.make(2)
      let writes = 0
      const scale = Idempotency.setTo({
        name: "replicas",
        target: 3,
        read: Ref.get(replicas),
        write: (target) => Effect.zipRight(Effect.sync(() => writes++), Ref.set(replicas, target))
      })
      assert.deepStrictEqual(yield* scale, { _tag: "Changed", before: 2, value: 3 })
      assert.deepStrictEqual(yield* scale, { _tag: "Already", value: 3 })
      assert.strictEqual(writes, 1)
    }))

  it.effect("setTo compares by the equivalence it is given", () =>
    Effect.gen(function*() {
      const result = yield* Idempotency.setTo({
        name: "labels",
        target: ["a", "b"],
        read: Effect.succeed(["a", "b"]),
        write: () => Effect.die("must not write"),
        equivalence: (one, two) => one.join() === two.join()
      })
      assert.strictEqual(result._tag, "Already")
    }))
})
