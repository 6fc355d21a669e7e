/** `CheckpointStore` on SQLite: every operation goes through the writer, which also reads. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { ActionId, Operations } from "./protocol.js"
import { drained, micros, millis } from "./requests.js"
import { toFilter, toProgress, toRun, toStarted } from "./rows.js"
import { moment, type SqliteClient } from "./SqliteClient.js"

export const make = (
  client: SqliteClient,
  transact: NonNullable<CheckpointStore.Service["transact"]>
): Effect.Effect<CheckpointStore.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const held = new Map<string, number>()

    const release = (runId: string, token: number, failed: boolean) =>
      Effect.clockWith((clock) => {
        letGo(runId, token)
        return client.request("releaseRun", { ...moment(clock), runId, token, failed })
      })
    const letGo = (runId: string, token: number) => {
      if (held.get(runId) === token) held.delete(runId)
    }
    yield* Effect.addFinalizer(() =>
      Effect.forEach(held, ([runId, token]) => Effect.ignore(release(runId, token, false)), {
        concurrency: "unbounded",
        discard: true
      })
    )

    return {
      capabilities: new Set(["durable", "shared", "transaction", "chain"]),

      begin: ({ accepts, deadline, existing, key, lease, maxStalls, parent, payload, runId, version, workflow }) =>
        Effect.clockWith((clock) => {
          const now = moment(clock)
          const request = {
            ...now,
            runId,
            workflow,
            version,
            key,
            payload,
            maxStalls,
            accepts: accepts ?? [],
            parent: parent ?? null,
            deadline: deadline === undefined ? null : millis(deadline),
            existing: existing ?? false,
            lease: micros(lease)
          }
          return Effect.map(
            client.request("begin", request, (answer) => {
              // nobody knows the token, so the run was not taken up
              if (answer._tag === "Claimed") {
                client.tell("releaseRun", { ...now, runId, token: answer.token, failed: false })
              }
            }),
            (answer): CheckpointStore.Begin => {
              switch (answer._tag) {
                case "InProgress":
                  return { _tag: "InProgress", retryAfter: Duration.micros(BigInt(answer.retryAfter)) }
                case "Finished":
                  return { _tag: "Finished", run: toRun(answer.run), died: answer.died }
                case "Claimed": {
                  const { now, resumed, token } = answer
                  held.set(runId, token)
                  return { _tag: "Claimed", token, resumed, now, ...toProgress(answer) }
                }
                default:
                  return answer
              }
            }
          )
        }),

      renew: ({ lease, runId, token }) =>
        Effect.clockWith((clock) =>
          Effect.map(
            client.request("renewRun", { ...moment(clock), runId, token, lease: micros(lease) }),
            (answer): CheckpointStore.Renewal =>
              answer === null
                ? { _tag: "Lost" }
                : { _tag: "Held", cancelled: Option.fromNullable(answer.cancelled) }
          )
        ),

      start: ({ step, token, wait }) =>
        Effect.clockWith((clock) =>
          Effect.map(
            client.request("start", {
              ...moment(clock),
              token,
              step,
              wait: wait === undefined ? null : millis(wait)
            }),
            (answer): CheckpointStore.StartAnswer =>
              answer === null
                ? { _tag: "Lost" }
                : { _tag: "Started", started: toStarted(answer.started), now: answer.now }
          )
        ),

      save: ({ step, token }) =>
        Effect.clockWith((clock) => client.request("save", { wall: clock.unsafeCurrentTimeMillis(), step, token })),

      expire: ({ step, token }) =>
        Effect.clockWith((clock) => client.request("expire", { ...moment(clock), step, token })),

      finish: ({ exit, runId, status, token }) =>
        Effect.clockWith((clock) =>
          Effect.map(client.request("finish", { ...moment(clock), runId, token, status, exit }), (finished) => {
            letGo(runId, token)
            return finished
          })
        ),

      release: ({ failed, runId, token }) => Effect.asVoid(release(runId, token, failed ?? false)),

      send: ({ name, payload, runId }) =>
        Effect.clockWith((clock) => client.request("send", { ...moment(clock), runId, name, payload })),

      received: (runIds) => client.request("received", { runIds }),

      cancel: ({ reason, runId }) =>
        Effect.clockWith((clock) => client.request("cancel", { ...moment(clock), runId, reason })),

      settle: ({ exit, name, runId }) =>
        Effect.clockWith((clock) =>
          client.request("settle", { ...moment(clock), runId, name, exit: Option.getOrNull(exit) })
        ),

      requeue: (runId) => Effect.clockWith((clock) => client.request("requeue", { ...moment(clock), runId })),

      load: (runId) =>
        Effect.map(client.request("load", { runId }), (found) => Option.map(Option.fromNullable(found), toProgress)),

      list: (filter) => Effect.map(client.request("listRuns", toFilter(filter)), (rows) => rows.map(toRun)),

      clear: (runId) => Effect.clockWith((clock) => client.request("clear", { ...moment(clock), runId })),

      prune: ({ olderThan }) =>
        Effect.clockWith((clock) => {
          const completedBefore = clock.unsafeCurrentTimeMillis() - millis(olderThan)
          return drained((limit) => client.request("pruneRuns", { completedBefore, limit }))
        }),

      transact,

      verify: verify(client)
    }
  })

/** All damage there is: of the file itself, then record by record, a few at a time so that writes go on. */
export const verify = (
  client: Pick<SqliteClient, "request">
): Effect.Effect<ReadonlyArray<CheckpointStore.Damage>, StoreError> =>
  Effect.gen(function*() {
    const damage = [...yield* client.request("verifyFile", null)]
    let run: number | null = null
    do {
      const { damage: found, next }: Operations["verifyRuns"]["answer"] = yield* client.request("verifyRuns", {
        after: run,
        limit: 100
      })
      damage.push(...found)
      run = next
    } while (run !== null)
    let action: ActionId | null = null
    do {
      const { damage: found, next }: Operations["verifyActions"]["answer"] = yield* client.request("verifyActions", {
        after: action,
        limit: 1_000
      })
      damage.push(...found)
      action = next
    } while (action !== null)
    return damage
  })
