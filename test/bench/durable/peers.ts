/**
 * Engines of others, which are too heavy to be dependencies of this workspace: they are installed into `test/bench/peers`
 * when the benchmark is first run, from the lockfile there.
 */
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { dirname, join } from "node:path"
import type { Candidate, Skipped } from "../measure.js"
import { inPromises, type Pace, steps, temporaryDirectory } from "./work.js"

/** Given to the processes that measure, for they run from a bundle elsewhere. */
const directory = process.env["BENCH_PEERS"] ?? ""

/** Installs the peers; says why that was not possible. */
export const install = (directory: string): string | undefined => {
  if (existsSync(join(directory, "node_modules", "@dbos-inc", "dbos-sdk"))) return undefined
  const script = process.env["npm_execpath"]
  const [command, ...before] = script === undefined || script === "" ? ["pnpm"] : [process.execPath, script]
  const { error, status, stderr } = spawnSync(
    command!,
    [...before, "install", "--ignore-workspace", "--frozen-lockfile", "--reporter=silent"],
    { cwd: directory, encoding: "utf8" }
  )
  return status === 0 ? undefined : error?.message ?? (stderr.trim().split("\n").at(-1) || `pnpm ended with ${status}`)
}

const missing = process.env["BENCH_PEERS_MISSING"]

const skipped = (name: string, reason: unknown): Skipped => ({
  name,
  skipped: reason instanceof Error ? reason.message : String(reason)
})

/** DBOS on a database of the given PostgreSQL server. */
export const dbos = async (pace: Pace, databaseUrl: string): Promise<Candidate | Skipped> => {
  if (missing !== undefined) return skipped("dbos", missing)
  try {
    const { DBOS } = load("@dbos-inc/dbos-sdk")
    const ten = DBOS.registerWorkflow(async () => {
      for (let seq = 0; seq < steps.length; seq++) await DBOS.runStep(() => Promise.resolve(seq), { name: steps[seq] })
    }, { name: "ten" })
    DBOS.setConfig({ name: "bench", systemDatabaseUrl: databaseUrl, logLevel: "error", systemDatabasePoolSize: 20 })
    await DBOS.launch()
    return inPromises(
      "dbos",
      "PostgreSQL: each step committed before the next; no fencing of a process that stood still",
      pace,
      async (id) => (await DBOS.startWorkflow(ten, { workflowID: id })()).getResult()
    )
  } catch (error) {
    return skipped("dbos", error)
  }
}

/** Restate's server from npm as a process of its own, and a service in this one. */
export const restate = async (pace: Pace): Promise<Candidate | Skipped> => {
  if (missing !== undefined) return skipped("restate", missing)
  try {
    polyfill()
    const sdk = load("@restatedev/restate-sdk")
    const clients = load("@restatedev/restate-sdk-clients")
    const [ingress, admin, node, endpoint] = [await freePort(), await freePort(), await freePort(), await freePort()]
    // the server itself: the launcher in `.bin` does not hand signals on
    const binary = serverBinary()
    const base = temporaryDirectory()
    // ends with the pipe that this process holds, however this process ends
    const guard = `"$0" --base-dir "$1" --node-name bench & read -r _; kill -9 $!`
    spawn("/bin/sh", ["-c", guard, binary, base], {
      env: {
        ...process.env,
        RUST_LOG: "error",
        RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
        RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
        RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
        RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}`,
        DO_NOT_TRACK: "1",
        RESTATE_DISABLE_TELEMETRY: "true"
      },
      stdio: ["pipe", "ignore", "ignore"]
    })
    const ten = sdk.service({
      name: "ten",
      handlers: {
        run: async (context: any) => {
          for (let seq = 0; seq < steps.length; seq++) await context.run(steps[seq], () => seq)
        }
      }
    })
    await sdk.serve({ services: [ten], port: endpoint, logger: () => {} })
    await answering(`http://127.0.0.1:${admin}/health`)
    const answer = await fetch(`http://127.0.0.1:${admin}/deployments`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ uri: `http://127.0.0.1:${endpoint}` })
    })
    if (!answer.ok) throw new Error(await answer.text())
    await answering(`http://127.0.0.1:${ingress}/restate/health`)
    const client = clients.connect({ url: `http://127.0.0.1:${ingress}` }).serviceClient(ten)
    return inPromises(
      "restate",
      "one node, its own log on this disk, over loopback HTTP: each step durable before the next, invocations deduplicated",
      pace,
      (id) => client.run(clients.Opts.from({ idempotencyKey: id }))
    )
  } catch (error) {
    return skipped("restate", error)
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** The peers' types are not here when this is compiled. */
const load = (name: string): any => createRequire(join(directory, "package.json"))(name)

const serverBinary = (): string => {
  const launcher = createRequire(join(directory, "package.json")).resolve("@restatedev/restate-server/package.json")
  const platform = `@restatedev/restate-server-${process.platform}-${process.arch}`
  return join(dirname(createRequire(launcher).resolve(`${platform}/package.json`)), "bin", "restate-server")
}

/** Restate's SDK wants a function that Node 20 does not have. */
const polyfill = () => {
  const promise = Promise as unknown as { withResolvers?: unknown }
  promise.withResolvers ??= () => {
    let [resolve, reject]: Array<unknown> = []
    const promise = new Promise((yes, no) => {
      resolve = yes
      reject = no
    })
    return { promise, resolve, reject }
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

const answering = async (url: string) => {
  for (const deadline = performance.now() + 30_000;;) {
    const ok = await fetch(url).then((answer) => answer.ok, () => false)
    if (ok) return
    if (performance.now() > deadline) throw new Error(`no answer from ${url} within 30 s`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
