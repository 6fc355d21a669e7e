/** The code of `docs/idempotency.md` that no demo has. */
import * as Idempotency from "@firebreak/core/Idempotency"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"

class RestartFailed extends Schema.TaggedError<RestartFailed>()("RestartFailed", { status: Schema.Number }) {}

declare const restart: (service: string) => Effect.Effect<string, RestartFailed>
declare const findRestart: (incident: string) => Effect.Effect<Option.Option<string>, RestartFailed>
declare const readReplicas: Effect.Effect<number, RestartFailed>
declare const writeReplicas: (target: number) => Effect.Effect<void, RestartFailed>

// #region usage
export const RestartPods = Idempotency.make("restart_pods", {
  payload: Schema.Struct({ incident: Schema.String, service: Schema.String }),
  key: ({ incident, service }) => `${incident}/${service}`,
  success: Schema.String,
  error: RestartFailed,
  classify: ({ status }) => status === 429 ? "not-started" : status < 500 ? "failed" : "unknown",
  onUnknown: { probe: ({ incident }) => findRestart(incident) }
}, ({ service }) => restart(service))
// #endregion

// #region usage
// 1, or 0 where there is no such record or the action is in progress
export const release = Idempotency.reset({ operation: "restart_pods", key: "INC-1/api" })
// #endregion

// #region usage
export const forTenant = (tenant: string) =>
  RestartPods({ incident: "INC-1", service: "api" }).pipe(Idempotency.scoped(tenant))
// #endregion

// #region usage
export const scale = Idempotency.setTo({ name: "replicas", target: 3, read: readReplicas, write: writeReplicas })
// #endregion
