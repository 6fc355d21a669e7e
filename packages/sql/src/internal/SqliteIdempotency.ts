/**
 * `IdempotencyStore` on SQLite. Claims and outcomes go through the writer; a completed key is answered without it, from
 * a bounded cache or from a read-only connection of this thread that never waits for a lock.
 */
import type * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import type BetterSqlite3 from "better-sqlite3"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { ActionFilter, ActionId, ActionRow, ClaimAnswer } from "./protocol.js"
import { drained, micros, millis } from "./requests.js"
import { moment, type SqliteClient } from "./SqliteClient.js"
import * as Actions from "./writer/actions.js"

type Driver = typeof BetterSqlite3

/** The driver for this thread's reader. It takes some milliseconds to load, best while the writer starts. */
export const loadDriver: Effect.Effect<Driver> = Effect.map(
  Effect.promise(() => import("better-sqlite3")),
  (module) => module.default
)

export const make = (
  client: SqliteClient,
  driver: Driver,
  options: { readonly cachedResults: number }
): Effect.Effect<IdempotencyStore.Service, StoreError, Scope.Scope> =>
  Effect.gen(function*() {
    const lifetime = yield* Effect.scope
    const completed = yield* openReader(driver, client.filename)
    const cache = new ResultCache(options.cachedResults)
    const held = new Map<number, ActionId>()

    const release = ({ inDoubt, key, operation, scope, token }: ActionId & { token: number; inDoubt: boolean }) => {
      held.delete(token)
      return client.request("release", { scope, operation, key, token, inDoubt })
    }
    yield* Effect.addFinalizer(() =>
      Effect.forEach(held, ([token, id]) => Effect.ignore(release({ ...id, token, inDoubt: true })), {
        concurrency: "unbounded",
        discard: true
      })
    )

    const replay = (row: ActionRow, fingerprint: string): IdempotencyStore.Claim =>
      row.fingerprint === fingerprint && row.exit !== null
        ? { _tag: "Completed", exit: row.exit }
        : { _tag: "Reused", fingerprint: row.fingerprint }

    const answered = (id: ActionId, answer: ClaimAnswer, wall: number): IdempotencyStore.Claim => {
      switch (answer._tag) {
        case "InProgress":
          return { _tag: "InProgress", retryAfter: Duration.micros(BigInt(answer.retryAfter)) }
        case "Completed":
          cache.set(answer.row, wall)
          return replay(answer.row, answer.row.fingerprint)
        case "Claimed":
          held.set(answer.token, id)
          return answer
        case "Reused":
          return answer
      }
    }

    return {
      scope: lifetime,

      claim: ({ fingerprint, key, lease, operation, scope }) =>
        Effect.clockWith((clock) => {
          const wall = clock.unsafeCurrentTimeMillis()
          const id = { scope, operation, key }
          const hit = cache.get(id, wall)
          if (hit !== undefined) return Effect.succeed(replay(hit, fingerprint))
          const row = completed(id)
          if (row !== undefined && row.expiresAt !== null && row.expiresAt > wall) {
            cache.set(row, wall)
            return Effect.succeed(replay(row, fingerprint))
          }
          return Effect.map(
            client.request("claim", { ...id, ...moment(clock), fingerprint, lease: micros(lease) }, (answer) => {
              // nobody knows the token, so the action was not begun
              if (answer._tag === "Claimed") {
                client.tell("release", { ...id, token: answer.token, inDoubt: answer.inDoubt })
              }
            }),
            (answer) => answered(id, answer, wall)
          )
        }),

      renew: ({ key, lease, operation, scope, token }) =>
        Effect.clockWith((clock) =>
          Effect.tap(
            client.request("renew", { scope, operation, key, token, ...moment(clock), lease: micros(lease) }),
            (renewed) => Effect.sync(() => renewed || held.delete(token))
          )
        ),

      complete: ({ exit, key, operation, retention, scope, token }) =>
        Effect.clockWith((clock) => {
          const now = moment(clock)
          const request = { scope, operation, key, token, exit, retention: millis(retention) }
          return Effect.map(client.request("complete", { ...request, ...now }), (row) => {
            held.delete(token)
            if (row !== null) cache.set(row, now.wall)
            return row !== null
          })
        }),

      release: (request) => Effect.asVoid(release(request)),

      get: ({ key, operation, scope }) =>
        Effect.clockWith((clock) =>
          Effect.map(
            client.request("get", { ...moment(clock), scope, operation, key }),
            (row) => Option.map(Option.fromNullable(row), toRecord)
          )
        ),

      list: (filter) =>
        Effect.clockWith((clock) =>
          Effect.map(
            client.request("list", { ...moment(clock), ...toFilter(filter) }),
            (rows) => rows.map(toRecord)
          )
        ),

      reset: (filter) =>
        Effect.clockWith((clock) =>
          Effect.map(
            client.request("reset", { ...moment(clock), ...toFilter(filter) }),
            (count) => {
              cache.clear()
              return count
            }
          )
        ),

      prune: Effect.clockWith((clock) => {
        const now = moment(clock)
        return drained((limit) => client.request("prune", { ...now, limit }))
      })
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const toFilter = (filter: IdempotencyStore.Filter | undefined): ActionFilter => ({
  scope: filter?.scope ?? null,
  operation: filter?.operation ?? null,
  key: filter?.key ?? null
})

const toRecord = ({ completedAt, exit, expiresAt, ...row }: ActionRow): IdempotencyStore.Record => ({
  ...row,
  exit: Option.fromNullable(exit),
  completedAt: Option.fromNullable(completedAt),
  expiresAt: Option.fromNullable(expiresAt)
})

/**
 * Looks up a completed record on this thread; undefined whenever the writer has to be asked, be it that there is none,
 * that the file is locked, or that the record is damaged.
 */
const openReader = (
  driver: Driver,
  filename: string
): Effect.Effect<(id: ActionId) => ActionRow | undefined, never, Scope.Scope> => {
  let db: BetterSqlite3.Database | undefined
  let select: BetterSqlite3.Statement<[string, string, string], Completed> | undefined
  const lookup = ({ key, operation, scope }: ActionId) => {
    try {
      db ??= new driver(filename, { readonly: true, fileMustExist: true, timeout: 0 })
      select ??= db.prepare(
        `SELECT fingerprint, exit, started_at AS startedAt, completed_at AS completedAt, expires_at AS expiresAt, hash
         FROM firebreak_action WHERE scope = ? AND operation = ? AND key = ? AND state = 'completed'`
      )
      const row = select.get(scope, operation, key)
      return row === undefined ? undefined : Actions.verified({ scope, operation, key, state: "completed", ...row })
    } catch {
      return undefined
    }
  }
  return Effect.as(Effect.addFinalizer(() => Effect.sync(() => db?.close())), lookup)
}

type Completed = Omit<ActionRow, keyof ActionId | "state"> & { readonly hash: string }

/** How long a cached result is believed before the file is read again: another process may have reset the key. */
const believed = 1_000

/** Longer outcomes are not cached, so that the cache's memory is bounded. */
const maxCachedLength = 4_096

const joined = ({ key, operation, scope }: ActionId): string =>
  `${scope.length}:${operation.length}:${scope}${operation}${key}`

/** The completed records used last. Expiry and age are by the wall clock; one that steps only ends the belief sooner. */
class ResultCache {
  private readonly entries = new Map<string, { readonly row: ActionRow; readonly at: number }>()

  constructor(private readonly capacity: number) {}

  get(id: ActionId, now: number): ActionRow | undefined {
    const path = joined(id)
    const entry = this.entries.get(path)
    if (entry === undefined) return undefined
    const { at, row } = entry
    if (Math.abs(now - at) > believed || (row.expiresAt ?? 0) <= now) {
      this.entries.delete(path)
      return undefined
    }
    return row
  }

  set(row: ActionRow, now: number): void {
    if (this.capacity === 0 || (row.exit?.length ?? 0) > maxCachedLength) return
    const path = joined(row)
    this.entries.delete(path)
    this.entries.set(path, { row, at: now })
    if (this.entries.size > this.capacity) {
      for (const oldest of this.entries.keys()) {
        this.entries.delete(oldest)
        break
      }
    }
  }

  clear(): void {
    this.entries.clear()
  }
}
