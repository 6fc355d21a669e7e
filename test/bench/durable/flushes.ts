/**
 * How often the device is told to flush, for each step: the figure that survives a change of disk. Each candidate of the
 * step cases runs once more in a process of its own, with the servers it starts, under strace.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Candidate, Case, Skipped } from "../measure.js"
import * as Postgres from "./postgres.js"
import * as Steps from "./steps.js"
import { paces, steps } from "./work.js"

/** How many calls that flush were made for each step; what opening the stores takes is not counted. */
const flushesOf = ({ name, rounds = 1 }: Case, candidate: string, workflows: number): number =>
  (flushesIn(name, candidate, rounds) - flushesIn(name, candidate, 0)) / (rounds * workflows * steps.length)

const tracing = ["-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync"]

const flushesIn = (name: string, candidate: string, rounds: number): number => {
  const directory = mkdtempSync(join(tmpdir(), "firebreak-flushes-"))
  const log = join(directory, "strace.log")
  try {
    const { error, status, stderr } = spawnSync(
      "strace",
      [...tracing, "-o", log, process.execPath, "--expose-gc", process.argv[1]!, "durable", name, candidate],
      { env: { ...process.env, BENCH_WARM_UP_MILLIS: "0", BENCH_ROUNDS: String(rounds) }, encoding: "utf8" }
    )
    if (status !== 0) throw new Error(`strace: ${error?.message ?? stderr}`)
    return readFileSync(log, "utf8").match(/ f(data)?sync\(/g)?.length ?? 0
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const hasStrace = () => spawnSync("strace", ["-V"]).status === 0

const flushCases = (all: ReadonlyArray<Case>, suffix: string, ours: string): ReadonlyArray<Case> =>
  paces.map((pace): Case => {
    const step = all.find(({ name }) => name === `${pace.case}${suffix}`)!
    return {
      name: `${step.name}/flushes`,
      unit: "flushes",
      rounds: 1,
      baselines: step.baselines,
      candidates: () =>
        Promise.resolve(
          [ours, ...step.baselines].map((name): Candidate | Skipped =>
            !hasStrace()
              ? { name, skipped: "not measured: strace is not installed" }
              : process.env["BENCH_PEERS_MISSING"] !== undefined && (name === "restate" || name === "dbos")
              ? { name, skipped: process.env["BENCH_PEERS_MISSING"] }
              : {
                name,
                guarantees: "fsync and fdatasync for each step",
                warmUp: () => Promise.resolve(),
                sample: () => Promise.resolve(flushesOf(step, name, pace.workflows))
              }
          )
        )
    }
  })

export const cases: ReadonlyArray<Case> = [
  ...flushCases(Steps.cases, "", "firebreak"),
  ...flushCases(Postgres.cases, "/postgres", "firebreak-postgres")
]
