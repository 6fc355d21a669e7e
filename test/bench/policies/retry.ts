/** Three failures and then success, without delay between them. */
import * as Backoff from "@firebreak/core/Backoff"
import * as Policy from "@firebreak/core/Policy"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import pRetry from "p-retry"
import { calls, type Case } from "../measure.js"
import { fromPromise, inAsync, inEffect } from "./work.js"

const failure = new Error("the vendor is down")

/** Fails three times of four. */
const flaky = (): () => boolean => {
  let attempts = 0
  return () => ++attempts % 4 === 0
}

const flakySync = () => {
  const succeeds = flaky()
  return () => {
    if (succeeds()) return 1
    throw failure
  }
}

const flakyPromise = () => {
  const succeeds = flaky()
  return () => succeeds() ? Promise.resolve(1) : Promise.reject(failure)
}

const flakyEffect = () => {
  const succeeds = flaky()
  const failed = Effect.fail(failure)
  const succeeded = Effect.succeed(1)
  return Effect.suspend((): Effect.Effect<number, Error> => succeeds() ? succeeded : failed)
}

const variants = [
  { suffix: "", call: flakySync, effect: flakyEffect },
  { suffix: "/promise", call: flakyPromise, effect: () => fromPromise(flakyPromise()) }
]

const policy = Policy.make({
  retry: { schedule: Backoff.make({ base: 0, maxRetries: 3 }), while: () => true }
})
const recurs = Schedule.recurs(3)
const pRetryOptions = { retries: 3, minTimeout: 0, factor: 1 }

export const cases: ReadonlyArray<Case> = variants.map(({ call, effect, suffix }) => ({
  name: `retry${suffix}`,
  unit: "ns",
  baselines: ["p-retry", "effect"],
  candidates: () => {
    const [ours, theirs, builtIn] = [effect(), call(), effect()]
    return Promise.resolve([
      calls("firebreak", "Backoff's schedule in a Policy: jitter, cap, an event a retry", inEffect(() => policy(ours))),
      calls(
        "p-retry",
        "no jitter unless asked; the error must be an Error",
        inAsync(() => pRetry(theirs, pRetryOptions))
      ),
      calls(
        "effect",
        "Effect.retry with Schedule.recurs(3): no delay, no jitter",
        inEffect(() => Effect.retry(builtIn, recurs))
      )
    ])
  }
}))
