/** Says what is in the user's table of a store. */
import * as Effect from "effect/Effect"
import * as Store from "./store.js"
import { bookings } from "./voyage.js"

const task = JSON.parse(process.argv[2] ?? "") as Store.StoreOptions
const rows = await Effect.runPromise(Effect.provide(bookings, Store.layer(task)))
for (const { run, value } of rows) {
  process.stdout.write(`${JSON.stringify({ said: "booked", run, value: value.slice(0, 36) })}\n`)
}
