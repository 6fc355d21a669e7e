/** PostgreSQL that goes away and comes back, and that has no connection left. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { expect } from "vitest"
import {
  afterwards,
  count,
  eventually,
  harmful,
  names,
  postgres,
  sleep,
  startLedger,
  stores,
  travel,
  travelOn
} from "./support.js"

harmful("PostgreSQL restarted again and again under runs", async ({ injected, note, skip }) => {
  const server = await postgres(skip)
  const store = await stores.PostgreSQL(skip)
  const ledger = await startLedger()
  const [runs, voyages] = [names(count(130, 4_500)), names(count(20, 500), "voyage")]
  const task = { ...store, port: ledger.port, runs, voyages, concurrency: 16, patient: true }
  const env = { JOURNEY_LEASE: "3000" }
  const [one, two] = [travel(task, { env }), travel(task, { env })]
  let restarts = 0
  let seen = 0
  while (!one.hasEnded() || !two.hasEnded()) {
    await sleep(count(100, 5_000))
    // a slow machine must get on too
    const entries = await ledger.count()
    if (entries < seen + 200) continue
    seen = entries
    // every other time it crashes
    await Effect.runPromise(server.stop(restarts++ % 2 === 0 ? "immediate" : "fast"))
    injected()
    await Effect.runPromise(server.start)
  }
  let failures = 0
  for (const { said } of [await one.ended, await two.ended]) {
    expect(said).toContainEqual({ said: "done" })
    for (const line of said) {
      if (line.said !== "failed") continue
      failures++
      // what the user's own statement says when its connection is lost is the driver's error
      expect(["StoreError", "RunFenced", "SqlError"], line.message).toContain(line.tag)
    }
  }
  await ledger.expectWhole(runs)
  await ledger.expectVoyages(voyages, store)
  note(`${runs.length + voyages.length} runs on 2 processes, ${failures} typed failures`)
})

harmful("kill -9 at a random moment, on PostgreSQL", async ({ between, injected, note, skip }) => {
  const kills = count(8, 300)
  const store = await stores.PostgreSQL(skip)
  const ledger = await startLedger()
  const [runs, voyages] = [names(kills), names(kills, "voyage")]
  const env = { JOURNEY_LEASE: "500" }
  for (let done = 0; done < kills; done++) {
    const some = (all: ReadonlyArray<string>) => all.slice(Math.max(0, done - 4), done + 2)
    const child = travel(
      { ...store, port: ledger.port, runs: some(runs), voyages: some(voyages), concurrency: between(1, 8) },
      { env }
    )
    await eventually(() => child.said.length > 0 || child.hasEnded())
    await sleep(between(0, 300))
    child.signal("SIGKILL")
    const { said, signal } = await child.ended
    if (signal === "SIGKILL") injected()
    else expect(said, "ended by itself").toContainEqual({ said: "done" })
    await ledger.settled()
  }
  await travelOn({ ...store, port: ledger.port, runs, voyages }, { env })
  await ledger.expectWhole(runs)
  await ledger.expectVoyages(voyages, store)
  note(`${runs.length + voyages.length} runs`)
})

harmful("no connection left", async ({ injected, note, skip }) => {
  const server = await postgres(skip)
  const store = await stores.PostgreSQL(skip)
  const ledger = await startLedger()
  const task = { ...store, port: ledger.port, runs: names(20), concurrency: 16 }
  const hog = await takeAllConnections(server.url("postgres"))
  const refused = await travel({ ...task, busyTimeout: 500 }).ended
  expect(refused.code).toBe(3)
  expect(refused.said).toEqual([expect.objectContaining({ said: "failed", tag: "StoreError" })])
  injected()
  const patient = travel(task)
  await sleep(500)
  expect(patient.hasEnded()).toBe(false)
  await hog.release()
  expect(await patient.ended).toMatchObject({ code: 0, stderr: "" })
  // two connections for sixteen runs at once
  await travelOn({ ...task, maxConnections: 2, runs: names(20, "narrow") })
  await ledger.expectWhole([...task.runs, ...names(20, "narrow")])
  note(
    `${hog.count} connections taken, ${refused.said.map((line) => line.said === "failed" ? line.reason : "").join()}`
  )
})

/** Connects until the server has no connection left; another failure, of a slow machine, is tried again. */
const takeAllConnections = async (url: string) => {
  const scope = await Effect.runPromise(Scope.make())
  const release = () => Effect.runPromise(Scope.close(scope, Exit.void))
  afterwards(release)
  let count = 0
  for (let tries = 0; tries < 1_000; tries++) {
    const client = await Effect.runPromise(Effect.either(
      Scope.extend(Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), scope)
    ))
    if (Either.isRight(client)) count++
    else if (isRefused(client.left)) return { count, release }
  }
  throw new Error(`the server did not refuse the ${count} connections`)
}

/** Whether the server said that it has too many clients. */
const isRefused = (error: unknown): boolean =>
  error instanceof SqlError && error.cause instanceof Error && "code" in error.cause && error.cause.code === "53300"
