/** The code of `docs/policy.md`. */
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Policy from "@firebreak/core/Policy"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"

class VendorDown extends Data.TaggedError("VendorDown")<{ readonly status: number }> {}

declare const fetchMetrics: (service: string) => Effect.Effect<string, VendorDown>

// #region usage
class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}

const vendorCall = Policy.make({
  retry: { schedule: Backoff.production, while: (error: VendorDown) => error.status >= 500 },
  breaker: Datadog,
  attemptTimeout: "2 seconds"
})

export const metrics = (service: string) => fetchMetrics(service).pipe(vendorCall)
// Effect<string, VendorDown | CircuitOpen | AttemptTimeout, Datadog>
// #endregion
