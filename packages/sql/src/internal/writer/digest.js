// @ts-check
/** Digests that make damage to a record visible. */
import { createHash } from "node:crypto"

/** A record that is not what was written. */
export class Damage extends Error {}

/**
 * SHA-256 of the parts in order, as hex. Each part carries its length, so that no two lists of parts read the same.
 *
 * @param {ReadonlyArray<string | number | null>} parts
 */
export const digest = (parts) => {
  let text = ""
  for (const part of parts) text += part === null ? "-;" : `${String(part).length}:${part};`
  return createHash("sha256").update(text).digest("hex")
}
