/** What anybody may do with runs on PostgreSQL. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { drained, millis } from "../requests.js"
import * as Chain from "../writer/chain.js"
import type { PostgresClient } from "./PostgresClient.js"
import { parse, type ReadRow, type Row, run as toRun, type SignalRow, toSignals } from "./runRows.js"
import type * as Statements from "./runStatements.js"

type Operations =
  | "send"
  | "received"
  | "cancel"
  | "settle"
  | "requeue"
  | "load"
  | "list"
  | "clear"
  | "prune"

export const make = (
  client: PostgresClient,
  statements: ReturnType<typeof Statements.make>
): Pick<CheckpointStore.Service, Operations> => {
  const cancel = (runId: string, reason: string): ReturnType<CheckpointStore.Service["cancel"]> =>
    Effect.gen(function*() {
      const parameters = [runId, reason, Chain.hashOfCancel(runId, reason)]
      const updated = yield* client.query("cancel", statements.cancel, parameters)
      if (updated.length > 0) return "Requested"
      const [found] = yield* client.query<Pick<Row, "status" | "cancelled">>("cancel", statements.state, [runId])
      if (found === undefined) return "Missing"
      if (found.status !== "running") return "Ended"
      // queued again in this very moment
      return found.cancelled === null ? yield* cancel(runId, reason) : "AlreadyRequested"
    })

  return {
    send: ({ name, payload, runId }) =>
      client.transaction("send", (query) =>
        Effect.gen(function*() {
          yield* query(statements.meet, [runId])
          if ((yield* query(statements.sent, [runId, name])).length > 0) return "AlreadySent"
          const [run] = yield* query<Pick<Row, "status"> & { readonly late: boolean }>(statements.stateFor, [
            runId,
            name
          ])
          if (run !== undefined && run.status !== "running" && run.status !== "dead") return "Ended"
          if (run?.late === true) return "TooLate"
          const hash = Chain.hashOfSignal({ runId, name, payload, sentAt: null })
          yield* query(statements.send, [runId, name, payload, hash])
          return "Sent"
        })),

    received: (runIds) =>
      Effect.flatMap(
        client.query<SignalRow>("received", statements.received, [runIds]),
        (rows) => toSignals(client, "received", rows)
      ),

    cancel: ({ reason, runId }) => cancel(runId, reason),

    settle: ({ exit, name, runId }) =>
      client.transaction("settle", (query) =>
        Effect.gen(function*() {
          yield* query(statements.lock, [runId])
          const [row] = yield* query<ReadRow>(statements.read, [runId])
          if (row === undefined || Number(row.heldFor) > 0) return false
          const { hash, progress } = yield* parse(client, "settle", row)
          const started = progress.started.find((_) => _.name === name)
          if (started === undefined) return false
          // an owner past its lease does not know of this: it must not go on
          yield* query(statements.fence, [runId])
          yield* query(statements.forgetStarted, [runId, name])
          if (Option.isNone(exit)) return true
          const { branch, kind, startedAt } = started
          const seq = (progress.steps.at(-1)?.seq ?? -1) + 1
          const step = { runId, seq, name, kind, branch, exit: exit.value, startedAt, endedAt: Number(row.now) }
          const parameters = [runId, seq, name, kind, branch, step.exit, startedAt, step.endedAt]
          const position = progress.steps.length
          yield* query(statements.append, [...parameters, position, Chain.hashOfStep(hash, step, null)])
          return true
        })),

    requeue: (runId) => Effect.map(client.query("requeue", statements.requeue, [runId]), (rows) => rows.length > 0),

    load: (runId) =>
      Effect.flatMap(
        client.query<ReadRow>("load", statements.read, [runId]),
        ([row]) =>
          row === undefined
            ? Effect.succeedNone
            : Effect.map(parse(client, "load", row), ({ progress }) => Option.some(progress))
      ),

    list: (filter = {}) => {
      const [statement, parameters] = statements.list(filter)
      return Effect.map(client.query<Row>("list", statement, parameters), (rows) => rows.map(toRun))
    },

    clear: (runId) =>
      client.transaction("clear", (query) =>
        Effect.gen(function*() {
          yield* query(statements.lock, [runId])
          const [row] = yield* query<{ readonly heldFor: string }>(statements.heldFor, [runId])
          if (row === undefined || Number(row.heldFor) > 0) return false
          for (const statement of statements.remove) yield* query(statement, [[runId]])
          return true
        })),

    prune: ({ olderThan }) => {
      const age = millis(olderThan)
      return Effect.zipLeft(
        drained((limit) =>
          client.transaction("prune", (query) =>
            Effect.gen(function*() {
              const runs = yield* query<{ readonly runId: string }>(statements.over, [age, limit])
              if (runs.length === 0) return 0
              for (const statement of statements.remove) yield* query(statement, [runs.map((_) => _.runId)])
              return runs.length
            }))
        ),
        client.query("prune", statements.removeOrphans, [age])
      )
    }
  }
}
