/** The engine in this process's memory, over records that may outlive it. */
import * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import * as Layer from "effect/Layer"
import { make } from "./engine.js"
import * as Journal from "./memoryJournal.js"

export const held = Journal.held

export const layer = (records: Journal.Held): Layer.Layer<CheckpointEngine> =>
  Layer.scoped(CheckpointEngine, make({ journal: Journal.make(records), capabilities: [], patience: 0, local: true }))
    .pipe(Layer.provide(Layer.fresh(WorkflowEngine.layerMemory)))
