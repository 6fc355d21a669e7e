/** Outcomes that were seen in the database a moment ago, the ones used last. */

export interface Result {
  readonly fingerprint: string
  readonly exit: string
  /** Milliseconds for which the database keeps it; of a result from here, for which it is believed. */
  readonly validFor: number
}

/** How long a result is believed before the database is asked again: another process may have reset the key. */
const believed = 1_000

/** Longer outcomes are not kept, so that the memory is bounded. */
const maxLength = 4_096

/**
 * Time is the process's monotonic time, whatever the Clock is: retention passes by the database's clock, and not by a
 * simulated one.
 */
export class ResultCache {
  private readonly entries = new Map<string, { readonly result: Result; readonly at: number }>()

  constructor(private readonly capacity: number) {}

  get(path: string): Result | undefined {
    const entry = this.entries.get(path)
    if (entry === undefined) return undefined
    const age = performance.now() - entry.at
    const validFor = Math.min(entry.result.validFor, believed) - age
    if (validFor > 0) return { ...entry.result, validFor }
    this.entries.delete(path)
    return undefined
  }

  set(path: string, result: Result): void {
    if (this.capacity === 0 || result.exit.length > maxLength) return
    this.entries.delete(path)
    this.entries.set(path, { result, at: performance.now() })
    if (this.entries.size <= this.capacity) return
    for (const oldest of this.entries.keys()) {
      this.entries.delete(oldest)
      break
    }
  }

  clear(): void {
    this.entries.clear()
  }
}
