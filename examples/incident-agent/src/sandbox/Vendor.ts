/**
 * What a simulated vendor is: routes whose handlers are pure functions of the fleet, the call and the time. The server
 * around them (`Sandbox.ts`) does the rest: faults, ledger, HTTP.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Fleet } from "./Fleet.js"

/**
 * The vendors, which are also their path prefixes.
 *
 * @since 0.1.0
 * @category models
 */
export const VendorName = Schema.Literal(
  "datadog",
  "prometheus",
  "loki",
  "pagerduty",
  "ecs",
  "elasticache",
  "kubernetes"
)

/**
 * The name of a vendor.
 *
 * @since 0.1.0
 * @category models
 */
export type VendorName = typeof VendorName.Type

/**
 * A request as a vendor's handler sees it. `body` is at most 1 MB.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly params: Readonly<Record<string, string | undefined>>
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/**
 * An answer as it goes over the wire.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reply {
  readonly status: number
  readonly contentType: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * What a call does: the answer, the fleet after it, and what the ledger says about it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly reply: Reply
  readonly fleet: Fleet
  readonly effect: boolean
  readonly target: string | null
  readonly key: string | null
}

/**
 * A handler: no clock, no randomness, no I/O.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (fleet: Fleet, call: Call, now: number) => Outcome

/**
 * One operation, or several that share a path (AWS names the operation in the request).
 *
 * @since 0.1.0
 * @category models
 */
export interface Route {
  readonly method: "GET" | "POST" | "PATCH"
  readonly path: `/${string}`
  readonly operation: string | ((call: Call) => string)
  readonly handle: Handler
}

/**
 * A vendor. `refuse` gives a failure in the vendor's own error format; `retryAfter` is in seconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Vendor {
  readonly name: VendorName
  readonly operations: ReadonlyArray<string>
  readonly routes: () => ReadonlyArray<Route>
  readonly refuse: (status: number, message: string, retryAfter?: number | undefined) => Reply
}

/**
 * What the ledger records beside the answer.
 *
 * @since 0.1.0
 * @category outcomes
 */
export interface About {
  readonly target?: string | null | undefined
  readonly key?: string | null | undefined
}

/**
 * The outcome of a call that changed nothing that counts as an effect.
 *
 * @since 0.1.0
 * @category outcomes
 */
export const answered = (fleet: Fleet, reply: Reply, about: About = {}): Outcome => ({
  reply,
  fleet,
  effect: false,
  target: about.target ?? null,
  key: about.key ?? null
})

/**
 * The outcome of a call that was to change the fleet: an effect if `after` is not `before`.
 *
 * @since 0.1.0
 * @category outcomes
 */
export const changed = (before: Fleet, after: Fleet, reply: Reply, about: About = {}): Outcome => ({
  ...answered(after, reply, about),
  effect: after !== before
})

/**
 * A JSON answer.
 *
 * @since 0.1.0
 * @category replies
 */
export const json = (
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
  contentType = "application/json"
): Reply => ({ status, contentType, body: JSON.stringify(value), headers })

/**
 * The `Retry-After` header in seconds, if one is wanted.
 *
 * @since 0.1.0
 * @category replies
 */
export const retryAfterHeader = (seconds: number | undefined): Record<string, string> =>
  seconds === undefined ? {} : { "retry-after": String(seconds) }

/**
 * A field that may be missing, but not `undefined` or `null`: JSON has no such value.
 *
 * @since 0.1.0
 * @category decoding
 */
export const maybe = <A, I, R>(schema: Schema.Schema<A, I, R>) => Schema.optionalWith(schema, { exact: true })

/**
 * Why an input was refused: `path` names the field, as in `payload.summary`; empty for the whole.
 *
 * @since 0.1.0
 * @category decoding
 */
export interface Problem {
  readonly path: string
  readonly message: string
}

/**
 * Decodes a JSON text. All problems are given, each with the path of its field.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decodeJson = <A, I>(
  schema: Schema.Schema<A, I>,
  text: string,
  options: { readonly onExcessProperty: "ignore" | "error" } = { onExcessProperty: "ignore" }
): Either.Either<A, readonly [Problem, ...Array<Problem>]> => {
  const parsed = Either.try({
    try: () => JSON.parse(text) as unknown,
    catch: (): readonly [Problem, ...Array<Problem>] => [{ path: "", message: "the body is not JSON" }]
  })
  return Either.flatMap(parsed, (value) =>
    Either.mapLeft(
      Schema.decodeUnknownEither(schema, { ...options, errors: "all" })(value),
      (error) => merge(ParseResult.ArrayFormatter.formatErrorSync(error).map(toProblem), error.message)
    ))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const toProblem = (issue: ParseResult.ArrayFormatterIssue): Problem => ({
  path: issue.path.map((part, i) => typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`)
    .join(""),
  message: issue.message
})

// a union reports each of its members; one problem a field is easier to read
const merge = (problems: ReadonlyArray<Problem>, fallback: string): readonly [Problem, ...Array<Problem>] => {
  const expectation = /^Expected (.*), actual (.*)$/s
  const byPath = new Map<string, Problem>()
  for (const { message, path } of problems) {
    const known = byPath.get(path)?.message.match(expectation)
    const next = message.match(expectation)
    if (known && next) byPath.set(path, { path, message: `Expected ${known[1]} or ${next[1]}, actual ${next[2]}` })
    else if (!byPath.has(path)) byPath.set(path, { path, message })
  }
  const [first, ...rest] = byPath.values()
  return [first ?? { path: "", message: fallback }, ...rest]
}
