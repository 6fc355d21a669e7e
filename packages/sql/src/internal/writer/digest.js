// @ts-check
/** Digests that make damage to a record visible. */
import * as crypto from "node:crypto"

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
  return sha256(text)
}

/**
 * Node's one call for short texts, where it has that (20.12), for it is three times as fast.
 *
 * @type {(text: string) => string}
 */
const sha256 = typeof crypto.hash === "function"
  ? (text) => crypto.hash("sha256", text)
  : (text) => crypto.createHash("sha256").update(text).digest("hex")
