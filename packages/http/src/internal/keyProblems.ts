/** What is answered to a request whose key, body or first request stands in the way, as problem details (RFC 9457). */
import type * as Idempotency from "@firebreak/core/Idempotency"

export interface Problem {
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  /** Whether it is worth asking again. */
  readonly retry?: boolean
}

export const missing = (): Problem => ({
  title: "Idempotency-Key is missing",
  status: 400,
  detail: "This request is carried out once per key and must have the header Idempotency-Key",
  code: "idempotency-key-missing"
})

export const invalid = (why: string): Problem => ({
  title: "Idempotency-Key is invalid",
  status: 400,
  detail: `The header Idempotency-Key cannot be used: ${why}`,
  code: "idempotency-key-invalid"
})

export const multipart = (): Problem => ({
  title: "Multipart bodies take no Idempotency-Key",
  status: 415,
  detail: "A request with an Idempotency-Key must not have a multipart body; it was not carried out",
  code: "idempotency-key-multipart"
})

export const tooLarge = (limit: number): Problem => ({
  title: "The request body is too large",
  status: 413,
  detail: `A request with an Idempotency-Key may have a body of ${limit} bytes at most; it was not carried out`,
  code: "idempotency-key-body-too-large"
})

export const notKept = (status: number): Problem => ({
  title: "The response was not kept",
  status: 409,
  detail: `The first request with this key was carried out and answered with status ${status}; ` +
    "its response was too large to keep or was streamed, and this request was not carried out",
  code: "idempotency-response-not-kept"
})

/** For a request that ran nothing. */
export const of = (error: Idempotency.Failure<"fail" | "wait"> | { readonly _tag: "NoOutcome" }): Problem => {
  switch (error._tag) {
    case "KeyReused":
      return {
        title: "Idempotency-Key is already used",
        status: 422,
        detail: "This key was used with another request: another method, path or body; it was not carried out",
        code: "idempotency-key-reused"
      }
    case "InProgress":
      return {
        title: "A request is outstanding for this Idempotency-Key",
        status: 409,
        detail: "The first request with this key is still being carried out; ask again for its response",
        code: "idempotency-key-in-flight",
        retry: true
      }
    case "NoOutcome":
      return {
        title: "The first request had no outcome",
        status: 503,
        detail: "The request with this key that was waited for ended without an outcome to keep; ask again",
        code: "idempotency-no-outcome",
        retry: true
      }
    case "OutcomeUnknown":
      return {
        title: "The outcome of the first request is unknown",
        status: 500,
        detail: "A request with this key never reported how it ended; it was not carried out again",
        code: "idempotency-outcome-unknown"
      }
    case "CodecError":
      return {
        title: "The kept response cannot be read",
        status: 500,
        detail: "The response that was kept for this key cannot be read; the request was not carried out",
        code: "idempotency-response-unreadable"
      }
    case "StoreError":
      return {
        title: "Idempotency keys are unavailable",
        status: 503,
        detail: "The store of keys cannot be used at the moment; the request was not carried out",
        code: "idempotency-store-unavailable",
        retry: true
      }
  }
}
