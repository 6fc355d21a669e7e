/** A timeout around a call that succeeds long before it. */
import * as Policy from "@firebreak/core/Policy"
import * as Cockatiel from "cockatiel"
import * as Effect from "effect/Effect"
import { calls, type Case } from "../measure.js"
import { inAsync, inEffect, workloads } from "./work.js"

const policy = Policy.make({ attemptTimeout: "2 seconds" })
const cockatiel = Cockatiel.timeout(2_000, Cockatiel.TimeoutStrategy.Aggressive)

export const cases: ReadonlyArray<Case> = workloads.map(({ call, effect, suffix }) => ({
  name: `timeout${suffix}`,
  unit: "ns",
  baselines: ["effect", "cockatiel"],
  candidates: () =>
    Promise.resolve([
      calls("firebreak", "interrupts the call and waits for its finalizers", inEffect(() => policy(effect))),
      calls(
        "effect",
        "Effect.timeout: interrupts the call and waits for its finalizers",
        inEffect(() => Effect.timeout(effect, "2 seconds"))
      ),
      calls(
        "cockatiel",
        "stops waiting; the call goes on unless it heeds the signal",
        inAsync(() => cockatiel.execute(call))
      )
    ])
}))
