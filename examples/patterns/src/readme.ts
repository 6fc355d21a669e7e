/** The README's fifteen lines, whole. */
import * as Backoff from "@firebreak/core/Backoff"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Degradation from "@firebreak/core/Degradation"
import * as Policy from "@firebreak/core/Policy"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

class VendorDown extends Data.TaggedError("VendorDown")<{ readonly status: number }> {}

interface Metrics {
  readonly errorRate: number
}

declare const datadogMetrics: (service: string) => Effect.Effect<Metrics, VendorDown>
declare const prometheusMetrics: (service: string) => Effect.Effect<Metrics, VendorDown>
declare const unknownMetrics: Metrics

// #region usage
class Datadog extends CircuitBreaker.Tag("datadog")<Datadog>() {}

const vendorCall = Policy.make({
  retry: { schedule: Backoff.production, while: (error: VendorDown) => error.status >= 500 },
  breaker: Datadog,
  attemptTimeout: "2 seconds"
})

const metrics = (service: string) =>
  Degradation.component("metrics", datadogMetrics(service).pipe(vendorCall)).pipe(
    Degradation.orElse("prometheus", prometheusMetrics(service)),
    Degradation.orConstant(unknownMetrics)
  )

export const program = Degradation.run(metrics("payment-api")) // Effect<Fresh | Alternate | Constant, never, Datadog>
  .pipe(Effect.provide(Datadog.layer({ trip: CircuitBreaker.consecutive(3), resetAfter: "30 seconds" })))
// #endregion
