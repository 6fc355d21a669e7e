import { describe, expect, it } from "@effect/vitest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"

const options = { name: "hosts", trip: CircuitBreaker.consecutive(1), idleFor: "10 minutes" } as const

describe("CircuitBreakerRegistry", () => {
  it.effect("keeps one breaker per key, also for those who ask at the same time", () =>
    Effect.gen(function*() {
      const registry = yield* CircuitBreakerRegistry.make(options)
      const got = yield* Effect.all([registry.get("a"), registry.get("a"), registry.get("b")], {
        concurrency: "unbounded"
      })
      expect(got[0]).toBe(got[1])
      expect(got[2]).not.toBe(got[0])
      yield* Effect.ignore(Effect.fail("down").pipe(registry.protect("a")))
      expect((yield* Effect.flip(Effect.void.pipe(registry.protect("a")))).breaker).toBe("hosts/a")
      yield* Effect.void.pipe(registry.protect("b"))
    }))

  it.effect("forgets a closed breaker that nobody asks for, and no other", () =>
    Effect.gen(function*() {
      const registry = yield* CircuitBreakerRegistry.make({ ...options, resetAfter: "1 hour" })
      yield* registry.get("idle")
      yield* registry.get("busy")
      yield* Effect.ignore(Effect.fail("down").pipe(registry.protect("open")))
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("6 minutes")
        yield* registry.get("busy")
      }
      expect([...(yield* registry.all).keys()].toSorted()).toEqual(["busy", "open"])
    }))

  it.effect("does not grow with keys from outside", () =>
    Effect.gen(function*() {
      const registry = yield* CircuitBreakerRegistry.make({ ...options, idleFor: "1 second" })
      for (let i = 0; i < 200; i++) {
        yield* registry.get(`key-${i}`)
        yield* TestClock.adjust("100 millis")
      }
      expect((yield* registry.all).size).toBeLessThan(20)
    }))
})
