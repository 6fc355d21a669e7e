/**
 * The `CheckpointStore` in this process's memory: nothing outlives the process. Leases follow the Clock's monotonic time,
 * all else its wall clock.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import {
  type Begin,
  type BeginRequest,
  type Cancelled,
  CheckpointStore,
  type Expiry,
  type Filter,
  type Progress,
  type Renewal,
  type Run,
  type Sent,
  type Service,
  type Signal,
  type StartAnswer,
  type Started,
  type Status,
  type Step
} from "./CheckpointStore.js"
import { StoreError } from "./StoreError.js"

/**
 * Makes a store. Its `transact` runs the body and saves the step after it: there is nothing that it could roll back.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service> = Effect.sync(() => {
  const entries = new Map<string, Entry>()
  const signals = new Map<string, Map<string, Signal>>()
  let lastToken = 0

  const owned = (runId: string, token: number): Entry | undefined => {
    const entry = entries.get(runId)
    return entry !== undefined && entry.held && entry.token === token ? entry : undefined
  }
  const signalsOf = (runId: string): ReadonlyArray<Signal> => Array.from(signals.get(runId)?.values() ?? [])
  const progressOf = (entry: Entry): Progress => ({
    run: toRun(entry),
    steps: stepsOf(entry),
    started: Array.from(entry.started.values()),
    signals: signalsOf(entry.runId)
  })
  const forget = (runId: string): boolean => {
    signals.delete(runId)
    return entries.delete(runId)
  }

  const save: Service["save"] = ({ step, token }) =>
    Effect.suspend(() => {
      const entry = owned(step.runId, token)
      if (entry === undefined) return no
      const there = entry.steps.get(step.seq)
      if (there !== undefined && there.name !== step.name) return Effect.fail(occupied(step, there))
      put(entry, step)
      return yes
    })

  return {
    capabilities: new Set(["transaction"]),

    begin: (request) =>
      withTime((nanos, millis): Begin => {
        const found = entries.get(request.runId)
        if (found === undefined && request.existing === true) return { _tag: "Missing" }
        if (found !== undefined) {
          if (found.payload !== request.payload) return { _tag: "Mismatch", payload: found.payload }
          if (found.status !== "running") return { _tag: "Finished", run: toRun(found), died: false }
          if (found.version !== request.version && request.accepts?.includes(found.version) !== true) {
            return { _tag: "OtherVersion", version: found.version }
          }
          if (isLeased(found, nanos)) {
            return { _tag: "InProgress", retryAfter: Duration.nanos(found.leaseUntil - nanos) }
          }
          if (found.held) stall(found)
          found.held = false
          if (found.stalls > request.maxStalls) {
            end(found, "dead", "", millis)
            return { _tag: "Finished", run: toRun(found), died: true }
          }
          found.recoveries++
        }
        const entry = found ?? create(request, millis)
        entries.set(request.runId, entry)
        entry.token = ++lastToken
        entry.held = true
        entry.leaseUntil = after(nanos, request.lease)
        entry.updatedAt = millis
        return {
          _tag: "Claimed",
          token: entry.token,
          resumed: found !== undefined,
          now: millis,
          ...progressOf(entry)
        }
      }),

    renew: ({ lease, runId, token }) =>
      withTime((nanos): Renewal => {
        const entry = owned(runId, token)
        if (entry === undefined) return { _tag: "Lost" }
        entry.leaseUntil = after(nanos, lease)
        return { _tag: "Held", cancelled: Option.fromNullable(entry.cancelled) }
      }),

    start: ({ step, token, wait }) =>
      withTime((_, now): StartAnswer => {
        const entry = owned(step.runId, token)
        if (entry === undefined) return { _tag: "Lost" }
        let started = entry.started.get(step.name)
        if (started === undefined) {
          const wakeAt = wait === undefined ? Option.none() : Option.some(now + Duration.toMillis(wait))
          entry.started.set(step.name, started = { ...step, wakeAt })
        }
        return { _tag: "Started", started, now }
      }),

    save,

    expire: (request) =>
      Effect.suspend(() => {
        const { name, runId } = request.step
        const sent = signals.get(runId)?.get(name)
        if (owned(runId, request.token) === undefined) return Effect.succeed<Expiry>({ _tag: "Lost" })
        if (sent !== undefined) return Effect.succeed<Expiry>({ _tag: "Received", payload: sent.payload })
        return Effect.as(save(request), { _tag: "Expired" } as const)
      }),

    finish: ({ exit, runId, status, token }) =>
      withTime((_, millis) => {
        const entry = owned(runId, token)
        if (entry === undefined) {
          const ended = entries.get(runId)
          return ended !== undefined && ended.status !== "running" && ended.token === token
        }
        end(entry, status, exit, millis)
        return true
      }),

    release: ({ failed, runId, token }) =>
      withTime((_, millis) => {
        const entry = owned(runId, token)
        if (entry === undefined) return
        if (failed === true) stall(entry)
        entry.held = false
        entry.updatedAt = millis
      }),

    transact: ({ body, runId, token }) =>
      Effect.suspend(() =>
        owned(runId, token) === undefined
          ? Effect.succeedNone
          : Effect.flatMap(
            body,
            ({ step, value }) =>
              Effect.map(save({ token, step }), (saved) => saved ? Option.some(value) : Option.none())
          )
      ),

    send: ({ name, payload, runId }) =>
      withTime((_, millis): Sent => {
        const entry = entries.get(runId)
        let sent = signals.get(runId)
        if (sent?.has(name) === true) return "AlreadySent"
        if (entry !== undefined && entry.status !== "running" && entry.status !== "dead") return "Ended"
        const wakeAt = entry?.started.get(name)?.wakeAt ?? Option.none()
        if (entry?.expired.has(name) === true || Option.exists(wakeAt, (_) => _ <= millis)) return "TooLate"
        if (sent === undefined) signals.set(runId, sent = new Map())
        sent.set(name, { runId, name, payload, sentAt: millis })
        return "Sent"
      }),

    received: (runIds) => Effect.sync(() => runIds.flatMap(signalsOf)),

    cancel: ({ reason, runId }) =>
      withTime((_, millis): Cancelled => {
        const entry = entries.get(runId)
        if (entry === undefined) return "Missing"
        if (entry.status !== "running") return "Ended"
        if (entry.cancelled !== undefined) return "AlreadyRequested"
        entry.cancelled = reason
        entry.updatedAt = millis
        return "Requested"
      }),

    settle: ({ exit, name, runId }) =>
      withTime((nanos, millis) => {
        const entry = entries.get(runId)
        const started = entry?.started.get(name)
        if (entry === undefined || started === undefined || isLeased(entry, nanos)) return false
        const { branch, kind, startedAt } = started
        entry.started.delete(name)
        // an owner past its lease must not go on
        entry.token = ++lastToken
        if (Option.isSome(exit)) {
          const seq = Math.max(-1, ...entry.steps.keys()) + 1
          put(entry, { runId, seq, name, kind, branch, exit: exit.value, startedAt, endedAt: millis })
        }
        return true
      }),

    requeue: (runId) =>
      withTime((_, millis) => {
        const entry = entries.get(runId)
        if (entry?.status !== "dead") return false
        entry.status = "running"
        entry.stalls = 0
        entry.updatedAt = millis
        return true
      }),

    load: (runId) => Effect.sync(() => Option.map(Option.fromNullable(entries.get(runId)), progressOf)),

    list: (filter) =>
      Effect.sync(() =>
        Array.from(entries.values())
          .filter((entry) => matches(entry, filter))
          .toSorted((a, b) => isBefore(a, b) ? -1 : 1)
          .slice(0, filter?.limit)
          .map(toRun)
      ),

    clear: (runId) =>
      withTime((nanos) => {
        const entry = entries.get(runId)
        return entry !== undefined && !isLeased(entry, nanos) && forget(runId)
      }),

    prune: ({ olderThan }) =>
      withTime((_, millis) => {
        const until = millis - Duration.toMillis(olderThan)
        let pruned = 0
        for (const [runId, { completedAt, status }] of entries) {
          if (status !== "running" && status !== "dead" && completedAt <= until && forget(runId)) pruned++
        }
        for (const [runId, sent] of signals) {
          if (!entries.has(runId) && Array.from(sent.values()).every((_) => _.sentAt <= until)) signals.delete(runId)
        }
        return pruned
      })
  }
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, make)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Entry {
  readonly runId: string
  readonly workflow: string
  readonly version: string
  readonly key: string
  readonly payload: string
  readonly parent: string | undefined
  readonly deadlineAt: number | undefined
  readonly createdAt: number
  readonly steps: Map<number, Step>
  readonly started: Map<string, Started>
  /** Names of the signals that have a step. */
  readonly expired: Set<string>
  status: Status
  exit: string
  cancelled: string | undefined
  recoveries: number
  stalls: number
  /** How many steps there were at the last stall. */
  stalledAt: number
  updatedAt: number
  completedAt: number
  token: number
  /** Whether the owner has neither finished nor given the run back. */
  held: boolean
  /** Monotonic nanoseconds. */
  leaseUntil: bigint
}

const create = (request: BeginRequest, millis: number): Entry => ({
  runId: request.runId,
  workflow: request.workflow,
  version: request.version,
  key: request.key,
  payload: request.payload,
  parent: request.parent,
  deadlineAt: request.deadline === undefined ? undefined : millis + Duration.toMillis(request.deadline),
  createdAt: millis,
  steps: new Map(),
  started: new Map(),
  expired: new Set(),
  status: "running",
  exit: "",
  cancelled: undefined,
  recoveries: 0,
  stalls: 0,
  stalledAt: 0,
  updatedAt: millis,
  completedAt: 0,
  token: 0,
  held: false,
  leaseUntil: 0n
})

const yes = Effect.succeed(true)
const no = Effect.succeed(false)

const withTime = <A>(f: (nanos: bigint, millis: number) => A): Effect.Effect<A> =>
  Clock.clockWith((clock) => Effect.sync(() => f(clock.unsafeCurrentTimeNanos(), clock.unsafeCurrentTimeMillis())))

const after = (nanos: bigint, duration: Duration.Duration): bigint => nanos + Duration.unsafeToNanos(duration)

const isLeased = (entry: Entry, nanos: bigint): boolean => entry.held && entry.leaseUntil > nanos

/** A step saved since the last stall is progress. */
const stall = (entry: Entry): void => {
  entry.stalls = entry.steps.size > entry.stalledAt ? 1 : entry.stalls + 1
  entry.stalledAt = entry.steps.size
}

const put = (entry: Entry, step: Step): void => {
  if (entry.steps.has(step.seq)) return
  entry.steps.set(step.seq, step)
  entry.started.delete(step.name)
  if (step.kind === "signal") entry.expired.add(step.name)
  entry.updatedAt = Math.max(entry.updatedAt, step.endedAt)
}

const end = (entry: Entry, status: Status, exit: string, millis: number): void => {
  entry.status = status
  entry.exit = exit
  entry.held = false
  entry.updatedAt = millis
  entry.completedAt = millis
}

const stepsOf = (entry: Entry): ReadonlyArray<Step> =>
  Array.from(entry.steps.values()).toSorted((a, b) => a.seq - b.seq)

const matches = (entry: Entry, filter: Filter | undefined): boolean =>
  filter === undefined ||
  ((filter.workflow === undefined || entry.workflow === filter.workflow) &&
    (filter.status === undefined || entry.status === filter.status) &&
    (filter.key === undefined || entry.key === filter.key) &&
    (filter.keyPrefix === undefined || entry.key.startsWith(filter.keyPrefix)) &&
    (filter.parent === undefined || entry.parent === filter.parent) &&
    (filter.createdFrom === undefined || entry.createdAt >= filter.createdFrom) &&
    (filter.createdBefore === undefined || entry.createdAt < filter.createdBefore) &&
    (filter.after === undefined || isBefore(filter.after, entry)))

const isBefore = (a: Pick<Run, "createdAt" | "runId">, b: Pick<Run, "createdAt" | "runId">): boolean =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.runId < b.runId)

const occupied = (step: Step, there: Step): StoreError =>
  new StoreError({
    store: "memory",
    operation: "save",
    reason: "io",
    detail: `run "${step.runId}" has step "${there.name}" at seq ${step.seq}, not "${step.name}"`
  })

const toRun = (entry: Entry): Run => {
  const { completedAt, exit, key, payload, recoveries, runId, stalls, status, updatedAt, version, workflow } = entry
  return {
    runId,
    workflow,
    version,
    key,
    payload,
    parent: Option.fromNullable(entry.parent),
    status,
    exit: status === "running" || status === "dead" ? Option.none() : Option.some(exit),
    recoveries,
    stalls,
    deadlineAt: Option.fromNullable(entry.deadlineAt),
    cancelled: Option.fromNullable(entry.cancelled),
    createdAt: entry.createdAt,
    updatedAt,
    completedAt: status === "running" ? Option.none() : Option.some(completedAt)
  }
}
