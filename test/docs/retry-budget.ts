/** The code of `docs/retry-budget.md`. */
import * as Backoff from "@firebreak/core/Backoff"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"

class VendorDown extends Data.TaggedError("VendorDown")<{ readonly status: number }> {}

declare const fetchMetrics: (service: string) => Effect.Effect<string, VendorDown>

// #region usage
class Datadog extends RetryBudget.Tag("datadog")<Datadog>() {}

export const DatadogLive = Datadog.layer()

export const metrics = (service: string) =>
  fetchMetrics(service).pipe(
    Datadog.retry({ schedule: Backoff.production, while: (error: VendorDown) => error.status >= 500 })
  )
// #endregion

// #region usage
export const TenthLive = Datadog.layer({ allowance: RetryBudget.ratio({ share: 0.1, minPerSecond: 1 }) })
// #endregion
