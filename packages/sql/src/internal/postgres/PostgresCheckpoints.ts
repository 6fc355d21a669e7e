/**
 * `CheckpointStore` on PostgreSQL. Leases, waits and deadlines are by the database's clock. What owners write is
 * committed in groups, each statement refusing those whose run was taken over; the rest is a transaction of its own.
 */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { millis } from "../requests.js"
import * as Chain from "../writer/chain.js"
import * as Lane from "./Lane.js"
import { OwnedRuns, type Write } from "./OwnedRuns.js"
import type { PostgresClient } from "./PostgresClient.js"
import * as Admin from "./runAdmin.js"
import * as Statements from "./runStatements.js"
import * as Take from "./takeRun.js"
import { transact } from "./transact.js"
import { verify } from "./verify.js"

export const make = (
  client: PostgresClient,
  options: { readonly owner: string; readonly maxConnections: number }
): Effect.Effect<CheckpointStore.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const statements = Statements.make(client.schema)
    const owned = new OwnedRuns(client, statements)
    let claims = 0

    const lane = <Request, Answer>(operation: string, batch: Lane.Batch<Request, Answer>) =>
      Lane.make(batch, () => client.error(operation, { reason: "closed", detail: "its scope has ended" }))

    const creating = yield* lane("begin", (requests: ReadonlyArray<Take.Request>) =>
      Take.create(client, statements, requests))
    const writing = yield* lane("save", (writes: ReadonlyArray<Write>) =>
      owned.write(writes))
    const renewing = yield* lane("renew", (requests: ReadonlyArray<Renew>) =>
      Effect.map(
        client.query<{ readonly held: boolean; readonly cancelled: string | null }>("renew", statements.renew, [
          requests.map((_) => _.runId),
          requests.map((_) => _.token),
          requests.map((_) => millis(_.lease))
        ]),
        (rows) =>
          rows.map(({ cancelled, held }) =>
            Exit.succeed<CheckpointStore.Renewal>(
              held ? { _tag: "Held", cancelled: Option.fromNullable(cancelled) } : { _tag: "Lost" }
            )
          )
      ))
    const starting = yield* lane("start", (requests: ReadonlyArray<Start>) =>
      Effect.map(
        client.query<StartRow>("start", statements.start, [
          requests.map((_) => _.step.runId),
          requests.map((_) => _.token),
          requests.map((_) => _.step.name),
          requests.map((_) => _.step.kind),
          requests.map((_) => _.step.branch),
          requests.map((_) => _.step.startedAt),
          requests.map((_) => _.wait === undefined ? null : millis(_.wait)),
          requests.map((_) => Chain.hashOfStarted({ ..._.step, wakeAt: null }))
        ]),
        (rows) => requests.map((request, i) => Exit.succeed(startAnswer(request, rows[i])))
      ))
    const releasing = yield* lane("release", (requests: ReadonlyArray<Release>) =>
      Effect.map(
        client.query("release", statements.release, [
          requests.map((_) => _.runId),
          requests.map((_) => _.token),
          requests.map((_) => _.failed)
        ]),
        () => requests.map(() => Exit.void)
      ))
    yield* Effect.addFinalizer(() =>
      Effect.forEach(
        owned.held,
        ([runId, token]) => Effect.ignore(releasing.ask({ runId, token, failed: false })),
        { concurrency: "unbounded", discard: true }
      )
    )

    const claimed = (begin: Take.Taken): CheckpointStore.Begin => {
      if (begin._tag !== "Claimed") return begin
      const { hash, ...claim } = begin
      owned.add(claim.run.runId, claim.token, hash, claim)
      return claim
    }

    return {
      capabilities: new Set(["durable", "shared", "transaction", "chain"]),

      begin: (asked) =>
        Effect.suspend(() => {
          const request = { ...asked, owner: `${options.owner}/${++claims}` }
          const abandoned = (begin: Take.Taken | undefined) => {
            // nobody knows the token, so the run was not taken up
            if (begin?._tag === "Claimed") {
              releasing.tell({ runId: asked.runId, token: begin.token, failed: false })
            }
          }
          const take = Effect.uninterruptible(Take.existing(client, statements, request))
          return asked.existing === true
            ? Effect.map(take, claimed)
            : Effect.flatMap(
              creating.ask(request, abandoned),
              (begin) => begin === undefined ? Effect.map(take, claimed) : Effect.succeed(claimed(begin))
            )
        }),

      renew: (request) => renewing.ask(request),

      start: (request) =>
        Effect.tap(starting.ask(request), (answer) =>
          Effect.sync(() => {
            if (answer._tag === "Started") owned.get(request.step.runId, request.token)?.started.add(request.step.name)
          })),

      save: (request) => Effect.map(writing.ask({ _tag: "Save", ...request }), ({ _tag }) => _tag === "Expired"),

      expire: (request) => writing.ask({ _tag: "Expire", ...request }),

      finish: (request) => Effect.map(writing.ask({ _tag: "Finish", ...request }), ({ _tag }) => _tag === "Expired"),

      release: ({ failed, runId, token }) =>
        Effect.suspend(() => {
          owned.remove(runId, token)
          return releasing.ask({ runId, token, failed: failed ?? false })
        }),

      // each waits for the lane with a connection in hand; the lane needs one too
      transact: transact(client, statements, yield* Effect.makeSemaphore(options.maxConnections - 1), owned, writing),

      ...Admin.make(client, statements),

      verify: verify(client)
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type Renew = Parameters<CheckpointStore.Service["renew"]>[0]
type Start = Parameters<CheckpointStore.Service["start"]>[0]

interface Release {
  readonly runId: string
  readonly token: number
  readonly failed: boolean
}

/** The row as it is stored; none when the run was taken over. */
interface StartRow {
  readonly begun: boolean
  readonly kind: CheckpointStore.StepKind
  readonly branch: CheckpointStore.Started["branch"]
  readonly startedAt: string
  readonly wakeAt: string | null
  readonly now: string
}

const startAnswer = ({ step }: Start, row: StartRow | undefined): CheckpointStore.StartAnswer => {
  if (row?.begun !== true) return { _tag: "Lost" }
  const { branch, kind } = row
  const wakeAt = Option.map(Option.fromNullable(row.wakeAt), Number)
  const started = { runId: step.runId, name: step.name, kind, branch, startedAt: Number(row.startedAt), wakeAt }
  return { _tag: "Started", started, now: Number(row.now) }
}
