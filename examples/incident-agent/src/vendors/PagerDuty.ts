/**
 * PagerDuty Events v2: pages a human. The same `dedupKey` joins the alert that is already open, so a page may be sent as
 * often as it takes. The agent never acknowledges for a human.
 *
 * @since 0.1.0
 */
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * A page to a human.
 *
 * @since 0.1.0
 * @category models
 */
export class Page extends Schema.Class<Page>("Page")({
  dedupKey: Schema.String,
  severity: Schema.Literal("critical", "error", "warning", "info"),
  source: Schema.String,
  summary: Schema.String,
  details: Schema.Record({ key: Schema.String, value: Schema.Unknown })
}) {}

/**
 * Triggers the page. PagerDuty has accepted it when this succeeds, which is not to say that somebody has read it.
 *
 * @since 0.1.0
 * @category actions
 */
export const trigger = (page: Page) =>
  Effect.asVoid(call(
    "enqueue",
    Effect.map(VendorConfig, (config) =>
      HttpClientRequest.post(`${config.url("pagerduty")}/v2/enqueue`).pipe(
        HttpClientRequest.bodyUnsafeJson({
          routing_key: Redacted.value(config.pagerdutyRoutingKey),
          event_action: "trigger",
          dedup_key: page.dedupKey.slice(0, 255),
          payload: {
            summary: page.summary.slice(0, 1_024),
            source: page.source,
            severity: page.severity,
            custom_details: page.details
          }
        })
      )),
    Schema.Struct({ status: Schema.Literal("success") })
  ))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const call = VendorCall.makeHttp(VendorParts.PagerDuty)
