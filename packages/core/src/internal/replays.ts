/**
 * Answers a completed key where it is called: from memory, or from a store that can read at once. Nothing is forked and
 * nothing waits.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import type * as Store from "../IdempotencyStore.js"
import { canonicalJson, equalJson } from "./canonicalJson.js"
import { sha256 } from "./hash.js"
import { KeyMap } from "./keyMap.js"
import type { OutcomeCodec } from "./outcomeCodec.js"

/**
 * The outcome of a completed key with this payload; undefined where the key has to be claimed: it is not completed, was
 * used with another payload, or its outcome cannot be decoded at once.
 */
export const atHand = <A, E, R, F>(
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  store: Store.Service,
  id: Store.Id,
  payload: unknown,
  codec: OutcomeCodec<A, E, R, F>
): Exit.Exit<A, E | F> | undefined => {
  if (store.peek === undefined) return undefined
  const clock = Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock)
  const now = clock.unsafeCurrentTimeMillis()
  const keeper = keeperOf(store)
  let record = keeper?.get(id)
  if (record === undefined || !record.isValid(now)) {
    const completed = store.peek(id, clock)
    if (completed === undefined) return undefined
    if (record === undefined || !record.isStill(completed)) {
      record = new Kept(completed.fingerprint, completed.exit, keeper !== undefined)
      keeper?.set(id, record)
    }
    record.believe(now, completed.validFor)
  }
  return record.isOf(payload) ? record.decoded(codec) : undefined
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** How long a kept record is believed before the store is asked again, in milliseconds: another process may reset it. */
const believed = 1_000

/** Longer texts are not kept, so that memory is bounded. */
const longest = 4_096

class Kept {
  private payload: unknown = nothing
  private success: Schema.Schema.All | undefined
  private error: Schema.Schema.All | undefined
  private exit: Exit.Exit<any, any> | undefined
  private at = 0
  private validFor = 0

  constructor(private readonly fingerprint: string, readonly text: string, private readonly lasts: boolean) {}

  isStill(completed: Store.Completed): boolean {
    return completed.exit === this.text && completed.fingerprint === this.fingerprint
  }

  believe(now: number, validFor: number): void {
    this.at = now
    this.validFor = Math.min(believed, validFor)
  }

  /** By the wall clock, which is cheap to read; where it steps, the belief ends within another `believed`. */
  isValid(now: number): boolean {
    const age = now - this.at
    return age >= 0 && age < this.validFor
  }

  isOf(payload: unknown): boolean {
    if (equalJson(payload, this.payload)) return true
    const json = jsonOf(payload)
    if (json === undefined || sha256(json) !== this.fingerprint) return false
    // a copy: the caller may change its payload
    if (this.lasts && json.length <= longest) this.payload = JSON.parse(json)
    return true
  }

  decoded<A, E, R, F>(codec: OutcomeCodec<A, E, R, F>): Exit.Exit<A, E | F> | undefined {
    // another action of the operation may have other schemas
    if (this.exit !== undefined && this.success === codec.success && this.error === codec.error) return this.exit
    const decoding = codec.decode(this.text)
    if (!Either.isEither(decoding)) return undefined
    if (Either.isLeft(decoding)) return Exit.fail(decoding.left as F)
    const exit = decoding.right as Exit.Exit<A, E>
    if (!isChangeable(exit)) {
      this.success = codec.success
      this.error = codec.error
      this.exit = exit
    }
    return exit
  }
}

/** Whether it holds an object: the caller may change it, so each has one of its own. */
const isChangeable = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit)
    ? Predicate.isObject(exit.value)
    : exit.cause._tag !== "Fail" || Predicate.isObject(exit.cause.error)

const jsonOf = (payload: unknown): string | undefined => {
  try {
    return canonicalJson(payload)
  } catch {
    return undefined
  }
}

/** Equal to no payload. */
const nothing = Symbol()

/**
 * The records used last: `capacity` of them, and up to twice as many. They are in two maps: what is found in the older
 * one moves to the younger one, and when that is full the older one is dropped.
 */
class Keeper {
  private young = new KeyMap<Kept>()
  private old = new KeyMap<Kept>()
  private generation: number

  constructor(private readonly caching: NonNullable<Store.Service["caching"]>) {
    this.generation = caching.generation()
  }

  get(id: Store.Id): Kept | undefined {
    const generation = this.caching.generation()
    if (generation !== this.generation) {
      this.generation = generation
      this.young = new KeyMap()
      this.old = new KeyMap()
      return undefined
    }
    const young = this.young.get(id)
    if (young !== undefined) return young
    const old = this.old.get(id)
    if (old !== undefined) this.set(id, old)
    return old
  }

  set(id: Store.Id, record: Kept): void {
    if (record.text.length > longest) return
    if (this.young.size >= this.caching.capacity && this.young.get(id) === undefined) {
      this.old = this.young
      this.young = new KeyMap()
    }
    this.young.set(id, record)
  }
}

const keepers = new WeakMap<NonNullable<Store.Service["caching"]>, Keeper>()

const keeperOf = ({ caching }: Store.Service): Keeper | undefined => {
  if (caching === undefined || caching.capacity === 0) return undefined
  let keeper = keepers.get(caching)
  if (keeper === undefined) keepers.set(caching, keeper = new Keeper(caching))
  return keeper
}
