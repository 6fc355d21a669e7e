/** One text for one value, whatever the order of its keys (as RFC 8785), and a refusal of what JSON would lose. */

/** Nesting deeper than this is refused. */
export const maxDepth = 64

/** Where a value is not JSON, and why. */
export class NotJson extends Error {
  override readonly name = "NotJson"
  constructor(readonly path: ReadonlyArray<PropertyKey>, readonly detail: string) {
    super(`${showPath(path)}: ${detail}`)
  }
}

/**
 * The value as JSON with sorted keys. A key whose value is `undefined` is left out. Throws `NotJson` for what would not
 * come back the same: NaN, infinities, BigInt, functions, symbols, `undefined` elsewhere, objects with a class, cycles,
 * a key named `__proto__`, nesting over 64.
 */
export const canonicalJson = (value: unknown): string => write(value, [], [])

/**
 * Whether both have the same canonical JSON; false too where the first one is not JSON. The second one is.
 */
export const equalJson = (value: unknown, json: unknown): boolean => {
  if (value === json) return true
  if (typeof value !== "object" || typeof json !== "object" || value === null || json === null) return false
  if (Array.isArray(value)) {
    if (!Array.isArray(json) || value.length !== json.length) return false
    for (let i = 0; i < value.length; i++) if (!equalJson(value[i], json[i])) return false
    return true
  }
  if (Object.getPrototypeOf(value) !== Object.prototype || Array.isArray(json)) return false
  const fields = value as { readonly [key: string]: unknown }
  const others = json as { readonly [key: string]: unknown }
  let rest = 0
  for (const key in fields) {
    const field = fields[key]
    if (field === undefined) continue
    const other = others[key]
    if (field !== other && !equalJson(field, other)) return false
    rest++
  }
  for (const _ in others) rest--
  return rest === 0
}

/** A path as it is written in code: `items[0].name`; `(root)` for the value itself. */
export const showPath = (path: ReadonlyArray<PropertyKey>): string => {
  let text = ""
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`
    else text += text === "" ? String(part) : `.${String(part)}`
  }
  return text === "" ? "(root)" : text
}

const write = (value: unknown, path: Array<PropertyKey>, parents: Array<object>): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "boolean":
      return String(value)
    case "number":
      if (!Number.isFinite(value)) throw new NotJson([...path], `${value} is not JSON`)
      return JSON.stringify(value)
    case "object":
      if (value === null) return "null"
      break
    default:
      throw new NotJson([...path], `${value === undefined ? "undefined" : `a ${typeof value}`} is not JSON`)
  }
  if (parents.includes(value)) throw new NotJson([...path], "the value contains itself")
  if (parents.length >= maxDepth) throw new NotJson([...path], `nested more than ${maxDepth} deep`)
  parents.push(value)
  const text = Array.isArray(value) ? writeArray(value, path, parents) : writeObject(value, path, parents)
  parents.pop()
  return text
}

const writeArray = (values: ReadonlyArray<unknown>, path: Array<PropertyKey>, parents: Array<object>): string => {
  let text = "["
  for (let i = 0; i < values.length; i++) {
    path.push(i)
    text += (i === 0 ? "" : ",") + write(values[i], path, parents)
    path.pop()
  }
  return text + "]"
}

const writeObject = (value: object, path: Array<PropertyKey>, parents: Array<object>): string => {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    const name = value.constructor?.name ?? "an object"
    throw new NotJson([...path], `an instance of ${name} is not JSON`)
  }
  const fields = value as { readonly [key: string]: unknown }
  let text = "{"
  for (const key of Object.keys(fields).toSorted()) {
    const field = fields[key]
    if (key === "__proto__") throw new NotJson([...path, key], "a key named __proto__ is refused")
    if (field === undefined) continue
    path.push(key)
    text += (text === "{" ? "" : ",") + JSON.stringify(key) + ":" + write(field, path, parents)
    path.pop()
  }
  return text + "}"
}
