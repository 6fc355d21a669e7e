/** An open breaker turning a call away, and the caller handling it. */
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Effect from "effect/Effect"
import { calls, type Case } from "../measure.js"
import { cockatielBreaker, opossumBreaker, options, Vendor } from "./breaker.js"
import { buildForever, fromPromise, inAsync, inEffect, syncWork } from "./work.js"

const failure = new Error("the vendor is down")
const failing = () => Promise.reject(failure)
const rejected = () => 1

export const cases: ReadonlyArray<Case> = [{
  name: "rejection",
  unit: "ns",
  baselines: ["cockatiel-in-effect", "cockatiel", "opossum"],
  candidates: async () => {
    const handlers = { onFailure: rejected, onSuccess: () => 0 }
    const trip = (call: () => Effect.Effect<unknown, unknown, Vendor>) =>
      Effect.repeatN(Effect.ignore(call()), 4).pipe(Effect.provide(context), Effect.runPromise)
    const context = await buildForever(Vendor.layer(options))
    const breaker = await Effect.runPromise(CircuitBreaker.make({ name: "vendor", ...options }))
    await trip(() => breaker.protect(Effect.fail(failure)))
    await trip(() => Vendor.protect(Effect.fail(failure)))
    const cockatiel = cockatielBreaker()
    for (let i = 0; i < 5; i++) await cockatiel.execute(failing).catch(rejected)
    const opossum = opossumBreaker(syncWork)
    opossum.open()
    const call = Effect.sync(syncWork)
    return [
      calls(
        "firebreak",
        "a typed error with the breaker's name, the time until a retry and the last failure",
        inEffect(() => Effect.match(breaker.protect(call), handlers))
      ),
      calls(
        "firebreak-tag",
        "the same, found by its tag in the context",
        inEffect(() => Effect.match(Vendor.protect(call), handlers), context)
      ),
      calls(
        "cockatiel-in-effect",
        "cockatiel called from an Effect program",
        inEffect(() => Effect.match(fromPromise(() => cockatiel.execute(syncWork)), handlers))
      ),
      calls(
        "cockatiel",
        "an Error with its stack trace",
        inAsync(() => cockatiel.execute(syncWork).then(() => 0, rejected))
      ),
      calls("opossum", "an Error with its stack trace", inAsync(() => opossum.fire().then(() => 0, rejected)))
    ]
  }
}]
