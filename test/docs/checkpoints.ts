/** The code of `docs/checkpoints.md` that no demo has. */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const HandleIncident = Checkpoint.workflow("handle-incident", {
  payload: Schema.Struct({ incident: Schema.String }),
  key: ({ incident }) => incident
}, () => Effect.void)

class Declined extends Schema.TaggedError<Declined>()("Declined", { by: Schema.String }) {}
class Refused extends Schema.TaggedError<Refused>()("Refused", { order: Schema.String }) {}

declare const payments: {
  readonly charge: (order: string) => Effect.Effect<string, Refused>
  readonly refund: (charge: string) => Effect.Effect<void>
  readonly find: (order: string) => Effect.Effect<Option.Option<string>>
}
declare const alerts: { readonly silence: Effect.Effect<void>; readonly restore: Effect.Effect<void> }

const Notify = Checkpoint.workflow("notify", {
  payload: Schema.Struct({ order: Schema.String }),
  key: ({ order }) => order
}, () => Effect.void)

// #region usage
export const Agent = Layer.mergeAll(HandleIncident.layer, Checkpoint.layerResume()).pipe(
  Layer.provideMerge(SqlStore.layerSqlite({ filename: "agent.db" }))
)
// #endregion

// #region usage
export const Release = Checkpoint.workflow("release", {
  payload: Schema.Struct({ version: Schema.String }),
  key: ({ version }) => version,
  error: Declined,
  signals: { approval: Schema.Struct({ by: Schema.String, granted: Schema.Boolean }) }
}, () =>
  Effect.gen(function*() {
    yield* Checkpoint.sleep("bake", "1 hour")
    const approval = yield* Checkpoint.signal("approval", {
      success: Schema.Struct({ by: Schema.String, granted: Schema.Boolean }),
      within: "15 minutes"
    })
    if (Option.isNone(approval)) return yield* new Declined({ by: "nobody in time" })
    if (!approval.value.granted) return yield* new Declined({ by: approval.value.by })
  }))

// from anywhere that has the engine: "Sent" | "AlreadySent" | "TooLate" | "Ended"
export const approved = Release.send("1.4.0", "approval", { by: "ada", granted: true })
// #endregion

// #region usage
export const PlaceOrder = Checkpoint.workflow("place-order", {
  payload: Schema.Struct({ order: Schema.String }),
  key: ({ order }) => order,
  error: Refused,
  deadline: "1 day"
}, ({ order }) =>
  Effect.gen(function*() {
    yield* Checkpoint.compensate("alerts", alerts.restore)
    yield* Checkpoint.step("silence", {}, alerts.silence)
    yield* Checkpoint.step("charge", {
      success: Schema.String,
      error: Refused,
      onInDoubt: { probe: payments.find(order) },
      compensate: (charge) => payments.refund(charge)
    }, payments.charge(order))
    yield* Effect.ignore(Notify.runChild({ order }))
  }))
// #endregion

// #region usage
export const operations = Effect.gen(function*() {
  yield* PlaceOrder.cancel("4711", { reason: "customer called" })
  const stuck = yield* Checkpoint.list({ workflow: "place-order", status: "dead", limit: 50 })
  yield* Effect.forEach(stuck, ({ runId }) => Checkpoint.requeue(runId))
  yield* Checkpoint.settle("place-order/4711", "charge", "retry")
  yield* Checkpoint.settle("place-order/4712", "charge", { success: Schema.String, value: "ch_81" })
  return yield* Checkpoint.load("place-order/4711")
})
// #endregion

// #region usage
export const OnSqlite = SqlStore.layerSqlite({ filename: "agent.db" })
export const OnPostgres = SqlStore.layerPostgres({ url: "postgres://localhost/agent" })
// #endregion
