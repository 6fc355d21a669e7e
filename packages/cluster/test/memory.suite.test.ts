import { suite } from "@firebreak/core/testing/CheckpointEngineSuite"
import * as Effect from "effect/Effect"
import { capabilities } from "../src/internal/engine.js"
import * as Memory from "../src/internal/memoryEngine.js"

suite("cluster in memory", Effect.map(Memory.held, Memory.layer), { capabilities })
