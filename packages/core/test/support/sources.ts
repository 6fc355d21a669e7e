/** Sources that fail, for tests of degradation. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

export class Down extends Data.TaggedError("Down")<{ readonly vendor: string }> {
  override get message(): string {
    return `${this.vendor} answered 503`
  }
}

export const down = (vendor: string) => Effect.fail(new Down({ vendor }))

/** A source that gives its answers one after the other and then the last one for ever. */
export const script = <A, E>(...answers: ReadonlyArray<Effect.Effect<A, E>>) => {
  let call = 0
  return Effect.suspend(() => answers[Math.min(call++, answers.length - 1)] ?? Effect.dieMessage("no script"))
}
