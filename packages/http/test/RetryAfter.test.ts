import { describe, expect, it } from "@effect/vitest"
import * as RetryAfter from "@firebreak/http/RetryAfter"
import * as Duration from "effect/Duration"
import * as fc from "effect/FastCheck"
import * as Option from "effect/Option"

const now = Date.UTC(2024, 0, 11, 10, 0, 0)
const asked = (headers: Record<string, string>) =>
  Option.getOrUndefined(Option.map(RetryAfter.fromHeaders(headers, now), Duration.toMillis))

const headers = ["retry-after", "retry-after-ms", "x-amz-retry-after", "ratelimit-reset", "x-ratelimit-reset"] as const

describe("RetryAfter", () => {
  it.each([
    [{ "retry-after": "120" }, 120_000],
    [{ "retry-after": " 1.5 " }, 1_500],
    [{ "retry-after": "0" }, 0],
    [{ "retry-after": "Thu, 11 Jan 2024 10:00:30 GMT" }, 30_000],
    [{ "retry-after": "Thursday, 11-Jan-24 10:00:30 GMT" }, 30_000],
    [{ "retry-after": "Thu Jan 11 10:00:30 2024" }, 30_000],
    [{ "retry-after-ms": "250" }, 250],
    [{ "x-amz-retry-after": "1500" }, 1_500],
    [{ "ratelimit-reset": "7" }, 7_000],
    [{ "x-ratelimit-reset": "7" }, 7_000],
    [{ "x-ratelimit-reset": String(now / 1_000 + 90) }, 90_000],
    [{ "x-ratelimit-reset": String(now + 90_000) }, 90_000]
  ])("reads %j", (headers, millis) => {
    expect(asked(headers)).toBe(millis)
  })

  it.each([
    "",
    "soon",
    "-1",
    "NaN",
    "Infinity",
    "1e3",
    "0x10",
    "1,5",
    "9".repeat(400),
    "2024-01-11T10:00:30Z",
    "Thu, 11 Jan 2024 09:59:59 GMT",
    "Xxx, 99 Xxx 2024 10:00:30 GMT"
  ])("ignores retry-after: %j", (value) => {
    expect(asked({ "retry-after": value })).toBeUndefined()
  })

  it("a reset that lies in the past asks for nothing", () => {
    expect(asked({ "ratelimit-reset": String(now / 1_000 - 1) })).toBeUndefined()
  })

  it("a reset asks for nothing while quota is left", () => {
    expect(asked({ "x-ratelimit-reset": "3000", "x-ratelimit-remaining": "12" })).toBeUndefined()
    expect(asked({ "x-ratelimit-reset": "3000", "x-ratelimit-remaining": "0" })).toBe(3_000_000)
  })

  it("takes the most precise header that makes sense", () => {
    expect(asked({ "retry-after": "2", "retry-after-ms": "1800" })).toBe(1_800)
    expect(asked({ "retry-after": "2", "retry-after-ms": "later" })).toBe(2_000)
    expect(asked({ "retry-after": "2", "ratelimit-reset": "60" })).toBe(2_000)
  })

  it.prop("never throws, and what it answers is finite and not negative", [
    fc.dictionary(
      fc.constantFrom(...headers, "x-ratelimit-remaining"),
      fc.oneof(fc.string(), fc.double().map(String), fc.bigInt().map(String), fc.date().map(String))
    ),
    fc.double({ min: 0, max: 8.64e15, noNaN: true })
  ], ([headers, now]) => {
    const wait = Option.getOrElse(RetryAfter.fromHeaders(headers, now), () => Duration.zero)
    expect(Duration.isFinite(wait)).toBe(true)
    expect(Duration.toMillis(wait)).toBeGreaterThanOrEqual(0)
  }, { fastCheck: { numRuns: 1_000 } })

  it.prop("a date to come is as far away as it says", [fc.integer({ min: 0, max: 1e8 })], ([seconds]) => {
    expect(asked({ "retry-after": new Date(now + seconds * 1_000).toUTCString() })).toBe(seconds * 1_000)
  })

  it.prop("seconds and their milliseconds are the same time", [fc.integer({ min: 0, max: 1e9 - 1 })], ([seconds]) => {
    const expected = seconds * 1_000
    expect(asked({ "retry-after": String(seconds) })).toBe(expected)
    expect(asked({ "x-amz-retry-after": String(expected) })).toBe(expected)
    expect(asked({ "ratelimit-reset": String(seconds) })).toBe(expected)
  })
})
