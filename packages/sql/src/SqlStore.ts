/**
 * The durable stores behind `Idempotency` and `Checkpoint`: one SQLite file, embedded in the process.
 *
 * What a store has reported as recorded survives kill -9 and power cuts (`synchronous=FULL`). All writes go through one
 * thread, which commits together whatever is waiting; the event loop is never held, whoever locks the file. Any number
 * of processes on one machine may open the file: records are owned by leases, the file is not. What a dead process
 * held is taken over at once, what a living one holds when its lease ends. The file must be on a local disk.
 *
 * @since 0.1.0
 */
import { CheckpointStore } from "@firebreak/core/CheckpointStore"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqliteCheckpoints from "./internal/SqliteCheckpoints.js"
import * as SqliteClient from "./internal/SqliteClient.js"
import * as SqliteIdempotency from "./internal/SqliteIdempotency.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface SqliteOptions {
  /** The database file; it and its directory are created when missing. */
  readonly filename: string
  /** How long an operation waits, in real time, for a lock that another process holds. Default 5 seconds. */
  readonly busyTimeout?: Duration.DurationInput | undefined
  /**
   * How many completed idempotency records are kept in memory; 0 for none. A kept record is read from the file again
   * after a second, so that is how long a reset by another process may go unnoticed. Default 10,000.
   */
  readonly cachedResults?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { busyTimeout: "5 seconds", cachedResults: 10_000 } as const

/**
 * Both stores on one SQLite file. A file that cannot be opened fails with a `StoreError` that names it. Closing the
 * scope waits for the writes under way and gives back what is still claimed: keys in doubt, runs free to be resumed.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/CheckpointStore"
 * import * as SqlStore from "@firebreak/sql/SqlStore"
 * import * as Effect from "effect/Effect"
 *
 * const unfinished = Effect.flatMap(Checkpoint.CheckpointStore, (store) => store.list({ status: "running" }))
 *
 * export const program = Effect.provide(unfinished, SqlStore.layerSqlite({ filename: "data/firebreak.db" }))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlite = (options: SqliteOptions): Layer.Layer<IdempotencyStore | CheckpointStore, StoreError> => {
  const settings = resolve(options)
  return Layer.scopedContext(
    Effect.gen(function*() {
      const [client, driver] = yield* Effect.all([SqliteClient.make(settings), SqliteIdempotency.loadDriver], {
        concurrency: 2
      })
      return Context.make(IdempotencyStore, yield* SqliteIdempotency.make(client, driver, settings)).pipe(
        Context.add(CheckpointStore, yield* SqliteCheckpoints.make(client))
      )
    })
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const resolve = (options: SqliteOptions) => {
  const { filename } = options
  const cachedResults = options.cachedResults ?? defaults.cachedResults
  if (typeof filename !== "string" || filename === "" || filename.startsWith(":") || filename.startsWith("file:")) {
    throw new InvalidOption(
      `SqlStore: filename must be the path of a file, got ${
        show(filename)
      }; use the memory layers of @firebreak/core for tests`
    )
  }
  if (!Number.isSafeInteger(cachedResults) || cachedResults < 0) {
    throw new InvalidOption(
      `SqlStore: cachedResults must be a whole number of at least 0, got ${show(cachedResults)}`
    )
  }
  return { filename, busyTimeout: millis("busyTimeout", options.busyTimeout ?? defaults.busyTimeout), cachedResults }
}

/** A fault in the options, with the name and the wording of @firebreak/core's own. */
class InvalidOption extends Error {
  override readonly name = "InvalidOption"
}

const millis = (option: string, value: Duration.DurationInput): number => {
  let decoded: number
  try {
    decoded = Duration.toMillis(Duration.decode(value))
  } catch {
    throw new InvalidOption(`SqlStore: ${option} must be a duration, got ${show(value)}`)
  }
  // Duration.decode makes zero of NaN and of what is negative
  if (!Number.isFinite(decoded) || isNegative(value)) {
    throw new InvalidOption(`SqlStore: ${option} must be a finite duration of at least 0 ms, got ${show(value)}`)
  }
  return Math.round(decoded)
}

const isNegative = (value: Duration.DurationInput): boolean => {
  if (typeof value === "number" || typeof value === "bigint") return !(value >= 0)
  if (typeof value === "string") return value.trimStart().startsWith("-")
  return Array.isArray(value) && value.some((part) => !(part >= 0))
}

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  return Duration.isDuration(value) ? Duration.format(value) : String(value)
}
