import type { SocketServerError } from "@effect/platform/SocketServer"
import * as ClusterEngine from "@firebreak/cluster/ClusterEngine"
import * as ClusterRunner from "@firebreak/cluster/ClusterRunner"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { expect, test } from "tstyche"

const runner = { host: "127.0.0.1", port: 34431 }

test("each layer provides the engine, needs nothing and says how it can fail", () => {
  expect(ClusterEngine.layer({ url: "postgres://db/app", runner })).type.toBe<
    Layer.Layer<CheckpointEngine, StoreError | SocketServerError>
  >()
  expect(ClusterEngine.layerClient({ url: "postgres://db/app" })).type.toBe<Layer.Layer<CheckpointEngine, StoreError>>()
  expect(ClusterEngine.layerMemory).type.toBe<Layer.Layer<CheckpointEngine>>()
})

test("a URL may be a secret", () => {
  expect(ClusterEngine.layerClient).type.toBeCallableWith({ url: Redacted.make("postgres://db/app") })
})

test("a runner has an address, a client has none", () => {
  expect(ClusterEngine.layer).type.not.toBeCallableWith({ url: "postgres://db/app" })
  expect(ClusterEngine.layerClient).type.not.toBeCallableWith({ url: "postgres://db/app", runner })
})

class Vendor extends Context.Tag("Vendor")<Vendor, { readonly call: Effect.Effect<void> }>() {}

const Needy = Checkpoint.workflow(
  "needy",
  { payload: Schema.String, key: (key) => key },
  () => Checkpoint.step("call", {}, Effect.flatMap(Vendor, (vendor) => vendor.call))
)

test("a runner's workflows have what they need", () => {
  const address = { database: "postgres://db/app", ...runner }
  expect(ClusterRunner.main).type.not.toBeCallableWith({ workflows: Needy.layer, ...address })
})
