/** The code of `docs/chaos.md`. */
import * as Chaos from "@firebreak/core/Chaos"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

class VendorDown extends Data.TaggedError("VendorDown")<{ readonly status: number }> {}

declare const fetchMetrics: (service: string) => Effect.Effect<number, VendorDown>

// #region usage
const datadog = Chaos.target<VendorDown, number>("datadog")

export const metrics = (service: string) => fetchMetrics(service).pipe(datadog.inject)
// Effect<number, VendorDown>
// #endregion

// #region usage
export const BadDay = Chaos.layer([
  datadog.latency({ delay: "2 seconds", rate: 0.2 }),
  datadog.fault({ error: () => new VendorDown({ status: 503 }), from: "10 seconds", until: "40 seconds" })
])

export const exercise = metrics("payments").pipe(Effect.provide(BadDay))
// #endregion
