/**
 * A sliding count of good and bad calls in ten buckets, as a value: a call allocates one small object, and buckets that
 * have passed go when the next one begins. `slot` numbers the buckets: time divided by their width.
 */

/** How many buckets a window has. */
export const buckets = 10

interface Bucket {
  readonly slot: number
  readonly all: number
  readonly bad: number
}

export interface Window extends Bucket {
  /** The buckets before the current one, newest first, none of them out of the window when the current one began. */
  readonly older: ReadonlyArray<Bucket>
}

export const empty: Window = { slot: -Infinity, all: 0, bad: 0, older: [] }

export const add = (window: Window, slot: number, bad: boolean): Window => {
  if (slot <= window.slot) {
    return { slot: window.slot, all: window.all + 1, bad: window.bad + (bad ? 1 : 0), older: window.older }
  }
  const older = [window, ...window.older]
    .filter((bucket) => bucket.slot > slot - buckets)
    .map(({ all, bad, slot }) => ({ slot, all, bad }))
  return { slot, all: 1, bad: bad ? 1 : 0, older }
}

export const sum = (window: Window, slot: number): { readonly all: number; readonly bad: number } => {
  let all = 0
  let bad = 0
  const oldest = Math.max(slot, window.slot) - buckets
  if (window.slot > oldest) {
    all = window.all
    bad = window.bad
  }
  for (const bucket of window.older) {
    if (bucket.slot <= oldest) break
    all += bucket.all
    bad += bucket.bad
  }
  return { all, bad }
}

/** The outcomes of exactly the latest so many calls, a bit each, the newest lowest. */
export interface Latest {
  readonly bits: bigint
  readonly all: number
  readonly bad: number
}

export const none: Latest = { bits: 0n, all: 0, bad: 0 }

export const push = (latest: Latest, size: number, bad: boolean): Latest => {
  const isFull = latest.all === size
  const leaving = isFull && (latest.bits >> BigInt(size - 1)) === 1n
  return {
    bits: (BigInt.asUintN(size - 1, latest.bits) << 1n) | (bad ? 1n : 0n),
    all: isFull ? size : latest.all + 1,
    bad: latest.bad + (bad ? 1 : 0) - (leaving ? 1 : 0)
  }
}
