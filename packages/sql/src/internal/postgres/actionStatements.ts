/** The SQL of idempotency records on PostgreSQL: statements, their parameters, and the rows they give. */
import type * as IdempotencyStore from "@firebreak/core/IdempotencyStore"
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { ActionId } from "../protocol.js"
import { millis } from "../requests.js"
import { Damage, digest } from "../writer/digest.js"
import { statement } from "./PostgresClient.js"
import { newToken, now } from "./PostgresSchema.js"

export interface ClaimRequest extends ActionId {
  readonly fingerprint: string
  readonly lease: Duration.Duration
  /** Tells this claim from every other: one whose answer was lost is known again by it. */
  readonly nonce: string
}

export interface OwnerRequest extends ActionId {
  readonly token: number
}

/** Numbers of 64 bits come as text. */
export interface Row extends ActionId {
  readonly fingerprint: string
  readonly state: IdempotencyStore.Record["state"]
  readonly exit: string | null
  readonly started_at: string
  readonly completed_at: string | null
  readonly expires_at: string | null
  readonly hash: string
  /** Milliseconds for which it is still claimed, and for which its outcome is kept. */
  readonly held_for: string | null
  readonly valid_for: string | null
}

/** The claimed record (a token), or the one that is in the way; all null when that one came in this very moment. */
export type ClaimRow = { readonly [K in keyof Row]: Row[K] | null } & {
  readonly new_token: string | null
  readonly doubt: boolean | null
}

/** The digest of a record, over all that a claim answers from. */
export const hashOf = (id: ActionId, fingerprint: string, exit: string | null): string =>
  digest([id.scope, id.operation, id.key, fingerprint, exit])

/** The row, if it is what was written. */
export const verified = (row: Row): Row => {
  if (row.hash !== hashOf(row, row.fingerprint, row.exit) || (row.state === "completed") !== (row.exit !== null)) {
    const where = row.scope === "" ? "" : ` in the scope "${row.scope}"`
    throw new Damage(`the record of key "${row.key}" of operation "${row.operation}"${where} does not match its hash`)
  }
  return row
}

/** The row as others see it: what an owner past its lease has begun is in doubt. */
export const toRecord = (row: Row): IdempotencyStore.Record => ({
  scope: row.scope,
  operation: row.operation,
  key: row.key,
  fingerprint: row.fingerprint,
  state: row.state === "started" && Number(row.held_for ?? 0) <= 0 ? "in-doubt" : row.state,
  exit: Option.fromNullable(row.exit),
  startedAt: Number(row.started_at),
  completedAt: Option.map(Option.fromNullable(row.completed_at), Number),
  expiresAt: Option.map(Option.fromNullable(row.expires_at), Number)
})

const columns =
  `a.scope, a.operation, a.key, a.fingerprint, a.state, a.exit, a.started_at, a.completed_at, a.expires_at,
  a.hash, a.lease_until - ${now} AS held_for, a.expires_at - ${now} AS valid_for`

export const make = (schema: string) => {
  const table = `${schema}.action`
  const input = (columns: string, types: ReadonlyArray<string>) =>
    `input AS (SELECT * FROM unnest(${types.map((type, i) => `$${i + 1}::${type}[]`).join(", ")})
       WITH ORDINALITY AS i(${columns}, ord))`
  const matching = "a.scope = i.scope AND a.operation = i.operation AND a.key = i.key"
  const own = "a.scope = $1 AND a.operation = $2 AND a.key = $3"
  const filtered = `a.scope = coalesce($1, a.scope) AND a.operation = coalesce($2, a.operation)
    AND a.key = coalesce($3, a.key)`
  return {
    // the row is locked where it is: who comes second sees what the first has made of it
    claim: statement(
      `WITH ${
        input("scope, operation, key, fingerprint, lease, owner, hash", [
          "text",
          "text",
          "text",
          "text",
          "bigint",
          "text",
          "text"
        ])
      },
       claimed AS (
         INSERT INTO ${table} AS a
           (scope, operation, key, fingerprint, state, started_at, token, owner, lease_until, doubt, hash)
         SELECT scope, operation, key, fingerprint, 'started', ${now}, ${newToken(schema)}, owner, ${now} + lease,
           false, hash
         FROM input ORDER BY ord
         ON CONFLICT (scope, operation, key) DO UPDATE SET
           fingerprint = excluded.fingerprint, state = 'started', exit = NULL, completed_at = NULL, expires_at = NULL,
           started_at = CASE WHEN a.state = 'completed' THEN excluded.started_at ELSE a.started_at END,
           token = excluded.token, owner = excluded.owner, lease_until = excluded.lease_until, hash = excluded.hash,
           doubt = CASE WHEN a.owner = excluded.owner THEN a.doubt ELSE a.state <> 'completed' END
         WHERE CASE a.state
           WHEN 'completed' THEN a.expires_at <= ${now}
           ELSE a.fingerprint = excluded.fingerprint
             AND (a.state = 'in-doubt' OR a.lease_until <= ${now} OR a.owner = excluded.owner) END
         RETURNING a.scope, a.operation, a.key, a.token AS new_token, a.doubt)
       SELECT c.new_token, c.doubt, ${columns}
       FROM input i
       LEFT JOIN claimed c ON c.scope = i.scope AND c.operation = i.operation AND c.key = i.key
       LEFT JOIN ${table} a ON ${matching} AND c.new_token IS NULL
       ORDER BY i.ord`
    ),
    renew: statement(
      `WITH ${input("scope, operation, key, token, lease", ["text", "text", "text", "bigint", "bigint"])},
       renewed AS (
         UPDATE ${table} a SET lease_until = ${now} + i.lease FROM input i
         WHERE ${matching} AND a.token = i.token AND a.state = 'started' RETURNING i.ord)
       SELECT r.ord IS NOT NULL AS done FROM input i LEFT JOIN renewed r USING (ord) ORDER BY i.ord`
    ),
    complete: statement(
      `WITH ${
        input("scope, operation, key, token, exit, retention, hash", [
          "text",
          "text",
          "text",
          "bigint",
          "text",
          "bigint",
          "text"
        ])
      },
       moment AS MATERIALIZED (SELECT ${now} AS now),
       completed AS (
         UPDATE ${table} a SET state = 'completed', exit = i.exit, completed_at = now, expires_at = now + i.retention,
           owner = NULL, lease_until = NULL, hash = i.hash
         FROM input i, moment WHERE ${matching} AND a.token = i.token AND a.state = 'started' RETURNING i.ord)
       SELECT c.ord IS NOT NULL OR a.token IS NOT NULL AS done
       FROM input i LEFT JOIN completed c USING (ord)
       LEFT JOIN ${table} a ON ${matching} AND a.token = i.token AND a.state = 'completed' ORDER BY i.ord`
    ),
    release: statement(
      `WITH ${input("scope, operation, key, token, doubt", ["text", "text", "text", "bigint", "boolean"])},
       doubted AS (
         UPDATE ${table} a SET state = 'in-doubt', owner = NULL, lease_until = NULL FROM input i
         WHERE ${matching} AND a.token = i.token AND a.state = 'started' AND i.doubt)
       DELETE FROM ${table} a USING input i
       WHERE ${matching} AND a.token = i.token AND a.state = 'started' AND NOT i.doubt`
    ),
    get: statement(`SELECT ${columns} FROM ${table} a WHERE ${own}`),
    list: statement(`SELECT ${columns} FROM ${table} a WHERE ${filtered} ORDER BY a.started_at, a.token`),
    reset: statement(
      `DELETE FROM ${table} a WHERE ${filtered} AND NOT (a.state = 'started' AND a.lease_until > ${now}) RETURNING 1`
    ),
    prune: statement(
      `DELETE FROM ${table} WHERE (scope, operation, key) IN (
         SELECT scope, operation, key FROM ${table} WHERE expires_at <= ${now} AND state = 'completed'
         LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING 1`
    ),
    page: statement(
      `SELECT ${columns} FROM ${table} a WHERE (a.scope, a.operation, a.key) > ($1, $2, $3)
       ORDER BY a.scope, a.operation, a.key LIMIT $4`
    )
  }
}

type Column = ReadonlyArray<string | number | boolean | null>

const ids = (requests: ReadonlyArray<ActionId>): ReadonlyArray<Column> => [
  requests.map((_) => _.scope),
  requests.map((_) => _.operation),
  requests.map((_) => _.key)
]

export const claimParameters = (requests: ReadonlyArray<ClaimRequest>): ReadonlyArray<Column> => [
  ...ids(requests),
  requests.map((_) => _.fingerprint),
  requests.map((_) => millis(_.lease)),
  requests.map((_) => _.nonce),
  requests.map((_) => hashOf(_, _.fingerprint, null))
]

export const renewParameters = (
  requests: ReadonlyArray<OwnerRequest & { readonly lease: Duration.Duration }>
): ReadonlyArray<Column> => [...ids(requests), requests.map((_) => _.token), requests.map((_) => millis(_.lease))]

export const completeParameters = (
  requests: ReadonlyArray<
    OwnerRequest & { readonly fingerprint: string; readonly exit: string; readonly retention: number }
  >
): ReadonlyArray<Column> => [
  ...ids(requests),
  requests.map((_) => _.token),
  requests.map((_) => _.exit),
  requests.map((_) => _.retention),
  requests.map((_) => hashOf(_, _.fingerprint, _.exit))
]

export const releaseParameters = (
  requests: ReadonlyArray<OwnerRequest & { readonly inDoubt: boolean }>
): ReadonlyArray<Column> => [...ids(requests), requests.map((_) => _.token), requests.map((_) => _.inDoubt)]

export const filterParameters = (filter: IdempotencyStore.Filter = {}): ReadonlyArray<string | null> => [
  filter.scope ?? null,
  filter.operation ?? null,
  filter.key ?? null
]
