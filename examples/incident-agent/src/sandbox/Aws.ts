/**
 * What the two AWS services have in common.
 *
 * @since 0.1.0
 */
import type { Call } from "./Vendor.js"

/**
 * The status and code of a failure that is not the operation's own: throttling is 400, as AWS answers it.
 *
 * @since 0.1.0
 * @category errors
 */
export const failure = (status: number): { readonly status: number; readonly code: string } => {
  if (status === 400 || status === 429) return { status: 400, code: "ThrottlingException" }
  if (status >= 500) return { status, code: "ServiceUnavailable" }
  return { status, code: codes[status] ?? "ValidationException" }
}

/**
 * How AWS says when to come back: `Retry-After` in seconds, `x-amz-retry-after` in milliseconds.
 *
 * @since 0.1.0
 * @category errors
 */
export const retryAfterHeaders = (seconds: number | undefined): Record<string, string> =>
  seconds === undefined
    ? {}
    : { "retry-after": String(seconds), "x-amz-retry-after": String(Math.ceil(seconds * 1_000)) }

/**
 * Whether the call carries a Signature Version 4. The signature itself is not checked.
 *
 * @since 0.1.0
 * @category authentication
 */
export const signed = (call: Call): boolean =>
  /^AWS4-HMAC-SHA256 Credential=[^,]+, ?SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64}$/.test(
    call.headers["authorization"] ?? ""
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const codes: Readonly<Record<number, string>> = {
  401: "UnrecognizedClientException",
  403: "AccessDeniedException",
  404: "UnknownOperationException",
  413: "RequestEntityTooLargeException"
}
