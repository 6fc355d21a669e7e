/**
 * Many calls of one key at once; every tenth caller is interrupted while it waits, and asks again. Says how many results
 * there were and which.
 */
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import * as Client from "./client.js"
import * as Store from "./store.js"

export type Task = Store.StoreOptions & {
  readonly port: number
  readonly key: string
  readonly calls: number
}

const task = JSON.parse(process.argv[2] ?? "") as Task
const ledger = await Client.open(task.port)

const act = Idempotency.make(
  "duplicated",
  { payload: Schema.String, key: (key) => key, success: Schema.String },
  (run) =>
    Effect.gen(function*() {
      const key = Option.getOrThrow(yield* Idempotency.currentKey)
      const value = yield* Effect.promise(() =>
        ledger.ask({ op: "effect", run, step: "duplicated", key, value: randomUUID(), by: process.pid })
      )
      // long enough for the others to come while it runs
      yield* Effect.sleep("500 millis")
      return value as string
    })
)

const caller = (index: number) => {
  const call = act(task.key)
  if (index % 10 !== 9) return call
  return Effect.gen(function*() {
    const first = yield* Effect.fork(call)
    yield* Effect.sleep(`${index % 100} millis`)
    yield* Fiber.interrupt(first)
    return yield* call
  })
}

const program = Effect.forEach(Array.from({ length: task.calls }, (_, i) => i), caller, { concurrency: "unbounded" })
const values = await Effect.runPromise(Effect.provide(program, Store.layer(task)))
process.stdout.write(
  `${JSON.stringify({ said: "results", count: values.length, values: [...new Set(values)] })}\n`
)
ledger.close()
