/** The codecs of runs, steps and signals. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Flaw, Outcomes } from "../CheckpointEngine.js"
import { InvalidOption, name as checkName } from "./options.js"
import { codec, type Fault } from "./outcomeCodec.js"

export const fault: Fault<Flaw> = (part, path, detail) => ({ part, path, detail })

/** Steps are defined anew in every run, their schemas are not: codecs are compiled once per pair of schemas. */
const codecs = new WeakMap<object, WeakMap<object, Outcomes<any, any, any>>>()

export const outcomesOf = (
  success: Schema.Schema.Any = Schema.Void,
  error: Schema.Schema.All = Schema.Never
): Outcomes<any, any, any> => {
  let byError = codecs.get(success)
  if (byError === undefined) codecs.set(success, byError = new WeakMap())
  let found = byError.get(error)
  if (found === undefined) {
    byError.set(error, found = codec(fault, Schema.asSchema(success), Schema.asSchema(error)))
  }
  return found
}

/** Reads what was sent as a signal. */
export const signalDecoder = <A, I, R>(schema: Schema.Schema<A, I, R>) => {
  const outcomes = outcomesOf(schema) as Outcomes<A, never, R>
  return (payload: string): Effect.Effect<A, Flaw, R> =>
    Effect.flatMap(
      outcomes.decode(payload),
      (exit) =>
        Exit.isSuccess(exit) ? Either.right(exit.value) : Either.left(fault("record", "(root)", "it is not a signal"))
    )
}

/** A name of a step, signal or compensation; what ends in `#2` is made by repetition. */
export const stepName = (constructor: string, name: string): string => {
  checkName(constructor, "name", name)
  if (name.includes("#") && /#\d+$/.test(name)) {
    throw new InvalidOption(
      `${constructor}: name must not end like the number of a repetition, got ${JSON.stringify(name)}`
    )
  }
  return name
}
