/** A closed breaker around a call that succeeds. */
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Cockatiel from "cockatiel"
import * as Effect from "effect/Effect"
import Opossum from "opossum"
import { calls, type Case } from "../measure.js"
import { buildForever, fromPromise, inAsync, inEffect, workloads } from "./work.js"

export class Vendor extends CircuitBreaker.Tag("vendor")<Vendor>() {}

export const options = { trip: CircuitBreaker.consecutive(5), resetAfter: "1 hour" } as const

export const cockatielBreaker = () =>
  Cockatiel.circuitBreaker(Cockatiel.handleAll, {
    breaker: new Cockatiel.ConsecutiveBreaker(5),
    halfOpenAfter: 3_600_000
  })

/** By default it has a timeout, which a breaker of the others does not: `false` leaves it out. */
export const opossumBreaker = (call: () => number | Promise<number>, timeout: number | false = false) =>
  new Opossum(async () => call(), { timeout, resetTimeout: 3_600_000 })

export const cases: ReadonlyArray<Case> = workloads.map(({ call, effect, suffix }) => ({
  name: `breaker${suffix}`,
  unit: "ns",
  baselines: ["cockatiel-in-effect", "cockatiel", "opossum", "opossum-with-timeout", "unprotected"],
  candidates: async () => {
    const breaker = await Effect.runPromise(CircuitBreaker.make({ name: "vendor", ...options }))
    const context = await buildForever(Vendor.layer(options))
    const cockatiel = cockatielBreaker()
    const opossum = opossumBreaker(call)
    const timed = opossumBreaker(call, 10_000)
    return [
      calls(
        "firebreak",
        "5 failures in a row open it; counters of every outcome; an interrupted call counts for nothing",
        inEffect(() => breaker.protect(effect))
      ),
      calls(
        "firebreak-tag",
        "the same, found by its tag in the context",
        inEffect(() => Vendor.protect(effect), context)
      ),
      calls(
        "cockatiel-in-effect",
        "cockatiel called from an Effect program; an interrupted call goes on and is counted",
        inEffect(() => fromPromise(() => cockatiel.execute(call)))
      ),
      calls(
        "cockatiel",
        "5 failures in a row open it; no counters; cannot be interrupted",
        inAsync(() => cockatiel.execute(call))
      ),
      calls(
        "opossum",
        "half of the calls of 10 seconds failing opens it; counters; cannot be interrupted",
        inAsync(() => opossum.fire())
      ),
      calls("opossum-with-timeout", "as it comes: with a timeout of 10 seconds", inAsync(() => timed.fire())),
      calls("unprotected", "the call alone, in an Effect program", inEffect(() => effect))
    ]
  }
}))
