import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checkpoint from "../src/Checkpoint.js"
import * as CheckpointMemory from "../src/CheckpointMemory.js"
import { CheckpointStore } from "../src/CheckpointStore.js"
import { suite } from "../src/testing/CheckpointEngineSuite.js"

suite(
  "own engine in memory",
  Effect.map(
    CheckpointMemory.make,
    (store) => Layer.provide(Checkpoint.layerEngine, Layer.succeed(CheckpointStore, store))
  ),
  {
    capabilities: [
      "fencing",
      "sleep",
      "signals",
      "children",
      "compensation",
      "in-doubt",
      "cancel",
      "deadline",
      "dead-letter",
      "versions",
      "progress",
      "search",
      "retention",
      "transaction"
    ]
  }
)
