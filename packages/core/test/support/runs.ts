/**
 * How often a property is tried. From outside, `FC_RUNS` sets the runs of the models (10,000; the shells have a fiftieth
 * of it) and `FC_SEED` repeats what failed:
 *
 *     FC_SEED=42 npx vitest run --project core gcra
 *
 * What was run, and with which seed, is printed at the end (`scripts/property-reporter.mjs`).
 */
import * as fc from "effect/FastCheck"
import { getCurrentTest } from "vitest/suite"

declare module "vitest" {
  interface TaskMeta {
    property?: { readonly runs: number; readonly seed: number }
  }
}

const fromEnv = (name: string): number | undefined => {
  const value = process.env[name]
  return value === undefined ? undefined : Number(value)
}

/** Writes down what was run, then fails as fast-check itself would. */
const reporter = (details: fc.RunDetails<unknown>): void => {
  const test = getCurrentTest()
  if (test !== undefined) test.meta.property = { runs: details.numRuns, seed: details.seed }
  if (details.failed) throw new Error(fc.defaultReportMessage(details), { cause: details.errorInstance })
}

const seed = fromEnv("FC_SEED")

const times = (numRuns: number): { readonly fastCheck: fc.Parameters<any>; readonly timeout: number } => ({
  fastCheck: { numRuns, reporter, ...(seed === undefined ? {} : { seed }) },
  timeout: 60_000
})

const runs = fromEnv("FC_RUNS") ?? 10_000

/** A pure function against a model of it. */
export const modelRuns = times(runs)

/** What has Effect and a clock around it, under a clock of the test's. */
export const shellRuns = times(Math.ceil(runs / 50))

/**
 * `expect(actual).toBe(expected)` where it matters, which is when they differ: an expectation that holds takes 100 times
 * as long as this, and a model has millions.
 */
export const same = <A>(actual: A, expected: A, what: string): void => {
  if (!Object.is(actual, expected)) {
    throw new Error(`${what}: ${String(actual)} where the model has ${String(expected)}`)
  }
}
