/** What the end of a call says about its dependency; the same rules as those of a circuit breaker. */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Rejection from "../Rejection.js"

export type Verdict = "success" | "failure" | "ignore"

/** Defects are failures; interruptions and rejections say nothing; about the rest `classify` is asked. */
export const verdictOf = (
  cause: Cause.Cause<unknown>,
  classify: ((error: unknown) => Verdict) | undefined
): Verdict => {
  const failure = Cause.failureOption(cause)
  if (Option.isNone(failure)) return Cause.isInterruptedOnly(cause) ? "ignore" : "failure"
  if (Rejection.isRejection(failure.value)) return "ignore"
  return classify === undefined ? "failure" : classify(failure.value)
}
