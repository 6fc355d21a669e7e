/**
 * The process that is killed. It takes up what is unfinished, then makes the journeys it is told, some at a time, and says
 * on standard output, a line of JSON each, when the store is open, what failed, and when all is done. A journey that
 * another process holds is asked for again until it has ended. A failure of the store ends the process with code 3, or,
 * with `patient`, is told and tried again until it works: without a restart.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Client from "./client.js"
import { Journey, World } from "./journey.js"
import * as Store from "./store.js"

export interface Task extends Store.StoreOptions {
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

const journey = (id: string): Effect.Effect<void, unknown, Layer.Layer.Success<typeof services>> =>
  Journey.run({ id, pad }).pipe(
    Effect.flatMap((values) => Effect.promise(() => ledger.ask({ op: "ended", run: id, values }))),
    Effect.catchTag(
      "RunInProgress",
      ({ retryAfter }) => Effect.zipRight(Effect.sleep(Duration.min(retryAfter, "100 millis")), journey(id))
    ),
    Effect.catchTag("RunFenced", (error) => {
      failed(Cause.fail(error))
      return journey(id)
    }),
    task.patient === true
      ? Effect.catchAllCause((cause) => {
        failed(cause)
        return Effect.zipRight(Effect.sleep("50 millis"), journey(id))
      })
      : (_) => _,
    Effect.asVoid
  )

let jumped = 0
if (task.jumps !== undefined) {
  const now = Date.now
  const hours = [1, 0, -1, 0]
  Date.now = () => now() + hours[jumped % hours.length]! * 3_600_000
  setInterval(() => jumped++, task.jumps).unref()
}

const world = Layer.succeed(World, ledger)
const services = Layer.mergeAll(Journey.layer.pipe(Layer.provideMerge(Checkpoint.layerRegistry)), Store.layer(task))
  .pipe(
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
