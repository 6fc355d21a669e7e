/** Vendors that fail: the agent goes on with what it has, waits as it is told, acts once, and asks a human in time. */
import type * as Ledger from "@firebreak-examples/incident-agent/src/sandbox/Ledger.js"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { describe, expect, it } from "vitest"
import { eventsOf, incidentFile, runAgent, type Sandbox, startSandbox, tempPath } from "./support.js"

describe("without Datadog the agent goes on with Prometheus and Loki, and says so", () => {
  it.each(
    [
      ["is down", { kind: "status", status: 503 }],
      ["hangs", { kind: "hang" }],
      ["resets connections", { kind: "reset" }]
    ] as const
  )("when it %s", async (_, fault) => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({ vendor: "datadog", ...fault })
    const ended = await runAgent(await flags(sandbox))
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    expect(ended.stdout).toMatch(/Context gathered \(degraded: \w+; .*metrics from prometheus, logs from loki/)
    expect(ended.stdout).toContain("✅ INCIDENT RESOLVED")
    expect(effects(sandbox)).toEqual(bothRemedies)
  })
})

describe("with Datadog in trouble that passes", () => {
  it("the agent waits as long as a 429 asks", async () => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({
      vendor: "datadog",
      operation: "queryMetrics",
      kind: "status",
      status: 429,
      retryAfter: 2,
      count: 1
    })
    const ended = await runAgent(await flags(sandbox))
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    expect(ended.stdout).toContain("degraded: no")
    const [refused, next] = sandbox.ledger().filter(({ operation }) => operation === "queryMetrics")
    expect([refused?.status, next?.status]).toEqual([429, 200])
    expect(Date.parse(next!.at) - Date.parse(refused!.at)).toBeGreaterThanOrEqual(2_000)
  })

  it("the agent waits for slow answers", async () => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({ vendor: "datadog", kind: "latency", ms: 1_500 })
    const ended = await runAgent(await flags(sandbox))
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    expect(ended.stdout).toContain("degraded: no")
  })
})

describe("a human is asked, and nothing else happens", () => {
  it("when nobody can tell what is wrong", async () => {
    const sandbox = await startSandbox()
    await sandbox.setFaults(
      { vendor: "datadog", kind: "status", status: 503 },
      { vendor: "prometheus", kind: "status", status: 503 },
      { vendor: "loki", kind: "status", status: 503 }
    )
    const ended = await runAgent(await flags(sandbox))
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    expect(ended.stdout).toContain("📞 ESCALATING TO ON-CALL ENGINEER")
    expect(ended.stdout).toContain("Attempted: nothing")
    expect(effects(sandbox)).toEqual(["enqueue payment-api INC-20240111-001"])
  })

  it("when the cause is one for humans", async () => {
    const sandbox = await startSandbox()
    const ended = await runAgent(await flags(sandbox, { incident_id: "INC-ORDERS", service: "orders-api" }))
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    expect(ended.stdout).toContain("saturation")
    expect(effects(sandbox)).toEqual(["enqueue orders-api INC-ORDERS"])
  })

  it("when nothing is wrong that the data would show", async () => {
    const sandbox = await startSandbox()
    const ended = await runAgent(await flags(sandbox, { incident_id: "INC-CHECKOUT", service: "checkout-api" }))
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    expect(effects(sandbox)).toEqual(["enqueue checkout-api INC-CHECKOUT"])
  })
})

describe("remediation", () => {
  it("backs off when AWS throttles, and acts once", async () => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({
      vendor: "elasticache",
      operation: "rebootCacheCluster",
      kind: "status",
      status: 429,
      count: 2
    })
    const ended = await runAgent(await flags(sandbox))
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    expect(ended.stdout).toContain("↻ aws: retry 2")
    expect(effects(sandbox)).toEqual(bothRemedies)
  })

  it("gives up after 5 failures in a row when AWS is down, and asks a human", async () => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({ vendor: "elasticache", kind: "status", status: 503 })
    const ended = await runAgent(["--json", ...await flags(sandbox)], {
      env: { AGENT_RETRY_EVERY: "200 millis", AGENT_CIRCUIT_RESET: "1 second" }
    })
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    const retries = eventsOf(ended).filter(({ _tag }) => _tag === "RemediationRetried")
    expect(retries.map(({ failure, of }) => [failure, of])).toEqual([[1, 5], [2, 5], [3, 5], [4, 5]])
    expect(eventsOf(ended).at(-1)).toMatchObject({
      _tag: "AgentExited",
      outcome: "escalated",
      exitCode: 3,
      reason: expect.stringContaining("clear_cache failed")
    })
    const escalated = eventsOf(ended).find(({ _tag }) => _tag === "IncidentEscalated")
    expect(escalated).toMatchObject({
      reason: expect.stringContaining("clear_cache failed"),
      attempted: [{ name: "restart_pods", outcome: "applied" }, { name: "clear_cache", outcome: expect.any(String) }]
    })
    expect(effects(sandbox).filter((line) => !line.startsWith("patchDeployment"))).toEqual([
      "enqueue payment-api INC-20240111-001"
    ])
  })

  it("that does not help is told to a human", async () => {
    const sandbox = await startSandbox()
    const ended = await runAgent(
      await flags(sandbox, { incident_id: "INC-SEARCH", service: "search-api" }),
      verifyShort
    )
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    expect(ended.stdout).toMatch(/Reason: the fix did not help: [\d.]+ % of requests still fail/)
    expect(ended.stdout).toContain("Attempted: restart_pods, clear_cache")
    expect(ended.stdout).toContain("✓ Page sent to on-call engineer")
    expect(effects(sandbox).at(-1)).toBe("enqueue search-api INC-SEARCH")
  })
})

describe("a page that PagerDuty does not take is spooled, and sent once", () => {
  const orders = { incident_id: "INC-ORDERS", service: "orders-api" }
  const spooled = async (sandbox: Sandbox) => {
    const dataDir = await tempPath("data")
    await sandbox.setFaults({ vendor: "pagerduty", kind: "status", status: 503 })
    const ended = await runAgent(await flags(sandbox, orders, dataDir))
    expect(ended).toMatchObject({ code: 3, stderr: "" })
    expect(ended.stdout).toContain("PagerDuty did not take the page")
    expect(await spoolOf(dataDir)).toEqual(["INC-ORDERS.json"])
    return dataDir
  }
  const expectSentOnce = (sandbox: Sandbox) =>
    expect(
      sandbox.ledger().flatMap(({ effect, key, operation, status }) =>
        operation === "enqueue" && status === 202 ? [[key, effect]] : []
      )
    ).toEqual([["INC-ORDERS", true]])

  it("by a later run for the same incident", async () => {
    const sandbox = await startSandbox()
    const dataDir = await spooled(sandbox)
    const again = await flags(sandbox, orders, dataDir)
    expect(await runAgent(again)).toMatchObject({ code: 3, stderr: "" })
    expect(await spoolOf(dataDir), "PagerDuty is still down").toEqual(["INC-ORDERS.json"])

    await sandbox.setFaults()
    const later = await runAgent(again)
    expect(later).toMatchObject({ code: 3, stderr: "" })
    expect(later.stdout).toContain("Page INC-ORDERS sent from the spool")
    expect(await spoolOf(dataDir)).toEqual([])

    expect((await runAgent(again)).stdout).not.toContain("sent from the spool")
    expectSentOnce(sandbox)
  })

  it("by a later run for another incident", async () => {
    const sandbox = await startSandbox()
    const dataDir = await spooled(sandbox)
    await sandbox.setFaults()
    const other = await runAgent(await flags(sandbox, undefined, dataDir))
    expect(other).toMatchObject({ code: 0, stderr: "" })
    expect(other.stdout).toContain("Page INC-ORDERS sent from the spool")
    expect(await spoolOf(dataDir)).toEqual([])
    expectSentOnce(sandbox)
  })
})

const bothRemedies = ["patchDeployment payment-api", "rebootCacheCluster payment-api-cache"]

const verifyShort = { env: { AGENT_VERIFY_FOR: "3 seconds" } }

/** The flags of a run against `sandbox`; without `incident` it is the chapter's. */
const flags = async (sandbox: Sandbox, incident?: Parameters<typeof incidentFile>[0], dataDir?: string) => [
  "--vendors",
  sandbox.url,
  "--data-dir",
  dataDir ?? await tempPath("data"),
  ...incident === undefined ? [] : ["--incident", await incidentFile(incident)]
]

/** What was done, to what; with the dedup key of a page. */
const effects = (sandbox: Sandbox) => sandbox.effects().map(describeEffect)

const describeEffect = ({ key, operation, target }: Ledger.Line) =>
  `${operation} ${target}${operation === "enqueue" ? ` ${key}` : ""}`

const spoolOf = (dataDir: string) => Fs.readdir(Path.join(dataDir, "spool"))
