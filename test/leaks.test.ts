/**
 * What operations leave behind: nothing. `LEAK_OPERATIONS` is how many there are in all, 100,000 by default:
 *
 *     LEAK_OPERATIONS=1000000 npx vitest run --project test leaks
 */
import { expect, it } from "@effect/vitest"
import { build } from "esbuild"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const operations = process.env["LEAK_OPERATIONS"] ?? "100000"

it("operations leave no fiber, no timer and no more than 2 MB of heap", async () => {
  const directory = mkdtempSync(join(tmpdir(), "firebreak-leaks-"))
  try {
    const outfile = join(directory, "program.mjs")
    await build({
      entryPoints: [fileURLToPath(new URL("leaks/program.ts", import.meta.url))],
      outfile,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      logLevel: "error"
    })
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", outfile, operations])
    process.stdout.write(`${stdout}\n`)
    const left = JSON.parse(stdout)
    expect(left.operations).toBeGreaterThanOrEqual(Number(operations))
    expect(left).toMatchObject({ fibers: 0, timers: 0 })
    expect(left.bytes).toBeLessThan(2 * 1024 * 1024)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}, 600_000)
