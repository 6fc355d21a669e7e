/** What a run does to the world outside, and what it tells of: the ledger, over a connection that is a service. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import type { Ledger } from "./client.js"

export class World extends Context.Tag("World")<World, Ledger>() {}

export const ask = (request: Parameters<Ledger["ask"]>[0]) =>
  Effect.flatMap(World, (ledger) => Effect.promise(() => ledger.ask(request)))

/** Does a step's effect under its key: the value that arrived first under it. */
export const act = (run: string, step: string, key: string) =>
  Effect.map(
    Effect.suspend(() => ask({ op: "effect", run, step, key, value: randomUUID(), by: process.pid })),
    (value) => value as string
  )

/** Tells that the program has been given a step's result. */
export const saw = (run: string, step: string, value: string) => Effect.as(ask({ op: "saw", run, step, value }), value)

/** The key of the step or compensation that runs. */
export const keyOfStep = Effect.map(Checkpoint.CurrentStep, (current) => Option.getOrThrow(current).key)

/** How long a run or an action is held: `JOURNEY_LEASE` milliseconds. */
export const lease = Number(process.env["JOURNEY_LEASE"] ?? 30_000)

/** It is killed more often than a run that is at fault. */
export const maxRecoveries = 1_000_000
