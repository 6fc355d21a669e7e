// Sums the closing lines of all test runs in a log: vitest's "Tests  2 failed | 40 passed (42)" and tstyche's
// "Tests:      40 passed, 40 total". A run that failed without a failed test (a gate, a crash) counts as one.
import { readFileSync } from "node:fs"

const [log, status] = process.argv.slice(2)
// eslint-disable-next-line no-control-regex
const lines = readFileSync(log, "utf8").replace(/\u001b\[[0-9;]*m/g, "").split("\n")
const total = { passed: 0, failed: 0, skipped: 0 }
for (const line of lines) {
  if (!/^\s*Tests:?\s+\d+ (passed|failed|skipped)/.test(line)) continue
  for (const [, count, kind] of line.matchAll(/(\d+) (passed|failed|skipped)/g)) total[kind] += Number(count)
}
if (status !== "0" && total.failed === 0) total.failed = 1
process.stdout.write(
  `${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}\n`
)
