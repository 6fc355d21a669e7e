/** The journal of the cluster: the tables of the engine itself, read as they are. */
import { EntityAddress } from "@effect/cluster/EntityAddress"
import * as EntityId from "@effect/cluster/EntityId"
import { EntityType } from "@effect/cluster/EntityType"
import * as Message from "@effect/cluster/Message"
import * as MessageStorage from "@effect/cluster/MessageStorage"
import { Sharding } from "@effect/cluster/Sharding"
import * as Snowflake from "@effect/cluster/Snowflake"
import * as Headers from "@effect/platform/Headers"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as DurableClock from "@effect/workflow/DurableClock"
import type { WorkflowEngine } from "@effect/workflow/WorkflowEngine"
import type * as Store from "@firebreak/core/CheckpointStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as Database from "./database.js"
import type { Head, Journal } from "./journal.js"
import * as Model from "./model.js"
import { isOfStorage } from "./retrying.js"
import * as Rows from "./rows.js"
import type { ClusterRun } from "./run.js"
import * as Sent from "./sent.js"
import * as Waiting from "./waiting.js"

const name = "cluster"

/** A key may be longer than the engine's column, and hold what separates names in it. */
const executionId = (runId: string): string => createHash("sha256").update(runId).digest("hex").slice(0, 32)

const entityType = (runId: string): string => `Workflow/${Model.nameOf(runId)}`

/** As the engine shortens what is too long for its column. */
const messageId = (key: string): string => key.length <= 255 ? key : createHash("sha256").update(key).digest("hex")

/** The rows of finished runs that one transaction of `prune` removes. */
const batch = 500

export const make = (poll: number) =>
(
  workflows: WorkflowEngine["Type"],
  active: ReadonlyMap<string, ClusterRun>
): Effect.Effect<Journal, never, Scope.Scope | SqlClient.SqlClient | Sharding | MessageStorage.MessageStorage> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const sharding = yield* Sharding
    const storage = yield* MessageStorage.MessageStorage
    const messages = sql(Database.messages)
    const replies = sql(Database.replies)

    const of = (operation: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, StoreError, R> =>
      Effect.catchAllCause(effect, (cause) => {
        const error = Cause.squash(cause)
        return Cause.isInterruptedOnly(cause) || !isOfStorage(error)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : Effect.fail(new StoreError({ store: name, operation, reason: "io", detail: detailOf(error) }))
      }).pipe(Effect.withTracerEnabled(false))

    const runs = (where: Fragment, rest: Fragment = sql``) =>
      sql<Rows.RunRow>`
        SELECT m.id::text AS id, m.entity_type, m.tag, m.payload, m.deliver_at::text AS deliver_at,
          r.id::text AS reply_id, r.payload AS reply, c.payload AS cancelled
        FROM ${messages} m
        LEFT JOIN ${replies} r ON r.request_id = m.id AND r.kind = 0
        LEFT JOIN ${messages} c ON c.entity_type = m.entity_type AND c.entity_id = m.entity_id AND c.tag = 'deferred'
          AND c.message_id = m.entity_type || '/' || m.entity_id || '/deferred/' || ${Model.deferred.cancel}
        WHERE m.tag = 'run' AND m.entity_type LIKE 'Workflow/%' AND m.entity_type <> ${Rows.clockType}
          AND ${where} ${rest}
      `

    const head = (runId: string): Effect.Effect<Option.Option<Rows.SqlHead>, SqlError> =>
      Effect.map(
        runs(sql`m.entity_type = ${entityType(runId)} AND m.entity_id = ${executionId(runId)}`),
        ([row]) => row === undefined ? Option.none() : Rows.headOf(row)
      )

    const present = (runId: string) =>
      Effect.flatMap(
        head(runId),
        Option.match({
          onNone: () =>
            Effect.fail(
              new StoreError({ store: name, operation: "load", reason: "io", detail: `run "${runId}" is gone` })
            ),
          onSome: Effect.succeed
        })
      )

    const rowsOf = (runId: string) =>
      sql<Rows.Row>`
        SELECT m.id::text AS id, m.entity_type, m.tag, m.payload, m.deliver_at::text AS deliver_at,
          r.id::text AS reply_id, r.payload AS reply
        FROM ${messages} m
        LEFT JOIN ${replies} r ON r.request_id = m.id AND r.kind = 0
        WHERE m.entity_type IN (${entityType(runId)}, ${Rows.clockType}) AND m.entity_id = ${executionId(runId)}
          AND m.kind = 0
        ORDER BY r.rowid NULLS LAST, m.rowid
      `

    const deferreds = (runId: string) =>
      Effect.map(
        sql<Pick<Rows.Row, "tag" | "payload">>`
          SELECT tag, payload FROM ${messages}
          WHERE entity_type = ${entityType(runId)} AND entity_id = ${executionId(runId)} AND tag = 'deferred'
        `,
        Rows.deferredsOf
      )

    /** A message as the engine writes it; the first under its id counts. */
    const insert = (runId: string, tag: string, id: string, payload: object, processed: boolean) =>
      Effect.gen(function*() {
        const [type, entity] = [entityType(runId), executionId(runId)]
        const snowflake = String(yield* sharding.getSnowflake)
        const row = {
          id: snowflake,
          request_id: snowflake,
          message_id: messageId(`${type}/${entity}/${tag}/${id}`),
          shard_id: String(sharding.getShardId(EntityId.make(entity), "default")),
          entity_type: type,
          entity_id: entity,
          kind: 0,
          tag,
          payload: JSON.stringify(payload),
          headers: "{}",
          processed
        }
        yield* sql`INSERT INTO ${messages} ${sql.insert(row)} ON CONFLICT (message_id) DO NOTHING`
      })

    /** The engine does not send what is for a runner that has not the workflow, where that is this one: then we do. */
    const delivered =
      (runId: string, tag: string, id: string, payload: object) => <A, E, R>(send: Effect.Effect<A, E, R>) =>
        Effect.flatMap(
          Effect.timeoutOption(send, "2 seconds"),
          (sent) => Option.isSome(sent) ? Effect.void : insert(runId, tag, id, payload, false)
        )

    /** Which of these have ended or stopped. */
    const settledOf = (ids: ReadonlyArray<string>) =>
      Effect.map(
        sql<{ readonly id: string; readonly reply: string }>`
          SELECT request_id::text AS id, payload AS reply FROM ${replies}
          WHERE kind = 0 AND request_id IN (${sql.literal(ids.join(","))})
        `,
        (rows) =>
          rows.flatMap(({ id, reply }) => {
            const { ended, stopped } = Rows.replyOf(reply)
            return Option.isSome(ended) || Option.isSome(stopped) ? [id] : []
          })
      )
    const waiting = yield* Waiting.make({ settledOf, poll })

    /** When this process saves the reply to the run; never where another does. */
    const replied = ({ id, run: { runId } }: Rows.SqlHead): Effect.Effect<void> => {
      const entityId = EntityId.make(executionId(runId))
      const message = new Message.IncomingRequest({
        envelope: {
          _tag: "Request",
          requestId: Snowflake.Snowflake(id),
          address: new EntityAddress({
            entityType: EntityType.make(entityType(runId)),
            entityId,
            shardId: sharding.getShardId(entityId, "default")
          }),
          tag: "run",
          payload: {},
          headers: Headers.empty
        },
        lastSentReply: Option.none(),
        respond: () => Effect.void
      })
      return Effect.catchAll(storage.registerReplyHandler(message), () => Effect.never)
    }

    const settled = (head: Rows.SqlHead): Effect.Effect<Head, SqlError | StoreError> =>
      Effect.flatMap(
        Effect.zipRight(waiting.wait(head.id, replied(head)), present(head.run.runId)),
        // it was resumed, or cleared and begun anew, in between
        (now) => now.run.status === "running" && Option.isNone(now.stopped) ? settled(now) : Effect.succeed(now)
      )

    /** Removes all rows of these executions. */
    const remove = (ids: ReadonlyArray<string>, workflowTypes: Fragment) =>
      Effect.gen(function*() {
        const types = sql`(entity_type = ${Rows.clockType} OR ${workflowTypes})`
        yield* sql`
          DELETE FROM ${replies} WHERE request_id IN
            (SELECT id FROM ${messages} WHERE ${sql.in("entity_id", ids)} AND ${types})
        `
        yield* sql`DELETE FROM ${messages} WHERE ${sql.in("entity_id", ids)} AND ${types}`
      })

    yield* Sent.watch({ sql, active, poll, executionId })

    return {
      name,
      begin: (workflow, begun) =>
        workflows.execute(workflow, { executionId: executionId(begun.runId), payload: begun, discard: true }).pipe(
          delivered(begun.runId, "run", "", begun),
          Effect.zipRight(present(begun.runId)),
          of("begin")
        ),
      resume: ({ run: { runId } }) =>
        Effect.flatMap(head(runId), (now) => {
          if (Option.isNone(now) || Option.isNone(now.value.stopped)) return Effect.void
          return Effect.zipRight(sharding.reset(Snowflake.Snowflake(now.value.id)), sharding.pollStorage)
        }).pipe(of("resume")),
      settled: ({ run }) => of("load")(Effect.flatMap(present(run.runId), settled)),
      load: (runId) => of("load")(Effect.map(rowsOf(runId), (rows) => Rows.recordsOf(runId, rows))),
      list: (filter) =>
        of("list")(Effect.map(
          runs(sql.and(conditionsOf(sql, filter)), orderOf(sql, filter)),
          (rows) => rows.flatMap((row) => Option.toArray(Option.map(Rows.headOf(row), (_) => _.run)))
        )),
      stopped: (names) =>
        names.length === 0 ? Effect.succeed([]) : of("list")(Effect.map(
          runs(sql.and([
            sql.in("m.entity_type", names.map((_) => `Workflow/${_}`)),
            sql`r.payload NOT LIKE '{"_tag":"Success","value":{"_tag":"Complete","exit":{"_tag":"Success"%'`
          ])),
          (rows) =>
            rows.flatMap((row) => Option.toArray(Option.filter(Rows.headOf(row), (_) => Option.isSome(_.stopped))))
        )),
      offer: (runId, name, value) =>
        Effect.gen(function*() {
          yield* workflows.deferredDone(Model.durable(name), {
            workflowName: Model.nameOf(runId),
            executionId: executionId(runId),
            deferredName: name,
            exit: Exit.succeed(value)
          }).pipe(delivered(runId, "deferred", name, offered(name, value)))
          const first = (yield* deferreds(runId)).get(name)
          yield* active.get(runId)?.hear ?? Effect.void
          return first ?? value
        }).pipe(of("send")),
      mark: (runId, name) =>
        // nobody is to be told
        insert(runId, "deferred", name, offered(name, Model.expiredText), true).pipe(
          Effect.zipRight(deferreds(runId)),
          Effect.map((sent) => sent.get(name) ?? Model.expiredText),
          of("mark")
        ),
      deferreds: (runId) => of("load")(deferreds(runId)),
      clear: (runId) =>
        Effect.gen(function*() {
          const found = yield* sql`
            SELECT m.id FROM ${messages} m
            WHERE m.entity_type = ${entityType(runId)} AND m.entity_id = ${executionId(runId)}
              AND m.tag = 'run' AND m.processed FOR UPDATE
          `
          if (found.length === 0) return false
          yield* remove([executionId(runId)], sql`entity_type = ${entityType(runId)}`)
          return true
        }).pipe(sql.withTransaction, of("clear")),
      prune: ({ olderThan }) =>
        Effect.gen(function*() {
          const before = Rows.idAt((yield* Clock.currentTimeMillis) - Duration.toMillis(olderThan))
          let pruned = 0
          while (true) {
            const ended = yield* sql<{ readonly entity_id: string }>`
              SELECT m.entity_id FROM ${messages} m
              JOIN ${replies} r ON r.request_id = m.id AND r.kind = 0 AND r.id < ${sql.literal(before)}
              WHERE m.tag = 'run' AND m.entity_type <> ${Rows.clockType} AND m.processed
                AND r.payload::json #>> '{value,exit,value,status}' IS NOT NULL
              LIMIT ${batch}
            `
            if (ended.length === 0) break
            yield* sql.withTransaction(remove(ended.map((_) => _.entity_id), sql`entity_type LIKE 'Workflow/%'`))
            pruned += ended.length
          }
          // what was sent to runs that never began
          const astray = yield* sql<{ readonly entity_id: string }>`
            SELECT m.entity_id FROM ${messages} m
            WHERE m.entity_type LIKE 'Workflow/%'
            GROUP BY m.entity_id
            HAVING max(m.id) < ${
            sql.literal(before)
          } AND NOT bool_or(m.tag = 'run' AND m.entity_type <> ${Rows.clockType})
          `
          for (let i = 0; i < astray.length; i += batch) {
            const ids = astray.slice(i, i + batch).map((_) => _.entity_id)
            yield* sql.withTransaction(remove(ids, sql`entity_type LIKE 'Workflow/%'`))
          }
          return pruned
        }).pipe(of("prune")),
      leaving: sharding.isShutdown,
      wake: (run, clock, _, duration) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          yield* workflows.scheduleClock(Model.workflow(run.workflow), {
            executionId: executionId(run.runId),
            clock: DurableClock.make({ name: clock, duration: Option.getOrElse(duration, () => Model.forever) })
          })
          return Option.match(duration, { onNone: () => Infinity, onSome: (left) => now + Duration.toMillis(left) })
        }).pipe(of("start")),
      attempt: () => 1,
      // the engine's own tables hold it
      began: () => Effect.void,
      saved: () => Effect.void,
      ended: () => Effect.void,
      halted: () => Effect.void,
      suspending: () => Effect.void
    }
  })

/** As the engine writes what is sent to a run. */
const offered = (name: string, value: string) => ({ name, exit: { _tag: "Success", value } })

const conditionsOf = (sql: SqlClient.SqlClient, filter: Store.Filter): ReadonlyArray<Fragment> => {
  const run = sql.literal("m.payload::json")
  const reply = sql.literal("r.payload::json")
  const conditions: Array<Fragment> = [sql`TRUE`]
  if (filter.workflow !== undefined) conditions.push(sql`m.entity_type = ${`Workflow/${filter.workflow}`}`)
  if (filter.status !== undefined) {
    conditions.push(sql`coalesce(${reply} #>> '{value,exit,value,status}', 'running') = ${filter.status}`)
  }
  if (filter.key !== undefined) conditions.push(sql`${run} ->> 'key' = ${filter.key}`)
  if (filter.keyPrefix !== undefined) conditions.push(sql`starts_with(${run} ->> 'key', ${filter.keyPrefix})`)
  if (filter.parent !== undefined) conditions.push(sql`${run} ->> 'parent' = ${filter.parent}`)
  if (filter.createdFrom !== undefined) conditions.push(sql`m.id >= ${sql.literal(Rows.idAt(filter.createdFrom))}`)
  if (filter.createdBefore !== undefined) conditions.push(sql`m.id < ${sql.literal(Rows.idAt(filter.createdBefore))}`)
  if (filter.after !== undefined) {
    const { createdAt, runId } = filter.after
    conditions.push(sql`m.id >= ${sql.literal(Rows.idAt(createdAt))}`)
    conditions.push(
      sql`(m.id >= ${sql.literal(Rows.idAt(createdAt + 1))} OR (${run} ->> 'runId') COLLATE "C" > ${runId})`
    )
  }
  return conditions
}

/** By the millisecond, as ids order the runs of one millisecond by who began them. */
const orderOf = (sql: SqlClient.SqlClient, { limit }: Store.Filter): Fragment =>
  sql`ORDER BY m.id >> 22, (m.payload::json ->> 'runId') COLLATE "C" ${
    limit === undefined ? sql`` : sql`LIMIT ${limit}`
  }`

const detailOf = (error: { readonly cause?: unknown }): string => {
  const { cause } = error
  if (isOfStorage(cause)) return detailOf(cause)
  return cause instanceof Error ? cause.message : String(cause ?? error)
}
