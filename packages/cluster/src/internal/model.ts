/** What a run and its steps are to @effect/workflow. */
import * as Activity from "@effect/workflow/Activity"
import * as DurableDeferred from "@effect/workflow/DurableDeferred"
import * as Workflow from "@effect/workflow/Workflow"
import type { RunError } from "@firebreak/core/CheckpointError"
import * as CheckpointError from "@firebreak/core/CheckpointError"
import type { Run, Signal as SentSignal } from "@firebreak/core/CheckpointStore"
import { StoreError } from "@firebreak/core/StoreError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { InvalidOption } from "./options.js"

/** The payload of a run: the program's own is text in it, as it was encoded. */
export const Begun = Schema.Struct({
  runId: Schema.String,
  key: Schema.String,
  payload: Schema.String,
  version: Schema.String,
  parent: Schema.NullOr(Schema.String),
  deadlineAt: Schema.NullOr(Schema.Number)
})
export type Begun = typeof Begun.Type

/** How a run was begun. */
export const begunOf = ({ deadlineAt, key, parent, payload, runId, version }: Run): Begun => ({
  runId,
  key,
  payload,
  version,
  parent: Option.getOrNull(parent),
  deadlineAt: Option.getOrNull(deadlineAt)
})

/** How a run ended. */
export const Ended = Schema.Struct({ status: Schema.Literal("succeeded", "failed", "cancelled"), exit: Schema.String })
export type Ended = typeof Ended.Type

/** What is recorded of a step; its times are in the ids of its message and its reply. */
export const Recorded = Schema.Struct({
  kind: Schema.Literal("step", "transaction", "sleep", "signal", "child", "compensation"),
  branch: Schema.Literal("main", "side"),
  exit: Schema.String
})
export type Recorded = typeof Recorded.Type

const make = (name: string) =>
  Workflow.make({ name, payload: Begun, success: Ended, idempotencyKey: ({ runId }) => runId })

export type ClusterWorkflow = ReturnType<typeof make>

/** The longest name that fits the engine's table as `Workflow/name`. */
const longest = 141

const workflows = new Map<string, ClusterWorkflow>()

/** The engine knows workflows by object, so there is one of each name. */
export const workflow = (name: string): ClusterWorkflow => {
  let found = workflows.get(name)
  if (found === undefined) {
    if (name.length > longest || name !== name.trim()) {
      throw new InvalidOption(
        `ClusterEngine: the name of a workflow has at most ${longest} characters and no space at its ends, got "${name}"`
      )
    }
    workflows.set(name, found = make(name))
  }
  return found
}

const template = Activity.make({ name: "template", success: Recorded, execute: Effect.never })

/** As `Activity.make`, without compiling its schemas anew for every step, and without retrying interruptions. */
export const activity = <R>(
  name: string,
  body: Effect.Effect<Recorded, never, R>
): Activity.Activity<typeof Recorded, typeof Schema.Never, R> => ({
  ...template,
  name,
  execute: body,
  executeEncoded: body
})

/** The name of the workflow that a run belongs to. */
export const nameOf = (runId: string): string => runId.slice(0, runId.indexOf("/"))

/** What something sent to a run is to the engine. */
export const durable = (name: string) => DurableDeferred.make(name, { success: Schema.String })

/** A compensation has the name of what it undoes; no step's name ends in `#0`. */
export const activityName = (name: string, kind: Recorded["kind"]): string =>
  kind === "compensation" ? `${name}${undoing}` : name

const undoing = "#0"

/** The step that an activity is. */
export const stepName = (activity: string): string =>
  activity.endsWith(undoing) ? activity.slice(0, -undoing.length) : activity

/** Names of what is sent to a run: the first of a name counts. */
export const deferred = {
  cancel: "cancel",
  signal: (name: string) => `signal/${name}`,
  child: (name: string) => `child/${name}`,
  settle: (name: string, time: number) => `settle/${time}/${name}`,
  settled: (name: string, time: number) => `settled/${time}/${name}`
} as const

/** How often a step was settled and executed again: a settlement is for one time that it is in doubt. */
export const timesSettled = (sent: ReadonlyMap<string, string>, step: string): number => {
  let times = 0
  while (sent.has(deferred.settled(step, times))) times++
  return times
}

/** Names of the clocks of a run. */
export const clock = {
  deadline: "deadline",
  child: (name: string) => `child/${name}`,
  sleep: (name: string) => `sleep/${name}`,
  signal: (name: string) => `signal/${name}`
} as const

/** A wait without an end is a clock that does not ring in anybody's time, so that one can see what is waited for. */
export const forever = Duration.days(365_000)

/** What a clock that rings sends to its run. */
export const rung = (clock: string): string => `DurableClock/${clock}`

// -----------------------------------------------------------------------------
// how a run ends other than by its own outcome, as every engine records it
// -----------------------------------------------------------------------------

const Ending = Schema.parseJson(Schema.Union(
  Schema.TaggedStruct("Cancelled", { reason: Schema.String }),
  Schema.TaggedStruct("DeadlineExceeded", { deadlineAt: Schema.Number })
))
const encodeEnding = Schema.encodeSync(Ending)
const decodeEnding = Schema.decodeUnknownOption(Ending)

export const endText = (end: CheckpointError.RunCancelled | CheckpointError.RunDeadlineExceeded): string =>
  encodeEnding(
    end._tag === "RunCancelled"
      ? { _tag: "Cancelled", reason: end.reason }
      : { _tag: "DeadlineExceeded", deadlineAt: end.deadlineAt }
  )

/** None for the outcome of a program. */
export const endOf = (
  runId: string,
  text: string
): Option.Option<CheckpointError.RunCancelled | CheckpointError.RunDeadlineExceeded> =>
  Option.map(decodeEnding(text), (end) =>
    end._tag === "Cancelled"
      ? new CheckpointError.RunCancelled({ runId, reason: end.reason })
      : new CheckpointError.RunDeadlineExceeded({ runId, deadlineAt: end.deadlineAt }))

/** The outcome of a signal that did not come; that of one that came is its payload. */
export const absent = `{"_tag":"Failure"}`

// -----------------------------------------------------------------------------
// how a run stops without having ended
// -----------------------------------------------------------------------------

const Failed = Schema.Union(
  CheckpointError.HistoryMismatch,
  CheckpointError.StepCodecError,
  CheckpointError.StepInDoubt,
  CheckpointError.Unsupported,
  CheckpointError.VersionMismatch,
  StoreError
)
const Stop = Schema.parseJson(Schema.Union(
  Schema.Struct({ error: Failed }),
  Schema.Struct({ defect: Schema.Struct({ name: Schema.String, message: Schema.String }) })
))
const encodeStop = Schema.encodeSync(Stop)
const decodeStop = Schema.decodeUnknownOption(Stop)
const isFailed = Schema.is(Failed)

/** Why a run stopped, as text: an error of the engine, or a defect by its name and message. */
export const stopText = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  if (isFailed(error) && Option.isSome(Cause.failureOption(cause))) return encodeStop({ error })
  return encodeStop({
    defect: error instanceof Error
      ? { name: error.name, message: error.message }
      : { name: "Error", message: String(error) }
  })
}

export const stopCause = (text: string): Cause.Cause<RunError> =>
  Option.match(decodeStop(text), {
    onNone: () => Cause.die(new Error(text)),
    onSome: (stop) => {
      if ("error" in stop) return Cause.fail(stop.error)
      const error = new Error(stop.defect.message)
      error.name = stop.defect.name
      return Cause.die(error)
    }
  })

/** Carries the text through the engine, which keeps the message of a defect. */
export class Stopped extends Error {
  override readonly name = "FirebreakStopped"
}

// -----------------------------------------------------------------------------
// signals
// -----------------------------------------------------------------------------

const Signal = Schema.parseJson(Schema.Union(
  Schema.Struct({ payload: Schema.String, sender: Schema.String, sentAt: Schema.Number }),
  Schema.Struct({ expired: Schema.Literal(true) })
))
const decodeSignal = Schema.decodeUnknownOption(Signal)

/** A signal as it is sent to its run; `sender` tells whose came first. */
export const signalText = (signal: { readonly payload: string; readonly sender: string; readonly sentAt: number }) =>
  JSON.stringify(signal)

/** Sent by a run to itself when it has waited long enough, so that run and sender agree on who was first. */
export const expiredText = JSON.stringify({ expired: true })

/** None for one that the run has given up. */
export const signalOf = (text: string): Option.Option<{ readonly payload: string; readonly sentAt: number }> =>
  Option.filterMap(
    decodeSignal(text),
    (signal) => "payload" in signal ? Option.some({ payload: signal.payload, sentAt: signal.sentAt }) : Option.none()
  )

/** The signals among what was sent to a run. */
export const signalsOf = (runId: string, sent: ReadonlyMap<string, string>): ReadonlyArray<SentSignal> => {
  const prefix = deferred.signal("")
  return Array.from(sent).flatMap(([name, text]) => {
    const signal = name.startsWith(prefix) ? Option.getOrUndefined(signalOf(text)) : undefined
    return signal === undefined ? [] : [{ runId, name: name.slice(prefix.length), ...signal }]
  })
}
