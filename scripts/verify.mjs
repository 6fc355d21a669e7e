// All that CI runs, gate by gate, and what it came to. A gate that fails does not stop the next one.
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

const gates = [
  ["lint", "pnpm -s lint"],
  ["types", "pnpm -s check"],
  ["type tests", "pnpm -s test:types"],
  [
    "Effect diagnostics",
    projects.map((project) => `effect-language-service diagnostics --strict --project ${tsconfigOf(project)}`).join(
      " && "
    )
  ],
  ["documentation", packages.map((folder) => `(cd ${folder} && docgen)`).join(" && ")],
  ["packages", "node scripts/check-packages.mjs"],
  ["tests", "STORM_CALLS=100000 pnpm -s test"],
  ["mutants", "pnpm -s test:mutants --quick"],
  ["end-to-end tests", "pnpm -s test:e2e"],
  ["crash tests", "pnpm -s test:crash"]
]

const run = (command) =>
  new Promise((resolve) => {
    const child = spawn("bash", ["-c", command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH: `${process.cwd()}/node_modules/.bin:${process.env.PATH}` }
    })
    let output = ""
    for (const [from, to] of [[child.stdout, process.stdout], [child.stderr, process.stderr]]) {
      from.on("data", (chunk) => {
        output += chunk
        to.write(chunk)
      })
    }
    child.on("close", (code) => resolve({ code, output }))
  })

const results = []
for (const [name, command] of gates) {
  process.stdout.write(`\n== ${name}\n`)
  const started = Date.now()
  const { code } = await run(command)
  results.push({ name, ok: code === 0, seconds: (Date.now() - started) / 1_000 })
}

process.stdout.write("\n")
for (const { name, ok, seconds } of results) {
  process.stdout.write(`${ok ? "ok    " : "FAILED"}  ${name.padEnd(20)} ${seconds.toFixed(0).padStart(4)} s\n`)
}
process.exit(results.every(({ ok }) => ok) ? 0 : 1)
