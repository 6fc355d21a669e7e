/**
 * The agent is killed (SIGKILL) at points spread over its run and started again with the same data directory: it resolves
 * the incident, no completed step runs twice, and every remedy reaches the fleet once.
 *
 * `CRASH_POINTS` says at how many points (default 12), `CRASH_SEED` which ones.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  type Agent,
  type Ended,
  type Event,
  eventsOf,
  eventually,
  runAgent,
  type Sandbox,
  sleep,
  startAgent,
  startSandbox,
  tempPath
} from "./support.js"

type Orchestrator = "kubernetes" | "ecs"

/** When to kill: `strike` resolves when it is time. */
interface Point {
  readonly name: string
  readonly orchestrator: Orchestrator
  readonly arrange?: (sandbox: Sandbox) => Promise<void>
  readonly strike: (agent: Agent, sandbox: Sandbox) => Promise<unknown>
}

const seed = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 1e6))
const count = Number(process.env["CRASH_POINTS"] ?? 12)
let injected = 0
/** How long an undisturbed run takes, measured first. */
let usual = 3_000

beforeAll(async () => {
  const runs = [await undisturbed("kubernetes"), await undisturbed("ecs"), await undisturbed("kubernetes")]
  usual = runs.toSorted((a, b) => a - b)[1]!
})

afterAll(() => {
  process.stdout.write(`crash: ${injected} kills, seed ${seed}, an undisturbed run takes ${Math.round(usual)} ms\n`)
})

describe("an agent that is killed", () => {
  for (const { arrange, name, orchestrator, strike } of pointsOf(count)) {
    it(`${name} (${orchestrator})`, async () => {
      const sandbox = await startSandbox()
      const flags = await flagsFor(sandbox, orchestrator)
      await arrange?.(sandbox)
      const agent = startAgent(flags)
      await Promise.race([strike(agent, sandbox), agent.ended])
      expectResolved(sandbox, orchestrator, [await kill(agent), await runAgent(flags)])
    })
  }

  it.each(["kubernetes", "ecs"] as const)("again and again (%s)", async (orchestrator) => {
    const sandbox = await startSandbox()
    const flags = await flagsFor(sandbox, orchestrator)
    const attempts: Array<Ended> = []
    // each attempt lives a little longer than the one before
    for (let lifetime = usual * 0.3; attempts.at(-1)?.code !== 0 && attempts.length < 8; lifetime += usual * 0.12) {
      const agent = startAgent(flags)
      await Promise.race([agent.ended, sleep(lifetime)])
      attempts.push(await kill(agent))
    }
    if (attempts.at(-1)!.code === null) attempts.push(await runAgent(flags))
    expectResolved(sandbox, orchestrator, attempts)
  })

  it("was killed at least once in all this", () => {
    expect(injected).toBeGreaterThan(0)
  })
})

describe("agents that share a data directory", () => {
  it("act once: one handles the incident, the others say so and leave it alone", async () => {
    const sandbox = await startSandbox()
    const flags = await flagsFor(sandbox, "kubernetes")
    const runs = await Promise.all([runAgent(flags), runAgent(flags), runAgent(flags)])
    const busy = runs.filter(({ code }) => code === 1)
    for (const { stderr } of busy) {
      expect(stderr).toMatch(/^firebreak: another process is handling INC-20240111-001 \(its claim lasts [^\n]*\n$/)
    }
    const ended = runs.filter((run) => !busy.includes(run))
    expect(ended.length).toBeGreaterThan(0)
    expectResolved(sandbox, "kubernetes", ended)
  })
})

describe("an agent that gets no answer to a call that was carried out", () => {
  it.each(
    [
      ["kubernetes", "kubernetes", "patchDeployment", "reset"],
      ["kubernetes", "elasticache", "rebootCacheCluster", "reset"],
      ["kubernetes", "elasticache", "rebootCacheCluster", "hang"],
      ["ecs", "ecs", "updateService", "reset"]
    ] as const
  )("acts once (on %s: %s %s, %s)", async (orchestrator, vendor, operation, kind) => {
    const sandbox = await startSandbox()
    await sandbox.setFaults({ vendor, operation, kind, after: true, count: 1 })
    expectResolved(sandbox, orchestrator, [await runAgent(await flagsFor(sandbox, orchestrator))])
    expect(sandbox.ledger(), "the fault has struck").toContainEqual(
      expect.objectContaining({ vendor, operation, status: 0, effect: true })
    )
  })
})

// -----------------------------------------------------------------------------
// what must hold
// -----------------------------------------------------------------------------

const expectResolved = (sandbox: Sandbox, orchestrator: Orchestrator, attempts: ReadonlyArray<Ended>) => {
  const last = attempts.at(-1)!
  expect(last, last.stderr).toMatchObject({ code: 0, stderr: "" })
  expect(eventsOf(last).map(({ _tag }) => _tag)).toEqual(
    expect.arrayContaining([expect.stringMatching(/^Incident(Resolved|Known)$/)])
  )
  const restart = orchestrator === "ecs" ? "updateService" : "patchDeployment"
  expect(sandbox.effects().map(({ operation }) => operation).toSorted()).toEqual(
    [restart, "rebootCacheCluster"].toSorted()
  )
  expect(startedAgain(attempts.flatMap(eventsOf))).toEqual([])
}

/** The steps that were started after they had been saved. */
const startedAgain = (events: ReadonlyArray<Event>) => {
  const saved = new Set<unknown>()
  return events.flatMap(({ _tag, step }) => {
    if (_tag === "StepSaved") saved.add(step)
    return _tag === "StepStarted" && saved.has(step) ? [step] : []
  })
}

const flagsFor = async (
  { url }: Sandbox,
  orchestrator: Orchestrator
) => ["--json", "--vendors", url, "--orchestrator", orchestrator, "--data-dir", await tempPath("data")]

/** Kills the agent, unless it has ended by itself. */
const kill = async (agent: Agent): Promise<Ended> => {
  agent.kill()
  const ended = await agent.ended
  if (ended.code === null) injected++
  return ended
}

const undisturbed = async (orchestrator: Orchestrator) => {
  const sandbox = await startSandbox()
  const ended = await runAgent(await flagsFor(sandbox, orchestrator))
  expectResolved(sandbox, orchestrator, [ended])
  return ended.millis
}

// -----------------------------------------------------------------------------
// where to kill
// -----------------------------------------------------------------------------

/** `n` points: each call that must not be repeated with its answer lost, then others of every kind. */
function pointsOf(n: number): ReadonlyArray<Point> {
  const random = generator(seed)
  const lost = [
    inCall("kubernetes", "kubernetes", "patchDeployment", "carried out"),
    inCall("kubernetes", "elasticache", "rebootCacheCluster", "carried out"),
    inCall("ecs", "ecs", "updateService", "carried out")
  ]
  const timed = Math.ceil((n - lost.length) / 2)
  return [
    ...lost,
    ...shuffled(random, deterministic).slice(0, Math.max(0, n - lost.length - timed)),
    ...Array.from(
      { length: Math.max(0, timed) },
      (_, i) => atShare((i + random()) / timed, i % 3 === 2 ? "ecs" : "kubernetes")
    )
  ].slice(0, n)
}

/** When an event is printed. */
const atEvent = (tag: string, about = ""): Point => ({
  name: `when ${tag} ${about}`.trim(),
  orchestrator: "kubernetes",
  strike: (agent) => agent.prints((line) => line.includes(`"${tag}"`) && line.includes(`"${about}`))
})

/** When the vendors have been called `k` times. */
const atCall = (k: number, orchestrator: Orchestrator): Point => ({
  name: `at call ${k}`,
  orchestrator,
  strike: (agent, sandbox) => eventually(() => agent.hasEnded() || sandbox.ledger().length >= k)
})

/** While a call hangs that was or was not carried out. */
const inCall = (
  orchestrator: Orchestrator,
  vendor: "kubernetes" | "elasticache" | "ecs" | "datadog",
  operation: string,
  what: "carried out" | "not carried out"
): Point => ({
  name: `while ${operation} hangs that was ${what}`,
  orchestrator,
  arrange: (sandbox) => sandbox.setFaults({ vendor, operation, kind: "hang", after: what === "carried out", count: 1 }),
  strike: (agent, sandbox) =>
    eventually(() => agent.hasEnded() || sandbox.ledger().some((line) => line.operation === operation))
})

/** At a share of the usual time. */
const atShare = (share: number, orchestrator: Orchestrator): Point => ({
  name: `after ${Math.round(share * 100)} % of the usual time`,
  orchestrator,
  strike: () => sleep(share * usual)
})

const deterministic: ReadonlyArray<Point> = [
  ...["gather", "analyse", "remediate", "verify"].flatMap((step) => [
    atEvent("StepStarted", step),
    atEvent("StepSaved", step)
  ]),
  ...["restart_pods", "clear_cache"].flatMap((action) => [
    atEvent("ActionStarted", action),
    atEvent("ActionCompleted", action)
  ]),
  atEvent("VerificationPending"),
  atEvent("IncidentResolved"),
  inCall("kubernetes", "datadog", "queryMetrics", "not carried out"),
  inCall("kubernetes", "kubernetes", "patchDeployment", "not carried out"),
  inCall("kubernetes", "elasticache", "describeCacheClusters", "not carried out"),
  inCall("kubernetes", "elasticache", "rebootCacheCluster", "not carried out"),
  inCall("ecs", "ecs", "updateService", "not carried out"),
  ...[1, 4, 5, 6, 8].map((k) => atCall(k, "kubernetes")),
  ...[4, 5, 6].map((k) => atCall(k, "ecs"))
]

/** Numbers in [0, 1) that the seed fixes (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const shuffled = <A>(random: () => number, items: ReadonlyArray<A>): ReadonlyArray<A> =>
  items.map((item) => [random(), item] as const).toSorted(([a], [b]) => a - b).map(([, item]) => item)
