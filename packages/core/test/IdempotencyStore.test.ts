import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as IdempotencyStore from "../src/IdempotencyStore.js"
import { suite } from "../src/testing/IdempotencyStoreSuite.js"

suite("memory", IdempotencyStore.layerMemory, {
  owners: Effect.map(IdempotencyStore.makeMemory, (store) => [store, { ...store }] as const)
})

it.scoped("memory: forgets what is past its retention as it grows, by itself", () =>
  Effect.gen(function*() {
    const store = yield* IdempotencyStore.makeMemory
    for (let i = 0; i < 5_000; i++) {
      const id = { scope: "", operation: "op", key: String(i) }
      const claim = yield* store.claim({ ...id, fingerprint: "f", lease: Duration.seconds(1) })
      if (claim._tag !== "Claimed") return assert.fail(claim._tag)
      yield* store.complete({ ...id, token: claim.token, exit: "1", retention: Duration.seconds(1) })
      if (i % 1_000 === 999) yield* TestClock.adjust("2 seconds")
    }
    assert.isAtMost((yield* store.list()).length, 2_048)
  }))
