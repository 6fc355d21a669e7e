import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Deadline from "@firebreak/core/Deadline"
import * as Policy from "@firebreak/core/Policy"
import * as Duration from "effect/Duration"
import { durationText } from "../src/internal/durationText.js"
import * as Check from "../src/internal/options.js"

describe("a duration of an option", () => {
  const negative: ReadonlyArray<Duration.DurationInput> = [-1, NaN, -1n, "-1 second", "-0.5 millis", [-1, 0]]
  for (const value of negative) {
    it(`is refused when it is negative: ${typeof value} ${value}`, () => {
      expect(() => Check.millis("Module", "option", value)).toThrow("Module: option must be a finite duration")
    })
  }

  it("is taken when it is not", () => {
    expect(
      [0, 5n, "1 second", [1, 500_000_000] as const, Duration.millis(3)].map((value) =>
        Check.millis("Module", "option", value as Duration.DurationInput)
      )
    ).toEqual([0, 5e-6, 1000, 1500, 3])
  })

  it("is refused by every constructor", () => {
    expect(() => Backoff.make({ base: "-1 second" })).toThrow("Backoff: base")
    expect(() => Policy.make({ attemptTimeout: "-1 second" })).toThrow("Policy: attemptTimeout")
    expect(() => Policy.make({ deadline: "-1 second" })).toThrow("Policy: deadline")
    expect(() => CircuitBreaker.make({ name: "b", resetAfter: "-1 second" })).toThrow("CircuitBreaker: resetAfter")
    expect(() => Checkpoint.prune({ olderThan: "-1 second" })).toThrow("Checkpoint.prune: olderThan")
  })
})

describe("a duration in a message", () => {
  it("is in whole milliseconds below 10 seconds, in whole seconds from there on, rounded up", () => {
    const text = (input: Duration.DurationInput) => durationText(Duration.decode(input))
    expect(text("29978682 micros")).toBe("30s")
    expect(text("10001 millis")).toBe("11s")
    expect(text("9999 millis")).toBe("9s 999ms")
    expect(text("9999001 micros")).toBe("10s")
    expect(text("250 micros")).toBe("1ms")
    expect(text("90 seconds")).toBe("1m 30s")
    expect(text(0)).toBe("0")
    expect(text(Duration.infinity)).toBe("Infinity")
  })

  it("is so in errors", () => {
    expect(new Policy.AttemptTimeout({ timeout: Duration.nanos(29_978_682_000n) }).message).toContain("than 30s and")
    expect(new Deadline.DeadlineExceeded({ after: Duration.nanos(29_978_682_000n), started: true }).message)
      .toContain("after 30s;")
  })
})
