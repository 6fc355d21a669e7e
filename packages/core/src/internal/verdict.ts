/** What the end of a call says about its dependency: one rule for breakers, throttles and limits. */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Rejection from "../Rejection.js"

export type Verdict = "success" | "failure" | "ignore"

/**
 * Defects are failures, also beside a typed error; interruptions and rejections say nothing; about the rest `classify` is
 * asked. One that throws has said `failure`: whoever counts must not fail over it, for a permit may depend on it.
 */
export const verdictOf = (
  cause: Cause.Cause<unknown>,
  classify: ((error: unknown) => Verdict) | undefined
): Verdict => {
  if (cause._tag !== "Fail" && Option.isSome(Cause.dieOption(cause))) return "failure"
  const failure = Cause.failureOption(cause)
  if (Option.isNone(failure)) return "ignore"
  if (Rejection.isRejection(failure.value)) return "ignore"
  if (classify === undefined) return "failure"
  try {
    return classify(failure.value)
  } catch {
    return "failure"
  }
}
