/** The code of `docs/loop-guard.md`. */
import * as LoopGuard from "@firebreak/core/LoopGuard"
import * as Effect from "effect/Effect"

declare const restart: (service: string) => Effect.Effect<void>
declare const errorRate: (service: string) => Effect.Effect<number>
declare const page: (text: string) => Effect.Effect<void>

// #region usage
class Agent extends LoopGuard.Tag("agent")<Agent>() {}

export const AgentLive = Agent.layer({ maxSteps: 50, maxTime: "30 minutes", maxCost: 5, maxRepeats: 2 })

export const mend = (service: string) =>
  Effect.gen(function*() {
    const guard = yield* Agent
    yield* restart(service).pipe(guard.protect({ action: "restart", arguments: { service } }))
    yield* guard.progress(1 - (yield* errorRate(service)))
  }).pipe(
    Effect.forever,
    Effect.catchTag("LoopDetected", (loop) => page(loop.message))
  )
// #endregion
