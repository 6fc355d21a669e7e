/**
 * Datadog's search syntax, as far as the sandbox reads it: `key:value` (`*` as wildcard), `key:(a OR b)`, words and
 * quoted phrases; all must hold, and `-` before one negates it.
 *
 * @since 0.1.0
 */

/**
 * Whether a document, given by its fields and its text, is found.
 *
 * @since 0.1.0
 * @category models
 */
export type Matches = (fields: Readonly<Record<string, string>>, text: string) => boolean

/**
 * Whether a document fits the query, or `undefined` if the query cannot be read.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (query: string): Matches | undefined => {
  const term = /\s*(-)?(?:([\w@.]+):)?(\(([^()]*)\)|"([^"]*)"|[^\s()":]+)(?=\s|$)/y
  const tests: Array<Matches> = []
  const trimmed = query.trim()
  while (term.lastIndex < trimmed.length) {
    const match = term.exec(trimmed)
    if (match === null) return undefined
    const [, minus, key, bare = "", group, phrase] = match
    if (key === undefined && (bare === "*" || bare === "AND")) continue
    if (key === undefined && bare === "OR") return undefined
    const wanted = group === undefined
      ? [phrase ?? bare]
      : group.split(/\s+OR\s+/).map((word) => word.trim().replace(/^"(.*)"$/, "$1"))
    const holds: Matches = (fields, text) =>
      wanted.some((word) =>
        key === undefined
          ? text.toLowerCase().includes(word.toLowerCase())
          : wildcard(word).test(fields[key.replace(/^@/, "")] ?? "")
      )
    tests.push((fields, text) => holds(fields, text) === (minus === undefined))
  }
  return (fields, text) => tests.every((test) => test(fields, text))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const wildcard = (word: string): RegExp =>
  new RegExp(`^${word.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*")}$`, "i")
