/** The rules for Prometheus, by its own tool (Debian: `apt-get install prometheus`). */
import { describe, expect, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const promtool = (...args: ReadonlyArray<string>) => {
  const { error, status, stderr, stdout } = spawnSync("promtool", args, {
    cwd: fileURLToPath(new URL("../", import.meta.url)),
    encoding: "utf8"
  })
  return error === undefined ? { status, output: stdout + stderr } : undefined
}

describe("docs/alerts/firebreak.rules.yml", () => {
  for (
    const [what, ...args] of [
      ["is valid", "check", "rules", "docs/alerts/firebreak.rules.yml"],
      ["alerts when it should, and only then", "test", "rules", "test/alerts/firebreak.rules.test.yml"]
    ] as const
  ) {
    it(`${what}, says promtool`, (context) => {
      const answer = promtool(...args)
      if (answer === undefined) return context.skip("promtool is not installed: apt-get install prometheus")
      expect(answer).toEqual({ status: 0, output: expect.stringContaining("SUCCESS") })
    })
  }
})
