/** The sandbox as the process that `pnpm sandbox` starts. */
import { describe, expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

const start = (...flags: ReadonlyArray<string>) => {
  const main = fileURLToPath(new URL("../../src/sandbox/main.ts", import.meta.url))
  const child = spawn(process.execPath, ["--import", "tsx", main, ...flags])
  const output = { stdout: "", stderr: "" }
  child.stdout.on("data", (chunk) => output.stdout += chunk)
  child.stderr.on("data", (chunk) => output.stderr += chunk)
  return { child, output, closed: once(child, "close").then(([code]) => code as number | null) }
}

describe("sandbox process", () => {
  it("prints one line with its URL, serves there, and ends when told", async () => {
    const { child, closed, output } = start("--port", "0", "--seed", "3")
    await once(child.stdout, "data")
    const url = /^sandbox: (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(output.stdout)?.[1]
    const fleet = await (await fetch(`${url}/_sandbox/fleet`)).json()
    expect(fleet).toMatchObject({ seed: 3, workloads: { "payment-api": { replicas: 3 } } })
    child.kill("SIGTERM")
    await closed
    expect(output.stderr).toBe("")
  }, 20_000)

  it("exits 2 and names the flag on bad input", async () => {
    const runs = [start("--port", "70000"), start("--sed", "1"), start("--ledger", "/nowhere/ledger")]
    expect(await Promise.all(runs.map(({ closed }) => closed))).toEqual([2, 2, 2])
    expect(runs.map(({ output }) => output.stderr)).toEqual([
      expect.stringContaining("--port"),
      "sandbox: Unknown option '--sed'; see --help\n",
      expect.stringContaining("--ledger")
    ])
    expect(runs.map(({ output }) => output.stdout)).toEqual(["", "", ""])
  }, 20_000)
})
