/** Heap held by one idle breaker, as a registry of many keys would hold it. */
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Effect from "effect/Effect"
import { bytesEach, type Case } from "../measure.js"
import { cockatielBreaker, opossumBreaker, options } from "./breaker.js"
import { syncWork } from "./work.js"

const count = 20_000

export const cases: ReadonlyArray<Case> = [{
  name: "idle-breaker-memory",
  unit: "B",
  rounds: 3,
  baselines: ["cockatiel", "opossum"],
  candidates: () =>
    Promise.resolve([
      bytesEach(
        "firebreak",
        "one breaker, never called",
        count,
        () => Effect.runSync(CircuitBreaker.make({ name: "vendor", ...options }))
      ),
      bytesEach("cockatiel", "one breaker, never called", count, cockatielBreaker),
      bytesEach(
        "opossum",
        "one breaker, never called, its statistics' timers included",
        count,
        () => opossumBreaker(syncWork),
        (breaker) => breaker.shutdown()
      )
    ])
}]
