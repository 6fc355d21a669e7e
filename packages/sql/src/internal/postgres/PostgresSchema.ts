/** Our tables on PostgreSQL, in a schema of their own, and how older ones are brought up to date. */
import type { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import { type PostgresClient, statement } from "./PostgresClient.js"

/** Milliseconds since the epoch by the database's clock, at this moment of the statement. */
export const now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/** A new token, for the quoted name of the schema: in a literal it is quoted once more. */
export const newToken = (schema: string): string => `nextval('${schema.replaceAll("'", "''")}.token')`

/**
 * The schema as a list of migrations: entry n takes version n to version n + 1, and table `meta` has the version. A
 * migration that was published is never edited.
 *
 * `token` counts claims over the whole store, so that a record which was released and claimed anew never meets an old
 * token again. `position` is a step's place in the chain of its run's hashes, for concurrent branches need not end in
 * the order of `seq`.
 */
const migrations: ReadonlyArray<(schema: string) => ReadonlyArray<string>> = [
  (s) => [
    `CREATE SEQUENCE ${s}.token`,
    `CREATE TABLE ${s}.action (
       scope text NOT NULL, operation text NOT NULL, key text NOT NULL, fingerprint text NOT NULL,
       state text NOT NULL CHECK (state IN ('started', 'in-doubt', 'completed')), exit text,
       started_at bigint NOT NULL, completed_at bigint, expires_at bigint,
       token bigint NOT NULL, owner text, lease_until bigint, doubt boolean NOT NULL, hash text NOT NULL,
       PRIMARY KEY (scope, operation, key)
     )`,
    `CREATE INDEX action_expiry ON ${s}.action (expires_at) WHERE expires_at IS NOT NULL`,
    `CREATE TABLE ${s}.run (
       run_id text PRIMARY KEY, workflow text NOT NULL, version text NOT NULL, key text NOT NULL, payload text NOT NULL,
       parent text, status text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled', 'dead')),
       exit text, recoveries integer NOT NULL, stalls integer NOT NULL, stalled_at integer NOT NULL, deadline_at bigint,
       cancelled text, created_at bigint NOT NULL, updated_at bigint NOT NULL, completed_at bigint,
       token bigint NOT NULL, owner text, lease_until bigint, hash text NOT NULL, exit_hash text, cancel_hash text
     )`,
    `CREATE INDEX run_created ON ${s}.run (created_at, run_id)`,
    `CREATE INDEX run_running ON ${s}.run (created_at, run_id) WHERE status = 'running'`,
    `CREATE INDEX run_parent ON ${s}.run (parent) WHERE parent IS NOT NULL`,
    `CREATE INDEX run_completed ON ${s}.run (completed_at) WHERE status NOT IN ('running', 'dead')`,
    `CREATE TABLE ${s}.step (
       run_id text NOT NULL, seq integer NOT NULL, name text NOT NULL, kind text NOT NULL, branch text NOT NULL,
       exit text NOT NULL, started_at bigint NOT NULL, ended_at bigint NOT NULL, position integer NOT NULL,
       saved_at bigint NOT NULL, hash text NOT NULL,
       PRIMARY KEY (run_id, seq)
     )`,
    `CREATE TABLE ${s}.started (
       run_id text NOT NULL, name text NOT NULL, kind text NOT NULL, branch text NOT NULL, started_at bigint NOT NULL,
       wake_at bigint, position integer NOT NULL GENERATED ALWAYS AS IDENTITY, hash text NOT NULL,
       PRIMARY KEY (run_id, name)
     )`,
    `CREATE TABLE ${s}.signal (
       run_id text NOT NULL, name text NOT NULL, payload text NOT NULL, sent_at bigint NOT NULL, hash text NOT NULL,
       PRIMARY KEY (run_id, name)
     )`
  ],
  (s) => [
    `CREATE TABLE ${s}.last_good (
       component text NOT NULL, key text NOT NULL, value text NOT NULL, stored_at bigint NOT NULL, hash text NOT NULL,
       PRIMARY KEY (component, key)
     )`,
    `CREATE INDEX last_good_age ON ${s}.last_good (component, stored_at, key)`
  ]
]

/**
 * Creates what is missing. Of several processes that start at once one does it and the others wait. Tables of a newer
 * release are refused.
 */
export const migrate = (client: PostgresClient): Effect.Effect<void, StoreError> => {
  const { schema } = client
  const latest = migrations.length
  const tables = statement(
    `SELECT n.oid IS NOT NULL AS schema, EXISTS (
       SELECT 1 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'meta') AS meta
     FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1`
  )
  const version = statement(`SELECT value FROM ${schema}.meta WHERE name = 'schema'`)

  const loop: Effect.Effect<void, StoreError> = Effect.gen(function*() {
    const [before] = yield* client.query<Tables>("open", tables, [client.schemaName])
    const [row] = before?.meta === true ? yield* client.query<{ readonly value: string }>("open", version, []) : []
    const found = Number(row?.value ?? 0)
    if (found === latest) return
    if (found > latest) {
      return yield* client.error("open", {
        reason: "io",
        detail:
          `the tables in schema ${schema} have version ${found}, this release of @firebreak/sql knows versions up to ${latest}: use a newer release`
      })
    }
    yield* client.transaction("open", (query) =>
      Effect.gen(function*() {
        yield* query(statement("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"), [`firebreak ${schema}`])
        const [after] = yield* query<Tables>(tables, [client.schemaName])
        // another process was faster
        if (after?.meta !== before?.meta) return
        const run = (text: string) => query(statement(text), [])
        if (found === 0) {
          // who may create no schema can be given one
          if (after?.schema !== true) yield* run(`CREATE SCHEMA ${schema}`)
          yield* run(`CREATE TABLE ${schema}.meta (name text PRIMARY KEY, value bigint NOT NULL)`)
          yield* run(`INSERT INTO ${schema}.meta VALUES ('schema', 0)`)
        } else {
          const [now] = yield* query<{ readonly value: string }>(version, [])
          if (Number(now?.value) !== found) return
        }
        for (const migration of migrations.slice(found)) {
          for (const text of migration(schema)) yield* run(text)
        }
        yield* query(statement(`UPDATE ${schema}.meta SET value = $1 WHERE name = 'schema'`), [latest])
      }))
    // what is there now is looked at in a transaction that began after it
    return yield* loop
  })
  return loop
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Tables {
  readonly schema: boolean
  readonly meta: boolean
}
