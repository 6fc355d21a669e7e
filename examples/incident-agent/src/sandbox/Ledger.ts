/**
 * The ledger: one line for every call that reached a vendor, written before its answer leaves, so that neither a kill
 * of the client nor one of the sandbox can lose what was done.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import type { VendorName } from "./Vendor.js"

/**
 * What one call did. `at` is ISO 8601; `key` is the idempotency key that came with the call (header, dedup_key,
 * clientToken, restartedAt); `status` is what was answered, 0 when no answer was sent; `effect` is true if the call
 * changed the fleet or paged someone.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly at: string
  readonly vendor: VendorName
  readonly operation: string
  readonly target: string | null
  readonly key: string | null
  readonly status: number
  readonly effect: boolean
}

/**
 * Lines in memory, and in a file if one was named. `append` is synchronous.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ledger {
  readonly lines: Effect.Effect<ReadonlyArray<Line>>
  readonly append: (line: Line) => void
}

/**
 * The ledger's file cannot be opened.
 *
 * @since 0.1.0
 * @category errors
 */
export class LedgerUnavailable extends Data.TaggedError("LedgerUnavailable")<{
  readonly file: string
  readonly reason: string
}> {
  override get message() {
    return `Ledger "${this.file}" cannot be opened for appending: ${this.reason}`
  }
}

/**
 * A ledger that appends to `file`, or is kept in memory alone.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (file?: string | undefined) => Effect.Effect<Ledger, LedgerUnavailable, Scope.Scope> = Effect
  .fnUntraced(function*(file?: string | undefined) {
    const lines: Array<Line> = []
    const descriptor = file === undefined ? undefined : yield* open(file)
    return {
      lines: Effect.sync(() => lines.slice()),
      append: (line) => {
        if (descriptor !== undefined) Fs.writeSync(descriptor, `${JSON.stringify(line)}\n`)
        lines.push(line)
      }
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const open = (file: string) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => Fs.openSync(file, "a"),
      catch: (error) => new LedgerUnavailable({ file, reason: error instanceof Error ? error.message : String(error) })
    }),
    (descriptor) => Effect.sync(() => Fs.closeSync(descriptor))
  )
