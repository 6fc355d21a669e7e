/**
 * `IdempotencyStore` on PostgreSQL. Leases and retention are by the database's clock. Claims and outcomes are committed
 * in groups; a completed key that was seen within the last second is answered from memory.
 */
import type * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { ActionId } from "../protocol.js"
import { drained, millis } from "../requests.js"
import * as Sql from "./actionStatements.js"
import * as Lane from "./Lane.js"
import type { PostgresClient } from "./PostgresClient.js"
import { ResultCache } from "./ResultCache.js"

export const make = (
  client: PostgresClient,
  options: { readonly owner: string; readonly cachedResults: number }
): Effect.Effect<IdempotencyStore.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const lifetime = yield* Effect.scope
    const statements = Sql.make(client.schema)
    const cache = new ResultCache(options.cachedResults)
    const held = new Map<number, { readonly id: ActionId; readonly fingerprint: string }>()
    let generation = 0
    let claims = 0

    const claimOnce = (requests: ReadonlyArray<Sql.ClaimRequest>) =>
      Effect.map(
        client.query<Sql.ClaimRow>("claim", statements.claim, Sql.claimParameters(requests)),
        (rows) => requests.map((request, i) => answerOf(client, cache, request, rows[i]))
      )

    const done = (rows: ReadonlyArray<{ readonly done: boolean }>) => rows.map((row) => Exit.succeed(row.done))
    const lane = <Request, Answer>(operation: string, batch: Lane.Batch<Request, Answer>) =>
      Lane.make(batch, () => client.error(operation, { reason: "closed", detail: "its scope has ended" }))

    const claiming = yield* lane("claim", (requests: ReadonlyArray<Sql.ClaimRequest>) => claimAll(requests, claimOnce))
    const renewing = yield* lane("renew", (requests: Parameters<typeof Sql.renewParameters>[0]) =>
      Effect.map(
        client.query<{ readonly done: boolean }>("renew", statements.renew, Sql.renewParameters(requests)),
        done
      ))
    const completing = yield* lane("complete", (requests: Parameters<typeof Sql.completeParameters>[0]) =>
      Effect.map(
        client.query<{ readonly done: boolean }>("complete", statements.complete, Sql.completeParameters(requests)),
        done
      ))
    const releasing = yield* lane("release", (requests: Parameters<typeof Sql.releaseParameters>[0]) =>
      Effect.map(client.query("release", statements.release, Sql.releaseParameters(requests)), () =>
        requests.map(() =>
          Exit.void
        )))

    yield* Effect.addFinalizer(() =>
      Effect.forEach(held, ([token, { id }]) => Effect.ignore(releasing.ask({ ...id, token, inDoubt: true })), {
        concurrency: "unbounded",
        discard: true
      })
    )

    const verified = (operation: string, row: Sql.Row): Effect.Effect<IdempotencyStore.Record, StoreError> =>
      Effect.try({
        try: () => Sql.toRecord(Sql.verified(row)),
        catch: (error) => client.error(operation, { reason: "corrupt", detail: (error as Error).message })
      })

    return {
      scope: lifetime,
      peek: options.cachedResults === 0 ? undefined : (id) => cache.get(pathOf(id)),
      caching: {
        capacity: options.cachedResults,
        generation: () => generation
      },

      claim: ({ fingerprint, key, lease, operation, scope }) =>
        Effect.suspend(() => {
          const id = { scope, operation, key }
          const known = cache.get(pathOf(id))
          if (known !== undefined) {
            return Effect.succeed<IdempotencyStore.Claim>(
              known.fingerprint === fingerprint
                ? { _tag: "Completed", exit: known.exit }
                : { _tag: "Reused", fingerprint: known.fingerprint }
            )
          }
          const request = { ...id, fingerprint, lease, nonce: `${options.owner}/${++claims}` }
          const abandoned = (claim: IdempotencyStore.Claim) => {
            // nobody knows the token, so the action was not begun
            if (claim._tag === "Claimed") {
              releasing.tell({ ...id, token: claim.token, inDoubt: claim.inDoubt })
            }
          }
          return Effect.map(claiming.ask(request, abandoned), (claim) => {
            if (claim._tag === "Claimed") {
              held.set(claim.token, { id, fingerprint })
            }
            return claim
          })
        }),

      renew: ({ key, lease, operation, scope, token }) =>
        Effect.tap(
          renewing.ask({ scope, operation, key, token, lease }),
          (renewed) => Effect.sync(() => renewed || held.delete(token))
        ),

      complete: ({ exit, key, operation, retention, scope, token }) =>
        Effect.suspend(() => {
          const owned = held.get(token)
          if (owned === undefined) return Effect.succeed(false)
          const id = { scope, operation, key }
          const { fingerprint } = owned
          const validFor = millis(retention)
          return Effect.map(completing.ask({ ...id, token, fingerprint, exit, retention: validFor }), (completed) => {
            held.delete(token)
            if (completed) cache.set(pathOf(id), { fingerprint, exit, validFor })
            return completed
          })
        }),

      release: ({ inDoubt, key, operation, scope, token }) =>
        Effect.suspend(() => {
          held.delete(token)
          return releasing.ask({ scope, operation, key, token, inDoubt })
        }),

      get: ({ key, operation, scope }) =>
        Effect.flatMap(
          client.query<Sql.Row>("get", statements.get, [scope, operation, key]),
          ([row]) => row === undefined ? Effect.succeedNone : Effect.asSome(verified("get", row))
        ),

      list: (filter) =>
        Effect.map(
          client.query<Sql.Row>("list", statements.list, Sql.filterParameters(filter)),
          (rows) => rows.map(Sql.toRecord)
        ),

      reset: (filter) =>
        Effect.map(client.query("reset", statements.reset, Sql.filterParameters(filter)), (rows) => {
          generation++
          cache.clear()
          return rows.length
        }),

      prune: drained((limit) => Effect.map(client.query("prune", statements.prune, [limit]), (rows) => rows.length))
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const pathOf = ({ key, operation, scope }: ActionId): string =>
  `${scope.length}:${operation.length}:${scope}${operation}${key}`

/** What the row says; undefined where it says nothing: the record in the way came in this very moment. */
const answerOf = (
  client: PostgresClient,
  cache: ResultCache,
  request: Sql.ClaimRequest,
  row: Sql.ClaimRow | undefined
): Exit.Exit<IdempotencyStore.Claim, StoreError> | undefined => {
  if (row === undefined) return undefined
  if (row.new_token !== null) {
    return Exit.succeed({ _tag: "Claimed", token: Number(row.new_token), inDoubt: row.doubt === true })
  }
  if (row.hash === null) return undefined
  try {
    // a record that is there has all its columns
    const { exit, fingerprint, held_for, valid_for } = Sql.verified(row as Sql.Row)
    if (exit !== null) {
      const validFor = Number(valid_for ?? 0)
      if (validFor <= 0) return undefined
      cache.set(pathOf(request), { fingerprint, exit, validFor })
    }
    if (fingerprint !== request.fingerprint) return Exit.succeed({ _tag: "Reused", fingerprint })
    if (exit !== null) return Exit.succeed({ _tag: "Completed", exit })
    const retryAfter = Number(held_for ?? 0)
    return retryAfter > 0
      ? Exit.succeed({ _tag: "InProgress", retryAfter: Duration.millis(retryAfter) })
      : undefined
  } catch (error) {
    return Exit.fail(client.error("claim", { reason: "corrupt", detail: (error as Error).message }))
  }
}

/**
 * Claims all that is asked. One statement can claim a key once, so of several that ask for one key the first goes, and
 * the others get its answer if they ask the same.
 */
const claimAll = (
  requests: ReadonlyArray<Sql.ClaimRequest>,
  once: (
    requests: ReadonlyArray<Sql.ClaimRequest>
  ) => Effect.Effect<ReadonlyArray<Exit.Exit<IdempotencyStore.Claim, StoreError> | undefined>, StoreError>
): Effect.Effect<ReadonlyArray<Exit.Exit<IdempotencyStore.Claim, StoreError>>, StoreError> => {
  const answers = new Map<Sql.ClaimRequest, Exit.Exit<IdempotencyStore.Claim, StoreError>>()
  const rounds = (open: ReadonlyArray<Sql.ClaimRequest>): Effect.Effect<void, StoreError> => {
    if (open.length === 0) return Effect.void
    const groups = groupBy(open, pathOf)
    const leaders = Array.from(groups.entries()).toSorted(([a], [b]) => a < b ? -1 : 1).flatMap(([, [first]]) =>
      first === undefined ? [] : [first]
    )
    return Effect.flatMap(once(leaders), (exits) => {
      leaders.forEach((leader, i) => {
        const exit = exits[i]
        if (exit === undefined) return
        answers.set(leader, exit)
        for (const other of groups.get(pathOf(leader)) ?? []) {
          if (other === leader || other.fingerprint !== leader.fingerprint) continue
          answers.set(
            other,
            Exit.map(
              exit,
              (claim) => claim._tag === "Claimed" ? { _tag: "InProgress", retryAfter: leader.lease } : claim
            )
          )
        }
      })
      return rounds(open.filter((request) => !answers.has(request)))
    })
  }
  return Effect.map(
    rounds(requests),
    () => requests.map((request) => answers.get(request) ?? Exit.die(new Error("a claim was not answered")))
  )
}

const groupBy = <A>(items: ReadonlyArray<A>, by: (item: A) => string): Map<string, Array<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const item of items) {
    const group = groups.get(by(item))
    if (group === undefined) groups.set(by(item), [item])
    else group.push(item)
  }
  return groups
}
