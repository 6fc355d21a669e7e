/**
 * Faults that a test asks for: which call they strike is decided here, what then happens in `Sandbox.ts`.
 *
 * | kind | what the client sees | its own fields |
 * | --- | --- | --- |
 * | `status` | this status in the vendor's error format | `status`, `retryAfter` (s) |
 * | `latency` | the true answer, `ms` later | `ms` |
 * | `hang` | nothing, until it leaves | - |
 * | `reset` | a connection reset | - |
 *
 * With `after: true` the call is carried out first and only its answer suffers: the case of a lost answer. Otherwise
 * `status`, `hang` and `reset` strike before anything happened, and `latency` delays the call itself.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { maybe, VendorName } from "./Vendor.js"

/**
 * A fault as `PUT /_sandbox/faults` takes it. It strikes calls of `vendor` (of one `operation`, if given) with
 * probability `rate` (1), at most `count` times (no limit).
 *
 * @since 0.1.0
 * @category models
 */
export const Fault = Schema.Struct({
  vendor: VendorName,
  operation: maybe(Schema.String),
  kind: Schema.Literal("status", "latency", "hang", "reset"),
  status: maybe(Schema.Int.pipe(Schema.between(400, 599))),
  ms: maybe(Schema.Number.pipe(Schema.between(0, 600_000))),
  retryAfter: maybe(Schema.Number.pipe(Schema.between(0, 86_400))),
  rate: maybe(Schema.Number.pipe(Schema.between(0, 1))),
  count: maybe(Schema.Int.pipe(Schema.positive())),
  after: maybe(Schema.Boolean)
}).annotations({ identifier: "Fault" })

/**
 * A fault that was accepted.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault = typeof Fault.Type

/**
 * An array of faults, each with the fields of its kind and an operation its vendor has.
 *
 * @since 0.1.0
 * @category models
 */
export const faults = (
  operations: Readonly<Record<VendorName, ReadonlyArray<string>>>
): Schema.Schema<ReadonlyArray<Fault>, ReadonlyArray<typeof Fault.Encoded>> =>
  Schema.Array(Fault.pipe(Schema.filter((fault) => {
    const wrong = (field: keyof Fault, message: string) => ({ path: [field], message })
    if (fault.operation !== undefined && !operations[fault.vendor].includes(fault.operation)) {
      return wrong("operation", `Expected one of ${operations[fault.vendor].join(", ")}, actual "${fault.operation}"`)
    }
    if (fault.kind === "status" && fault.status === undefined) return wrong("status", "is missing")
    if (fault.kind === "latency" && fault.ms === undefined) return wrong("ms", "is missing")
    if (fault.kind !== "status" && fault.status !== undefined) {
      return wrong("status", `has no meaning for ${fault.kind}`)
    }
    if (fault.kind !== "latency" && fault.ms !== undefined) return wrong("ms", `has no meaning for ${fault.kind}`)
    if (fault.kind !== "status" && fault.retryAfter !== undefined) {
      return wrong("retryAfter", `has no meaning for ${fault.kind}`)
    }
    return undefined
  }, { identifier: "Fault" })))

/**
 * The first fault that strikes this call, and the faults that remain: a fault is dropped once its `count` is used up.
 * `draws` has a number in [0, 1) for each fault.
 *
 * @since 0.1.0
 * @category decisions
 */
export const strike = (
  faults: ReadonlyArray<Fault>,
  call: { readonly vendor: VendorName; readonly operation: string },
  draws: ReadonlyArray<number>
): readonly [remaining: ReadonlyArray<Fault>, struck: Fault | undefined] => {
  const index = faults.findIndex((fault, i) =>
    fault.vendor === call.vendor &&
    (fault.operation === undefined || fault.operation === call.operation) &&
    (draws[i] ?? 0) < (fault.rate ?? 1)
  )
  const struck = faults[index]
  if (struck?.count === undefined) return [faults, struck]
  const left = struck.count === 1 ? [] : [{ ...struck, count: struck.count - 1 }]
  return [[...faults.slice(0, index), ...left, ...faults.slice(index + 1)], struck]
}
