/** The code of `docs/idempotency-key.md`. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"

declare const placeOrder: Effect.Effect<HttpServerResponse.HttpServerResponse>
declare const charge: (amount: number, key: Option.Option<string>) => Effect.Effect<string>

// #region usage
const createPayment = Effect.gen(function*() {
  const { amount } = yield* HttpServerRequest.schemaBodyJson(Schema.Struct({ amount: Schema.Number }))
  const id = yield* charge(amount, yield* Idempotency.currentKey)
  return HttpServerResponse.unsafeJson({ id, amount }, { status: 201, headers: { location: `/payments/${id}` } })
})

export const router = HttpRouter.empty.pipe(
  HttpRouter.post("/payments", createPayment),
  HttpRouter.use(IdempotencyKey.make({
    scope: (request) => request.headers["x-account"] || "anonymous",
    documentation: "https://api.example.com/docs/idempotency"
  }))
)

export const KeysLive = SqlStore.layerSqlite({ filename: "data/keys.db" })
// #endregion

// #region usage
export const patchProfile = HttpServerResponse.empty().pipe(
  IdempotencyKey.make({ operation: "profile", required: false, retention: "1 hour" })
)
// #endregion

// #region usage
class Orders extends Bulkhead.Tag("orders")<Orders>() {}

export const createOrder = placeOrder.pipe(
  Bulkhead.protect(Orders),
  IdempotencyKey.make({
    onUnknown: "escalate",
    classifyFailure: (error) => error instanceof Bulkhead.BulkheadFull ? "not-started" : "unknown"
  })
)
// #endregion
