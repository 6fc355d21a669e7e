import { describe, expect, it, vi } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { demos } from "../src/demos.js"
import { fastForward } from "../src/internal/fastForward.js"

/** Runs a demo and gives the lines it printed. */
const run = Effect.fnUntraced(function*(name: string) {
  const demo = demos[name]!
  vi.resetModules()
  const { main } = yield* Effect.promise(demo.load)
  const lines: Array<string> = []
  const log = (...args: ReadonlyArray<unknown>) => Effect.sync(() => void lines.push(...args.join(" ").split("\n")))
  const program = demo.realTime === true ? main : fastForward(main)
  yield* Console.consoleWith((console) => Effect.withConsole(program, { ...console, log }))
  return lines
})

const firstRuns = new Map<string, ReadonlyArray<string>>()

/** The lines of the first run of a demo. */
const linesOf = Effect.fnUntraced(function*(name: string) {
  const lines = firstRuns.get(name) ?? (yield* run(name))
  firstRuns.set(name, lines)
  return lines
})

const count = (lines: ReadonlyArray<string>, part: string) => lines.filter((line) => line.includes(part)).length

/** That each part is found on a line, after the part before it. */
const expectInOrder = (lines: ReadonlyArray<string>, parts: ReadonlyArray<string>) => {
  let from = 0
  for (const part of parts) {
    const found = lines.findIndex((line, i) => i >= from && line.includes(part))
    expect(found, `"${part}" after line ${from} of\n${lines.join("\n")}`).toBeGreaterThanOrEqual(0)
    from = found + 1
  }
}

const secondsIn = (line: string): number => Number(/(\d+\.\d+) s/.exec(line)?.[1])

vi.setConfig({ testTimeout: 30_000 })

describe("the circuit breaker demo", () => {
  it.effect("opens after three failures, probes every ten seconds, and closes after two successes", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("circuit-breaker")
      expectInOrder(lines, [
        "0.1 s  Call  1  ✗",
        "0.7 s  Call  2  ✗",
        "1.3 s  Call  3  ✗",
        "1.3 s  🔴 circuit OPEN",
        "Call  4  ⛔ rejected, retry in 9.5 s",
        "Call 20  ⛔ rejected, retry in 1.5 s",
        "11.3 s  🟡 circuit HALF-OPEN",
        "Call 21  ✗",
        "🔴 circuit OPEN",
        "21.4 s  🟡 circuit HALF-OPEN",
        "Call 22  ✗",
        "🔴 circuit OPEN",
        "31.5 s  🟡 circuit HALF-OPEN",
        "Call 23  ✓",
        "Call 24  ✓",
        "🟢 circuit CLOSED",
        "24 calls: 2 succeeded, 5 failed, 17 rejected"
      ])
      expect(count(lines, "⛔")).toBe(17)
    }))
})

describe("the jitter demo", () => {
  it.effect("waits exactly 1, 2 and 4 seconds without jitter", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("jitter")
      expectInOrder(lines, [
        "none",
        "retrying in 1.00 s",
        "retrying in 2.00 s",
        "retrying in 4.00 s",
        "✓ Success! Waited 7.00 s"
      ])
      expect(count(lines, "✓ Success!")).toBe(5)
      for (const line of lines.filter((line) => line.includes("Waited"))) expect(secondsIn(line)).toBeLessThan(30)
    }))

  it.effect("parts a thousand clients by every jitter but none", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("jitter")
      const busiest = (jitter: string) =>
        Number(new RegExp(`^ +${jitter} +(\\d+) `).exec(lines.find((line) => line.startsWith(`  ${jitter} `))!)![1])
      expect(busiest("none")).toBe(1_000)
      for (const jitter of ["full", "equal", "proportional", "decorrelated"]) {
        expect(busiest(jitter)).toBeLessThan(300)
      }
    }))
})

describe("the retry budget demo", () => {
  it.effect("never waits past its 10 seconds and ends with the API's own error", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("retry-budget")
      const waits = lines.filter((line) => line.includes("retrying in")).map((line) =>
        secondsIn(line.slice(line.indexOf("retrying")))
      )
      expect(waits.length).toBeGreaterThan(1)
      const total = secondsIn(lines.find((line) => line.includes("waited"))!.split("waited")[1]!)
      expect(total).toBeLessThanOrEqual(10)
      expect(waits.reduce((a, b) => a + b)).toBeCloseTo(total, 1)
      expectInOrder(lines, [`gave up after ${waits.length + 1} attempts`, "the error is the API's: ApiDown"])
    }))
})

describe("the retry and breaker demo", () => {
  it.effect("gives up when the circuit opens, fails fast, and closes it again after the reset", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("retry-breaker")
      expectInOrder(lines, [
        "Request 1",
        "✗ API unavailable",
        "✗ API unavailable",
        "1.2 s     ✗ API unavailable",
        // no wait for an attempt that would be turned away
        "1.2 s     ✗ gave up: API unavailable",
        "🔴 the circuit is open",
        "Request 2",
        "⛔ gave up",
        "Request 3",
        "✗ API unavailable",
        "✗ gave up: API unavailable",
        "🔴 the circuit is open",
        "Request 4",
        "✓ 200 OK",
        "🟡 the circuit is half-open",
        "Request 5",
        "✓ 200 OK",
        "🟢 the circuit is closed"
      ])
      expect(count(lines, "✗ API unavailable")).toBe(4)
    }))
})

describe("the idempotency demo", () => {
  it.live("does after the crash only what was not done before it", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("idempotency")
      expectInOrder(lines, [
        "Attempt 1",
        "▶ set_pod_memory",
        "→ setting the memory",
        "✓ set_pod_memory recorded",
        "💥",
        "Attempt 2",
        "✓ set_pod_memory was done before",
        "▶ restart_pod",
        "→ restarting",
        "✓ restart_pod recorded",
        "✓ Workflow completed: memory 2Gi, pod restarted"
      ])
      expect(count(lines, "→")).toBe(2)
    }))
})

describe("the self-healing demo", () => {
  it.effect("resets, fails over, escalates once, and fails back when a human has repaired the rest", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("self-healing")
      expectInOrder(lines, [
        "Health check #1: healthy",
        "Health check #2: healthy",
        "Health check #3: degraded - 3/4 checks passing",
        "✓ reset connections: it helped",
        "Health check #4: healthy",
        "Health check #5: healthy",
        "Health check #6: unhealthy - 2/4 checks passing",
        "✗ reset connections",
        "🔀 failed over to replica",
        "Health check #7: healthy",
        "Health check #8: unhealthy",
        "has no backup left",
        "Health check #10: unhealthy",
        "🚨 escalated (too many failures)",
        "ON-CALL ENGINEER PAGED",
        "bad rounds in a row: 3",
        "Health check #11: unhealthy",
        "🔙 failed back to primary",
        "healthy - 4/4 checks passing"
      ])
      expect(count(lines, "🚨")).toBe(1)
      const after = lines.slice(lines.findIndex((line) => line.includes("🚨")))
      expect(after.filter((line) => line.includes("🔧"))).toEqual([])
    }))
})

describe("the checkpoint demo", () => {
  it.live("runs after the crash only the steps that had not finished before it", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("checkpoint")
      expectInOrder(lines, [
        "Attempt 1",
        "💾 step 0 analyze_logs",
        "💾 step 1 check_metrics",
        "💾 step 2 identify_root_cause",
        "▶ apply_fix",
        "💥",
        "Attempt 2",
        "📂 the run is taken up, 3 steps are done",
        "⏭  step 2 identify_root_cause",
        "▶ apply_fix",
        "💾 step 3 apply_fix",
        "💾 step 4 verify_fix",
        "✓ Workflow completed: memory leak of payment-api fixed"
      ])
      expect(count(lines, "▶")).toBe(6)
      expect(count(lines, "💾")).toBe(5)
    }))
})

describe("the degradation demos", () => {
  it.effect("answer from the cache where a service fails, and name what is missing", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("degradation")
      expect(count(lines, "Attempt ")).toBe(5)
      expect(count(lines, "  level ") + count(lines, "  refused: ")).toBe(5)
      expect(count(lines, "level full")).toBeGreaterThan(0)
      expect(count(lines, "level moderate")).toBeGreaterThan(0)
      // only an answer that is not full warns its users
      expect(count(lines, "Limited functionality")).toBe(count(lines, "  level ") - count(lines, "level full"))
      for (const line of lines) expect(line.split("What you can do").length).toBeLessThanOrEqual(2)
      expect(lines.some((line) => /: answer \d+ of \w+ \(.+ old\)/.test(line))).toBe(true)
    }))

  it.effect("accept one and the same outage or refuse it, as the tolerance says", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("degradation-levels")
      expectInOrder(lines, ["Permissive", "Moderate", "Strict"])
      const accepted = lines.map((line) => line.includes("accepted"))
      // a stricter tolerance never accepts what a wider one refused
      expect(accepted).toEqual(accepted.toSorted((a, b) => Number(b) - Number(a)))
      expect(new Set(accepted).size).toBe(2)
    }))
})

describe("every demo", () => {
  for (const name of Object.keys(demos)) {
    it.live(`${name} prints the same at every run`, () =>
      Effect.gen(function*() {
        const lines = yield* linesOf(name)
        expect(lines.length).toBeGreaterThan(2)
        // a blank line stands above it already
        if (demos[name]!.realTime !== true) expect(lines[0]).not.toBe("")
        expect(yield* run(name)).toEqual(lines)
      }))
  }
})

describe("pnpm example", () => {
  const example = (...args: ReadonlyArray<string>) =>
    spawnSync(process.execPath, [
      "--import",
      "tsx",
      fileURLToPath(new URL("../src/main.ts", import.meta.url)),
      ...args
    ], { encoding: "utf8" })

  it("lists the demos without a name, and refuses an unknown one with exit code 2", () => {
    const list = example()
    expect(list.status).toBe(0)
    for (const name of Object.keys(demos)) expect(list.stdout).toMatch(new RegExp(`^  ${name} +\\S`, "m"))

    const unknown = example("no-such-demo")
    expect(unknown.status).toBe(2)
    expect(unknown.stdout).toBe("")
    expect(unknown.stderr).toContain("no-such-demo")
    for (const name of Object.keys(demos)) expect(unknown.stderr).toContain(name)
  })
})

describe("the supervision demo", () => {
  it.effect("restarts at once, then more slowly each time, and gives up after five restarts", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("supervision")
      expectInOrder(lines, [
        "restart 1 at once",
        "restart 2 in 10 s",
        "restart 3 in 20 s",
        "the broker is back",
        "message 4711 cannot be read; restart 4 in 40 s",
        "restart 5 in 80 s",
        "📞 Supervision \"workers\" gave up: 5 restarts within 1h"
      ])
      expect(count(lines, "▶ the consumer starts")).toBe(6)
    }))
})

describe("the loop guard demo", () => {
  it.effect("stops each agent with its evidence", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("loop-guard")
      expectInOrder(lines, [
        "900.0 s  ⛔ LoopGuard \"restarter\" stopped the program: \"restart\" was taken 3 times",
        "it went through \"scaled up\", \"scaled down\" 3 times in a row",
        "the last 3 actions brought nothing better than -12"
      ])
      expect(count(lines, "restarts payment-api")).toBe(3)
    }))
})
