/** The code of `docs/self-healing.md`. */
import type * as Escalation from "@firebreak/core/Escalation"
import type * as Failover from "@firebreak/core/Failover"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import type * as Restartable from "@firebreak/core/Restartable"
import type * as Effect from "effect/Effect"

declare const pool: { readonly ping: Effect.Effect<void, string>; readonly reset: Effect.Effect<void> }
declare const failover: Pick<Failover.Failover<unknown>, "remedy">
declare const worker: Pick<Restartable.Restartable<unknown, never>, "remedy">
declare const page: (escalation: Escalation.Escalation) => Effect.Effect<void>

// #region usage
export const HealingLive = Healing.layer({
  every: "30 seconds",
  checks: {
    memory: HealthCheck.heap({ below: 0.9 }),
    connectivity: HealthCheck.make(pool.ping, { critical: true })
  },
  remedies: { // keyed by check: another key does not compile
    connectivity: [Healing.remedy("reset connections", pool.reset, { attempts: 3, cooldown: "1 minute" })]
  },
  onStatus: { // a ladder: "unhealthy" is also climbed when critical
    unhealthy: [failover.remedy],
    critical: [worker.remedy] // Healing.restartable(program, { name: "worker" })
  },
  escalate: (escalation) => page(escalation) // the history, the remedies tried, the reason
})
// #endregion
