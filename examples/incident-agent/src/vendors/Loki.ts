/**
 * Loki, the alternate source of logs.
 *
 * @since 0.1.0
 */
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { LogLine } from "../Signals.js"
import { lookback } from "../Signals.js"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * The latest errors and warnings of a service, oldest first.
 *
 * @since 0.1.0
 * @category queries
 */
export const logs = (service: string) =>
  Effect.map(
    call(
      "queryRange",
      Effect.gen(function*() {
        const now = Math.floor(yield* Clock.currentTimeMillis)
        const config = yield* VendorConfig
        return HttpClientRequest.get(`${config.url("loki")}/loki/api/v1/query_range`).pipe(
          HttpClientRequest.setUrlParams({
            query: `{service="${service}",level=~"error|warn"}`,
            start: `${now - lookback}000000`,
            end: `${now}000000`,
            limit: 200,
            direction: "backward"
          })
        )
      }),
      Answer
    ),
    ({ data }): ReadonlyArray<LogLine> =>
      data.result.flatMap(({ stream, values }) =>
        values.map(([nanoseconds, message]) => ({
          at: Number(nanoseconds) / 1e6,
          level: stream["level"] ?? "error",
          message
        }))
      ).toSorted((a, b) => a.at - b.at)
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const call = VendorCall.makeHttp(VendorParts.Loki)

const Answer = Schema.Struct({
  data: Schema.Struct({
    result: Schema.Array(Schema.Struct({
      stream: Schema.Record({ key: Schema.String, value: Schema.String }),
      values: Schema.Array(Schema.Tuple(Schema.String, Schema.String))
    }))
  })
})
