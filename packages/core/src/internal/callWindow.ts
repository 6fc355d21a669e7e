/**
 * A sliding count of good and bad calls in ten buckets, as a value: a call allocates one small object, and buckets that
 * have passed go when the next one begins. `slot` is whatever numbers the buckets: time, or calls, divided by their width.
 */

/** How many buckets a window has. */
export const buckets = 10

interface Bucket {
  readonly slot: number
  readonly all: number
  readonly bad: number
}

export interface Window extends Bucket {
  /** Calls ever added. */
  readonly count: number
  /** The buckets before the current one, newest first, none of them out of the window when the current one began. */
  readonly older: ReadonlyArray<Bucket>
}

export const empty: Window = { slot: -Infinity, all: 0, bad: 0, count: 0, older: [] }

export const add = (window: Window, slot: number, bad: boolean): Window => {
  const count = window.count + 1
  if (slot <= window.slot) {
    return { slot: window.slot, all: window.all + 1, bad: window.bad + (bad ? 1 : 0), count, older: window.older }
  }
  const older = [window, ...window.older]
    .filter((bucket) => bucket.slot > slot - buckets)
    .map(({ all, bad, slot }) => ({ slot, all, bad }))
  return { slot, all: 1, bad: bad ? 1 : 0, count, older }
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
