/**
 * Where idempotency records live: a narrow port of atomic operations. Memory is here; `@firebreak/sql` has the durable
 * ones; all pass the contract suite in `@firebreak/core/testing/IdempotencyStoreSuite`.
 *
 * A store instance is one owner. It holds a claim by a lease and a fencing token, and knows by itself (by process on
 * one machine, by lease elsewhere) whether another owner is still alive.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as State from "./IdempotencyState.js"
import { KeyMap } from "./internal/keyMap.js"
import type { StoreError } from "./StoreError.js"

/**
 * Names one record: a key means something within its operation, and that within its scope (a tenant, or "").
 *
 * @since 0.1.0
 * @category models
 */
export interface Id {
  readonly scope: string
  readonly operation: string
  readonly key: string
}

/**
 * Which records: those that have every part that is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filter {
  readonly scope?: string | undefined
  readonly operation?: string | undefined
  readonly key?: string | undefined
}

/**
 * The answer to a claim.
 *
 * - `Claimed`: the caller owns the key until its lease ends. `inDoubt` is true when an earlier owner began the action
 *   and never reported how it ended: its effect may or may not have happened.
 * - `Completed`: the action has ended; `exit` is its encoded outcome.
 * - `InProgress`: another live owner runs it.
 * - `Reused`: the key exists with another payload's fingerprint.
 *
 * @since 0.1.0
 * @category models
 */
export type Claim =
  | { readonly _tag: "Claimed"; readonly token: number; readonly inDoubt: boolean }
  | { readonly _tag: "Completed"; readonly exit: string }
  | { readonly _tag: "InProgress"; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "Reused"; readonly fingerprint: string }

/**
 * A completed record as `peek` gives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Completed {
  readonly fingerprint: string
  /** The encoded outcome. */
  readonly exit: string
  /** Milliseconds for which it may be answered without looking again: the rest of its retention, or less. */
  readonly validFor: number
}

/**
 * What is kept of one key. Times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Record extends Id {
  readonly fingerprint: string
  readonly state: "started" | "in-doubt" | "completed"
  readonly exit: Option.Option<string>
  readonly startedAt: number
  readonly completedAt: Option.Option<number>
  readonly expiresAt: Option.Option<number>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Closes with the store, before the store itself does. Actions run in it: closing interrupts them, and they still can
   * give their claims back.
   */
  readonly scope: Scope.Scope
  /**
   * Claims the key in one atomic step. `Reused` comes before every other answer; a completed record past its retention
   * counts as forgotten; a lease that has passed is taken over, in doubt, with a higher token.
   */
  readonly claim: (
    request: Id & { readonly fingerprint: string; readonly lease: Duration.Duration }
  ) => Effect.Effect<Claim, StoreError>
  /**
   * The record of a completed key, read at once; undefined if there is none, or if it takes longer to know: then the key
   * is claimed. A store that can only read by waiting leaves it out.
   */
  readonly peek?: ((id: Id, clock: Clock.Clock) => Completed | undefined) | undefined
  /**
   * What `peek` gave may be kept in memory for a second, `capacity` records and up to twice as many (0: none), until `generation` changes
   * because records were reset here. A reset by another owner shows when the second is over.
   */
  readonly caching?: { readonly capacity: number; readonly generation: () => number } | undefined
  /** Extends the lease; false when the claim was taken over, given back or completed: stop at once. */
  readonly renew: (
    request: Id & { readonly token: number; readonly lease: Duration.Duration }
  ) => Effect.Effect<boolean, StoreError>
  /** Records the outcome durably, kept for `retention` from now; false when the claim was taken over. */
  readonly complete: (
    request: Id & { readonly token: number; readonly exit: string; readonly retention: Duration.Duration }
  ) => Effect.Effect<boolean, StoreError>
  /** Gives the claim back without an outcome: `inDoubt` keeps the record, marked; otherwise nothing remains of it. */
  readonly release: (
    request: Id & { readonly token: number; readonly inDoubt: boolean }
  ) => Effect.Effect<void, StoreError>
  /** The record of one key, if there is one. */
  readonly get: (id: Id) => Effect.Effect<Option.Option<Record>, StoreError>
  /** Records in order of `startedAt`; without a filter those of every scope. */
  readonly list: (filter?: Filter) => Effect.Effect<ReadonlyArray<Record>, StoreError>
  /** Forgets records that are not in progress; returns how many. Without a filter in every scope. */
  readonly reset: (filter?: Filter) => Effect.Effect<number, StoreError>
  /** Forgets completed records past their retention, never what is in flight or in doubt; returns how many. */
  readonly prune: Effect.Effect<number, StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class IdempotencyStore extends Context.Tag("@firebreak/core/IdempotencyStore")<IdempotencyStore, Service>() {}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { cachedResults: 10_000 } as const

/**
 * Makes a store in this process's memory: nothing outlives the process. Leases and retention follow the Clock's
 * monotonic time. Completed records past their retention are dropped by themselves as the store grows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Service, never, Scope.Scope> = Effect.map(Effect.scope, (scope) => {
  const entries = new KeyMap<Entry>()
  let lastToken = 0
  let generation = 0
  let pruneAt = firstPrune

  const owned = (id: Id, token: number): Entry | undefined => {
    const entry = entries.get(id)
    return State.owns(entry, token) ? entry : undefined
  }
  const prune = (nanos: bigint): number =>
    removeWhere(entries, (entry) => entry.state === "completed" && entry.until <= nanos)

  return {
    scope,
    claim: (request) =>
      withTime((nanos, millis): Claim => {
        if (entries.size >= pruneAt) {
          prune(nanos)
          pruneAt = Math.max(firstPrune, entries.size * 2)
        }
        const found = entries.get(request)
        const known = found !== undefined && found.state === "completed" && found.until <= nanos ? undefined : found
        if (known !== undefined) {
          const { exit, fingerprint, state, token, until } = known
          switch (State.claim({ fingerprint, state, token, held: until > nanos }, request.fingerprint)) {
            case "reused":
              return { _tag: "Reused", fingerprint }
            case "completed":
              return { _tag: "Completed", exit }
            case "inProgress":
              return { _tag: "InProgress", retryAfter: Duration.nanos(until - nanos) }
          }
        }
        const token = ++lastToken
        entries.set(request, {
          scope: request.scope,
          operation: request.operation,
          key: request.key,
          fingerprint: request.fingerprint,
          state: "started",
          token,
          until: after(nanos, request.lease),
          startedAt: known?.startedAt ?? millis,
          exit: "",
          completedAt: 0,
          expiresAt: 0
        })
        return { _tag: "Claimed", token, inDoubt: known !== undefined }
      }),
    peek: (id, clock) => {
      const entry = entries.get(id)
      if (entry === undefined || entry.state !== "completed") return undefined
      const validFor = Number(entry.until - clock.unsafeCurrentTimeNanos()) / 1e6
      return validFor > 0 ? { fingerprint: entry.fingerprint, exit: entry.exit, validFor } : undefined
    },
    caching: { capacity: defaults.cachedResults, generation: () => generation },
    renew: (request) =>
      withTime((nanos) => {
        const entry = owned(request, request.token)
        if (entry === undefined) return false
        entry.until = after(nanos, request.lease)
        return true
      }),
    complete: (request) =>
      withTime((nanos, millis) => {
        const entry = owned(request, request.token)
        if (entry === undefined) return false
        entry.state = "completed"
        entry.exit = request.exit
        entry.until = after(nanos, request.retention)
        entry.completedAt = millis
        entry.expiresAt = millis + Duration.toMillis(request.retention)
        return true
      }),
    release: (request) =>
      Effect.sync(() => {
        const entry = owned(request, request.token)
        if (entry === undefined) return
        if (request.inDoubt) entry.state = "in-doubt"
        else entries.delete(request)
      }),
    get: (id) => withTime((nanos) => Option.map(Option.fromNullable(entries.get(id)), (_) => toRecord(_, nanos))),
    list: (filter) =>
      withTime((nanos) =>
        Array.from(entries.values())
          .filter((entry) => matches(entry, filter))
          .toSorted((a, b) => a.startedAt - b.startedAt || a.token - b.token)
          .map((entry) => toRecord(entry, nanos))
      ),
    reset: (filter) =>
      withTime((nanos) => {
        generation++
        return removeWhere(entries, (entry) => !isHeld(entry, nanos) && matches(entry, filter))
      }),
    prune: withTime(prune)
  }
})

/**
 * A store in memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<IdempotencyStore> = Layer.scoped(IdempotencyStore, makeMemory)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const firstPrune = 1_024

interface Entry extends Id {
  readonly fingerprint: string
  readonly token: number
  readonly startedAt: number
  state: Record["state"]
  /** Monotonic nanoseconds: the end of the lease while started, of the retention once completed. */
  until: bigint
  exit: string
  completedAt: number
  expiresAt: number
}

const withTime = <A>(f: (nanos: bigint, millis: number) => A): Effect.Effect<A> =>
  Clock.clockWith((clock) => Effect.sync(() => f(clock.unsafeCurrentTimeNanos(), clock.unsafeCurrentTimeMillis())))

const matches = (id: Id, filter: Filter | undefined): boolean =>
  filter === undefined ||
  ((filter.scope === undefined || id.scope === filter.scope) &&
    (filter.operation === undefined || id.operation === filter.operation) &&
    (filter.key === undefined || id.key === filter.key))

const after = (nanos: bigint, duration: Duration.Duration): bigint => nanos + Duration.unsafeToNanos(duration)

const isHeld = (entry: Entry, nanos: bigint): boolean => entry.state === "started" && entry.until > nanos

const removeWhere = (entries: KeyMap<Entry>, predicate: (entry: Entry) => boolean): number => {
  const removed = Array.from(entries.values()).filter(predicate)
  for (const entry of removed) entries.delete(entry)
  return removed.length
}

const toRecord = (entry: Entry, nanos: bigint): Record => {
  const completed = entry.state === "completed"
  return {
    scope: entry.scope,
    operation: entry.operation,
    key: entry.key,
    fingerprint: entry.fingerprint,
    state: entry.state === "started" && !isHeld(entry, nanos) ? "in-doubt" : entry.state,
    exit: completed ? Option.some(entry.exit) : Option.none(),
    startedAt: entry.startedAt,
    completedAt: completed ? Option.some(entry.completedAt) : Option.none(),
    expiresAt: completed ? Option.some(entry.expiresAt) : Option.none()
  }
}
