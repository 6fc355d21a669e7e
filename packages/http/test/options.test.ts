import { expect, it } from "@effect/vitest"
import * as Health from "@firebreak/core/Health"
import * as Check from "@firebreak/core/InvalidOption"
import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
import * as HealthRoutes from "@firebreak/http/HealthRoutes"
import * as HttpHealthCheck from "@firebreak/http/HttpHealthCheck"
import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
import * as ResilientClient from "@firebreak/http/ResilientClient"

/** Constructors by what their faults name, and the words that an option may be. */
const rows: ReadonlyArray<
  readonly [module: string, make: (options: object) => unknown, words: { readonly [option: string]: string }]
> = [
  ["DeadlineHttp.receive", (options) => DeadlineHttp.receive(options), {}],
  ["HealthRoutes", (options) => HealthRoutes.router(options), { readyWhile: Health.statuses.join() }],
  ["HealthRoutes", (options) => HealthRoutes.toBody({ status: "healthy", checks: [], at: 0 }, options), {}],
  ["HttpHealthCheck", (options) => HttpHealthCheck.endpoint("http://search.example/", options), {}],
  ["IdempotencyKey.make", (options) => IdempotencyKey.make(options), {
    inFlight: "fail,wait",
    onUnknown: "retry,escalate"
  }],
  ["ResilientClient", (options) => ResilientClient.protect(options), {
    rateLimited: "ignore,failure",
    timeoutBy: "timer,fiber",
    whenOpen: "fail,wait"
  }],
  ["Backoff", (options) => ResilientClient.protect({ backoff: { base: 1, ...options } }), {}]
]

it.each(rows)("%s refuses an option that there is not, and a word that it does not know", (module, make, words) => {
  make({})
  expect(() => make({ mistyped: 1 })).toThrow(Check.InvalidOption)
  expect(() => make({ mistyped: 1 })).toThrow(`${module}: there is no option "mistyped", there are`)
  for (const [option, allowed] of Object.entries(words)) {
    for (const word of allowed.split(",")) make({ [option]: word })
    expect(() => make({ [option]: "mistyped" })).toThrow(`${module}: ${option} must be one of "`)
  }
})

it("HealthRoutes refuses an age that is none when it is made", () => {
  expect(() => HealthRoutes.readyz({ maxAge: "-1 second" })).toThrow("HealthRoutes: maxAge must be a finite duration")
})
