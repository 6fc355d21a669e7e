/**
 * A check that asks a database through its pool.
 *
 * @since 0.1.0
 */
import { SqlClient } from "@effect/sql/SqlClient"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Check from "@firebreak/core/InvalidOption"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<D extends string = string> extends HealthCheck.Options<D> {
  /** When an answer is too slow, the wait for a connection included. Default 1 second; `timeout` is twice that. */
  readonly below?: Duration.DurationInput | undefined
}

/**
 * Passes while `select 1` is answered in less than `below`. It takes a connection from the pool like everybody else, so a
 * pool that is used up fails it as much as a server that is down.
 *
 * @example
 * import * as SqlHealthCheck from "@firebreak/sql/SqlHealthCheck"
 *
 * export const database = SqlHealthCheck.pool({ below: "200 millis", critical: true })
 *
 * @since 0.1.0
 * @category constructors
 */
export const pool = <const D extends string = never>(
  options: Options<D> = {}
): HealthCheck.HealthCheck<SqlClient, D> => {
  Check.known("SqlHealthCheck", options, { ...HealthCheck.known, below: true })
  return HealthCheck.responseTime(Effect.flatMap(SqlClient, (sql) => sql`select 1`), {
    componentType: "datastore",
    ...options
  })
}
