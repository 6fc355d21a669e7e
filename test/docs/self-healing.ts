/** The code of `docs/self-healing.md`. */
import type * as Autoscale from "@firebreak/core/Autoscale"
import type * as Bulkhead from "@firebreak/core/Bulkhead"
import type * as Escalation from "@firebreak/core/Escalation"
import type * as Failover from "@firebreak/core/Failover"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Restartable from "@firebreak/core/Restartable"
import * as SqlHealingStore from "@firebreak/sql/SqlHealingStore"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

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

declare const exit: Effect.Effect<void>

// #region usage
export const DurableHealingLive = Healing.layer({
  name: "worker-1", // one row each: healers that share a database need names of their own
  checks: { memory: HealthCheck.heap({ below: 0.9 }) },
  remedies: { memory: [Healing.remedy("exit", exit, { attempts: 3, cooldown: "1 minute" })] }
}).pipe(
  Layer.provide(SqlHealingStore.layer), // of @firebreak/sql
  Layer.provide(SqlStore.layerSqlite({ filename: "data/worker.db" }))
)
// #endregion

declare const prices: { readonly invalidateAll: Effect.Effect<void> }
declare const reports: Pick<Bulkhead.Bulkhead, "resize">
declare const workers: Pick<Autoscale.Autoscaler, "remedy">
declare const config: { readonly refresh: Effect.Effect<void> }
class Database extends Context.Tag("Database")<Database, { readonly ping: Effect.Effect<void> }>() {}

// #region usage
export const remedies = {
  // what is derived may go; the last good values of Degradation are another cache, and stay
  clearCache: Healing.remedy("clear cache", prices.invalidateAll),
  // closes the pool and builds it again, under its users: Restartable.layer(Database, PoolLive)
  resetConnections: Effect.map(Restartable.of(Database), ({ remedy }) => remedy),
  // fewer at once until it is well: what cannot be done now is turned away, not queued
  shedLoad: Healing.remedy("shed load", reports.resize(2), { attempts: 1 }),
  // one round of the Autoscale
  askForScale: workers.remedy,
  reloadConfig: Healing.remedy("reload config", config.refresh)
}
// #endregion
