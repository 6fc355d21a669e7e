/** A transaction of the user that ends with the record of a step. */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { Service, Step } from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Lane } from "./Lane.js"
import type { OwnedRuns, Write, Written } from "./OwnedRuns.js"
import { execute, type PostgresClient, type Query, run } from "./PostgresClient.js"
import type * as Statements from "./runStatements.js"

export const transact = (
  client: PostgresClient,
  statements: ReturnType<typeof Statements.make>,
  permits: Effect.Semaphore,
  owned: OwnedRuns,
  writing: Lane<Write, Written>
): NonNullable<Service["transact"]> =>
<A, E, R>({ body, runId, token }: Request<A, E, R>) =>
  Effect.withFiberRuntime<Option.Option<A>, E | StoreError, R>((fiber): Effect.Effect<
    Option.Option<A>,
    E | StoreError,
    R
  > => {
    if (owned.get(runId, token) === undefined) return Effect.succeedNone
    if (Option.isSome(Context.getOption(fiber.currentContext, SqlClient.TransactionConnection))) {
      return Effect.fail(client.error(operation, { reason: "io", detail: "it is inside another transaction" }))
    }
    const within = (
      connection: Connection,
      restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    ) => {
      const query: Query = (statement, parameters) =>
        client.limited(connection, execute(connection, statement, parameters))
      const begin = client.once(
        operation,
        Effect.zipRight(client.limited(connection, run(connection, "BEGIN")), query(statements.owned, [runId, token]))
      )
      const rollback = Effect.ignore(client.limited(connection, run(connection, "ROLLBACK")))
      const transacted: Effect.Effect<Option.Option<A>, E | StoreError, R> = Effect.flatMap(
        restore(Effect.provideService(body, SqlClient.TransactionConnection, [connection, 0])),
        ({ step, value }) =>
          Effect.map(
            writing.ask({ _tag: "Commit", token, step, query }),
            ({ _tag }): Option.Option<A> => _tag === "Expired" ? Option.some(value) : Option.none()
          )
      )
      return Effect.matchCauseEffect(
        Effect.flatMap(begin, (rows) => rows.length === 0 ? Effect.succeed(Option.none<A>()) : transacted),
        {
          onFailure: (cause) => Effect.zipRight(rollback, Effect.failCause(cause)),
          onSuccess: (value) => Effect.as(Option.isNone(value) ? rollback : Effect.void, value)
        }
      )
    }
    // a step is not interruptible, and who waits for its turn must be
    const connection = Effect.interruptible(client.once(operation, client.reserve))
    return Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(
        Effect.interruptible(permits.take(1)),
        Effect.ensuring(
          Effect.scoped(Effect.flatMap(connection, (connection) => within(connection, restore))),
          permits.release(1)
        )
      )
    )
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Request<A, E, R> {
  readonly token: number
  readonly runId: string
  readonly body: Effect.Effect<{ readonly step: Step; readonly value: A }, E, R>
}

const operation = "begin a transaction"
