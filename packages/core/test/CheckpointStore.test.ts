import * as Effect from "effect/Effect"
import * as CheckpointMemory from "../src/CheckpointMemory.js"
import { suite } from "../src/testing/CheckpointStoreSuite.js"

suite("memory", CheckpointMemory.layer, {
  transaction: true,
  owners: Effect.map(CheckpointMemory.make, (store) => [store, { ...store }] as const)
})
