import { describe, expect, it } from "@effect/vitest"
import * as Autoscale from "@firebreak/core/Autoscale"
import * as Backoff from "@firebreak/core/Backoff"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Chaos from "@firebreak/core/Chaos"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as ConcurrencyLimit from "@firebreak/core/ConcurrencyLimit"
import * as Events from "@firebreak/core/Events"
import * as Hedge from "@firebreak/core/Hedge"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as LimitStrategy from "@firebreak/core/LimitStrategy"
import * as LoopGuard from "@firebreak/core/LoopGuard"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Reconcile from "@firebreak/core/Reconcile"
import * as RetryAllowance from "@firebreak/core/RetryAllowance"
import * as Supervision from "@firebreak/core/Supervision"
import * as Throttle from "@firebreak/core/Throttle"
import { readFileSync } from "node:fs"

/** The default of each option, as the page's table of defaults says; the last word of its first cell is the option. */
const defaultsOf = (page: string): Record<string, string> => {
  const text = readFileSync(new URL(`../../../docs/${page}.md`, import.meta.url), "utf8")
  const [, section] = /^## Defaults\n([^]*?)(?=^## )/m.exec(text)!
  return Object.fromEntries(
    Array.from(
      section!.matchAll(/^\| (?:.*: )?`(\w+)` \| ([^|]*) \|/gm),
      ([, option, value]) => [option, value!.trim()]
    )
  )
}

describe("the tables of defaults in docs/", () => {
  it("are those of CircuitBreaker", () => {
    const { failures, halfOpenPermits, resetAfter, successThreshold, within, ...others } = CircuitBreaker.defaults
    expect(others).toEqual({})
    expect(defaultsOf("circuit-breaker")).toMatchObject({
      trip: `${failures} failures within ${within}`,
      resetAfter,
      successThreshold: `${successThreshold}`,
      halfOpenPermits: `${halfOpenPermits}`
    })
  })

  it("are those of Backoff", () => {
    const { base, cap, factor, jitter, maxRetries, ...others } = Backoff.defaults
    expect(others).toEqual({})
    expect(defaultsOf("backoff")).toMatchObject({
      base,
      factor: `${factor}`,
      cap,
      jitter: `\`"${jitter}"\``,
      maxRetries: `${maxRetries}`
    })
  })

  it("are those of Bulkhead", () => {
    const { maxConcurrent, maxQueued, ...others } = Bulkhead.defaults
    expect(others).toEqual({})
    expect(defaultsOf("bulkhead")).toMatchObject({ maxConcurrent: `${maxConcurrent}`, maxQueued: `${maxQueued}` })
  })

  it("are those of RateLimit", () => {
    const { burst, maxWait, onLimit, ...others } = RateLimit.defaults
    expect(others).toEqual({})
    expect(defaultsOf("rate-limit")).toMatchObject({ burst: `${burst}`, maxWait, onLimit: `\`"${onLimit}"\`` })
  })

  it.each([
    ["loop-guard", LoopGuard.defaults],
    ["autoscale", Autoscale.defaults],
    ["supervision", Supervision.defaults],
    ["reconcile", { ...Reconcile.defaults, isSame: "`Equal.equals`" }]
  ])("are those of %s", (page, defaults) => {
    expect(defaultsOf(page)).toEqual(
      Object.fromEntries(Object.entries(defaults).map(([option, value]) => [option, `${value}`]))
    )
  })

  it("are those of ConcurrencyLimit", () => {
    const { every, minimumCalls, shares, ...others } = ConcurrencyLimit.defaults
    expect(others).toEqual({})
    const { aimd, gradient2, ...bounds } = LimitStrategy.defaults
    const figures = Object.entries({ ...bounds, ...gradient2, ...aimd })
    expect(defaultsOf("concurrency-limit")).toMatchObject({
      every,
      minimumCalls: `${minimumCalls}`,
      shares: shares.join(", "),
      ...Object.fromEntries(figures.map(([option, value]) => [option, `${value}`]))
    })
  })

  it("are those of Idempotency", () => {
    const { inFlight, lease, onUnknown, retention, ...others } = Idempotency.defaults
    expect(others).toEqual({})
    expect(defaultsOf("idempotency")).toMatchObject({
      onUnknown: `\`"${onUnknown}"\``,
      lease,
      retention,
      inFlight: `\`"${inFlight}"\``
    })
  })

  it("are those of Checkpoint", () => {
    const { concurrency, maxRecoveries, version, ...others } = Checkpoint.defaults
    expect(defaultsOf("checkpoints")).toMatchObject({
      ...others,
      concurrency: `${concurrency}`,
      version: `\`"${version}"\``,
      maxRecoveries: `${maxRecoveries}`
    })
  })

  it("are those of Events", () => {
    const { capacity, ...others } = Events.defaults
    expect(others).toEqual({})
    expect(defaultsOf("events")).toMatchObject({ capacity: capacity.toLocaleString("en") })
  })

  it("are those of RetryBudget", () => {
    const { within, ...figures } = RetryAllowance.defaults
    const numbers = Object.entries(figures).map(([option, value]) => [option, `${value}`])
    expect(defaultsOf("retry-budget")).toMatchObject({ within, ...Object.fromEntries(numbers) })
  })

  it("are those of Throttle", () => {
    const { maxProbability, minimumCalls, multiplier, within, ...others } = Throttle.defaults
    expect(others).toEqual({})
    expect(defaultsOf("throttle")).toMatchObject({
      multiplier: `${multiplier}`,
      within,
      minimumCalls: `${minimumCalls}`,
      maxProbability: `${maxProbability}`
    })
  })

  it("are those of Hedge", () => {
    const { quantile, ...figures } = Hedge.defaults
    const numbers = Object.entries(figures).map(([option, value]) => [option, `${value}`])
    expect(defaultsOf("hedge")).toMatchObject({ delay: `\`quantile(${quantile})\``, ...Object.fromEntries(numbers) })
  })

  it("are those of Chaos", () => {
    const { rate, ...others } = Chaos.defaults
    expect(others).toEqual({})
    expect(defaultsOf("chaos")).toMatchObject({ rate: `${rate}` })
  })
})
