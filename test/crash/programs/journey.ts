/**
 * The run that is killed: ten steps, each with an effect in the ledger under a key that stays the same. Some steps do it
 * plainly, some through an action that is tried again when in doubt, some through one that asks the ledger first.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { act, ask, keyOfStep, lease, maxRecoveries, saw } from "./world.js"

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
    maxRecoveries
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
        values.push(yield* saw(run, step, value.slice(0, 36)))
      }
      return values
    })
)
