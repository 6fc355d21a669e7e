/**
 * A run of every kind of step: a transaction with a row of its own, a sleep, a signal, a child that succeeds, a child that
 * fails and is compensated. `voyageSteps` in `../ledger.ts` says what is to be found of it.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import { restMillis } from "../ledger.js"
import { act, ask, keyOfStep, lease, maxRecoveries, saw } from "./world.js"

/**
 * The user's table: without a key, so that a row written twice is there twice. Two processes that begin it at once on
 * PostgreSQL: one of them fails, `IF NOT EXISTS` or not.
 */
export const table = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.retry(sql`CREATE TABLE IF NOT EXISTS booking (run TEXT NOT NULL, value TEXT NOT NULL)`, { times: 2 })
)

export const bookings = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<{ readonly run: string; readonly value: string }>`SELECT run, value FROM booking`
)

const effectOf = (run: string, step: string) => Effect.flatMap(keyOfStep, (key) => act(run, step, key))

class Wrecked extends Schema.TaggedError<Wrecked>()("Wrecked", { values: Schema.Array(Schema.String) }) {}

/** Two steps that can be undone; `storm` fails after them. */
const Leg = Checkpoint.workflow("leg", {
  payload: Schema.Struct({ run: Schema.String, name: Schema.Literal("calm", "storm") }),
  key: ({ name, run }) => `${run}/${name}`,
  success: Schema.Array(Schema.String),
  error: Wrecked,
  lease,
  maxRecoveries
}, ({ name, run }) =>
  Effect.gen(function*() {
    const values: Array<string> = []
    for (const what of ["load", "sail"]) {
      const value = yield* Checkpoint.step(what, {
        success: Schema.String,
        compensate: () => effectOf(run, `${name}/undo-${what}`)
      }, effectOf(run, `${name}/${what}`))
      values.push(yield* saw(run, `${name}/${what}`, value))
    }
    return name === "storm" ? yield* new Wrecked({ values }) : values
  }))

export const Voyage = Checkpoint.workflow("voyage", {
  payload: Schema.Struct({ id: Schema.String, pad: Schema.String }),
  key: ({ id }) => id,
  success: Schema.Array(Schema.String),
  signals: { depart: Schema.String },
  lease,
  maxRecoveries
}, ({ id: run, pad }) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const pack = yield* Checkpoint.step("pack", { success: Schema.String }, effectOf(run, "pack"))
    yield* saw(run, "pack", pack)
    const book = yield* Checkpoint.transaction(
      "book",
      { success: Schema.String },
      Effect.suspend(() => {
        const value = randomUUID()
        return Effect.orDie(Effect.as(sql`INSERT INTO booking ${sql.insert({ run, value: value + pad })}`, value))
      })
    )
    yield* saw(run, "book", book)
    yield* Checkpoint.sleep("rest", restMillis)
    yield* saw(run, "rest", "rested")
    const depart = Option.getOrThrow(yield* Checkpoint.signal("depart", { success: Schema.String }))
    yield* saw(run, "depart", depart)
    const calm = yield* Effect.orDie(Leg.runChild({ run, name: "calm" }, { name: "calm" }))
    yield* saw(run, "calm", calm.join("+"))
    const wrecked = yield* Effect.orDie(Effect.flip(Leg.runChild({ run, name: "storm" }, { name: "storm" })))
    if (!(wrecked instanceof Wrecked)) return yield* Effect.die(wrecked)
    yield* saw(run, "storm", wrecked.values.join("+"))
    const unpack = yield* Checkpoint.step("unpack", { success: Schema.String }, effectOf(run, "unpack"))
    yield* saw(run, "unpack", unpack)
    return [
      pack,
      book,
      "rested",
      depart,
      ...calm,
      calm.join("+"),
      ...wrecked.values,
      wrecked.values.join("+"),
      unpack
    ]
  }))

export const layer = Layer.merge(Leg.layer, Voyage.layer)

/** Sends a voyage what it waits for; whoever is told that it was sent is the one that is heard. */
export const depart = (run: string) =>
  Effect.suspend(() => {
    const value = randomUUID()
    return Effect.flatMap(
      Voyage.send(run, "depart", value),
      (answer) => answer === "Sent" ? ask({ op: "sent", run, step: "depart", value }) : Effect.void
    )
  })
