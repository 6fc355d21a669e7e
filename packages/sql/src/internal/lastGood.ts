/** What the caches of last good values on both databases share: rows that tell damage, and when to make room. */
import type { Entry } from "@firebreak/core/DegradationCache"
import * as Digest from "./writer/digest.js"

/** A row of the table of last good values; a `bigint` of PostgreSQL comes as text. */
export type Row = readonly [value: string, storedAt: number | string, hash: string]

export const hashOf = (component: string, key: string, { storedAt, value }: Entry): string =>
  Digest.digest([component, key, value, storedAt])

/** The entry, if it is what was written. */
export const verified = (component: string, key: string, [value, storedAt, hash]: Row): Entry => {
  const entry = { value, storedAt: Number(storedAt) }
  if (hash === hashOf(component, key, entry)) return entry
  throw new Digest.Damage(`the last good value of "${component}", key "${key}", does not match its hash`)
}

/** Statements for both databases: the table's name, and how its parameters are written. */
export const statements = (table: string, $: (position: number) => string) => ({
  get: `SELECT value, stored_at, hash FROM ${table} WHERE component = ${$(1)} AND key = ${$(2)}`,
  set: `INSERT INTO ${table} (component, key, value, stored_at, hash)
    VALUES (${$(1)}, ${$(2)}, ${$(3)}, ${$(4)}, ${$(5)})
    ON CONFLICT (component, key)
    DO UPDATE SET value = excluded.value, stored_at = excluded.stored_at, hash = excluded.hash`,
  remove: `DELETE FROM ${table} WHERE component = ${$(1)} AND key = ${$(2)}`,
  clear: `DELETE FROM ${table} WHERE component = ${$(1)}`,
  // those beyond the capacity, which is the offset; the oldest first
  makeRoom: `DELETE FROM ${table} WHERE component = ${$(1)} AND (stored_at, key) <= (
    SELECT stored_at, key FROM ${table} WHERE component = ${$(2)} ORDER BY stored_at DESC, key DESC
    LIMIT 1 OFFSET ${$(3)})`
})

/**
 * Which sets make room: looking for what is beyond the capacity reads an index as long as that, so it is done once in a
 * hundredth of it.
 */
export const roomEvery = (capacity: number): (component: string) => boolean => {
  const every = Math.max(1, Math.floor(capacity / 100))
  const sets = new Map<string, number>()
  return (component) => {
    const count = (sets.get(component) ?? 0) + 1
    sets.set(component, count % every)
    return count >= every
  }
}
