/**
 * PagerDuty Events v2. A trigger with a key that is already open joins that alert and pages no one; after a resolve
 * the same key pages anew.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Fleet from "./Fleet.js"
import * as Vendor from "./Vendor.js"

/**
 * @since 0.1.0
 * @category vendors
 */
export const pagerduty: Vendor.Vendor = {
  name: "pagerduty",
  operations: ["enqueue"],
  routes: () => [{ method: "POST", path: "/v2/enqueue", operation: "enqueue", handle: enqueue }],
  refuse: (status, message, retryAfter) =>
    Vendor.json(status, {
      status: status === 429 ? "throttle exceeded" : status < 500 ? "invalid event" : "internal error",
      message,
      errors: [message]
    }, Vendor.retryAfterHeader(retryAfter))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const Payload = Schema.Struct({
  summary: Schema.String.pipe(Schema.minLength(1), Schema.maxLength(1_024)),
  source: Schema.String.pipe(Schema.minLength(1)),
  severity: Schema.Literal("critical", "error", "warning", "info"),
  timestamp: Schema.optional(Schema.String),
  component: Schema.optional(Schema.String),
  group: Schema.optional(Schema.String),
  class: Schema.optional(Schema.String),
  custom_details: Schema.optional(Schema.Unknown)
})

// integration keys have 32 characters, and PagerDuty says so when one has not
const RoutingKey = Schema.String.pipe(Schema.length(32))
const DedupKey = Schema.String.pipe(Schema.minLength(1), Schema.maxLength(255))

const Event = Schema.Union(
  Schema.Struct({
    routing_key: RoutingKey,
    event_action: Schema.Literal("trigger"),
    dedup_key: Schema.optional(DedupKey),
    payload: Payload
  }),
  Schema.Struct({
    routing_key: RoutingKey,
    event_action: Schema.Literal("acknowledge", "resolve"),
    dedup_key: DedupKey
  })
)

const enqueue: Vendor.Handler = (fleet, call, now) => {
  if (call.body.length > 512 * 1_024) {
    return Vendor.answered(fleet, pagerduty.refuse(413, "Event is larger than 512 KB"))
  }
  const decoded = Vendor.decodeJson(Event, call.body)
  if (Either.isLeft(decoded)) {
    const errors = decoded.left.map(({ message, path }) => path === "" ? message : `'${path}' is invalid: ${message}`)
    return Vendor.answered(
      fleet,
      Vendor.json(400, { status: "invalid event", message: "Event object is invalid", errors })
    )
  }
  const event = decoded.right
  const dedupKey = event.dedup_key ?? `sandbox-${fleet.pages.length + 1}-${now.toString(36)}`
  const about = { target: event.event_action === "trigger" ? event.payload.source : dedupKey, key: event.dedup_key }
  const reply = Vendor.json(202, { status: "success", message: "Event processed", dedup_key: dedupKey })
  if (event.event_action === "trigger") {
    const { severity, source, summary } = event.payload
    const after = Fleet.step(fleet, { _tag: "Page", page: { dedupKey, severity, source, summary } }, now)
    return Vendor.changed(fleet, after, reply, about)
  }
  const status = event.event_action === "resolve" ? "resolved" : "acknowledged"
  return Vendor.answered(Fleet.step(fleet, { _tag: "SettlePage", dedupKey, status }, now), reply, about)
}
