// All that CI runs, gate by gate, and what it came to. A gate that fails does not stop the next one.
// `--tested` leaves out the unit tests, for who has just run them.
import { spawn } from "node:child_process"
import { readdirSync } from "node:fs"

const projects = [
  "packages/core",
  "packages/sql",
  "packages/cluster",
  "packages/http",
  "examples/patterns",
  "examples/incident-agent",
  "test"
]
const packages = readdirSync("packages").map((name) => `packages/${name}`)
const tsconfigOf = (project) =>
  project.startsWith("packages/") ? `${project}/tsconfig.src.json` : `${project}/tsconfig.json`

/** What only reads, side by side: each keeps one core busy. */
const checks = [
  [
    "Effect diagnostics",
    projects.map((project) => `effect-language-service diagnostics --strict --project ${tsconfigOf(project)}`).join(
      " && "
    )
  ],
  ["documentation", packages.map((folder) => `(cd ${folder} && docgen)`).join(" && ")],
  ["type tests", "pnpm -s test:types"],
  ["lint", "pnpm -s lint"],
  ["packages", "node scripts/check-packages.mjs"]
]

/** What runs the code, one after the other. */
const tests = [
  ["tests", "STORM_CALLS=100000 pnpm -s test"],
  ["mutants", "pnpm -s test:mutants --quick"],
  ["end-to-end tests", "pnpm -s test:e2e"],
  ["crash tests", "pnpm -s test:crash"]
].filter(([name]) => name !== "tests" || !process.argv.includes("--tested"))

const results = []

/** Runs a gate. Side by side with others, what it prints waits for its end. */
const run = (name, command, beside = false) =>
  new Promise((resolve) => {
    const title = `\n== ${name}\n`
    if (!beside) process.stdout.write(title)
    const started = Date.now()
    const child = spawn("bash", ["-c", command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH: `${process.cwd()}/node_modules/.bin:${process.env.PATH}` }
    })
    let output = title
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => beside ? output += chunk : process.stdout.write(chunk))
    }
    child.on("close", (code) => {
      if (beside) process.stdout.write(output)
      results.push({ name, ok: code === 0, seconds: (Date.now() - started) / 1_000 })
      resolve()
    })
  })

await run("types", "pnpm -s check")
const waiting = [...checks]
const worker = async () => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await run(...next, true)
}
await Promise.all([worker(), worker()])
for (const [name, command] of tests) await run(name, command)

process.stdout.write("\n")
for (const { name, ok, seconds } of results) {
  process.stdout.write(`${ok ? "ok    " : "FAILED"}  ${name.padEnd(20)} ${seconds.toFixed(0).padStart(4)} s\n`)
}
process.exit(results.every(({ ok }) => ok) ? 0 : 1)
