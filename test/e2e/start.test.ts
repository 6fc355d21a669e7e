/** `pnpm start`: the chapter's incident, resolved against a sandbox of its own. */
import { execFileSync, spawnSync } from "node:child_process"
import * as Path from "node:path"
import { describe, expect, it } from "vitest"
import { eventsOf, eventually, incidentFile, readLedger, runAgent, startAgent, tempPath } from "./support.js"

describe("pnpm start", () => {
  it("resolves the chapter's incident, and says so step by step", async () => {
    const dataDir = await tempPath("data")
    const first = await runAgent(["--data-dir", dataDir])
    expect(first).toMatchObject({ code: 0, stderr: "" })
    expectInOrder(first.stdout, [
      "🚀 Firebreak incident agent",
      "🚨 INCIDENT: INC-20240111-001",
      "Service: payment-api",
      "Severity: high",
      "Description: High error rate detected (5% of requests failing)",
      "Step 1: Gathering incident context...",
      "✓ Context gathered (degraded: no)",
      "💾 Checkpoint saved: step 1 (gather)",
      "Step 2: Analysing root cause...",
      "💾 Checkpoint saved: step 2 (analyse)",
      "Step 3: Applying remediation...",
      "▶ Executing restart_pods",
      "✓ Pods restarted",
      "▶ Executing clear_cache",
      "✓ Cache cleared",
      "✓ Remediation applied",
      "💾 Checkpoint saved: step 3 (remediate)",
      "Step 4: Verifying fix...",
      "💾 Checkpoint saved: step 4 (verify)",
      "✅ INCIDENT RESOLVED",
      "Actions taken: restart_pods, clear_cache"
    ])
    expect(first.stdout, "no colour where there is no terminal").not.toContain("\u001b")

    const ledger = readLedger(Path.join(dataDir, "sandbox-ledger.jsonl"))
    expect(ledger.filter(({ effect }) => effect).map(({ operation, target }) => [operation, target])).toEqual([
      ["patchDeployment", "payment-api"],
      ["rebootCacheCluster", "payment-api-cache"]
    ])

    const second = await runAgent(["--data-dir", dataDir])
    expect(second).toMatchObject({ code: 0, stderr: "" })
    expect(second.stdout).toContain("INC-20240111-001 is already resolved")
    expect(readLedger(Path.join(dataDir, "sandbox-ledger.jsonl")), "no vendor was called").toEqual(ledger)
  })

  it("prints nothing but JSON events with --json", async () => {
    const ended = await runAgent(["--json", "--data-dir", await tempPath("data")])
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    const events = eventsOf(ended)
    for (const event of events) expect(event).toMatchObject({ _tag: expect.any(String), at: expect.any(Number) })
    expect(events.map(({ at }) => at)).toEqual(events.map(({ at }) => at).toSorted((a, b) => a - b))
    expect(events.map(({ _tag }) => _tag)).toEqual(
      expect.arrayContaining(["IncidentOpened", "StepSaved", "ActionCompleted", "IncidentResolved"])
    )
    expect(events.at(-1)).toMatchObject({
      _tag: "AgentExited",
      outcome: "resolved",
      exitCode: 0,
      incident: "INC-20240111-001"
    })
  })

  it("colours a terminal's output, unless NO_COLOR is set", async () => {
    const dataDir = await tempPath("data")
    const command = `node --import tsx examples/incident-agent/src/main.ts --data-dir ${dataDir}`
    const onTerminal = (env: Readonly<Record<string, string>>) =>
      execFileSync("script", ["-qec", command, "/dev/null"], { env: { ...process.env, ...env }, encoding: "utf8" })
    const plain = onTerminal({ NO_COLOR: "1" })
    expect(plain).toContain("✅ INCIDENT RESOLVED")
    expect(plain).not.toContain("\u001b")
    expect(onTerminal({ NO_COLOR: "" })).toContain("\u001b[32m✅ INC-20240111-001 is already resolved")
  })

  it.each([["SIGINT", 130], ["SIGTERM", 143]] as const)(
    "goes on where it was after %s to its process group, as from a terminal",
    async (signal, code) => {
      const dataDir = await tempPath("data")
      const agent = startAgent(["--json", "--data-dir", dataDir], { detached: true })
      expect(await agent.prints((line) => line.includes("\"StepSaved\"") && line.includes("analyse"))).toBe(true)
      process.kill(-agent.pid, signal)
      const ended = await agent.ended
      expect(ended).toMatchObject({
        code,
        stderr: "⏸ interrupted; start again to go on where it was\n"
      })
      expect(eventsOf(ended).at(-1)).toMatchObject({ _tag: "AgentExited", outcome: "interrupted", exitCode: code })
      const again = await runAgent(["--data-dir", dataDir])
      expect(again).toMatchObject({ code: 0, stderr: "" })
      expect(readLedger(Path.join(dataDir, "sandbox-ledger.jsonl")).filter(({ effect }) => effect)).toHaveLength(2)
    }
  )

  it("leaves an incident to the process that is handling it", async () => {
    const flags = [
      "--data-dir",
      await tempPath("data"),
      "--incident",
      await incidentFile({ incident_id: "INC-SEARCH", service: "search-api" })
    ]
    const agent = startAgent(flags)
    expect(await agent.prints((line) => line.includes("step 3 (remediate)"))).toBe(true)
    const second = await runAgent(["--json", ...flags])
    expect(second.code).toBe(1)
    const handled = /^another process is handling INC-SEARCH \(its claim lasts \d+ s more\)$/
    expect(second.stderr).toMatch(/^firebreak: [^\n]+\n$/)
    expect(second.stderr.slice("firebreak: ".length).trimEnd()).toMatch(handled)
    expect(eventsOf(second)).toMatchObject([
      { _tag: "AgentExited", outcome: "in-progress", exitCode: 1, reason: expect.stringMatching(handled) }
    ])
    agent.kill()
  })

  it("lets a demo end though its reader goes away", () => {
    const command = "set -o pipefail; node --import tsx examples/patterns/src/main.ts checkpoint | head -2"
    const { status, stderr } = spawnSync("bash", ["-c", command], { encoding: "utf8" })
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" })
  })

  it.each([[], ["--json"]])("ends the incident though its reader goes away %s", async (...flags) => {
    const dataDir = await tempPath("data")
    const agent = startAgent([...flags, "--data-dir", dataDir])
    expect(await agent.prints(() => true)).toBe(true)
    agent.stopReading()
    expect(await agent.ended).toMatchObject({ code: 0, stderr: "" })
    const again = await runAgent(["--data-dir", dataDir])
    expect(again.stdout).toContain("INC-20240111-001 is already resolved")
  })

  it("takes its sandbox along when it is killed", async () => {
    const agent = startAgent(["--json", "--data-dir", await tempPath("data")])
    expect(await agent.prints((line) => line.includes("IncidentOpened"))).toBe(true)
    const [sandbox, ...others] = childrenOf(agent.pid)
    expect(others).toEqual([])
    expect(isRunning(sandbox!)).toBe(true)
    agent.kill()
    await agent.ended
    expect(await eventually(() => !isRunning(sandbox!))).toBe(true)
  })
})

const expectInOrder = (text: string, parts: ReadonlyArray<string>) => {
  let from = 0
  for (const part of parts) {
    const at = text.indexOf(part, from)
    expect(at, `"${part}" should follow in\n${text}`).not.toBe(-1)
    from = at + part.length
  }
}

const ps = (...flags: ReadonlyArray<string>): ReadonlyArray<string> => {
  try {
    return execFileSync("ps", flags, { encoding: "utf8" }).split("\n").map((line) => line.trim()).filter(Boolean)
  } catch {
    return [] // it finds none
  }
}

const childrenOf = (pid: number) => ps("-o", "pid=", "--ppid", String(pid)).map(Number)

/** A zombie that nobody has buried yet does not run. */
const isRunning = (pid: number) => ps("-o", "stat=", "-p", String(pid)).some((state) => !state.startsWith("Z"))
