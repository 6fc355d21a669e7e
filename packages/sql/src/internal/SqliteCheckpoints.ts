/** `CheckpointStore` on SQLite: every operation goes through the writer, which also reads. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { RunRow } from "./protocol.js"
import { drained, micros, millis } from "./requests.js"
import { moment, type SqliteClient } from "./SqliteClient.js"

export const make = (client: SqliteClient): Effect.Effect<CheckpointStore.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const held = new Map<string, number>()

    const release = (runId: string, token: number) =>
      Effect.clockWith((clock) => {
        if (held.get(runId) === token) held.delete(runId)
        return client.request("releaseRun", { ...moment(clock), runId, token })
      })
    yield* Effect.addFinalizer(() =>
      Effect.forEach(held, ([runId, token]) => Effect.ignore(release(runId, token)), {
        concurrency: "unbounded",
        discard: true
      })
    )

    return {
      begin: ({ key, lease, payload, runId, workflow }) =>
        Effect.clockWith((clock) => {
          const now = moment(clock)
          const request = { ...now, runId, workflow, key, payload, lease: micros(lease) }
          return Effect.map(
            client.request("begin", request, (answer) => {
              // nobody knows the token, so the run was not taken up
              if (answer._tag === "Claimed") client.tell("releaseRun", { ...now, runId, token: answer.token })
            }),
            (answer): CheckpointStore.Begin => {
              if (answer._tag === "InProgress") {
                return { _tag: "InProgress", retryAfter: Duration.micros(BigInt(answer.retryAfter)) }
              }
              if (answer._tag === "Claimed") held.set(runId, answer.token)
              return answer
            }
          )
        }),

      renew: ({ lease, runId, token }) =>
        Effect.clockWith((clock) =>
          client.request("renewRun", { ...moment(clock), runId, token, lease: micros(lease) })
        ),

      save: ({ step, token }) => Effect.clockWith((clock) => client.request("save", { ...moment(clock), step, token })),

      finish: ({ exit, runId, status, token }) =>
        Effect.clockWith((clock) =>
          Effect.tap(
            client.request("finish", { ...moment(clock), runId, token, status, exit }),
            () =>
              Effect.sync(() => {
                if (held.get(runId) === token) held.delete(runId)
              })
          )
        ),

      release: ({ runId, token }) => Effect.asVoid(release(runId, token)),

      load: (runId) =>
        Effect.map(
          client.request("load", { runId }),
          (found) => Option.map(Option.fromNullable(found), ({ run, steps }) => ({ run: toRun(run), steps }))
        ),

      list: (filter) =>
        Effect.map(
          client.request("listRuns", { workflow: filter?.workflow ?? null, status: filter?.status ?? null }),
          (rows) => rows.map(toRun)
        ),

      clear: (runId) => Effect.clockWith((clock) => client.request("clear", { ...moment(clock), runId })),

      prune: ({ olderThan }) =>
        Effect.clockWith((clock) => {
          const completedBefore = clock.unsafeCurrentTimeMillis() - millis(olderThan)
          return drained((limit) => client.request("pruneRuns", { completedBefore, limit }))
        })
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const toRun = ({ completedAt, exit, ...row }: RunRow): CheckpointStore.Run => ({
  ...row,
  exit: Option.fromNullable(exit),
  completedAt: Option.fromNullable(completedAt)
})
