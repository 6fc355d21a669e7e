/**
 * When a response says to come back: the one place that knows the headers and units in which servers say it.
 *
 * Whatever is not a plain number or an HTTP date, is negative, past or too large to be a time asks for nothing.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/**
 * The time a response asks to wait, from the first of these headers that makes sense: `retry-after-ms` and
 * `x-amz-retry-after` (milliseconds), `retry-after` (seconds or an HTTP date), `ratelimit-reset` and
 * `x-ratelimit-reset` (seconds; seconds or milliseconds since the epoch if that large), the last two only while their
 * `remaining` header does not say that quota is left. Header names are lower case; `now` is the wall clock in
 * milliseconds since the epoch.
 *
 * @example
 * import * as RetryAfter from "@firebreak/http/RetryAfter"
 * import * as Duration from "effect/Duration"
 * import * as Option from "effect/Option"
 *
 * assert.deepStrictEqual(RetryAfter.fromHeaders({ "retry-after": "2" }, 0), Option.some(Duration.seconds(2)))
 *
 * @since 0.1.0
 * @category parsing
 */
export const fromHeaders = (
  headers: { readonly [name: string]: string | undefined },
  now: number
): Option.Option<Duration.Duration> => {
  for (const [name, parse] of parsers) {
    const value = headers[name]
    const wait = value === undefined || hasQuotaLeft(headers, name) ? undefined : parse(value.trim(), now)
    if (wait !== undefined && wait >= 0 && Number.isFinite(wait)) return Option.some(Duration.millis(wait))
  }
  return Option.none()
}

/**
 * An HTTP date (RFC 9110, section 5.6.7) in milliseconds since the epoch: the preferred form, `Sun, 06 Nov 1994 08:49:37
 * GMT`, or one of the two obsolete ones.
 *
 * @since 0.1.0
 * @category parsing
 */
export const fromHttpDate = (text: string): Option.Option<number> => {
  // Date.parse takes nearly anything for a date, and an asctime date for local time
  const time = preferred.test(text) || rfc850.test(text)
    ? Date.parse(text)
    : asctime.test(text)
    ? Date.parse(`${text} GMT`)
    : NaN
  return Number.isNaN(time) ? Option.none() : Option.some(time)
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Milliseconds to wait; undefined, negative and infinite ones are no answer. */
type Parser = (value: string, now: number) => number | undefined

const preferred = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/
const rfc850 = /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/
const asctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/

/** No sign, no exponent, no hexadecimal: what `Number` would also take is not what a server means. */
const decimal = (value: string): number | undefined => /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : undefined

const millis: Parser = (value) => decimal(value)

const secondsOrDate: Parser = (value, now) => {
  const seconds = decimal(value)
  if (seconds !== undefined) return seconds * 1_000
  return Option.getOrUndefined(Option.map(fromHttpDate(value), (time) => time - now))
}

/** From these on a number is no span but a point in time: 2001 in seconds, and 2001 in milliseconds. */
const epochSeconds = 1e9
const epochMillis = 1e12

const secondsOrEpoch: Parser = (value, now) => {
  const time = decimal(value)
  if (time === undefined) return undefined
  if (time < epochSeconds) return time * 1_000
  return (time < epochMillis ? time * 1_000 : time) - now
}

const parsers: ReadonlyArray<readonly [header: string, parse: Parser]> = [
  ["retry-after-ms", millis],
  ["x-amz-retry-after", millis],
  ["retry-after", secondsOrDate],
  ["ratelimit-reset", secondsOrEpoch],
  ["x-ratelimit-reset", secondsOrEpoch]
]

/** Vendors send the reset time with every response, also with a 503 that has nothing to do with the quota. */
const hasQuotaLeft = (headers: { readonly [name: string]: string | undefined }, name: string): boolean => {
  if (!name.endsWith("ratelimit-reset")) return false
  const remaining = decimal(headers[name.replace("reset", "remaining")]?.trim() ?? "")
  return remaining !== undefined && remaining > 0
}
