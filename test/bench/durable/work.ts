/** The work every engine is given: workflows of ten steps that do nothing, one at a time or 64 at once. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Candidate, perUnit } from "../measure.js"

export const steps: ReadonlyArray<string> = Array.from({ length: 10 }, (_, i) => `step-${i}`)

/** How a case runs its workflows: `workflows` of them make a sample. */
export interface Pace {
  readonly case: "step-serial" | "step-64"
  readonly workflows: number
  readonly concurrency: number
}

export const paces: ReadonlyArray<Pace> = [
  { case: "step-serial", workflows: 20, concurrency: 1 },
  { case: "step-64", workflows: 256, concurrency: 64 }
]

let started = 0

/** An id no run had before, in this process or another. */
export const freshId = (): string => `${process.pid}-${process.hrtime.bigint()}-${started++}`

/** An engine whose workflows are Effects; its services are provided once, as in a program. */
export interface InEffect<R> {
  readonly run: (id: string) => Effect.Effect<unknown, unknown, R>
  readonly context: Context.Context<R>
}

/** Time per step of such an engine. */
export const inEffect = <R>(
  name: string,
  guarantees: string,
  { concurrency, workflows }: Pace,
  { context, run }: InEffect<R>
): Candidate =>
  perUnit(
    name,
    guarantees,
    () =>
      Effect.forEach(Array.from({ length: workflows }, freshId), run, { concurrency, discard: true }).pipe(
        Effect.as(workflows * steps.length),
        Effect.provide(context),
        Effect.runPromise
      )
  )

/** Time per step of an engine whose workflows are promises. */
export const inPromises = (
  name: string,
  guarantees: string,
  { concurrency, workflows }: Pace,
  run: (id: string) => Promise<unknown>
): Candidate =>
  perUnit(name, guarantees, async () => {
    let left = workflows
    const lane = async () => {
      while (left-- > 0) await run(freshId())
    }
    await Promise.all(Array.from({ length: concurrency }, lane))
    return workflows * steps.length
  })

/** A directory on this machine's disk, removed when the process ends. */
export const temporaryDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), "firebreak-bench-"))
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }))
  return directory
}
