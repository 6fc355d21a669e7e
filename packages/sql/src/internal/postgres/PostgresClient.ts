/**
 * Statements on a PostgreSQL pool. What fails because the server is away, restarts, has no connection left or chose us
 * to break a deadlock is tried again until the operation's time is up; then, and for all else, there is a `StoreError`.
 * So every statement here may run twice.
 */
import type { PgClient } from "@effect/sql-pg/PgClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreError } from "@firebreak/core/StoreError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import type { Failure } from "../protocol.js"
import { Damage } from "../writer/digest.js"
import { Connections, NoAnswer } from "./Connections.js"

/** A statement that each connection prepares once. */
export interface Statement {
  readonly name: string
  readonly text: string
}

export const statement = (text: string): Statement => ({
  // two releases may share a server-side session through a pooler
  name: `firebreak_${createHash("sha256").update(text).digest("hex").slice(0, 24)}`,
  text
})

/** Runs a statement on one connection; its rows are what the statement says. */
export type Query = <Row>(
  statement: Statement,
  parameters: ReadonlyArray<unknown>
) => Effect.Effect<Array<Row>, SqlError>

export interface PostgresClient {
  readonly sql: PgClient
  /** Where the server is, without a password. */
  readonly name: string
  /** The schema of our tables, quoted for SQL and as it is. */
  readonly schema: string
  readonly schemaName: string
  readonly query: <Row>(
    operation: string,
    statement: Statement,
    parameters: ReadonlyArray<unknown>
  ) => Effect.Effect<Array<Row>, StoreError>
  /** Runs `body` in a transaction of its own. It may run again, after all it did was rolled back or committed. */
  readonly transaction: <A>(
    operation: string,
    body: (query: Query) => Effect.Effect<A, SqlError | StoreError>
  ) => Effect.Effect<A, StoreError>
  /** A connection for the scope. One that comes when nobody waits any more goes back to the pool. */
  readonly reserve: Effect.Effect<Connection, SqlError, Scope.Scope>
  /** What has no answer within `busyTimeout` loses its connection, and so fails even where it cannot be interrupted. */
  readonly limited: <A>(connection: Connection, part: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>
  /** Gives back the connections that are kept. */
  readonly close: Effect.Effect<void>
  /** A part of a transaction; its failure in the words of the store. */
  readonly once: <A, R>(
    operation: string,
    part: Effect.Effect<A, SqlError, R>
  ) => Effect.Effect<A, StoreError, R>
  readonly error: (operation: string, failure: Failure) => StoreError
}

/** Whether a failure may be that of one request's data, so that others beside it may succeed. */
export const isDataFault = (cause: Cause.Cause<StoreError>): boolean =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => !Cause.isInterrupted(cause),
    onSome: (error) => error.reason === "corrupt" || dataFaults.has(error)
  })

export const make = (
  sql: PgClient,
  options: { readonly name: string; readonly schema: string; readonly busyTimeout: Duration.Duration }
): PostgresClient => {
  const { name, schema: schemaName } = options
  const schema = `"${schemaName.replaceAll("\"", "\"\"")}"`
  const error = (operation: string, failure: Failure) => new StoreError({ store: name, operation, ...failure })
  const connections = new Connections(sql.reserve, options.busyTimeout)

  const persist = <A>(operation: string, once: (until: bigint) => Effect.Effect<A, SqlError | StoreError>) =>
    persistent(once, options.busyTimeout, (failure) => error(operation, failure))

  return {
    sql,
    name,
    schema,
    schemaName,
    error,
    reserve: connections.reserve,
    limited: (connection, part) =>
      Effect.flatMap(
        Clock.currentTimeNanos,
        (now) => connections.limited(connection, now + Duration.unsafeToNanos(options.busyTimeout), part)
      ),
    close: connections.close,
    once: (operation, part) =>
      Effect.mapError(part, (cause) => {
        const { transient: _, ...failure } = describe(cause)
        return error(operation, failure)
      }),
    query: <Row>(operation: string, statement: Statement, parameters: ReadonlyArray<unknown>) =>
      persist(
        operation,
        (until) =>
          connections.query(
            until,
            statement,
            parameters,
            (connection) => execute<Row>(connection, statement, parameters)
          )
      ),
    transaction: (operation, body) =>
      persist(
        operation,
        (until) =>
          connections.use(until, (connection) => {
            const query: Query = (statement, parameters) => execute(connection, statement, parameters)
            return Effect.uninterruptibleMask((restore) =>
              Effect.zipRight(
                run(connection, "BEGIN"),
                Effect.matchCauseEffect(restore(body(query)), {
                  onFailure: (cause) =>
                    Effect.zipRight(Effect.ignore(run(connection, "ROLLBACK")), Effect.failCause(cause)),
                  onSuccess: (value) => Effect.as(run(connection, "COMMIT"), value)
                })
              )
            )
          })
      )
  }
}

/** Tries again what may be otherwise soon, until the time is up. Each try is told when that is. */
export const persistent = <A>(
  once: (until: bigint) => Effect.Effect<A, SqlError | StoreError>,
  busyTimeout: Duration.Duration,
  error: (failure: Failure) => StoreError
): Effect.Effect<A, StoreError> =>
  Effect.clockWith((clock) => {
    const until = clock.unsafeCurrentTimeNanos() + Duration.unsafeToNanos(busyTimeout)
    const loop = (pause: number): Effect.Effect<A, StoreError> =>
      Effect.catchAll(once(until), (cause) => {
        if (cause instanceof StoreError) return Effect.fail(cause)
        const { transient, ...failure } = describe(cause)
        const described = error(failure)
        if (isOfData(cause)) dataFaults.add(described)
        if (!transient || clock.unsafeCurrentTimeNanos() >= until) return Effect.fail(described)
        return Effect.flatMap(Effect.sleep(pause), () => loop(Math.min(2 * pause, 500)))
      })
    return loop(20)
  })

/** Runs a statement on a connection. */
export const execute = <Row>(
  connection: Connection,
  { name, text }: Statement,
  parameters: ReadonlyArray<unknown>
): Effect.Effect<Array<Row>, SqlError> =>
  Effect.map(
    // the driver below takes a named statement in place of its text and prepares it once a connection: a third of the
    // time of one that is parsed and planned anew
    connection.executeRaw({ name, text } as unknown as string, parameters),
    (result) => (result as { readonly rows: Array<Row> }).rows
  )

/** Runs plain SQL without parameters, which may be several statements. */
export const run = (connection: Connection, text: string): Effect.Effect<void, SqlError> =>
  Effect.asVoid(connection.executeRaw(text, []))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Codes of PostgreSQL and of the network, and whether it may be otherwise soon. */
const reasons: ReadonlyArray<readonly [RegExp, Failure["reason"], transient: boolean]> = [
  [/^(40001|40P01|55P03|53[034]00)$/, "busy", true],
  [/^53100$/, "full", false],
  [/^(25006|42501)$/, "readonly", false],
  [/^XX00[12]$/, "corrupt", false],
  [/^(08|57P0[1-5]|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOST|ENET)/, "io", true]
]

/** Failures for what a statement was given. */
const dataFaults = new WeakSet<StoreError>()

/** Values that do not fit their type or a constraint, or are too large; the driver refuses some before it sends them. */
const isOfData = ({ cause }: SqlError): boolean =>
  cause instanceof Error &&
  ("code" in cause ? /^(22|23|54|ERR_STRING|ERR_OUT)/.test(String(cause.code)) : cause instanceof RangeError)

const describe = (error: SqlError): Failure & { readonly transient: boolean } => {
  const cause = error.cause
  if (cause instanceof NoAnswer) return { reason: "busy", detail: cause.message, transient: false }
  if (cause instanceof Damage) return { reason: "corrupt", detail: cause.message, transient: false }
  if (!(cause instanceof Error)) return { reason: "io", detail: String(cause), transient: false }
  const code = "code" in cause ? String(cause.code) : ""
  const detail = code === "" ? cause.message : `${cause.message} [${code}]`
  const known = reasons.find(([pattern]) => pattern.test(code))
  if (known !== undefined) return { reason: known[1], detail, transient: known[2] }
  // the driver gives these no code
  if (/timeout exceeded when trying to connect/.test(cause.message)) {
    return { reason: "busy", detail: "every connection of the pool is in use", transient: true }
  }
  return {
    reason: "io",
    detail,
    transient: /Connection terminated|not queryable|closed the connection/.test(cause.message)
  }
}

/** A record that is not what was written, as a failure of the statement that read it. */
export const damaged = <A>(check: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: check, catch: (cause) => new SqlError({ cause, message: "damaged record" }) })
