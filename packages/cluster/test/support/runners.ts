/** Runners as processes of their own, on a database of their own. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import { ledger, tables } from "../fixtures/work.js"

export interface Runner {
  readonly pid: number
  /** The address that others reach it at. */
  readonly port: number
  /** The status of `GET` on its health server; undefined where there is no answer. */
  readonly health: (path: "/livez" | "/readyz") => Effect.Effect<number | undefined>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for the end; its exit code, null after a signal. */
  readonly exit: Effect.Effect<number | null>
}

export const freePort: Effect.Effect<number> = Effect.promise(() =>
  new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
)

/** Starts a runner; it is killed with the scope. */
export const start = (url: string, at?: number): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = at ?? (yield* freePort)
    const healthPort = yield* freePort
    const path = fileURLToPath(new URL("../fixtures/runner.ts", import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync((): ChildProcess =>
        spawn(process.execPath, ["--import", "tsx", path, url, String(port), String(healthPort)], {
          stdio: [
            "ignore",
            process.env["FIREBREAK_TEST_LOG"] === undefined ? "ignore" : "inherit",
            process.env["FIREBREAK_TEST_LOG"] === undefined ? "ignore" : "inherit"
          ]
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const ended = once(child, "exit")
    return {
      pid: child.pid ?? 0,
      port,
      health: (path) =>
        Effect.promise(() =>
          fetch(`http://127.0.0.1:${healthPort}${path}`).then(({ status }) => status, () => undefined)
        ),
      signal: (signal) => Effect.sync(() => void child.kill(signal)),
      exit: Effect.promise(async () => {
        await ended
        return child.exitCode
      })
    }
  })

/** Asks again until it is so. */
export const until = <E, R>(check: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(check, (so) => so ? Effect.void : Effect.delay(Effect.suspend(() => until(check)), "100 millis"))

export const ready = (runner: Runner) => until(Effect.map(runner.health("/readyz"), (status) => status === 200))

/** Waits until two runners have divided the shards among themselves: a runner that has none does not work. */
export const shared = (sql: SqlClient.SqlClient) =>
  until(Effect.map(
    Effect.orDie(sql<{ readonly shards: number }>`
      SELECT count(*)::int AS shards FROM firebreak_cluster_locks GROUP BY address`),
    (runners) => runners.filter(({ shards }) => shards >= 20).length === 2
  ))

/** A database with the tables of the tests' workflow. */
export const sqlOf = (url: string): Effect.Effect<SqlClient.SqlClient, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sql = Context.get(yield* Effect.orDie(Layer.build(ledger(url))), SqlClient.SqlClient)
    yield* Effect.orDie(sql.unsafe(tables))
    return sql
  })
