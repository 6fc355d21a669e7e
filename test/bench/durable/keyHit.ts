/** A call of an action whose key is completed: it is answered from the record, and nothing runs. */
import * as Idempotency from "@firebreak/core/Idempotency"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as SqlStore from "@firebreak/sql/SqlStore"
import Database from "better-sqlite3"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { join } from "node:path"
import { calls, type Case } from "../measure.js"
import { buildForever, inEffect } from "../policies/work.js"
import { temporaryDirectory } from "./work.js"

const Restart = Idempotency.make("restart", {
  payload: Schema.Struct({ incident: Schema.String, service: Schema.String }),
  key: ({ incident, service }) => `${incident}/${service}`,
  success: Schema.Number
}, () => Effect.succeed(1))

const payloads = Array.from({ length: 10_000 }, (_, i) => ({ incident: `INC-${i}`, service: "payment-api" }))

/** One payload after the other, round and round. */
const each = <A>(use: (payload: typeof payloads[number]) => A): () => A => {
  let i = 0
  return () => use(payloads[i = i + 1 === payloads.length ? 0 : i + 1]!)
}

/** Every key is completed before the first hit. */
const hits = async <E>(layer: Layer.Layer<IdempotencyStore, E>) => {
  const context = await buildForever(layer)
  await Effect.runPromise(
    Effect.provide(Effect.forEach(payloads, Restart, { concurrency: 256, discard: true }), context)
  )
  return inEffect(each(Restart), context)
}

const what = "checks key and payload, gives the decoded outcome"

export const cases: ReadonlyArray<Case> = [
  {
    name: "key-hit",
    unit: "ns",
    baselines: ["map"],
    candidates: async () => {
      const filename = join(temporaryDirectory(), "firebreak.db")
      const known = new Map(payloads.map(({ incident, service }) => [`${incident}/${service}`, 1]))
      return [
        calls("firebreak", `${what}; the store in memory`, await hits(Idempotency.layerMemory)),
        calls(
          "firebreak-sqlite",
          `${what}; read from the file once a second`,
          await hits(SqlStore.layerSqlite({ filename }))
        ),
        calls(
          "map",
          "a Map by the key, in an Effect; no payload is checked, nothing expires",
          inEffect(each(({ incident, service }) => Effect.sync(() => known.get(`${incident}/${service}`) ?? 0)))
        )
      ]
    }
  },
  {
    name: "key-hit-sqlite",
    unit: "ns",
    baselines: ["prepared-get"],
    candidates: async () => {
      const directory = temporaryDirectory()
      const db = new Database(join(directory, "ideal.db"))
      db.exec("CREATE TABLE record (key TEXT PRIMARY KEY, exit TEXT NOT NULL) WITHOUT ROWID")
      const insert = db.prepare("INSERT INTO record VALUES (?, ?)")
      db.transaction(() => {
        for (const { incident, service } of payloads) insert.run(`${incident}/${service}`, "1")
      })()
      const select = db.prepare<[string], string>("SELECT exit FROM record WHERE key = ?").pluck()
      const filename = join(directory, "firebreak.db")
      return [
        calls(
          "firebreak",
          `${what}; read from the file each time, and checked against its digest`,
          await hits(SqlStore.layerSqlite({ filename, cachedResults: 0 }))
        ),
        calls(
          "prepared-get",
          "a prepared SELECT by the key, in an Effect",
          inEffect(each(({ incident, service }) => Effect.sync(() => Number(select.get(`${incident}/${service}`)))))
        )
      ]
    }
  }
]
