import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import type * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import type * as Deadline from "@firebreak/core/Deadline"
import * as Policy from "@firebreak/core/Policy"
import type * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import type * as Throttle from "@firebreak/core/Throttle"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { describe, expect, test } from "tstyche"

class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

declare const call: Effect.Effect<number, "boom", "env">

describe("Policy", () => {
  test("adds exactly the errors and requirements of its parts", () => {
    expect(call.pipe(Policy.make({}))).type.toBe<Effect.Effect<number, "boom", "env">>()
    expect(call.pipe(Policy.make({ breaker: Vendor }))).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>
    >()
    expect(call.pipe(Policy.make({ attemptTimeout: "1 second" }))).type.toBe<
      Effect.Effect<number, "boom" | Policy.AttemptTimeout, "env">
    >()
    const full = Policy.make({
      retry: { schedule: Backoff.production, while: (error: "boom") => error === "boom" },
      breaker: Vendor,
      attemptTimeout: "1 second"
    })
    expect(call.pipe(full)).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen | Policy.AttemptTimeout, "env" | Vendor>
    >()
  })

  test("each part adds its own error, and its tag or nothing", () => {
    class Slots extends Bulkhead.Tag("slots")<Slots>() {}
    class Budget extends RetryBudget.Tag("budget")<Budget>() {}
    const parts = Policy.make({
      deadline: "10 seconds",
      bulkhead: Slots,
      retry: { schedule: Backoff.production, while: (error: "boom") => error === "boom", budget: Budget },
      throttle: null! as Throttle.Throttle,
      rateLimit: null! as RateLimit.RateLimit,
      concurrencyLimit: null! as ConcurrencyLimit.ConcurrencyLimit
    })
    expect(call.pipe(parts)).type.toBe<
      Effect.Effect<
        number,
        | "boom"
        | Deadline.DeadlineExceeded
        | Bulkhead.BulkheadFull
        | Throttle.Throttled
        | RateLimit.RateLimited
        | ConcurrencyLimit.LimitExceeded,
        "env" | Slots | Budget
      >
    >()
  })

  test("an option that may be undefined counts as given", () => {
    const maybe = Policy.make({
      breaker: Vendor as typeof Vendor | undefined,
      attemptTimeout: "1 second" as "1 second" | undefined
    })
    expect(call.pipe(maybe)).type.toBe<
      Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen | Policy.AttemptTimeout, "env" | Vendor>
    >()
    expect(call.pipe(Policy.make({ breaker: undefined }))).type.toBe<Effect.Effect<number, "boom", "env">>()
  })

  test("accepts no error that its schedule cannot judge, an attempt timeout included", () => {
    const schedule = Backoff.make<"boom">({ retryAfter: (error) => error === "boom" ? Option.none() : Option.none() })
    const retry = { schedule, while: (_: "boom") => true }
    expect(call.pipe(Policy.make({ retry }))).type.toBe<Effect.Effect<number, "boom", "env">>()
    expect(Policy.make({ retry })).type.not.toBeCallableWith(null! as Effect.Effect<number, "other">)
    expect(Policy.make({ retry, attemptTimeout: "1 second" })).type.not.toBeCallableWith(call)
  })

  test("accepts no error that its `while` cannot judge", () => {
    const policy = Policy.make({
      retry: { schedule: Backoff.production, while: (error: "other") => error === "other" }
    })
    expect(policy).type.not.toBeCallableWith(call)
  })

  test("accepts no error that its `classify` cannot judge", () => {
    const policy = Policy.make({
      breaker: Vendor,
      classify: (error: "boom", part) => error === "boom" && part === "breaker" ? "ignore" : "failure"
    })
    expect(call.pipe(policy)).type.toBe<Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>>()
    expect(policy).type.not.toBeCallableWith(null! as Effect.Effect<number, "other">)
  })

  test("refuses a mistyped option beside a right one, in `retry` as well", () => {
    const retry = { schedule: Backoff.production, while: (error: "boom") => error === "boom" }
    expect(Policy.make).type.not.toBeCallableWith({ breaker: Vendor, retries: 3 })
    expect(Policy.make).type.not.toBeCallableWith({ breaker: Vendor, retry: { ...retry, retries: 3 } })
    expect(Policy.make).type.toBeCallableWith({ breaker: Vendor, retry })
    expect(Policy.make).type.toBeCallableWith({ breaker: Vendor, retry: undefined })
  })

  test("a schedule made in place hides neither the errors nor the requirements", () => {
    const policy = Policy.make({
      retry: { schedule: Backoff.make({ base: "2 seconds" }), while: (error: "boom") => error === "boom" },
      breaker: Vendor
    })
    expect(call.pipe(policy)).type.toBe<Effect.Effect<number, "boom" | CircuitBreaker.CircuitOpen, "env" | Vendor>>()
    expect(policy).type.not.toBeCallableWith(null! as Effect.Effect<number, "other">)
  })
})
