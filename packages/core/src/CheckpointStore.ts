/**
 * Where checkpoints live: save, load, list, clear and prune, with one owner per run. Memory is here; `@firebreak/sql`
 * has the durable ones; all pass the contract suite in `@firebreak/core/testing/CheckpointStoreSuite`.
 *
 * A store instance is one owner. It holds a run by a lease and a fencing token; a write with an old token is refused.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { StoreError } from "./StoreError.js"

/**
 * One run of a workflow. `payload` and `exit` are encoded JSON; times are wall-clock milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly status: "running" | "succeeded" | "failed"
  readonly exit: Option.Option<string>
  /** How often the run was picked up again after its owner had died or given it back. */
  readonly recoveries: number
  readonly createdAt: number
  readonly updatedAt: number
  readonly completedAt: Option.Option<number>
}

/**
 * One finished step: `seq` is its position in the run, from 0; `exit` its encoded outcome.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly runId: string
  readonly seq: number
  readonly name: string
  readonly exit: string
  readonly startedAt: number
  readonly endedAt: number
}

/**
 * The answer to `begin`.
 *
 * - `Claimed`: the caller owns the run until its lease ends; `steps` are those already finished, by `seq`.
 * - `Finished`: the run has ended with `exit`.
 * - `InProgress`: another live owner has it.
 * - `Mismatch`: the run exists with another payload (`payload` is the stored one).
 *
 * @since 0.1.0
 * @category models
 */
export type Begin =
  | {
    readonly _tag: "Claimed"
    readonly token: number
    readonly resumed: boolean
    readonly steps: ReadonlyArray<Step>
  }
  | { readonly _tag: "Finished"; readonly exit: string }
  | { readonly _tag: "InProgress"; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "Mismatch"; readonly payload: string }

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Creates the run or takes it up where it was left, in one atomic step. */
  readonly begin: (request: {
    readonly runId: string
    readonly workflow: string
    readonly key: string
    readonly payload: string
    readonly lease: Duration.Duration
  }) => Effect.Effect<Begin, StoreError>
  /** Extends the lease; false when the run was taken over: stop at once. */
  readonly renew: (request: {
    readonly runId: string
    readonly token: number
    readonly lease: Duration.Duration
  }) => Effect.Effect<boolean, StoreError>
  /** Saves one finished step durably; false when the run was taken over. The same step again changes nothing. */
  readonly save: (request: { readonly token: number; readonly step: Step }) => Effect.Effect<boolean, StoreError>
  /** Records how the run ended; false when the run was taken over. */
  readonly finish: (request: {
    readonly runId: string
    readonly token: number
    readonly status: "succeeded" | "failed"
    readonly exit: string
  }) => Effect.Effect<boolean, StoreError>
  /** Gives an unfinished run back, so that anyone may resume it at once. */
  readonly release: (request: { readonly runId: string; readonly token: number }) => Effect.Effect<void, StoreError>
  /** The run with its finished steps. Wakes nothing. */
  readonly load: (
    runId: string
  ) => Effect.Effect<Option.Option<{ readonly run: Run; readonly steps: ReadonlyArray<Step> }>, StoreError>
  /** Runs in order of `createdAt`. */
  readonly list: (filter?: {
    readonly workflow?: string | undefined
    readonly status?: Run["status"] | undefined
  }) => Effect.Effect<ReadonlyArray<Run>, StoreError>
  /** Forgets a run that no live owner holds; false if there is none or it is held. */
  readonly clear: (runId: string) => Effect.Effect<boolean, StoreError>
  /** Forgets runs that ended at least `olderThan` ago; returns how many. */
  readonly prune: (options: { readonly olderThan: Duration.Duration }) => Effect.Effect<number, StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class CheckpointStore extends Context.Tag("@firebreak/core/CheckpointStore")<CheckpointStore, Service>() {}

/**
 * Makes a store in this process's memory: nothing outlives the process. Leases follow the Clock's monotonic time.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<Service> = Effect.sync(() => {
  const entries = new Map<string, Entry>()
  let lastToken = 0

  const owned = (runId: string, token: number): Entry | undefined => {
    const entry = entries.get(runId)
    return entry !== undefined && entry.held && entry.token === token ? entry : undefined
  }

  return {
    begin: (request) =>
      withTime((nanos, millis): Begin => {
        const found = entries.get(request.runId)
        if (found !== undefined) {
          if (found.payload !== request.payload) return { _tag: "Mismatch", payload: found.payload }
          if (found.status !== "running") return { _tag: "Finished", exit: found.exit }
          if (isLeased(found, nanos)) {
            return { _tag: "InProgress", retryAfter: Duration.nanos(found.leaseUntil - nanos) }
          }
        }
        const entry = found ?? create(request, millis)
        if (found === undefined) entries.set(request.runId, entry)
        else entry.recoveries++
        entry.token = ++lastToken
        entry.held = true
        entry.leaseUntil = after(nanos, request.lease)
        entry.updatedAt = millis
        return { _tag: "Claimed", token: entry.token, resumed: found !== undefined, steps: stepsOf(entry) }
      }),
    renew: ({ lease, runId, token }) =>
      withTime((nanos) => {
        const entry = owned(runId, token)
        if (entry === undefined) return false
        entry.leaseUntil = after(nanos, lease)
        return true
      }),
    save: ({ step, token }) =>
      Effect.flatten(withTime((_, millis): Effect.Effect<boolean, StoreError> => {
        const entry = owned(step.runId, token)
        if (entry === undefined) return Effect.succeed(false)
        const there = entry.steps.get(step.seq)
        if (there === undefined) {
          entry.steps.set(step.seq, step)
          entry.updatedAt = millis
        } else if (there.name !== step.name) {
          return Effect.fail(occupied(step, there))
        }
        return Effect.succeed(true)
      })),
    finish: ({ exit, runId, status, token }) =>
      withTime((_, millis) => {
        const entry = owned(runId, token)
        if (entry === undefined) {
          const ended = entries.get(runId)
          return ended !== undefined && ended.status !== "running" && ended.token === token
        }
        entry.status = status
        entry.exit = exit
        entry.held = false
        entry.updatedAt = millis
        entry.completedAt = millis
        return true
      }),
    release: ({ runId, token }) =>
      withTime((_, millis) => {
        const entry = owned(runId, token)
        if (entry === undefined) return
        entry.held = false
        entry.updatedAt = millis
      }),
    load: (runId) =>
      Effect.sync(() =>
        Option.map(
          Option.fromNullable(entries.get(runId)),
          (entry) => ({ run: toRun(entry), steps: stepsOf(entry) })
        )
      ),
    list: (filter) =>
      Effect.sync(() =>
        Array.from(entries.values())
          .filter((entry) =>
            (filter?.workflow === undefined || entry.workflow === filter.workflow) &&
            (filter?.status === undefined || entry.status === filter.status)
          )
          .toSorted((a, b) => a.createdAt - b.createdAt || (a.runId < b.runId ? -1 : 1))
          .map(toRun)
      ),
    clear: (runId) =>
      withTime((nanos) => {
        const entry = entries.get(runId)
        return entry !== undefined && !isLeased(entry, nanos) && entries.delete(runId)
      }),
    prune: ({ olderThan }) =>
      withTime((_, millis) => {
        const until = millis - Duration.toMillis(olderThan)
        let pruned = 0
        for (const [runId, entry] of entries) {
          if (entry.status !== "running" && entry.completedAt <= until && entries.delete(runId)) pruned++
        }
        return pruned
      })
  }
})

/**
 * A store in memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, makeMemory)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Entry {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly createdAt: number
  readonly steps: Map<number, Step>
  status: Run["status"]
  exit: string
  recoveries: number
  updatedAt: number
  completedAt: number
  token: number
  /** Whether the owner has neither finished nor given the run back. */
  held: boolean
  /** Monotonic nanoseconds. */
  leaseUntil: bigint
}

const create = (
  { key, payload, runId, workflow }: Pick<Run, "runId" | "workflow" | "key" | "payload">,
  millis: number
): Entry => ({
  runId,
  workflow,
  key,
  payload,
  createdAt: millis,
  steps: new Map(),
  status: "running",
  exit: "",
  recoveries: 0,
  updatedAt: millis,
  completedAt: 0,
  token: 0,
  held: false,
  leaseUntil: 0n
})

const withTime = <A>(f: (nanos: bigint, millis: number) => A): Effect.Effect<A> =>
  Clock.clockWith((clock) => Effect.sync(() => f(clock.unsafeCurrentTimeNanos(), clock.unsafeCurrentTimeMillis())))

const after = (nanos: bigint, duration: Duration.Duration): bigint => nanos + Duration.unsafeToNanos(duration)

const isLeased = (entry: Entry, nanos: bigint): boolean => entry.held && entry.leaseUntil > nanos

const stepsOf = (entry: Entry): ReadonlyArray<Step> =>
  Array.from(entry.steps.values()).toSorted((a, b) => a.seq - b.seq)

const occupied = (step: Step, there: Step): StoreError =>
  new StoreError({
    store: "memory",
    operation: "save",
    reason: "io",
    detail: `run "${step.runId}" has step "${there.name}" at seq ${step.seq}, not "${step.name}"`
  })

const toRun = (entry: Entry): Run => ({
  runId: entry.runId,
  workflow: entry.workflow,
  key: entry.key,
  payload: entry.payload,
  status: entry.status,
  exit: entry.status === "running" ? Option.none() : Option.some(entry.exit),
  recoveries: entry.recoveries,
  createdAt: entry.createdAt,
  updatedAt: entry.updatedAt,
  completedAt: entry.status === "running" ? Option.none() : Option.some(entry.completedAt)
})
