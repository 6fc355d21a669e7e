/**
 * Three agents at night, each in a loop of its own: one restarts the same service again and again, one scales up and down
 * and up, one works on and gets nowhere. A guard stops each, with the evidence, and a human finds it in the morning.
 */
import * as LoopGuard from "@firebreak/core/LoopGuard"
import * as Effect from "effect/Effect"
import { timed } from "./internal/print.js"

// #region usage
/** Restarts the service whenever it fails, which mends it for five minutes. */
const restarter = Effect.gen(function*() {
  const guard = yield* LoopGuard.make({ name: "restarter", maxRepeats: 3, within: "1 hour" })
  const restart = timed("🔧 restarts payment-api").pipe(
    guard.protect({ action: "restart", arguments: { service: "payment-api" } })
  )
  yield* Effect.forever(Effect.zipRight(restart, Effect.sleep("5 minutes")))
})
// #endregion

/** Follows a measure that follows it. */
const scaler = Effect.gen(function*() {
  const guard = yield* LoopGuard.make({ name: "scaler", maxCycles: 3 })
  for (let round = 0;; round++) {
    const state = round % 2 === 0 ? "scaled up" : "scaled down"
    yield* timed(`↕ ${state}`)
    yield* guard.state(state)
    yield* Effect.sleep("1 minute")
  }
})

/** Tries another patch each time, and the tests stay as red as they were. */
const repairer = Effect.gen(function*() {
  const guard = yield* LoopGuard.make({ name: "repairer", maxStalled: 3 })
  const failing = [40, 31, 12, 12, 12, 12, 12]
  for (const [i, tests] of failing.entries()) {
    yield* guard.action({ action: "patch", arguments: { number: i } })
    yield* timed(`🩹 patch ${i}: ${tests} tests still fail`)
    yield* guard.progress(-tests)
    yield* Effect.sleep("2 minutes")
  }
})

export const main: Effect.Effect<void> = Effect.forEach(
  [restarter, scaler, repairer],
  (agent) => Effect.catchTag(agent, "LoopDetected", (loop) => timed(`⛔ ${loop.message}`)),
  { discard: true }
)
