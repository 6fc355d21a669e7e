/** Our own engine: the same workflow on whatever store the layer gives. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { buildForever } from "../policies/work.js"
import { type InEffect, steps } from "./work.js"

export const Ten = Checkpoint.workflow(
  "ten",
  { payload: Schema.Struct({ id: Schema.String }), key: ({ id }) => id },
  () =>
    Effect.gen(function*() {
      for (let seq = 0; seq < steps.length; seq++) {
        yield* Checkpoint.step(steps[seq]!, { success: Schema.Number }, Effect.succeed(seq))
      }
    })
)

/** Runs it on an engine that lives as long as the process. */
export const make = async <E>(engine: Layer.Layer<CheckpointEngine, E>): Promise<InEffect<CheckpointEngine>> => ({
  run: (id) => Ten.run({ id }),
  context: await buildForever(engine)
})
