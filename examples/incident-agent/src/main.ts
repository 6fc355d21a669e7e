/**
 * The agent's command line. It reads flags, says hello, and only then loads what the command needs.
 *
 * @since 0.1.0
 */
import { parseArgs } from "node:util"

const usage = `Usage: pnpm start [run] [--incident FILE|-] [--data-dir DIR] [--vendors URL]
                 [--orchestrator kubernetes|ecs] [--json]

  --incident FILE  the incident as JSON, - for standard input (default: INC-20240111-001)
  --data-dir DIR   where checkpoints, actions and unsent pages are kept (default: .firebreak)
  --vendors URL    base URL of the vendors (default: a sandbox of its own)
  --orchestrator   what restarts pods (default: kubernetes)
  --json           one event a line, as JSON; the last is AgentExited and says how it ended

Environment: AGENT_VERIFY_FOR, how long a fix may take to show (default: 30 seconds); AGENT_RETRY_EVERY, the wait between
failed remediations (5 seconds); AGENT_CIRCUIT_RESET, how long a vendor that is down is left alone (30 seconds)

Exit: 0 resolved, 1 failed, 2 bad input, 3 escalated to a human; 130 or 143 interrupted by SIGINT or SIGTERM: start it
again to go on where it was`

// a reader that goes away, such as head, or a full disk below a log ends the output and not the incident
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})

const fail = (message: string): never => {
  process.stderr.write(`firebreak: ${message}\n`)
  if (process.argv.includes("--json")) {
    const ending = { _tag: "AgentExited", outcome: "bad-input", exitCode: 2, reason: message, at: Date.now() }
    process.stdout.write(`${JSON.stringify(ending)}\n`)
  }
  process.exit(2)
}

const parse = () => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        incident: { type: "string" },
        "data-dir": { type: "string", default: ".firebreak" },
        vendors: { type: "string" },
        orchestrator: { type: "string", default: "kubernetes" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false }
      }
    })
  } catch (error) {
    return fail(`${(error as Error).message.split(/\.\s/)[0]}; see --help`)
  }
}

const { positionals, values } = parse()

if (values.help) {
  process.stdout.write(`${usage}\n`)
  process.exit(0)
}
const [command = "run", ...rest] = positionals
if (command !== "run") fail(`there is no command "${command}"; see --help`)
if (rest.length > 0) fail(`unexpected argument "${rest[0]}"; see --help`)
const { orchestrator } = values
if (orchestrator !== "kubernetes" && orchestrator !== "ecs") {
  fail(`--orchestrator must be kubernetes or ecs, got "${orchestrator}"`)
}
if (values["data-dir"] === "") fail("--data-dir must name a directory")
if (values.vendors !== undefined && !(/^https?:/.test(values.vendors) && URL.canParse(values.vendors))) {
  fail(`--vendors must be a URL such as http://127.0.0.1:4010, got "${values.vendors}"`)
}

if (!values.json) process.stdout.write("🚀 Firebreak incident agent\n")

const { main } = await import("./Run.js")
main({
  incident: values.incident,
  dataDir: values["data-dir"],
  vendors: values.vendors,
  orchestrator: orchestrator === "ecs" ? "ecs" : "kubernetes",
  json: values.json
})
