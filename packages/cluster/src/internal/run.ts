/** One execution of a run: what it may do, and how it is suspended, stops or ends. */
import * as Workflow from "@effect/workflow/Workflow"
import { WorkflowInstance } from "@effect/workflow/WorkflowEngine"
import * as Engine from "@firebreak/core/CheckpointEngine"
import {
  HistoryMismatch,
  RunCancelled,
  RunDeadlineExceeded,
  type RunEnded,
  type RunError,
  StepInDoubt,
  Unsupported,
  VersionMismatch
} from "@firebreak/core/CheckpointError"
import * as History from "@firebreak/core/CheckpointHistory"
import type * as Store from "@firebreak/core/CheckpointStore"
import * as Events from "@firebreak/core/Events"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { type AnyDefinition, type Branch, codecError, type End, isOutcome, voids, type Wiring } from "./calls.js"
import type { Records } from "./journal.js"
import * as Model from "./model.js"
import { persistently, sleepUntil } from "./retrying.js"
import { Waits } from "./waits.js"

/** Executes a run in this process until it ends, stops, is suspended, or the process gives it up. */
export const execute = (
  wiring: Wiring,
  active: Map<string, ClusterRun>,
  definition: AnyDefinition,
  { runId }: Model.Begun
): Effect.Effect<Model.Ended, never, WorkflowInstance> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const instance = yield* WorkflowInstance
    const loaded = yield* Effect.interruptible(persistently(wiring.journal.load(runId)))
    // it was cleared while it was on its way
    if (Option.isNone(loaded)) return yield* Workflow.suspend(instance)
    const run = new ClusterRun(wiring, definition, instance, loaded.value)
    active.set(runId, run)
    wiring.stops.delete(runId)
    return yield* Effect.ensuring(run.execute, Effect.sync(() => active.delete(runId)))
  }))

export class ClusterRun extends Waits implements Engine.RunningRun {
  private readonly undoNames = new Map<string, number>()
  /** Children begun and not recorded: what ends them. */
  private readonly children = new Map<string, Effect.Effect<void, RunError>>()

  constructor(
    wiring: Wiring,
    private readonly definition: AnyDefinition,
    instance: WorkflowInstance["Type"],
    recorded: Records
  ) {
    super(wiring, instance, recorded)
  }

  // ---------------------------------------------------------------------------
  // what a run may do
  // ---------------------------------------------------------------------------

  step<A, E, R>(request: Engine.StepRequest<A, E, R>): Effect.Effect<A, E, R> {
    const { body, name, onInDoubt, outcomes } = request
    return this.call(name, "step", request, (step, branch) => {
      const started = onInDoubt === "retry"
        ? undefined
        : this.recorded.started.find((other) => other.name === step && other.kind === "step")
      if (started === undefined) {
        const executed = this.record(step, "step", branch, outcomes, body)
        return onInDoubt === "retry" ? executed : Effect.zipRight(this.begin(step, branch), executed)
      }
      const { deferreds } = this.recorded
      const times = Model.timesSettled(deferreds, step)
      const settled = deferreds.get(Model.deferred.settle(step, times))
      if (settled === "") {
        // should this execution die too, the step is in doubt again
        const used = this.wiring.journal.mark(this.runId, Model.deferred.settled(step, times))
        return Effect.zipRight(persistently(used), this.record(step, "step", branch, outcomes, body))
      }
      if (settled !== undefined) {
        return Effect.flatMap(
          this.decoded(step, outcomes, settled),
          (exit) => this.record(step, "step", branch, outcomes, exit)
        )
      }
      if (typeof onInDoubt === "string") {
        return this.fail(new StepInDoubt({ runId: this.runId, step, startedAt: started.startedAt }))
      }
      const probed = Effect.flatMap(onInDoubt.probe, Option.match({ onNone: () => body, onSome: Effect.succeed }))
      return this.record(step, "step", branch, outcomes, probed)
    })
  }

  /** Where the engine does not itself record that a step begins. */
  private begin(name: string, branch: Branch): Effect.Effect<void> {
    const { runId } = this
    return Effect.flatMap(
      Clock.currentTimeMillis,
      (startedAt) => this.wiring.journal.began({ runId, name, kind: "step", branch, startedAt })
    )
  }

  transaction<A, E, R>(): Effect.Effect<A, E, R> {
    return this.fail(new Unsupported({ engine: this.wiring.journal.name, capability: "transaction" }))
  }

  sleep({ duration, name }: { readonly name: string; readonly duration: Duration.Duration }): Effect.Effect<void> {
    return this.call(name, "sleep", { outcomes: voids }, (step, branch) =>
      Effect.zipRight(
        this.waitFor(
          Model.clock.sleep(step),
          { name: step, kind: "sleep", branch },
          Option.some(duration),
          Effect.succeedNone
        ),
        this.record(step, "sleep", branch, voids, Effect.void)
      ))
  }

  signal<A, R>({ decode, name, within }: {
    readonly name: string
    readonly within: Option.Option<Duration.Duration>
    readonly decode: (payload: string) => Effect.Effect<A, Engine.Flaw, R>
  }): Effect.Effect<Option.Option<A>, never, R> {
    const { journal } = this.wiring
    const { runId } = this
    const outcomes: Engine.Outcomes<Option.Option<string>, never, never> = {
      encode: (exit) =>
        Effect.succeed(Exit.isSuccess(exit) && Option.isSome(exit.value) ? exit.value.value : Model.absent),
      decode: (text) => Effect.succeed(Exit.succeed(text === Model.absent ? Option.none() : Option.some(text)))
    }
    const payload = this.call(name, "signal", { outcomes }, (step, branch) => {
      const key = Model.deferred.signal(step)
      const started = { name: step, kind: "signal", branch } as const
      return Effect.flatMap(
        this.waitFor(Model.clock.signal(step), started, within, this.sent(key)),
        (found) => {
          // whoever is first, run or sender, decides whether it came in time
          const text = Option.match(found, {
            onNone: () => persistently(journal.mark(runId, key)),
            onSome: Effect.succeed
          })
          return this.record(
            step,
            "signal",
            branch,
            outcomes,
            Effect.map(text, (sent) => Option.map(Model.signalOf(sent), ({ payload }) => payload))
          )
        }
      )
    })
    return Effect.flatMap(
      payload,
      (text) =>
        Option.isNone(text) ? Effect.succeedNone : Effect.matchEffect(decode(text.value), {
          onFailure: (flaw) => this.fail(codecError(runId, name, flaw)),
          onSuccess: (value) => Effect.succeedSome(value)
        })
    )
  }

  child<A, E, R, S>({ definition, name, outcomes, payload }: {
    readonly name: string
    readonly definition: Engine.Definition<A, E, R, S>
    readonly payload: string
    readonly outcomes: Engine.Outcomes<A, E | RunEnded, S>
  }): Effect.Effect<A, E | RunEnded, Exclude<R, Engine.CurrentRun> | S> {
    type Needs = Exclude<R, Engine.CurrentRun> | S
    const { children } = this.wiring
    const idOf = (step: string) => {
      const key = `${this.runId}/${step}`
      const runId = `${definition.name}/${key}`
      this.children.set(step, children.drop(runId, this.runId))
      return { definition, payload, key, runId }
    }
    return this.call<A, E | RunEnded, Needs>(
      name,
      "child",
      { outcomes },
      (step, branch) =>
        Effect.gen(this, function*() {
          const child = idOf(step)
          const started = yield* Effect.either(children.start(child, this.runId))
          if (started._tag === "Left") return yield* this.fail(started.left)
          const ended = Option.isSome(started.right)
            ? started.right
            : yield* this.waitForChild(step, branch, child.runId)
          const text = Option.getOrElse(ended, () => "")
          const ending = Model.endOf(child.runId, text)
          const exit: Exit.Exit<A, E | RunEnded> = Option.isSome(ending)
            ? Exit.fail(ending.value)
            : yield* this.decoded(step, outcomes, text)
          const recorded = yield* this.record(step, "child", branch, outcomes, exit)
          this.children.delete(step)
          return recorded
        }) as Effect.Effect<Exit.Exit<A, E | RunEnded>, never, Needs>,
      idOf
    )
  }

  private waitForChild(step: string, branch: Branch, childId: string): Effect.Effect<Option.Option<string>> {
    const started = { name: step, kind: "child", branch } as const
    return this.waitFor(Model.clock.child(step), started, Option.none(), this.sent(Model.deferred.child(childId)))
  }

  private sent(key: string): Effect.Effect<Option.Option<string>, unknown> {
    return Effect.map(this.wiring.journal.deferreds(this.runId), (sent) => Option.fromNullable(sent.get(key)))
  }

  compensate<R>({ name: base, undo }: {
    readonly name: string
    readonly undo: Effect.Effect<void, never, R>
  }): Effect.Effect<void, never, R> {
    return Effect.withFiberRuntime<void, never, R>((fiber) => {
      if (this.over) return this.tooLate("compensation", base)
      const times = (this.undoNames.get(base) ?? 0) + 1
      if (fiber === this.main) this.undoNames.set(base, times)
      return this.register(times === 1 ? base : `${base}#${times}`, undo)
    })
  }

  // ---------------------------------------------------------------------------
  // from outside
  // ---------------------------------------------------------------------------

  /** Tells the run how it is to end; the first to say so counts. */
  tell(end: End): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.ending !== undefined || this.aborted !== undefined || this.over) return Effect.void
      this.ending = end
      return this.main === undefined ? Effect.void : Fiber.interruptFork(this.main)
    })
  }

  private get keepDeadline(): Effect.Effect<void> {
    const { deadlineAt } = this.recorded.run
    if (Option.isNone(deadlineAt)) return Effect.void
    const exceeded = new RunDeadlineExceeded({ runId: this.runId, deadlineAt: deadlineAt.value })
    return Effect.zipRight(sleepUntil(deadlineAt.value), this.tell(exceeded))
  }

  // ---------------------------------------------------------------------------
  // the execution
  // ---------------------------------------------------------------------------

  /** Called uninterruptibly. */
  get execute(): Effect.Effect<Model.Ended> {
    return Effect.gen(this, function*() {
      const { definition, runId, version, workflow } = this
      const { run, started, steps } = this.recorded
      yield* Events.publish(
        steps.length + started.length > 0
          ? { _tag: "RunResumed", workflow, runId, completedSteps: steps.length }
          : { _tag: "RunStarted", workflow, runId }
      )
      if (version !== definition.version && !definition.accepts.includes(version)) {
        const { version: mine } = definition
        return yield* this.stop(Cause.fail(new VersionMismatch({ runId, recorded: version, version: mine })))
      }
      const program = yield* Effect.either(definition.program(run.payload))
      if (program._tag === "Left") return yield* this.stop(Cause.fail(codecError(runId, null, program.left)))

      const now = yield* Clock.currentTimeMillis
      if (Option.isSome(run.cancelled)) this.ending = new RunCancelled({ runId, reason: run.cancelled.value })
      else if (Option.isSome(run.deadlineAt) && run.deadlineAt.value <= now) {
        this.ending = new RunDeadlineExceeded({ runId, deadlineAt: run.deadlineAt.value })
      }
      const keeper = yield* Effect.fork(Effect.interruptible(this.keepDeadline))
      const body: Effect.Effect<unknown, unknown> = Effect.provideService(program.right, Engine.CurrentRun, this)
      const exit = yield* this.work(body)
      yield* Fiber.interrupt(keeper)
      this.over = true
      return yield* this.conclude(exit)
    })
  }

  /** Works on a fiber of its own. Should this process give the run up, that is interrupted, and another goes on. */
  private work<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Exit.Exit<A, E>> {
    return Effect.gen(this, function*() {
      const main = yield* Effect.fork(Effect.interruptible(Effect.withFiberRuntime<A, E>((fiber) => {
        this.main = fiber
        return effect
      })))
      const awaited = yield* Effect.exit(Effect.interruptible(Fiber.await(main)))
      if (Exit.isSuccess(awaited)) return awaited.value
      yield* Fiber.interrupt(main)
      return yield* awaited
    })
  }

  private conclude(exit: Exit.Exit<unknown, unknown>): Effect.Effect<Model.Ended> {
    return Effect.gen(this, function*() {
      const { definition, ending, runId } = this
      // an interruption is not recorded; at once the engine, not quite closed, would begin anew
      if (this.left) return yield* Effect.zipRight(Effect.sleep("50 millis"), Effect.interrupt)
      if (this.aborted !== undefined) return yield* this.stop(this.aborted)
      let text: string
      if (ending !== undefined) {
        text = Model.endText(ending)
      } else {
        if (!isOutcome(exit)) {
          return yield* (this.suspended && Exit.isInterrupted(exit) ? this.sleepOn : this.stop(exit))
        }
        const left = History.leftover(this.history, false)
        if (left !== undefined) {
          const { name, seq } = left
          return yield* this.stop(Cause.fail(new HistoryMismatch({ runId, seq, recorded: name, called: null })))
        }
        const encoded = yield* Effect.either(definition.outcomes.encode(exit))
        if (encoded._tag === "Left") return yield* this.stop(Cause.fail(codecError(runId, null, encoded.left)))
        text = encoded.right
      }
      if (ending !== undefined || Exit.isFailure(exit)) {
        const undone = yield* this.work(this.undo)
        if (this.aborted !== undefined) return yield* this.stop(this.aborted)
        if (Exit.isFailure(undone)) return yield* this.stop(undone)
      }
      const status = ending?._tag === "RunCancelled"
        ? "cancelled"
        : ending === undefined && Exit.isSuccess(exit)
        ? "succeeded"
        : "failed"
      return yield* this.end({ status, exit: text })
    })
  }

  private end(ended: Model.Ended): Effect.Effect<Model.Ended> {
    return Effect.gen(this, function*() {
      const { ending, recorded, runId, workflow } = this
      const { journal } = this.wiring
      if (Option.isSome(recorded.run.parent)) {
        yield* persistently(journal.offer(recorded.run.parent.value, Model.deferred.child(runId), ended.exit))
      }
      yield* journal.ended(runId, ended)
      yield* Events.publish(eventOf(workflow, runId, ending, ended))
      return ended
    })
  }

  /** Suspends the run until something is sent to it or a clock rings, that of its deadline too. */
  private get sleepOn(): Effect.Effect<never> {
    return Effect.gen(this, function*() {
      const { journal } = this.wiring
      const { run } = this.recorded
      if (Option.isSome(run.deadlineAt)) {
        const left = run.deadlineAt.value - (yield* Clock.currentTimeMillis)
        yield* persistently(
          journal.wake(run, Model.clock.deadline, undefined, Option.some(Duration.millis(Math.max(1, left))))
        )
      }
      yield* journal.suspending(this.runId)
      return yield* Workflow.suspend(this.instance)
    })
  }

  /** Ends this execution and not the run: whoever asks for the run is told why, and has it go on. */
  private stop(why: Cause.Cause<unknown> | Exit.Exit<unknown, unknown>): Effect.Effect<never> {
    const cause = Exit.isExit(why) ? Exit.isFailure(why) ? why.cause : Cause.empty : why
    const text = Model.stopText(cause)
    this.instance.cause = Cause.die(new Model.Stopped(text))
    this.wiring.stops.set(this.runId, { text, cause })
    return Effect.zipRight(this.wiring.journal.halted(this.runId, text), Workflow.suspend(this.instance))
  }

  /** Ends the children begun, then undoes what was registered and is not undone, the last first. */
  private get undo(): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      for (const drop of Array.from(this.children.values()).toReversed()) {
        yield* Effect.catchAll(drop, (error) => this.fail(error))
      }
      const undone = this.recorded.steps.filter(({ kind }) => kind === "compensation")
      for (const { name, undo } of this.compensations.toReversed()) {
        if (undone.some((step: Store.Step) => step.name === name)) continue
        yield* Effect.flatten(this.record(name, "compensation", "main", voids, undo))
      }
    })
  }
}

const eventOf = (
  workflow: string,
  runId: string,
  ending: End | undefined,
  { status }: Model.Ended
): Events.Event => {
  switch (ending?._tag) {
    case "RunCancelled":
      return { _tag: "RunCancelled", workflow, runId, reason: ending.reason }
    case "RunDeadlineExceeded":
      return { _tag: "RunExpired", workflow, runId, deadlineAt: ending.deadlineAt }
    case undefined:
      return { _tag: "RunCompleted", workflow, runId, outcome: status === "succeeded" ? "success" : "failure" }
  }
}
