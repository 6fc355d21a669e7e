/**
 * The run that is killed: ten steps, each with an effect in the ledger under a key that stays the same. Some steps do it
 * plainly, some through an action that is tried again when in doubt, some through one that asks the ledger first.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import type { Ledger } from "./client.js"

export class World extends Context.Tag("World")<World, Ledger>() {}

const ask = (request: Parameters<Ledger["ask"]>[0]) =>
  Effect.flatMap(World, (ledger) => Effect.promise(() => ledger.ask(request)))

const act = (run: string, step: string, key: string) =>
  Effect.map(
    Effect.suspend(() => ask({ op: "effect", run, step, key, value: randomUUID(), by: process.pid })),
    (value) => value as string
  )

/** How long a run or an action is held: `JOURNEY_LEASE` milliseconds. */
const lease = Number(process.env["JOURNEY_LEASE"] ?? 30_000)

const Payload = Schema.Struct({ run: Schema.String, step: Schema.String })

const actionOf = (operation: string, onUnknown: "retry" | "probe") =>
  Idempotency.make(
    operation,
    {
      payload: Payload,
      key: ({ run, step }) => `${run}/${step}`,
      success: Schema.String,
      lease,
      onUnknown: onUnknown === "retry" ? "retry" : {
        probe: () =>
          Effect.map(
            Effect.flatMap(keyOfAction, (key) => ask({ op: "find", key })),
            (found) => Option.fromNullable(found as string | null)
          )
      }
    },
    ({ run, step }) => Effect.flatMap(keyOfAction, (key) => act(run, step, key))
  )

const keyOfAction = Effect.map(Idempotency.currentKey, Option.getOrThrow)
const keyOfStep = Effect.map(Checkpoint.CurrentStep, (current) => Option.getOrThrow(current).key)

const retried = actionOf("retried", "retry")
const probed = actionOf("probed", "probe")

const bodies = [
  (run: string, step: string) => Effect.flatMap(keyOfStep, (key) => act(run, step, key)),
  (run: string, step: string) => retried({ run, step }),
  (run: string, step: string) => probed({ run, step })
]

export const Journey = Checkpoint.workflow(
  "journey",
  {
    payload: Schema.Struct({ id: Schema.String, pad: Schema.String }),
    key: ({ id }) => id,
    success: Schema.Array(Schema.String),
    lease,
    // it is killed more often than a run that is at fault
    maxRecoveries: 1_000_000
  },
  ({ id: run, pad }) =>
    Effect.gen(function*() {
      const values: Array<string> = []
      for (let i = 0; i < 10; i++) {
        const step = `step-${i}`
        const body = bodies[i % bodies.length]!(run, step)
        // what an action cannot record is no outcome of the step: the run ends and is taken up again
        const value = yield* Checkpoint.step(
          step,
          { success: Schema.String },
          Effect.orDie(Effect.map(body, (_) => _ + pad))
        )
        yield* ask({ op: "saw", run, step, value: value.slice(0, 36) })
        values.push(value.slice(0, 36))
      }
      return values
    })
)
