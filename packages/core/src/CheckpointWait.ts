/**
 * What a run waits for: a time, or somebody.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CurrentRun } from "./CheckpointEngine.js"
import { signalDecoder, stepName } from "./internal/checkpointCodec.js"
import * as Check from "./internal/options.js"

/**
 * Waits, however long and whatever dies meanwhile: the time it ends is recorded when it begins, and a run taken up later
 * waits only for the rest.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 *
 * export const watched = Effect.zipRight(
 *   Checkpoint.sleep("settle", "1 hour"),
 *   Checkpoint.step("look again", {}, Effect.log("looking"))
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const sleep = (name: string, duration: Duration.DurationInput): Effect.Effect<void, never, CurrentRun> => {
  const request = {
    name: stepName("Checkpoint.sleep", name),
    duration: Duration.millis(Check.millis("Checkpoint.sleep", "duration", duration))
  }
  return Effect.flatMap(CurrentRun, (run) => run.sleep(request))
}

/**
 * @since 0.1.0
 * @category options
 */
export interface SignalOptions<Success extends Schema.Schema.Any> {
  /** Of what is sent. Default: `Schema.Void`. */
  readonly success?: Success | undefined
  /** How long it is waited for, from the first time the run comes here. Default: for ever. */
  readonly within?: Duration.DurationInput | undefined
}

/**
 * Waits for what is sent to the run under this name: none when the time ran out. The first signal of a name counts, and
 * may have been sent before the run waited, or began. Whoever sends is told whether it came in time: both sides go by
 * one record. The second wait of a name is for the signal `name#2`.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Schema from "effect/Schema"
 *
 * // Option: none when nobody has answered for 15 minutes
 * export const approval = Checkpoint.signal("approval", { success: Schema.Boolean, within: "15 minutes" })
 *
 * @since 0.1.0
 * @category constructors
 */
export const signal = <Success extends Schema.Schema.Any = typeof Schema.Void>(
  name: string,
  options: SignalOptions<Success> = {}
): Effect.Effect<
  Option.Option<Schema.Schema.Type<Success>>,
  never,
  CurrentRun | Schema.Schema.Context<Success>
> => {
  type A = Schema.Schema.Type<Success>
  type R = Schema.Schema.Context<Success>
  Check.known("Checkpoint.signal", options, { success: true, within: true })
  const request = {
    name: stepName("Checkpoint.signal", name),
    within: Option.map(
      Option.fromNullable(options.within),
      (within) => Duration.millis(Check.millis("Checkpoint.signal", "within", within))
    ),
    decode: signalDecoder(Schema.asSchema((options.success ?? Schema.Void) as Schema.Schema<A, unknown, R>))
  }
  return Effect.flatMap(CurrentRun, (run) => run.signal(request))
}
