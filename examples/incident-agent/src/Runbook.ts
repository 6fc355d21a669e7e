/**
 * What may be done about each cause: typed, few, and nothing else. The agent only picks from here.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { CauseName, Diagnosis } from "./Diagnosis.js"

/**
 * The actions the agent can take.
 *
 * @since 0.1.0
 * @category models
 */
export const ActionName = Schema.Literal("restart_pods", "clear_cache")

/**
 * @since 0.1.0
 * @category models
 */
export type ActionName = typeof ActionName.Type

/**
 * What was decided, and when: the time names the actions' effects, now and after a crash.
 *
 * @since 0.1.0
 * @category models
 */
export class Plan extends Schema.Class<Plan>("Plan")({
  decidedAt: Schema.Number,
  /** One line for humans. */
  finding: Schema.String,
  actions: Schema.Array(ActionName)
}) {}

/**
 * The remedy of each cause; none where only a human may act.
 *
 * @since 0.1.0
 * @category runbooks
 */
export const runbooks: Readonly<Record<CauseName, ActionName | "ask-a-human">> = {
  "dead-connections": "restart_pods",
  "stale-cache": "clear_cache",
  saturation: "ask-a-human"
}

/**
 * Decides what to do about a diagnosis. Any cause that asks for a human leaves all of it to the human.
 *
 * @since 0.1.0
 * @category runbooks
 */
export const plan = (diagnosis: Diagnosis, decidedAt: number): Plan => {
  const finding = diagnosis.causes.length === 0
    ? diagnosis.symptoms.length === 0
      ? "nothing unusual in the data"
      : `no known cause; worst symptom ${diagnosis.symptoms[0]!.metric} (score ${diagnosis.symptoms[0]!.score})`
    : diagnosis.causes.map(({ confidence, name }) => `${name} (${Math.round(confidence * 100)} %)`).join(", ")
  const remedies = diagnosis.causes.map(({ name }) => runbooks[name])
  // pods first: a cache that is cleared while they are sick fills with what they get wrong
  const actions = remedies.includes("ask-a-human")
    ? []
    : ActionName.literals.filter((action) => remedies.includes(action))
  return new Plan({ decidedAt, finding, actions })
}
