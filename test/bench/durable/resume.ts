/** 10,000 runs that were left half done, taken up by a process that has just started: time and memory. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import { CheckpointStore } from "@firebreak/core/CheckpointStore"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { join } from "node:path"
import type { Case } from "../measure.js"
import { Ten } from "./firebreak.js"
import { steps, temporaryDirectory } from "./work.js"

const runs = 10_000

/** Begins the runs, records half of their steps, and gives them back. */
const prepare = (filename: string) =>
  Effect.runPromise(
    Effect.provide(
      Effect.gen(function*() {
        const store = yield* CheckpointStore
        yield* Effect.forEach(
          Array.from({ length: runs }, (_, i) => `run-${i}`),
          (id) =>
            Effect.gen(function*() {
              const runId = Ten.runId({ id })
              const begun = yield* store.begin({
                runId,
                workflow: Ten.name,
                key: id,
                payload: JSON.stringify({ id }),
                version: "1",
                lease: Duration.hours(1),
                maxStalls: 20
              })
              if (begun._tag !== "Claimed") return yield* Effect.dieMessage(begun._tag)
              for (let seq = 0; seq < steps.length / 2; seq++) {
                const step = { runId, seq, name: steps[seq]!, kind: "step", branch: "main" } as const
                const exit = `{"_tag":"Success","value":${seq}}`
                yield* store.save({ token: begun.token, step: { ...step, exit, startedAt: 0, endedAt: 0 } })
              }
              yield* store.release({ runId, token: begun.token })
            }),
          { concurrency: 256, discard: true }
        )
      }),
      SqlStore.layerSqlite({ filename })
    )
  )

/** Resumes them all; the most memory that the process had beyond what it had before, in bytes. */
const resume = (filename: string) =>
  Effect.gen(function*() {
    globalThis.gc?.()
    const before = process.memoryUsage.rss()
    let most = before
    const watch = setInterval(() => most = Math.max(most, process.memoryUsage.rss()), 20)
    const resumed = yield* Checkpoint.resumeAll({ concurrency: 64 })
    clearInterval(watch)
    if (resumed.length !== runs) return yield* Effect.dieMessage(`${resumed.length} runs were resumed, not ${runs}`)
    return most - before
  }).pipe(Effect.provide(
    Ten.layer.pipe(
      Layer.provideMerge(Checkpoint.layerEngine),
      Layer.provideMerge(SqlStore.layerSqlite({ filename }))
    )
  ))

const guarantees = "five of ten steps of each are read and checked, five are run and recorded; 64 at a time"

const of = (unit: "ms" | "B"): Case => ({
  name: unit === "ms" ? "resume-10000" : "resume-10000-memory",
  unit,
  rounds: 1,
  baselines: [],
  candidates: () =>
    Promise.resolve([{
      name: "firebreak",
      guarantees,
      warmUp: () => Promise.resolve(),
      sample: async () => {
        const filename = join(temporaryDirectory(), "firebreak.db")
        await prepare(filename)
        const started = performance.now()
        const memory = await Effect.runPromise(resume(filename))
        return unit === "ms" ? performance.now() - started : memory
      }
    }])
})

export const cases: ReadonlyArray<Case> = [of("ms"), of("B")]
