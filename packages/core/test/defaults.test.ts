import { describe, expect, it } from "@effect/vitest"
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import { readFileSync } from "node:fs"

/** The default of each option, as the page's table of defaults says. */
const defaultsOf = (page: string): Record<string, string> => {
  const text = readFileSync(new URL(`../../../docs/${page}.md`, import.meta.url), "utf8")
  const [, section] = /^## Defaults\n([^]*?)(?=^## )/m.exec(text)!
  return Object.fromEntries(
    Array.from(section!.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm), ([, option, value]) => [option, value!.trim()])
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
})
