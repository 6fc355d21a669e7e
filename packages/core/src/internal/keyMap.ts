/** A map by scope, operation and key, which are never joined into one text. */
import type { Id } from "../IdempotencyStore.js"

export class KeyMap<V> {
  private readonly scopes = new Map<string, Map<string, Map<string, V>>>()
  private count = 0
  /** Where the last key was found, for the next is most likely beside it. */
  private scope = ""
  private operation = ""
  private keys: Map<string, V> | undefined

  get size(): number {
    return this.count
  }

  get({ key, operation, scope }: Id): V | undefined {
    if (this.keys !== undefined && operation === this.operation && scope === this.scope) return this.keys.get(key)
    const keys = this.scopes.get(scope)?.get(operation)
    if (keys === undefined) return undefined
    this.scope = scope
    this.operation = operation
    this.keys = keys
    return keys.get(key)
  }

  set({ key, operation, scope }: Id, value: V): void {
    let operations = this.scopes.get(scope)
    if (operations === undefined) this.scopes.set(scope, operations = new Map())
    let keys = operations.get(operation)
    if (keys === undefined) operations.set(operation, keys = new Map())
    const before = keys.size
    keys.set(key, value)
    this.count += keys.size - before
  }

  /** Maps that have become empty go too, for there may be a scope for each of many tenants. */
  delete({ key, operation, scope }: Id): void {
    const operations = this.scopes.get(scope)
    const keys = operations?.get(operation)
    if (operations === undefined || keys === undefined || !keys.delete(key)) return
    this.count--
    if (keys.size > 0) return
    this.keys = undefined
    operations.delete(operation)
    if (operations.size === 0) this.scopes.delete(scope)
  }

  *values(): IterableIterator<V> {
    for (const operations of this.scopes.values()) {
      for (const keys of operations.values()) yield* keys.values()
    }
  }
}
