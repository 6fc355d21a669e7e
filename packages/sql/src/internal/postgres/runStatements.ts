/** The SQL of runs on PostgreSQL. Statements of an owner work on a batch: arrays in, one row a request out. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import { type Statement, statement } from "./PostgresClient.js"
import { newToken, now } from "./PostgresSchema.js"

/** A column of a batch for each parameter. */
const batch = (columns: Readonly<Record<string, "text" | "bigint" | "integer" | "boolean">>): string => {
  const types = Object.values(columns).map((type, i) => `$${i + 1}::${type}[]`)
  return `input AS (SELECT * FROM unnest(${types.join(", ")})
    WITH ORDINALITY AS i(${Object.keys(columns).join(", ")}, ord))`
}

const columns = (schema: string) =>
  `r.run_id AS "runId", r.workflow, r.version, r.key, r.payload, r.parent, r.status, r.exit, r.recoveries, r.stalls,
   r.deadline_at AS "deadlineAt", r.cancelled, r.created_at AS "createdAt",
   greatest(r.updated_at, (SELECT max(saved_at) FROM ${schema}.step s WHERE s.run_id = r.run_id)) AS "updatedAt",
   r.completed_at AS "completedAt"`

/** What is stored of a run beside its row, each list as JSON. */
const records = (schema: string) =>
  `(SELECT coalesce(json_agg(json_build_object('runId', s.run_id, 'seq', s.seq, 'name', s.name, 'kind', s.kind,
      'branch', s.branch, 'exit', s.exit, 'startedAt', s.started_at, 'endedAt', s.ended_at, 'hash', s.hash)
      ORDER BY s.position), '[]') FROM ${schema}.step s WHERE s.run_id = r.run_id) AS steps,
   (SELECT coalesce(json_agg(json_build_object('runId', s.run_id, 'name', s.name, 'kind', s.kind, 'branch', s.branch,
      'startedAt', s.started_at, 'wakeAt', s.wake_at, 'hash', s.hash)
      ORDER BY s.position), '[]') FROM ${schema}.started s WHERE s.run_id = r.run_id) AS started,
   (SELECT coalesce(json_agg(json_build_object('runId', s.run_id, 'name', s.name, 'payload', s.payload,
      'sentAt', s.sent_at, 'hash', s.hash)
      ORDER BY s.sent_at, s.name), '[]') FROM ${schema}.signal s WHERE s.run_id = r.run_id) AS signals`

export const make = (schema: string) => {
  const run = `${schema}.run`
  const step = `${schema}.step`
  const started = `${schema}.started`
  const signal = `${schema}.signal`
  const stored = `${columns(schema)}, r.token, r.owner, r.stalled_at AS "stalledAt", r.hash, r.exit_hash AS "exitHash",
    r.cancel_hash AS "cancelHash", CASE WHEN r.owner IS NULL THEN 0 ELSE r.lease_until - ${now} END AS "heldFor",
    ${now} AS now`
  // the lock holds off whoever would take the run over, until what is written here is committed
  const owned = `owned AS (
    SELECT r.run_id, r.token FROM ${run} r WHERE (r.run_id, r.token) IN (SELECT run_id, token FROM input)
      AND r.owner IS NOT NULL ORDER BY r.run_id FOR SHARE)`
  const steps = {
    run_id: "text",
    token: "bigint",
    seq: "integer",
    name: "text",
    kind: "text",
    branch: "text",
    exit: "text",
    started_at: "bigint",
    ended_at: "bigint",
    position: "integer",
    hash: "text"
  } as const
  const newRun = {
    run_id: "text",
    workflow: "text",
    version: "text",
    key: "text",
    payload: "text",
    parent: "text",
    deadline: "bigint",
    lease: "bigint",
    owner: "text",
    hash: "text"
  } as const
  const insertRun = ([runId, workflow, version, key, payload, parent, deadline, lease, owner, hash]: Array<string>) =>
    `INSERT INTO ${run} (run_id, workflow, version, key, payload, parent, status, recoveries, stalls, stalled_at,
       deadline_at, created_at, updated_at, token, owner, lease_until, hash)
     SELECT ${runId}, ${workflow}, ${version}, ${key}, ${payload}, ${parent}, 'running', 0, 0, 0, now + ${deadline}, now,
       now, ${newToken(schema)}, ${owner}, now + ${lease}, ${hash}`
  const createdRow = `c.token, c.created_at AS "createdAt", c.deadline_at AS "deadlineAt",
    (SELECT coalesce(json_agg(json_build_object('runId', s.run_id, 'name', s.name, 'payload', s.payload,
       'sentAt', s.sent_at, 'hash', s.hash) ORDER BY s.sent_at, s.name), '[]')
     FROM ${signal} s WHERE s.run_id = c.run_id) AS signals`
  const save = (forgetStarted: boolean): Statement =>
    statement(
      `WITH ${batch(steps)}, ${owned},
       saved AS (
         INSERT INTO ${step}
           (run_id, seq, name, kind, branch, exit, started_at, ended_at, position, saved_at, hash)
         SELECT run_id, seq, name, kind, branch, exit, started_at, ended_at, position, ${now}, hash
         FROM input JOIN owned USING (run_id, token) ON CONFLICT DO NOTHING RETURNING run_id, seq, name)
       ${
        forgetStarted
          ? `, ended AS (DELETE FROM ${started} d USING saved s WHERE d.run_id = s.run_id AND d.name = s.name)`
          : ""
      }
       SELECT o.run_id IS NOT NULL AS owned, s.run_id IS NOT NULL AS saved
       FROM input i LEFT JOIN owned o USING (run_id, token) LEFT JOIN saved s USING (run_id, seq) ORDER BY i.ord`
    )

  return {
    create: statement(
      `WITH ${batch(newRun)},
       moment AS MATERIALIZED (SELECT ${now} AS now),
       created AS (
         ${insertRun(Object.keys(newRun))} FROM input, moment ORDER BY run_id ON CONFLICT DO NOTHING
         RETURNING run_id, owner, token, created_at, deadline_at)
       SELECT ${createdRow} FROM input i LEFT JOIN created c USING (run_id, owner) ORDER BY i.ord`
    ),
    /** One alone, which the batch takes a third longer for; no row when it is there. */
    createOne: statement(
      `WITH created AS (
         ${insertRun(Object.values(newRun).map((type, i) => `$${i + 1}::${type}`))}
         FROM (SELECT ${now} AS now) AS moment ON CONFLICT DO NOTHING
         RETURNING run_id, token, created_at, deadline_at)
       SELECT ${createdRow} FROM created c`
    ),
    lock: statement(`SELECT 1 FROM ${run} WHERE run_id = $1 FOR UPDATE`),
    /** Begins a step's transaction, which bears a mark to its end. */
    owned: statement(
      `SELECT set_config('firebreak.transaction', $2::text, true) FROM ${run}
       WHERE run_id = $1 AND token = $2::bigint AND owner IS NOT NULL`
    ),
    mark: statement(`SELECT current_setting('firebreak.transaction', true) AS mark`),
    heldFor: statement(
      `SELECT CASE WHEN owner IS NULL THEN 0 ELSE lease_until - ${now} END AS "heldFor" FROM ${run} WHERE run_id = $1`
    ),
    endedBy: statement(`SELECT 1 FROM ${run} WHERE run_id = $1 AND token = $2 AND status <> 'running'`),
    /** A run with all that is stored of it. */
    read: statement(`SELECT ${stored}, ${records(schema)} FROM ${run} r WHERE r.run_id = $1`),
    take: statement(
      `UPDATE ${run} SET token = ${newToken(schema)}, owner = $2, lease_until = ${now} + $3::bigint,
         recoveries = recoveries + 1, stalls = $4, stalled_at = $5, updated_at = ${now}
       WHERE run_id = $1 RETURNING token, updated_at AS "updatedAt"`
    ),
    die: statement(
      `UPDATE ${run} SET status = 'dead', exit_hash = $2, stalls = $3, stalled_at = $4, owner = NULL, lease_until = NULL,
         completed_at = ${now}, updated_at = ${now} WHERE run_id = $1`
    ),
    renew: statement(
      `WITH ${batch({ run_id: "text", token: "bigint", lease: "bigint" })},
       renewed AS (
         UPDATE ${run} r SET lease_until = ${now} + i.lease FROM input i
         WHERE r.run_id = i.run_id AND r.token = i.token AND r.owner IS NOT NULL RETURNING i.ord, r.cancelled)
       SELECT r.ord IS NOT NULL AS held, r.cancelled FROM input i LEFT JOIN renewed r USING (ord) ORDER BY i.ord`
    ),
    start: statement(
      `WITH ${
        batch({
          run_id: "text",
          token: "bigint",
          name: "text",
          kind: "text",
          branch: "text",
          started_at: "bigint",
          wait: "bigint",
          hash: "text"
        })
      }, ${owned},
       begun AS (
         INSERT INTO ${started} (run_id, name, kind, branch, started_at, wake_at, hash)
         SELECT run_id, name, kind, branch, started_at, ${now} + wait, hash
         FROM input JOIN owned USING (run_id, token) ORDER BY ord
         ON CONFLICT (run_id, name) DO UPDATE SET name = excluded.name
         RETURNING run_id, name, kind, branch, started_at, wake_at)
       SELECT b.run_id IS NOT NULL AS begun, b.kind, b.branch, b.started_at AS "startedAt", b.wake_at AS "wakeAt",
         ${now} AS now
       FROM input i LEFT JOIN begun b USING (run_id, name) ORDER BY i.ord`
    ),
    save: save(false),
    /** The same for one step, at four fifths of the time: most often there is no other. */
    saveOne: statement(
      `WITH owned AS (
         SELECT r.run_id FROM ${run} r WHERE r.run_id = $1 AND r.token = $2 AND r.owner IS NOT NULL FOR SHARE),
       saved AS (
         INSERT INTO ${step}
           (run_id, seq, name, kind, branch, exit, started_at, ended_at, position, saved_at, hash)
         SELECT run_id, $3, $4, $5, $6, $7, $8, $9, $10, ${now}, $11 FROM owned ON CONFLICT DO NOTHING RETURNING 1)
       SELECT EXISTS (SELECT 1 FROM owned) AS owned, EXISTS (SELECT 1 FROM saved) AS saved`
    ),
    saveStarted: save(true),
    finish: statement(
      `WITH ${batch({ run_id: "text", token: "bigint", status: "text", exit: "text", hash: "text" })},
       ended AS (
         UPDATE ${run} r SET status = i.status, exit = i.exit, exit_hash = i.hash, completed_at = ${now},
           updated_at = ${now}, owner = NULL, lease_until = NULL
         FROM input i WHERE r.run_id = i.run_id AND r.token = i.token AND r.owner IS NOT NULL RETURNING i.ord)
       SELECT e.ord IS NOT NULL OR r.run_id IS NOT NULL AS ended
       FROM input i LEFT JOIN ended e USING (ord)
       LEFT JOIN ${run} r ON r.run_id = i.run_id AND r.token = i.token AND r.status <> 'running' ORDER BY i.ord`
    ),
    finishOne: statement(
      `WITH ended AS (
         UPDATE ${run} SET status = $3, exit = $4, exit_hash = $5, completed_at = ${now}, updated_at = ${now},
           owner = NULL, lease_until = NULL
         WHERE run_id = $1 AND token = $2 AND owner IS NOT NULL RETURNING 1)
       SELECT EXISTS (SELECT 1 FROM ended)
         OR EXISTS (SELECT 1 FROM ${run} WHERE run_id = $1 AND token = $2 AND status <> 'running') AS ended`
    ),
    release: statement(
      `WITH ${batch({ run_id: "text", token: "bigint", failed: "boolean" })},
       counted AS (
         SELECT i.*, (SELECT count(*) FROM ${step} s WHERE s.run_id = i.run_id) AS steps FROM input i)
       UPDATE ${run} r SET owner = NULL, lease_until = NULL, updated_at = ${now},
         stalls = CASE WHEN NOT c.failed THEN r.stalls WHEN c.steps > r.stalled_at THEN 1 ELSE r.stalls + 1 END,
         stalled_at = CASE WHEN c.failed THEN c.steps ELSE r.stalled_at END
       FROM counted c WHERE r.run_id = c.run_id AND r.token = c.token AND r.owner IS NOT NULL`
    ),
    /** Whoever sends a signal and whoever gives up waiting for it do so one after the other. */
    meet: statement(`SELECT pg_advisory_xact_lock(hashtextextended($1, 1))`),
    sent: statement(
      `SELECT run_id AS "runId", name, payload, sent_at AS "sentAt", hash FROM ${signal} WHERE run_id = $1 AND name = $2`
    ),
    stateFor: statement(
      `SELECT r.status, EXISTS (
         SELECT 1 FROM ${step} s WHERE s.run_id = r.run_id AND s.kind = 'signal' AND s.name = $2
         UNION ALL SELECT 1 FROM ${started} s WHERE s.run_id = r.run_id AND s.name = $2 AND s.wake_at <= ${now}) AS late
       FROM ${run} r WHERE r.run_id = $1`
    ),
    send: statement(
      `INSERT INTO ${signal} (run_id, name, payload, sent_at, hash) VALUES ($1, $2, $3, ${now}, $4)
       ON CONFLICT DO NOTHING RETURNING 1`
    ),
    received: statement(
      `SELECT run_id AS "runId", name, payload, sent_at AS "sentAt", hash FROM ${signal}
       WHERE run_id = ANY ($1::text[]) ORDER BY array_position($1::text[], run_id), sent_at, name`
    ),
    cancel: statement(
      `UPDATE ${run} SET cancelled = $2, cancel_hash = $3, updated_at = ${now}
       WHERE run_id = $1 AND status = 'running' AND cancelled IS NULL RETURNING 1`
    ),
    state: statement(`SELECT status, cancelled FROM ${run} WHERE run_id = $1`),
    fence: statement(
      `UPDATE ${run} SET token = ${newToken(schema)}, updated_at = ${now} WHERE run_id = $1
       RETURNING updated_at AS now`
    ),
    append: statement(
      `INSERT INTO ${step} (run_id, seq, name, kind, branch, exit, started_at, ended_at, position, saved_at, hash)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ${now}, $10)`
    ),
    forgetStarted: statement(`DELETE FROM ${started} WHERE run_id = $1 AND name = $2`),
    requeue: statement(
      `UPDATE ${run} SET status = 'running', exit_hash = NULL, completed_at = NULL, stalls = 0, updated_at = ${now}
       WHERE run_id = $1 AND status = 'dead' RETURNING 1`
    ),
    remove: [run, step, started, signal].map((table) =>
      statement(`DELETE FROM ${table} WHERE run_id = ANY ($1::text[])`)
    ),
    /** Runs that ended long enough ago, locked. */
    over: statement(
      `SELECT run_id AS "runId" FROM ${run}
       WHERE status NOT IN ('running', 'dead') AND completed_at <= ${now} - $1::bigint LIMIT $2 FOR UPDATE SKIP LOCKED`
    ),
    removeOrphans: statement(
      `DELETE FROM ${signal} WHERE run_id IN (
         SELECT s.run_id FROM ${signal} s LEFT JOIN ${run} r USING (run_id) WHERE r.run_id IS NULL
         GROUP BY s.run_id HAVING max(s.sent_at) <= ${now} - $1::bigint)`
    ),
    /** Names of runs in their order, page by page. */
    page: statement(`SELECT run_id AS "runId" FROM ${run} WHERE run_id > $1 ORDER BY run_id LIMIT $2`),
    orphans: statement(`SELECT DISTINCT run_id AS "runId" FROM ${step} s
      WHERE NOT EXISTS (SELECT 1 FROM ${run} r WHERE r.run_id = s.run_id) LIMIT 100`),

    /** The runs that fit, and the statement's parameters. */
    list: (filter: CheckpointStore.Filter): readonly [Statement, ReadonlyArray<unknown>] => {
      const parameters: Array<unknown> = []
      const $ = (value: unknown) => `$${parameters.push(value)}`
      const conditions = [
        filter.status === undefined
          ? undefined
          : filter.status === "running"
          ? "r.status = 'running'"
          : `r.status = ${$(filter.status)}`,
        filter.workflow === undefined ? undefined : `r.workflow = ${$(filter.workflow)}`,
        filter.key === undefined ? undefined : `r.key = ${$(filter.key)}`,
        filter.keyPrefix === undefined ? undefined : `starts_with(r.key, ${$(filter.keyPrefix)})`,
        filter.parent === undefined ? undefined : `r.parent = ${$(filter.parent)}`,
        filter.createdFrom === undefined ? undefined : `r.created_at >= ${$(filter.createdFrom)}`,
        filter.createdBefore === undefined ? undefined : `r.created_at < ${$(filter.createdBefore)}`,
        filter.after === undefined
          ? undefined
          : `(r.created_at, r.run_id) > (${$(filter.after.createdAt)}, ${$(filter.after.runId)})`
      ].filter((condition) => condition !== undefined)
      const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`
      const limit = filter.limit === undefined ? "" : `LIMIT ${$(filter.limit)}`
      const text = `SELECT ${columns(schema)} FROM ${run} r ${where} ORDER BY r.created_at, r.run_id ${limit}`
      return [statement(text), parameters]
    }
  }
}
