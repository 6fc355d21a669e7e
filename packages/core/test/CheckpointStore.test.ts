import * as Effect from "effect/Effect"
import * as CheckpointStore from "../src/CheckpointStore.js"
import { suite } from "../src/testing/CheckpointStoreSuite.js"

suite("memory", CheckpointStore.layerMemory, {
  owners: Effect.map(CheckpointStore.makeMemory, (store) => [store, { ...store }] as const)
})
