/** The code of `docs/health.md`. */
import type { HttpClient } from "@effect/platform/HttpClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as SystemCheck from "@firebreak/core/SystemCheck"
import * as HealthRoutes from "@firebreak/http/HealthRoutes"
import * as HttpHealthCheck from "@firebreak/http/HttpHealthCheck"
import * as SqlHealthCheck from "@firebreak/sql/SqlHealthCheck"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"

declare const vendors: CircuitBreakerRegistry.Registry
declare const jobs: { readonly size: Effect.Effect<number> }

// #region usage
export const HealthLive = Health.layer({
  memory: SystemCheck.rss({ below: 0.9 }),
  disk: SystemCheck.disk("/var/lib/app", { interval: "1 minute" }),
  vendors: HealthCheck.breakers(vendors),
  jobs: HealthCheck.queueDepth(jobs.size, { below: 1_000, fall: 3 }),
  database: SqlHealthCheck.pool({ below: "200 millis", critical: true }),
  // while the database fails, this is its symptom; a name that is no check does not compile
  search: HttpHealthCheck.endpoint("http://search.example/ping", { dependsOn: ["database"] })
})
// #endregion

// #region usage
export const routes = HealthRoutes.router({ service: { releaseId: "1.2.2", serviceId: "shop" } })
// #endregion

/** What the layer of the page requires. */
export const typed: Layer.Layer<Health.Health, never, HttpClient | SqlClient> = HealthLive
