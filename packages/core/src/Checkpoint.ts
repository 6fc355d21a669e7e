/**
 * Programs whose finished steps never run again, whatever dies in between.
 *
 * A workflow is an ordinary Effect program whose steps are marked. When a step has ended, in success or in a failure it
 * declares, its outcome is saved before the next line runs; a run that is taken up again replays what was saved and goes
 * on with the first step that was not. Completed steps never repeat; the step in flight at a crash runs at least once
 * more, so what it does to the world belongs into an idempotent action. Defects and interruptions are never recorded.
 *
 * Code between steps runs again whenever a run is resumed and must then take the same way: what depends on time, chance
 * or the world belongs into a step, a timeout or a retry too. Where it takes another way, the run ends in
 * `HistoryMismatch`. The order of steps is compared on the run's own fiber; steps on other fibers (`Effect.all` with
 * concurrency, a race, inside a timeout) are matched by name, so there each needs a name of its own.
 *
 * A run has one owner, by a lease with a fencing token. What keeps runs is a Layer: `CheckpointEngine`, which over a
 * `CheckpointStore` is `layerEngine`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { CheckpointEngine } from "./CheckpointEngine.js"
import * as CheckpointMemory from "./CheckpointMemory.js"
import { runsDefaults } from "./CheckpointRuns.js"
import { CheckpointStore } from "./CheckpointStore.js"
import { defaults as workflowDefaults } from "./CheckpointWorkflow.js"
import * as Engine from "./internal/checkpointEngine.js"
import * as Check from "./internal/options.js"

export {
  /**
   * @since 0.1.0
   * @category services
   */
  CurrentRun,
  /**
   * @since 0.1.0
   * @category services
   */
  CurrentStep,
  /**
   * @since 0.1.0
   * @category models
   */
  type Resumed
} from "./CheckpointEngine.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  HistoryMismatch,
  /**
   * @since 0.1.0
   * @category errors
   */
  PayloadMismatch,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunCancelled,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunDead,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunDeadlineExceeded,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunEnded,
  /**
   * @since 0.1.0
   * @category errors
   */
  type RunError,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunFenced,
  /**
   * @since 0.1.0
   * @category errors
   */
  RunInProgress,
  /**
   * @since 0.1.0
   * @category errors
   */
  StepCodecError,
  /**
   * @since 0.1.0
   * @category errors
   */
  StepInDoubt,
  /**
   * @since 0.1.0
   * @category errors
   */
  Unsupported,
  /**
   * @since 0.1.0
   * @category errors
   */
  VersionMismatch
} from "./CheckpointError.js"

export {
  /**
   * @since 0.1.0
   * @category persistence
   */
  cancel,
  /**
   * @since 0.1.0
   * @category persistence
   */
  clear,
  /**
   * @since 0.1.0
   * @category layers
   */
  layerResume,
  /**
   * @since 0.1.0
   * @category layers
   */
  layerRetention,
  /**
   * @since 0.1.0
   * @category persistence
   */
  list,
  /**
   * @since 0.1.0
   * @category persistence
   */
  load,
  /**
   * @since 0.1.0
   * @category persistence
   */
  prune,
  /**
   * @since 0.1.0
   * @category persistence
   */
  requeue,
  /**
   * @since 0.1.0
   * @category resuming
   */
  resumeAll,
  /**
   * @since 0.1.0
   * @category persistence
   */
  send,
  /**
   * @since 0.1.0
   * @category persistence
   */
  settle,
  /**
   * @since 0.1.0
   * @category persistence
   */
  verify
} from "./CheckpointRuns.js"

export {
  /**
   * @since 0.1.0
   * @category constructors
   */
  compensate,
  /**
   * @since 0.1.0
   * @category models
   */
  type NotNested,
  /**
   * @since 0.1.0
   * @category constructors
   */
  step,
  /**
   * @since 0.1.0
   * @category options
   */
  type StepOptions,
  /**
   * @since 0.1.0
   * @category constructors
   */
  transaction,
  /**
   * @since 0.1.0
   * @category options
   */
  type TransactionOptions
} from "./CheckpointStep.js"

export {
  /**
   * @since 0.1.0
   * @category constructors
   */
  signal,
  /**
   * @since 0.1.0
   * @category options
   */
  type SignalOptions,
  /**
   * @since 0.1.0
   * @category constructors
   */
  sleep
} from "./CheckpointWait.js"

export {
  /**
   * @since 0.1.0
   * @category constructors
   */
  run,
  /**
   * @since 0.1.0
   * @category options
   */
  type RunOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  type Signals,
  /**
   * @since 0.1.0
   * @category models
   */
  type Workflow,
  /**
   * @since 0.1.0
   * @category constructors
   */
  workflow,
  /**
   * @since 0.1.0
   * @category options
   */
  type WorkflowOptions
} from "./CheckpointWorkflow.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface EngineOptions {
  /** For messages. Default "store". */
  readonly name?: string | undefined
  /** How often signals that other processes sent are looked for while a run waits for one. Default 1 second. */
  readonly poll?: Duration.DurationInput | undefined
}

/**
 * The defaults of all that concerns checkpoints.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { ...workflowDefaults, ...runsDefaults, poll: "1 second" } as const

/**
 * Our own engine, over whatever store: runs live in the process that called or resumed them. When the Layer is closed,
 * the runs resumed by `layerResume` are given back.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEngineWith = (options: EngineOptions): Layer.Layer<CheckpointEngine, never, CheckpointStore> => {
  Check.known("Checkpoint.layerEngine", options, { name: true, poll: true })
  const name = Check.name("Checkpoint.layerEngine", "name", options.name ?? "store")
  const poll = Duration.millis(
    Check.millis("Checkpoint.layerEngine", "poll", options.poll ?? defaults.poll, { min: 1 })
  )
  return Layer.scoped(
    CheckpointEngine,
    Effect.flatMap(CheckpointStore, (store) => Engine.make(store, { name, poll }))
  )
}

/**
 * Our own engine with its defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEngine: Layer.Layer<CheckpointEngine, never, CheckpointStore> = layerEngineWith({})

/**
 * Everything in memory, for tests and for what need not outlive the process.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointEngine | CheckpointStore> = Layer.provideMerge(
  layerEngineWith({ name: "memory" }),
  CheckpointMemory.layer
)
