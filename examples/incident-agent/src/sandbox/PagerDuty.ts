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
 * PagerDuty under `/pagerduty`; the routing key in the body is any 32 characters.
 *
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
  timestamp: Vendor.maybe(Schema.String),
  component: Vendor.maybe(Schema.String),
  group: Vendor.maybe(Schema.String),
  class: Vendor.maybe(Schema.String),
  custom_details: Vendor.maybe(Schema.Unknown)
})

const Event = Schema.Struct({
  // integration keys have 32 characters, and PagerDuty says so when one has not
  routing_key: Schema.String.pipe(Schema.length(32)),
  event_action: Schema.Literal("trigger", "acknowledge", "resolve"),
  dedup_key: Vendor.maybe(Schema.String.pipe(Schema.minLength(1), Schema.maxLength(255))),
  payload: Vendor.maybe(Payload)
})

const enqueue: Vendor.Handler = (fleet, call, now) => {
  if (call.body.length > 512 * 1_024) {
    return Vendor.answered(fleet, pagerduty.refuse(413, "Event is larger than 512 KB"))
  }
  const decoded = Vendor.decodeJson(Event, call.body)
  if (Either.isLeft(decoded)) {
    return invalid(
      fleet,
      decoded.left.map(({ message, path }) => path === "" ? message : `'${path}' is invalid: ${message}`)
    )
  }
  const { dedup_key: key, event_action: action, payload } = decoded.right
  if (action === "trigger") {
    if (payload === undefined) return invalid(fleet, ["'payload' is missing or blank"])
    const { severity, source, summary } = payload
    const dedupKey = key ?? `sandbox-${fleet.pages.length + 1}-${now.toString(36)}`
    const after = Fleet.step(fleet, { _tag: "Page", page: { dedupKey, severity, source, summary } }, now)
    return Vendor.changed(fleet, after, accepted(dedupKey), { target: source, key })
  }
  if (key === undefined) return invalid(fleet, ["'dedup_key' is missing or blank"])
  const status = action === "resolve" ? "resolved" : "acknowledged"
  const after = Fleet.step(fleet, { _tag: "SettlePage", dedupKey: key, status }, now)
  return Vendor.answered(after, accepted(key), { target: key, key })
}

const accepted = (dedupKey: string): Vendor.Reply =>
  Vendor.json(202, { status: "success", message: "Event processed", dedup_key: dedupKey })

const invalid = (fleet: Fleet.Fleet, errors: ReadonlyArray<string>): Vendor.Outcome =>
  Vendor.answered(fleet, Vendor.json(400, { status: "invalid event", message: "Event object is invalid", errors }))
