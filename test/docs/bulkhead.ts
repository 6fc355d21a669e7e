/** The code of `docs/bulkhead.md`. */
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

class RenderError extends Data.TaggedError("RenderError")<{ readonly status: number }> {}

declare const render: (report: string) => Effect.Effect<Uint8Array, RenderError>

// #region usage
class Reports extends Bulkhead.Tag("reports")<Reports>() {}

export const ReportsLive = Reports.layer({ maxConcurrent: 4, maxQueued: 20, maxWait: "2 seconds" })

export const report = (name: string) => render(name).pipe(Reports.protect)
// Effect<Uint8Array, RenderError | BulkheadFull, Reports>
// #endregion

// #region usage
export const tune = Effect.gen(function*() {
  const reports = yield* Reports
  const { running, waiting } = yield* reports.stats
  yield* Effect.log(`${running} running, ${waiting} waiting`)
  yield* reports.resize(8)
})
// #endregion
