/**
 * Text of somebody else's, shown and not obeyed.
 *
 * @since 0.1.0
 */

/**
 * The text on one line, with control characters and marks of direction as `\uXXXX`.
 *
 * @since 0.1.0
 * @category rendering
 */
export const inert = (text: string): string =>
  text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/**
 * A value on one line, as JSON of at most 80 characters.
 *
 * @since 0.1.0
 * @category rendering
 */
export const excerpt = (value: unknown): string => clip(inert(JSON.stringify(value)), 80)

/**
 * The text's beginning, at most `length` characters of it.
 *
 * @since 0.1.0
 * @category rendering
 */
export const clip = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length)}...`

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu
