/**
 * `IdempotencyStore` on SQLite. Claims and outcomes go through the writer; a completed key is read without it, on a
 * read-only connection of this thread that never waits for a lock.
 */
import type * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import type BetterSqlite3 from "better-sqlite3"
import type * as Clock from "effect/Clock"
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
    let generation = 0
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

    const answered = (id: ActionId, answer: ClaimAnswer): IdempotencyStore.Claim => {
      switch (answer._tag) {
        case "InProgress":
          return { _tag: "InProgress", retryAfter: Duration.micros(BigInt(answer.retryAfter)) }
        case "Claimed":
          held.set(answer.token, id)
          return answer
        case "Completed":
        case "Reused":
          return answer
      }
    }

    return {
      scope: lifetime,
      peek: completed,
      caching: { capacity: options.cachedResults, generation: () => generation },

      claim: ({ fingerprint, key, lease, operation, scope }) =>
        Effect.clockWith((clock) => {
          const id = { scope, operation, key }
          const known = completed(id, clock)
          if (known !== undefined) {
            return Effect.succeed<IdempotencyStore.Claim>(
              known.fingerprint === fingerprint
                ? { _tag: "Completed", exit: known.exit }
                : { _tag: "Reused", fingerprint: known.fingerprint }
            )
          }
          return Effect.map(
            client.request("claim", { ...id, ...moment(clock), fingerprint, lease: micros(lease) }, (answer) => {
              // nobody knows the token, so the action was not begun
              if (answer._tag === "Claimed") {
                client.tell("release", { ...id, token: answer.token, inDoubt: answer.inDoubt })
              }
            }),
            (answer) => answered(id, answer)
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
          return Effect.map(client.request("complete", { ...request, ...now }), (completed) => {
            held.delete(token)
            return completed
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
        Effect.clockWith((clock) => {
          const forget = () => {
            generation++
          }
          return Effect.tap(
            client.request("reset", { ...moment(clock), ...toFilter(filter) }, forget),
            () => Effect.sync(forget)
          )
        }),

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
): Effect.Effect<NonNullable<IdempotencyStore.Service["peek"]>, never, Scope.Scope> => {
  let db: BetterSqlite3.Database | undefined
  let select: BetterSqlite3.Statement<[string, string, string], CompletedRow> | undefined
  const lookup = ({ key, operation, scope }: ActionId, clock: Clock.Clock) => {
    try {
      db ??= new driver(filename, { readonly: true, fileMustExist: true, timeout: 0 })
      select ??= db.prepare<[string, string, string], CompletedRow>(
        `SELECT fingerprint, exit, started_at, completed_at, expires_at, hash
         FROM firebreak_action WHERE scope = ? AND operation = ? AND key = ? AND state = 'completed'`
      ).raw()
      const row = select.get(scope, operation, key)
      if (row === undefined) return undefined
      const [fingerprint, exit, startedAt, completedAt, expiresAt, hash] = row
      const validFor = expiresAt - clock.unsafeCurrentTimeMillis()
      if (!(validFor > 0)) return undefined
      Actions.verified(
        { scope, operation, key, state: "completed", fingerprint, exit, startedAt, completedAt, expiresAt, hash }
      )
      return { fingerprint, exit, validFor }
    } catch {
      return undefined
    }
  }
  return Effect.as(Effect.addFinalizer(() => Effect.sync(() => db?.close())), lookup)
}

type CompletedRow = [
  fingerprint: string,
  exit: string,
  startedAt: number,
  completedAt: number,
  expiresAt: number,
  hash: string
]
