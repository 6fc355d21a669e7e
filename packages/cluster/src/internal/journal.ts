/**
 * What is recorded of runs, whoever records it: for the cluster the engine's own tables, in memory a store beside the
 * engine, which there keeps nothing that can be read.
 */
import type * as Store from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Model from "./model.js"

/** A run, and why it stopped if it has without having ended. */
export interface Head {
  readonly run: Store.Run
  readonly stopped: Option.Option<string>
}

/** What was sent to a run or came for it by a clock, by name. */
export type Deferreds = ReadonlyMap<string, string>

export interface Records extends Head, Store.Progress {
  readonly deferreds: Deferreds
}

export interface Journal {
  readonly name: string
  /** Records the beginning of a run that is not there yet, and has it run. */
  readonly begin: (workflow: Model.ClusterWorkflow, begun: Model.Begun) => Effect.Effect<Head, StoreError>
  /** Has a stopped run go on. */
  readonly resume: (head: Head) => Effect.Effect<void, StoreError>
  /** The run when it has ended or stopped. */
  readonly settled: (head: Head) => Effect.Effect<Head, StoreError>
  readonly load: (runId: string) => Effect.Effect<Option.Option<Records>, StoreError>
  readonly list: (filter: Store.Filter) => Effect.Effect<ReadonlyArray<Store.Run>, StoreError>
  /** Runs that have stopped. */
  readonly stopped: (workflows: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Head>, StoreError>
  /** Sends something to a run, begun or not, and wakes it; what was sent first under the name. */
  readonly offer: (runId: string, name: string, value: string) => Effect.Effect<string, StoreError>
  /** Sends a mark in place of a value, unless something was sent: what was first under the name. Wakes nothing. */
  readonly mark: (runId: string, name: string) => Effect.Effect<string, StoreError>
  readonly deferreds: (runId: string) => Effect.Effect<Deferreds, StoreError>
  readonly clear: (runId: string) => Effect.Effect<boolean, StoreError>
  readonly prune: (options: { readonly olderThan: Duration.Duration }) => Effect.Effect<number, StoreError>

  /** Whether this process is about to end. */
  readonly leaving: Effect.Effect<boolean>

  // the run itself, while it is executed in this process

  /** Has a clock wake the run, and records what waits for it; the time it rings, by the wall clock. */
  readonly wake: (
    run: Store.Run,
    clock: string,
    started: Omit<Store.Started, "wakeAt"> | undefined,
    duration: Option.Option<Duration.Duration>
  ) => Effect.Effect<number, StoreError>
  /** The attempt that the engine is told an activity is: under an old one it gives what it had then. */
  readonly attempt: () => number
  readonly began: (started: Omit<Store.Started, "wakeAt">) => Effect.Effect<void>
  readonly saved: (step: Store.Step) => Effect.Effect<void>
  readonly ended: (runId: string, ended: Model.Ended) => Effect.Effect<void>
  readonly halted: (runId: string, stopped: string) => Effect.Effect<void>
  /** Called when a run is about to be suspended until something is sent to it or a clock fires. */
  readonly suspending: (runId: string) => Effect.Effect<void>
}
