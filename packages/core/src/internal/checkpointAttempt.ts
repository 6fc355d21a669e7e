/** One attempt at a run: it claims it, runs its body, undoes what must be undone, and records how it ended. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { CurrentRun, type Outcomes, type RunRequest } from "../CheckpointEngine.js"
import {
  HistoryMismatch,
  PayloadMismatch,
  RunCancelled,
  RunDead,
  RunDeadlineExceeded,
  type RunEnded,
  type RunError,
  RunFenced,
  RunInProgress,
  StepCodecError,
  VersionMismatch
} from "../CheckpointError.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import * as Events from "../Events.js"
import { codecError, isOutcome, type Running } from "./checkpointCalls.js"
import { Forks } from "./checkpointForks.js"
import { type Ending, Life, sleepUntil } from "./checkpointLife.js"
import { type Host, Steps } from "./checkpointSteps.js"
import { settled } from "./outcomeCodec.js"
import { addSupervisor, setContext } from "./runtime.js"
import * as Time from "./time.js"

/** The run to be resumed is no longer there. */
export class Gone extends Data.TaggedError("Gone")<{ readonly runId: string }> {}

/** `existing` means that the run is resumed and must not be created. */
export interface Attempt<A, E, R, S> extends RunRequest<A, E, R, S> {
  readonly parent?: string | undefined
  readonly existing?: boolean | undefined
}

/** Told of the runs that this process works on. */
export interface Attended {
  readonly enter: (life: Life, steps: Steps) => void
  readonly leave: (life: Life) => void
}

/** Runs it, or takes it up where it was left, or gives its recorded end; fails with why it has none. */
export const attempt = <A, E, R, S>(
  store: CheckpointStore.Service,
  host: Host,
  attended: Attended,
  request: Attempt<A, E, R, S>
): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError | Gone, Exclude<R, CurrentRun> | S> =>
  Effect.uninterruptible(Effect.withFiberRuntime((fiber) => {
    const { definition, existing, key, parent, payload, runId } = request
    const { lease, name: workflow, version } = definition
    const asked = Time.monotonicNanos(fiber)
    const begin = store.begin({
      runId,
      workflow,
      key,
      payload,
      version,
      accepts: definition.accepts,
      parent,
      deadline: Option.getOrUndefined(definition.deadline),
      lease,
      maxStalls: definition.maxRecoveries,
      existing
    })
    return Effect.flatMap(
      begin,
      (begun): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError | Gone, Exclude<R, CurrentRun> | S> => {
        switch (begun._tag) {
          case "Missing":
            return new Gone({ runId })
          case "Mismatch":
            return new PayloadMismatch({ workflow, key })
          case "OtherVersion":
            return new VersionMismatch({ runId, recorded: begun.version, version })
          case "InProgress":
            return new RunInProgress({ runId, retryAfter: begun.retryAfter })
          case "Finished": {
            const { stalls } = begun.run
            if (begun.died) Events.unsafePublish(fiber, () => ({ _tag: "RunDied", workflow, runId, stalls }))
            return endOf(begun.run, definition.outcomes)
          }
          case "Claimed": {
            Events.unsafePublish(fiber, () =>
              begun.resumed
                ? { _tag: "RunResumed", workflow, runId, completedSteps: begun.steps.length }
                : { _tag: "RunStarted", workflow, runId })
            const life = new Life(store, runId, begun.token, lease, asked + Duration.unsafeToNanos(lease))
            return own(fiber, store, host, attended, request, begun, life)
          }
        }
      }
    )
  }))

/** How a run that has ended did; fails if its record cannot be read. */
export const endOf = <A, E, R>(
  run: CheckpointStore.Run,
  outcomes: Outcomes<A, E, R>
): Effect.Effect<Exit.Exit<A, E | RunEnded>, StepCodecError, R> => {
  const { runId, stalls } = run
  const exit = Option.getOrElse(run.exit, () => "")
  if (run.status === "dead") return Effect.succeed(Exit.fail(new RunDead({ runId, stalls })))
  if (run.status === "cancelled" || exit.startsWith(expired)) {
    const ending = parseEnding(exit)
    if (ending !== undefined) return Effect.succeed(Exit.fail(errorOf(runId, ending)))
  }
  return Effect.mapError(outcomes.decode(exit), (flaw) => codecError(runId, null, flaw))
}

/** The attempt of the run's owner. Called uninterruptibly. */
const own = <A, E, R, S>(
  fiber: Running,
  store: CheckpointStore.Service,
  host: Host,
  attended: Attended,
  request: Attempt<A, E, R, S>,
  claimed: CheckpointStore.Claimed,
  life: Life
): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError, Exclude<R, CurrentRun> | S> => {
  const { runId, token } = life
  const forks = new Forks(runId)

  const work = Effect.suspend(() => {
    const answered = Time.monotonicNanos(fiber)
    const steps = new Steps(host, store, life, forks, claimed, answered)
    attended.enter(life, steps)
    const body = request.body as Effect.Effect<A, E, Exclude<R, CurrentRun>>
    const worked = life.work(body, (main) => {
      setContext(main, Context.add(main.currentContext, CurrentRun, steps))
      addSupervisor(main, forks)
    })
    const ended = (exit: Exit.Exit<A, E>) => {
      steps.over = true
      life.decided = true
      return conclude(exit, steps)
    }
    const end = setEnd(life, steps, claimed, answered)
    const begun = end === undefined
      ? Effect.flatMap(worked, ended)
      : Effect.flatMap(
        Effect.fork(Effect.interruptible(end)),
        (timer) => Effect.flatMap(Effect.zipLeft(worked, Fiber.interrupt(timer)), ended)
      )
    const kept = life.keep(fiber)
    return kept === undefined ? begun : Effect.zipRight(kept, begun)
  })

  /** Undoes what must be, then records the end. */
  const conclude = (exit: Exit.Exit<A, E>, steps: Steps): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError, S> => {
    const { ending } = life
    if (life.aborted !== undefined) return Effect.failCause(life.aborted)
    if (ending === undefined && Exit.isFailure(exit) && !isOutcome(exit)) {
      return Effect.failCause(Cause.stripFailures(exit.cause))
    }
    const { leftover } = steps
    if (leftover !== undefined && isOutcome(exit)) {
      return new HistoryMismatch({ runId, seq: leftover.seq, recorded: leftover.name, called: null })
    }
    if (ending !== undefined) return Effect.zipRight(undo(steps), finish(exit, JSON.stringify(ending)))
    return settled(request.definition.outcomes.encode(exit), {
      onFailure: (flaw) => codecError(runId, null, flaw),
      onSuccess: (text) => Exit.isSuccess(exit) ? finish(exit, text) : Effect.zipRight(undo(steps), finish(exit, text))
    })
  }

  const undo = (steps: Steps): Effect.Effect<void, RunError> => {
    const undone = new Set(claimed.steps.filter(({ kind }) => kind === "compensation").map(({ name }) => name))
    return Effect.flatMap(
      life.work(steps.undo(undone)),
      (undoing) => life.aborted === undefined ? undoing : Effect.failCause(life.aborted)
    )
  }

  const finish = (exit: Exit.Exit<A, E>, text: string): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError> => {
    const { ending } = life
    const status = ending?._tag === "Cancelled" ? "cancelled" : ending === undefined && Exit.isSuccess(exit)
      ? "succeeded"
      : "failed"
    return Effect.flatMap(
      store.finish({ runId, token, status, exit: text }),
      (finished): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunFenced> => {
        if (!finished) return new RunFenced({ runId })
        Events.unsafePublish(fiber, () => eventOf(request.definition.name, runId, ending, exit))
        return Effect.succeed(ending === undefined ? exit : Exit.fail(errorOf(runId, ending)))
      }
    )
  }

  return Effect.onExit(work, (result) => {
    attended.leave(life)
    life.letGo(fiber)
    // changes nothing once another owner has the run
    return Exit.isSuccess(result)
      ? Effect.void
      : Effect.ignore(store.release({ runId, token, failed: isFault(result.cause) }))
  })
}

/** Waits until the run shall end before its body does, and ends it; undefined where it need not. */
const setEnd = (
  life: Life,
  steps: Steps,
  { now, run }: CheckpointStore.Claimed,
  answered: bigint
): Effect.Effect<void> | undefined => {
  const ending: Ending | undefined = Option.isSome(run.cancelled)
    ? { _tag: "Cancelled", reason: run.cancelled.value }
    : Option.isSome(run.deadlineAt)
    ? { _tag: "DeadlineExceeded", deadlineAt: run.deadlineAt.value }
    : undefined
  if (ending === undefined) return undefined
  if (ending._tag === "Cancelled" || ending.deadlineAt <= now) {
    life.ending = ending
    // its body is run once more to see what it had done, as far as that goes; code that hangs before its next step does not
    return Effect.zipRight(steps.rest(), Effect.suspend(() => life.stop))
  }
  const until = answered + BigInt(Math.round((ending.deadlineAt - now) * 1e6))
  return Effect.zipRight(sleepUntil(until), life.end(ending))
}

/** What would fail again and again: it counts against the run. A store out of reach or another version does not. */
const isFault = (cause: Cause.Cause<unknown>): boolean =>
  Option.isSome(Cause.dieOption(cause)) ||
  Option.exists(
    Cause.failureOption(cause),
    (error) => error instanceof StepCodecError && (error.part === "success" || error.part === "error")
  )

const expired = `{"_tag":"DeadlineExceeded"`

const parseEnding = (text: string): Ending | undefined => {
  const parsed: unknown = JSON.parse(text)
  if (Predicate.hasProperty(parsed, "reason") && typeof parsed.reason === "string") {
    return { _tag: "Cancelled", reason: parsed.reason }
  }
  if (Predicate.hasProperty(parsed, "deadlineAt") && typeof parsed.deadlineAt === "number") {
    return { _tag: "DeadlineExceeded", deadlineAt: parsed.deadlineAt }
  }
  return undefined
}

const errorOf = (runId: string, ending: Ending): RunCancelled | RunDeadlineExceeded =>
  ending._tag === "Cancelled"
    ? new RunCancelled({ runId, reason: ending.reason })
    : new RunDeadlineExceeded({ runId, deadlineAt: ending.deadlineAt })

const eventOf = (
  workflow: string,
  runId: string,
  ending: Ending | undefined,
  exit: Exit.Exit<unknown, unknown>
): Events.Event => {
  switch (ending?._tag) {
    case "Cancelled":
      return { _tag: "RunCancelled", workflow, runId, reason: ending.reason }
    case "DeadlineExceeded":
      return { _tag: "RunExpired", workflow, runId, deadlineAt: ending.deadlineAt }
    case undefined:
      return { _tag: "RunCompleted", workflow, runId, outcome: Exit.isSuccess(exit) ? "success" : "failure" }
  }
}
