/**
 * The process that is killed. It takes up what is unfinished, then makes the journeys and voyages it is told, some at a
 * time, and says on standard output, a line of JSON each, when the store is open, what failed, and when all is done. A run
 * that another process holds is asked for again until it has ended. A failure of the store ends the process with code 3, or,
 * with `patient`, is told and tried again until it works: without a restart.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type * as SqlStore from "@firebreak/sql/SqlStore"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Client from "./client.js"
import { Journey } from "./journey.js"
import * as Store from "./store.js"
import * as Voyages from "./voyage.js"
import { World } from "./world.js"

export type Task = Store.StoreOptions & {
  readonly port: number
  readonly runs: ReadonlyArray<string>
  readonly voyages?: ReadonlyArray<string> | undefined
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
  | { readonly said: "booked"; readonly run: string; readonly value: string }
  | { readonly said: "results"; readonly count: number; readonly values: ReadonlyArray<string> }
  | { readonly said: "done" }
  | { readonly said: "failed"; readonly tag: string; readonly reason: string | null; readonly message: string }

const say = (line: Said) => process.stdout.write(`${JSON.stringify(line)}\n`)

const field = (error: unknown, name: string): string | null => {
  const value = typeof error === "object" && error !== null ? (error as Record<string, unknown>)[name] : undefined
  return typeof value === "string" ? value : null
}

/** With what it comes from: an `SqlError` itself says little. */
const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`
}

const failed = (cause: Cause.Cause<unknown>) => {
  const error = Cause.squash(cause)
  say({
    said: "failed",
    tag: field(error, "_tag") ?? "defect",
    reason: field(error, "reason"),
    message: messageOf(error)
  })
}

const task = JSON.parse(process.argv[2] ?? "") as Task
const ledger = await Client.open(task.port)
const pad = "x".repeat(task.pad ?? 0)
const voyages = task.voyages ?? []

type Services = World | SqlStore.Services

/** Tries until it works, telling each failure; only where that is asked for. */
const patiently = <E, R>(effect: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
  task.patient !== true ? effect : Effect.catchAllCause(effect, (cause) => {
    failed(cause)
    return Effect.zipRight(Effect.sleep("50 millis"), patiently(effect))
  })

const journey = (id: string) => made(id, Journey.run({ id, pad }))
const voyage = (id: string) => made(id, Voyages.Voyage.run({ id, pad }))

const made = (
  id: string,
  run: Effect.Effect<ReadonlyArray<string>, Checkpoint.RunError, Services>
): Effect.Effect<void, unknown, Services> => {
  const again = (wait: Duration.DurationInput) => Effect.zipRight(Effect.sleep(wait), made(id, run))
  return Effect.flatMap(
    run,
    (values) => Effect.promise(() => ledger.ask({ op: "ended", run: id, values }))
  ).pipe(
    Effect.asVoid,
    Effect.catchTags({
      RunInProgress: ({ retryAfter }) => again(Duration.min(retryAfter, "100 millis")),
      RunFenced: (error) => {
        failed(Cause.fail(error))
        return again(0)
      }
    }),
    patiently
  )
}

/** Sends what voyages wait for, to those left behind too; to some before they begin, to some while they wait. */
const departures = Effect.gen(function*() {
  if (voyages.length === 0) return
  const left = yield* Checkpoint.list({ workflow: Voyages.Voyage.name, status: "running" })
  const ids = new Set([...left.map(({ key }) => key), ...voyages])
  yield* Effect.forEach(
    Array.from(ids),
    (id, i) => Effect.zipRight(Effect.sleep((2 - i % 3) * 40), patiently(Voyages.depart(id))),
    { concurrency: "unbounded", discard: true }
  )
})

let jumped = 0
if (task.jumps !== undefined) {
  const now = Date.now
  const hours = [1, 0, -1, 0]
  Date.now = () => now() + hours[jumped % hours.length]! * 3_600_000
  setInterval(() => jumped++, task.jumps).unref()
}

const world = Layer.succeed(World, ledger)
const services: Layer.Layer<Services, unknown> = Layer.merge(Journey.layer, Voyages.layer).pipe(
  Layer.provideMerge(Store.layer(task)),
  Layer.provideMerge(world)
)

const program = Effect.gen(function*() {
  say({ said: "open" })
  if (voyages.length > 0) yield* patiently(Effect.asVoid(Voyages.table))
  const runs = [...task.runs.map(journey), ...voyages.map(voyage)]
  const work = Effect.zipRight(
    task.patient === true ? Effect.void : Checkpoint.resumeAll({ concurrency: task.concurrency }),
    Effect.all(runs, { concurrency: task.concurrency ?? 4, discard: true })
  )
  yield* Effect.all([work, patiently(departures)], { concurrency: "unbounded", discard: true })
}).pipe(Effect.provide(services))

const exit = await Effect.runPromiseExit(program)
if (exit._tag === "Failure") failed(exit.cause)
else say({ said: "done" })
if (task.jumps !== undefined) say({ said: "jumped", times: jumped })
ledger.close()
process.exitCode = exit._tag === "Failure" ? 3 : 0
