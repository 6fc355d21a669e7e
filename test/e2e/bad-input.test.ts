/** Input that is no good: exit 2, one line on standard error that names what is wrong, and nothing written. */
import { existsSync } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { describe, expect, it } from "vitest"
import { eventsOf, runAgent, startSandbox, tempPath } from "./support.js"

const good = { incident_id: "INC-1", severity: "high", service: "payment-api", description: "5% of requests fail" }

const incidents: ReadonlyArray<readonly [what: string, text: string, complaint: RegExp]> = [
  ["is not JSON", "hello\nworld", /^firebreak: the incident is not JSON: "hello\\nworld"$/],
  ["holds control characters", "\u001b[31mred", /^firebreak: the incident is not JSON: "\\u001b\[31mred"$/],
  ["is empty", "", /^firebreak: the incident is not JSON: it is empty$/],
  ["is a JSON array", JSON.stringify([good]), /^firebreak: the incident must be a JSON object, got \[/],
  [
    "has an unknown severity",
    JSON.stringify({ ...good, severity: "urgent" }),
    /^firebreak: severity must be .*"urgent"$/
  ],
  ["has no service", JSON.stringify({ ...good, service: undefined }), /^firebreak: service is missing$/],
  [
    "has a path as its id",
    JSON.stringify({ ...good, incident_id: "../../x" }),
    /^firebreak: incident_id must be .*"\.\.\/\.\.\/x"$/
  ],
  ["has a path as its service", JSON.stringify({ ...good, service: "a/b" }), /^firebreak: service must be .*"a\/b"$/],
  [
    "has a number as its id",
    JSON.stringify({ ...good, incident_id: 7 }),
    /^firebreak: incident_id must be a string, got 7$/
  ],
  [
    "has a whole book as its id",
    JSON.stringify({ ...good, incident_id: ["a".repeat(100_000)] }),
    /^firebreak: incident_id .{0,300}$/
  ],
  ["has no description", JSON.stringify({ ...good, description: "" }), /^firebreak: description must not be empty$/],
  [
    "has 10 MB",
    JSON.stringify({ ...good, description: "a".repeat(10_000_000) }),
    /^firebreak: the incident is larger than 1000000 bytes/
  ]
]

const flags: ReadonlyArray<readonly [flags: ReadonlyArray<string>, complaint: string]> = [
  [["--incident", "/nowhere/incident.json"], "--incident cannot be read"],
  [["--incident", "/"], "--incident cannot be read"],
  [["--vendors", "not a URL"], "--vendors must be"],
  [["--vendors", "ftp://127.0.0.1"], "--vendors must be"],
  [["--vendors", "localhost:4010"], "--vendors must be"],
  [["--orchestrator", "nomad"], "--orchestrator must be"]
]

describe("an incident", () => {
  it.each(incidents)("that %s", async (_, text, complaint) => {
    const file = await tempPath("incident.json")
    await Fs.writeFile(file, text)
    const dataDir = await tempPath("data")
    const ended = await runAgent(["--data-dir", dataDir, "--vendors", "http://127.0.0.1:9", "--incident", file])
    expect(ended.stderr).toMatch(/^[^\n]+\n$/)
    expect(ended.stderr.trimEnd()).toMatch(complaint)
    expect(ended.code).toBe(2)
    expect(existsSync(dataDir)).toBe(false)
  })

  it("from standard input is judged alike", async () => {
    const dataDir = await tempPath("data")
    const ended = await runAgent(["--data-dir", dataDir, "--incident", "-"], { stdin: "\u0000garbage\n\n" })
    expect(ended).toMatchObject({ code: 2, stderr: "firebreak: the incident is not JSON: \"\\u0000garbage\\n\\n\"\n" })
    expect(existsSync(dataDir)).toBe(false)
  })

  it("from standard input is handled when it is good", async () => {
    const sandbox = await startSandbox()
    const ended = await runAgent(
      ["--data-dir", await tempPath("data"), "--vendors", sandbox.url, "--incident", "-"],
      { stdin: JSON.stringify({ ...good, incident_id: "INC-STDIN" }) }
    )
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    expect(ended.stdout).toContain("🚨 INCIDENT: INC-STDIN")
  })
})

describe("the command line", () => {
  it.each(flags)("%j", async (given, complaint) => {
    const dataDir = await tempPath("data")
    const ended = await runAgent(["--data-dir", dataDir, ...given])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(/^firebreak: [^\n]+\n$/)
    expect(ended.stderr).toContain(complaint)
    expect(existsSync(dataDir)).toBe(false)
  })

  it("names an unknown flag, an unknown command, a flag without its value", async () => {
    const dataDir = await tempPath("data")
    for (const [given, complaint] of [["--sed=1", "--sed"], ["twice", "twice"], ["--vendors", "--vendors"]] as const) {
      const ended = await runAgent(["--data-dir", dataDir, given])
      expect(ended.code).toBe(2)
      expect(ended.stderr).toMatch(/^firebreak: [^\n]+; see --help\n$/)
      expect(ended.stderr).toContain(complaint)
    }
    expect(existsSync(dataDir)).toBe(false)
  })

  it("names a data directory that is none", async () => {
    const file = await tempPath("file")
    await Fs.writeFile(file, "kept")
    const ended = await runAgent(["--data-dir", Path.join(file, "data")])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(/^firebreak: --data-dir cannot be used: [^\n]+\n$/)
    expect(await Fs.readFile(file, "utf8")).toBe("kept")
  })

  it.runIf(existsSync("/proc/self"))(
    "names a data directory that cannot be made, where Node's mkdir hangs",
    async () => {
      const ended = await runAgent(["--data-dir", "/proc/firebreak/data"])
      expect(ended).toMatchObject({
        code: 2,
        stderr: "firebreak: --data-dir cannot be used: nothing can be made in /proc\n"
      })
    }
  )

  it("names a data directory that is a file", async () => {
    const file = await tempPath("file")
    await Fs.writeFile(file, "kept")
    const ended = await runAgent(["--data-dir", file])
    expect(ended).toMatchObject({
      code: 2,
      stderr: `firebreak: --data-dir must be a directory; ${file} is a file\n`
    })
  })

  it.each([
    ["AGENT_VERIFY_FOR", "abc"],
    ["AGENT_VERIFY_FOR", "-1 seconds"],
    ["AGENT_RETRY_EVERY", "0"],
    ["AGENT_CIRCUIT_RESET", "0 seconds"],
    ["AGENT_CIRCUIT_RESET", "1 eon"]
  ])("refuses the environment's %s=%s", async (name, value) => {
    const dataDir = await tempPath("data")
    const ended = await runAgent(["--data-dir", dataDir], { env: { [name]: value } })
    expect(ended).toMatchObject({
      code: 2,
      stderr: `firebreak: ${name} must be a positive duration such as "5 seconds", got "${value}"\n`
    })
    expect(existsSync(dataDir)).toBe(false)
  })

  it("refuses an incident's id for another service", async () => {
    const dataDir = await tempPath("data")
    const first = await runAgent(["--data-dir", dataDir])
    expect(first.code).toBe(0)
    const file = await tempPath("incident.json")
    await Fs.writeFile(file, JSON.stringify({ ...good, incident_id: "INC-20240111-001", service: "orders-api" }))
    expect(await runAgent(["--data-dir", dataDir, "--incident", file])).toMatchObject({
      code: 2,
      stderr: "firebreak: INC-20240111-001 is known with service payment-api, not orders-api\n"
    })
    await Fs.writeFile(file, JSON.stringify({ ...good, incident_id: "INC-20240111-001" }))
    const reworded = await runAgent(["--data-dir", dataDir, "--incident", file])
    expect(reworded).toMatchObject({ code: 0, stderr: "" })
    expect(reworded.stdout).toContain("already resolved")
  })

  it.each([
    ["a flag", ["--orchestrator", "nomad"], "--orchestrator must be"],
    ["the incident", ["--incident", "/nowhere/incident.json"], "--incident cannot be read"]
  ])("with --json says it in one last line, for %s", async (_, given, complaint) => {
    const ended = await runAgent(["--json", "--data-dir", await tempPath("data"), ...given])
    expect(ended.code).toBe(2)
    expect(eventsOf(ended)).toMatchObject([
      { _tag: "AgentExited", outcome: "bad-input", exitCode: 2, reason: expect.stringContaining(complaint) }
    ])
  })

  it("calls no vendor before all of it is good", async () => {
    const sandbox = await startSandbox()
    const ended = await runAgent(["--vendors", sandbox.url, "--incident", "/nowhere"])
    expect(ended.code).toBe(2)
    expect(sandbox.ledger()).toEqual([])
  })
})
