/**
 * The process that is killed. It takes up what is unfinished, then makes the journeys it is told, some at a time, and says
 * on standard output, a line of JSON each, when the store is open, what failed, and when all is done. A journey that
 * another process holds is asked for again until it has ended. A failure of the store ends the process with code 3, or,
 * with `patient`, is told and tried again until it works: without a restart.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import type { CheckpointStore } from "@firebreak/core/CheckpointStore"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Client from "./client.js"
import { Journey, World } from "./journey.js"
import * as Store from "./store.js"

export type Task = Store.StoreOptions & {
  readonly port: number
  readonly runs: ReadonlyArray<string>
  readonly concurrency?: number | undefined
  /** Characters added to each result. */
  readonly pad?: number | undefined
  readonly patient?: boolean | undefined
  /** Sets the wall clock back and forth by an hour, every so many milliseconds. */
  readonly jumps?: number | undefined
}

/** A line of standard output. */
export type Said =
  | { readonly said: "open" }
  | { readonly said: "jumped"; readonly times: number }
  | { readonly said: "results"; readonly count: number; readonly values: ReadonlyArray<string> }
  | { readonly said: "done" }
  | { readonly said: "failed"; readonly tag: string; readonly reason: string | null; readonly message: string }

const say = (line: Said) => process.stdout.write(`${JSON.stringify(line)}\n`)

const field = (error: unknown, name: string): string | null => {
  const value = typeof error === "object" && error !== null ? (error as Record<string, unknown>)[name] : undefined
  return typeof value === "string" ? value : null
}

const failed = (cause: Cause.Cause<unknown>) => {
  const error = Cause.squash(cause)
  say({
    said: "failed",
    tag: field(error, "_tag") ?? "defect",
    reason: field(error, "reason"),
    message: error instanceof Error ? error.message : String(error)
  })
}

const task = JSON.parse(process.argv[2] ?? "") as Task
const ledger = await Client.open(task.port)
const pad = "x".repeat(task.pad ?? 0)

type Services = World | IdempotencyStore | CheckpointStore | CheckpointEngine

const again = (id: string, wait: Duration.DurationInput): Effect.Effect<void, unknown, Services> =>
  Effect.zipRight(Effect.sleep(wait), journey(id))

const journey = (id: string): Effect.Effect<void, unknown, Services> => {
  const attempt = Effect.flatMap(
    Journey.run({ id, pad }),
    (values) => Effect.promise(() => ledger.ask({ op: "ended", run: id, values }))
  ).pipe(
    Effect.catchTags({
      RunInProgress: ({ retryAfter }) => again(id, Duration.min(retryAfter, "100 millis")),
      RunFenced: (error) => {
        failed(Cause.fail(error))
        return again(id, 0)
      }
    })
  )
  return Effect.asVoid(
    task.patient === true
      ? Effect.catchAllCause(attempt, (cause) => {
        failed(cause)
        return again(id, "50 millis")
      })
      : attempt
  )
}

let jumped = 0
if (task.jumps !== undefined) {
  const now = Date.now
  const hours = [1, 0, -1, 0]
  Date.now = () => now() + hours[jumped % hours.length]! * 3_600_000
  setInterval(() => jumped++, task.jumps).unref()
}

const world = Layer.succeed(World, ledger)
const services: Layer.Layer<Services, unknown> = Journey.layer.pipe(
  Layer.provideMerge(Checkpoint.layerEngine),
  Layer.provideMerge(Store.layer(task)),
  Layer.provideMerge(world)
)

const program = Effect.gen(function*() {
  say({ said: "open" })
  if (task.patient !== true) yield* Checkpoint.resumeAll({ concurrency: task.concurrency })
  yield* Effect.forEach(task.runs, journey, { concurrency: task.concurrency ?? 4, discard: true })
}).pipe(Effect.provide(services))

const exit = await Effect.runPromiseExit(program)
if (exit._tag === "Failure") failed(exit.cause)
else say({ said: "done" })
if (task.jumps !== undefined) say({ said: "jumped", times: jumped })
ledger.close()
process.exitCode = exit._tag === "Failure" ? 3 : 0
