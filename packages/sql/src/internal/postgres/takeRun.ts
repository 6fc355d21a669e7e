/** How a run gets its owner: created, many in one statement, or taken up in a transaction of its own. */
import type { SqlError } from "@effect/sql/SqlError"
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { millis } from "../requests.js"
import * as Chain from "../writer/chain.js"
import { judge } from "../writer/judge.js"
import type { PostgresClient } from "./PostgresClient.js"
import { parse, type ReadRow, toSignals } from "./runRows.js"
import type * as Statements from "./runStatements.js"

/** `owner` tells this request from every other: one whose answer was lost is known again by it. */
export interface Request extends CheckpointStore.BeginRequest {
  readonly owner: string
}

/** A claim together with the hash of the run's last record. */
export type Taken =
  | Exclude<CheckpointStore.Begin, { readonly _tag: "Claimed" }>
  | (CheckpointStore.Claimed & { readonly hash: string })

type All = ReturnType<typeof Statements.make>

/** Creates the runs that are not there yet; undefined for those that are. */
export const create = (
  client: PostgresClient,
  statements: All,
  requests: ReadonlyArray<Request>
): Effect.Effect<ReadonlyArray<Exit.Exit<Taken | undefined, StoreError>>, StoreError> => {
  const hashes = requests.map(hashOf)
  const columns = [
    requests.map((_) => _.runId),
    requests.map((_) => _.workflow),
    requests.map((_) => _.version),
    requests.map((_) => _.key),
    requests.map((_) => _.payload),
    requests.map((_) => _.parent ?? null),
    requests.map((_) => _.deadline === undefined ? null : millis(_.deadline)),
    requests.map((_) => millis(_.lease)),
    requests.map((_) => _.owner),
    hashes
  ]
  return Effect.flatMap(
    requests.length === 1
      ? client.query<CreatedRow>("begin", statements.createOne, columns.flat())
      : client.query<CreatedRow>("begin", statements.create, columns),
    (rows) =>
      Effect.forEach(requests, (request, i): Effect.Effect<Exit.Exit<Taken | undefined, StoreError>> => {
        const row = rows[i]
        const hash = hashes[i]
        if (row === undefined || hash === undefined || row.token === null) {
          return Effect.succeed(Exit.succeed(undefined))
        }
        const now = Number(row.createdAt)
        return Effect.exit(Effect.map(toSignals(client, "begin", row.signals), (signals) => ({
          _tag: "Claimed",
          token: Number(row.token),
          resumed: false,
          now,
          run: created(request, now, row.deadlineAt),
          steps: [],
          started: [],
          signals,
          hash
        })))
      })
  )
}

/** Takes up the run if it may be taken up. */
export const existing = (
  client: PostgresClient,
  statements: All,
  request: Request
): Effect.Effect<Taken, StoreError> => {
  const { runId } = request
  const take = client.transaction("begin", (query) =>
    Effect.gen(function*() {
      yield* query(statements.lock, [runId])
      const [row] = yield* query<ReadRow>(statements.read, [runId])
      if (row === undefined) return { _tag: "Missing" } as const
      const { hash, progress } = yield* parse(client, "begin", row)
      const { run } = progress
      const now = Number(row.now)
      if (row.owner === request.owner) {
        const resumed = run.recoveries > 0
        return { _tag: "Claimed", token: Number(row.token), resumed, now, ...progress, hash } as const
      }
      const verdict = verdictOn(row, request)
      if (verdict._tag !== "Take" && verdict._tag !== "Die") return answer(verdict._tag, row, run)
      const { stalledAt, stalls } = verdict
      if (verdict._tag === "Die") {
        yield* query(statements.die, [runId, Chain.hashOfExit(hash, "dead", null, null), stalls, stalledAt])
        const dead = { ...run, status: "dead", stalls, updatedAt: now, completedAt: Option.some(now) } as const
        return { _tag: "Finished", run: dead, died: true } as const
      }
      const [taken] = yield* query<TakenRow>(statements.take, [
        runId,
        request.owner,
        millis(request.lease),
        stalls,
        stalledAt
      ])
      const updatedAt = Number(taken?.updatedAt)
      return {
        _tag: "Claimed",
        token: Number(taken?.token),
        resumed: true,
        now: updatedAt,
        ...progress,
        run: { ...run, stalls, recoveries: run.recoveries + 1, updatedAt },
        hash
      } as const
    }) satisfies Effect.Effect<Taken, SqlError | StoreError>)

  // most runs that are there are over or held, and need no lock to say so
  return Effect.flatMap(client.query<ReadRow>("begin", statements.read, [runId]), ([row]) => {
    if (row === undefined) return Effect.succeed<Taken>({ _tag: "Missing" })
    return Effect.flatMap(parse(client, "begin", row), ({ progress }): Effect.Effect<Taken, StoreError> => {
      const { _tag } = verdictOn(row, request)
      return _tag === "Take" || _tag === "Die" || row.owner === request.owner
        ? take
        : Effect.succeed(answer(_tag, row, progress.run))
    })
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface CreatedRow {
  readonly token: string | null
  readonly createdAt: string
  readonly deadlineAt: string | null
  readonly signals: ReadonlyArray<Chain.HashedSignal>
}

interface TakenRow {
  readonly token: string
  readonly updatedAt: string
}

/** The database's own times are not covered, for they are not known before the record is written. */
const hashOf = ({ key, parent, payload, runId, version, workflow }: Request): string =>
  Chain.hashOfRun({ runId, workflow, version, key, payload, parent: parent ?? null, createdAt: null, deadlineAt: null })

const verdictOn = (row: ReadRow, { accepts, maxStalls, payload, version }: Request) =>
  judge(row, row.steps.length, { payload, version, accepts: accepts ?? [], maxStalls }, Number(row.heldFor))

const answer = (
  verdict: "Mismatch" | "Finished" | "OtherVersion" | "InProgress",
  row: ReadRow,
  run: CheckpointStore.Run
): Taken => {
  switch (verdict) {
    case "Mismatch":
      return { _tag: "Mismatch", payload: row.payload }
    case "Finished":
      return { _tag: "Finished", run, died: false }
    case "OtherVersion":
      return { _tag: "OtherVersion", version: row.version }
    case "InProgress":
      return { _tag: "InProgress", retryAfter: Duration.millis(Number(row.heldFor)) }
  }
}

const created = (request: Request, now: number, deadlineAt: string | null): CheckpointStore.Run => ({
  runId: request.runId,
  workflow: request.workflow,
  version: request.version,
  key: request.key,
  payload: request.payload,
  parent: Option.fromNullable(request.parent),
  status: "running",
  exit: Option.none(),
  recoveries: 0,
  stalls: 0,
  deadlineAt: Option.map(Option.fromNullable(deadlineAt), Number),
  cancelled: Option.none(),
  createdAt: now,
  updatedAt: now,
  completedAt: Option.none()
})
