/** One execution of a run: it replays what is recorded, executes and records what is not, waits, stops or ends. */
import * as Workflow from "@effect/workflow/Workflow"
import { type WorkflowEngine, WorkflowInstance } from "@effect/workflow/WorkflowEngine"
import * as Engine from "@firebreak/core/CheckpointEngine"
import {
  HistoryMismatch,
  RunCancelled,
  RunDeadlineExceeded,
  RunEnded,
  type RunError,
  StepCodecError,
  StepInDoubt,
  Unsupported,
  VersionMismatch
} from "@firebreak/core/CheckpointError"
import * as History from "@firebreak/core/CheckpointHistory"
import type * as Store from "@firebreak/core/CheckpointStore"
import * as Events from "@firebreak/core/Events"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Journal, Records } from "./journal.js"
import * as Model from "./model.js"

/** What a run needs of the engine that executes it. */
export interface Wiring {
  readonly workflows: WorkflowEngine["Type"]
  readonly journal: Journal
  /** Runs that are executed here, by id. */
  readonly active: Map<string, ClusterRun>
  /** Milliseconds: a wait that is shorter is spent in place, a longer one with the run suspended. */
  readonly patience: number
  readonly children: {
    /** Begins a run as a part of another; its outcome, if it has ended. */
    readonly start: <A, E, R, S>(
      parent: ClusterRun,
      request: { readonly name: string; readonly definition: Engine.Definition<A, E, R, S>; readonly payload: string }
    ) => Effect.Effect<Option.Option<string>, RunError, Exclude<R, Engine.CurrentRun> | S>
  }
}

/** A definition whose requirements are provided, but for its run. */
export type AnyDefinition = Engine.Definition<unknown, unknown, Engine.CurrentRun, never>

type Branch = Store.Step["branch"]

/** What a run can be told to come to. */
export type End = RunCancelled | RunDeadlineExceeded

/** Executes a run in this process until it ends, stops, is suspended, or the process gives it up. */
export const execute = (
  wiring: Wiring,
  definition: AnyDefinition,
  begun: Model.Begun
): Effect.Effect<Model.Ended, never, WorkflowInstance> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const instance = yield* WorkflowInstance
    const { journal } = wiring
    const loaded = yield* Effect.interruptible(persistently(journal.load(begun.runId)))
    // it was cleared while it was on its way
    if (Option.isNone(loaded)) return yield* Workflow.suspend(instance)
    const run = new ClusterRun(wiring, definition, instance, loaded.value)
    const { recorded, resumed } = run
    const { runId, workflow } = run
    yield* Events.publish(
      resumed
        ? { _tag: "RunResumed", workflow, runId, completedSteps: recorded.steps.length }
        : { _tag: "RunStarted", workflow, runId }
    )
    wiring.active.set(runId, run)
    return yield* Effect.ensuring(run.execute, Effect.sync(() => wiring.active.delete(runId)))
  }))

export class ClusterRun implements Engine.RunningRun {
  readonly runId: string
  readonly workflow: string
  readonly version: string
  readonly resumed: boolean
  private history: History.History
  private readonly undone: Map<string, Store.Step>
  private readonly compensations: Array<
    { readonly base: string; readonly name: string; readonly undo: Effect.Effect<void> }
  > = []
  private nextSeq: number
  private main: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Why the run stops without having ended. */
  private aborted: Cause.Cause<RunError> | undefined
  /** What the run was told to come to. */
  private ending: End | undefined
  private suspended = false
  private over = false
  /** Steps that are being executed. */
  private busy = 0
  private readonly idle = Effect.unsafeMakeLatch(true)
  /** Opened when something was sent to the run. */
  private readonly news = Effect.unsafeMakeLatch(false)

  constructor(
    private readonly wiring: Wiring,
    private readonly definition: AnyDefinition,
    private readonly instance: WorkflowInstance["Type"],
    readonly recorded: Records
  ) {
    const { run, started, steps } = recorded
    this.runId = run.runId
    this.workflow = run.workflow
    this.version = run.version
    this.resumed = steps.length > 0 || started.length > 0
    this.history = History.make(steps.filter((step) => step.kind !== "compensation"))
    this.undone = new Map(steps.filter((step) => step.kind === "compensation").map((step) => [step.name, step]))
    this.nextSeq = (steps.at(-1)?.seq ?? -1) + 1
    this.ending = Option.getOrUndefined(
      Option.map(run.cancelled, (reason) => new RunCancelled({ runId: run.runId, reason }))
    )
  }

  // ---------------------------------------------------------------------------
  // the run
  // ---------------------------------------------------------------------------

  /** Called uninterruptibly. */
  get execute(): Effect.Effect<Model.Ended, never> {
    return Effect.gen(this, function*() {
      const { definition, runId, version } = this
      if (version !== definition.version && !definition.accepts.includes(version)) {
        return yield* this.stop(
          Cause.fail(new VersionMismatch({ runId, recorded: version, version: definition.version }))
        )
      }
      const program = yield* Effect.either(definition.program(this.recorded.run.payload))
      if (program._tag === "Left") return yield* this.stop(Cause.fail(codecError(runId, null, program.left)))

      const body: Effect.Effect<unknown, unknown> = Effect.provideService(program.right, Engine.CurrentRun, this)
      const main = yield* Effect.fork(Effect.interruptible(Effect.withFiberRuntime<unknown, unknown>((fiber) => {
        this.main = fiber
        return body
      })))
      const keeper = yield* Effect.fork(Effect.interruptible(this.keepDeadline))
      const awaited = yield* Effect.exit(Effect.interruptible(Fiber.await(main)))
      const exit = Exit.isSuccess(awaited) ? awaited.value : yield* Fiber.interrupt(main)
      yield* Fiber.interrupt(keeper)
      this.over = true
      // this process gives it up, and another goes on
      if (Exit.isFailure(awaited)) return yield* Effect.failCause(awaited.cause)
      return yield* this.conclude(exit)
    }) as Effect.Effect<Model.Ended, never>
  }

  private conclude(exit: Exit.Exit<unknown, unknown>): Effect.Effect<Model.Ended> {
    return Effect.gen(this, function*() {
      const { definition, ending, instance, runId } = this
      if (this.aborted !== undefined) return yield* this.stop(this.aborted)
      if (ending !== undefined) {
        const undone = yield* this.undo
        if (undone !== undefined) return yield* this.stop(undone)
        const exit = JSON.stringify({ _tag: "Failure", value: yield* Effect.orDie(encodeEnded(ending)) })
        return yield* this.end({ status: ending._tag === "RunCancelled" ? "cancelled" : "failed", exit })
      }
      if (!isOutcome(exit)) {
        if (!this.suspended || !Exit.isInterrupted(exit)) return yield* this.stop(causeOf(exit))
        const { journal } = this.wiring
        const { run } = this.recorded
        if (Option.isSome(run.deadlineAt)) {
          const left = run.deadlineAt.value - (yield* Clock.currentTimeMillis)
          yield* persistently(journal.wake(run, Model.clock.deadline, Duration.millis(Math.max(1, left))))
        }
        yield* journal.suspending(runId)
        return yield* Workflow.suspend(instance)
      }
      const left = History.leftover(this.history, false)
      if (left !== undefined) {
        const { name, seq } = left
        return yield* this.stop(Cause.fail(new HistoryMismatch({ runId, seq, recorded: name, called: null })))
      }
      const encoded = yield* Effect.either(definition.outcomes.encode(exit))
      if (encoded._tag === "Left") return yield* this.stop(Cause.fail(codecError(runId, null, encoded.left)))
      if (Exit.isSuccess(exit)) return yield* this.end({ status: "succeeded", exit: encoded.right })
      const undone = yield* this.undo
      if (undone !== undefined) return yield* this.stop(undone)
      return yield* this.end({ status: "failed", exit: encoded.right })
    }) as Effect.Effect<Model.Ended>
  }

  private end(ended: Model.Ended): Effect.Effect<Model.Ended> {
    return Effect.gen(this, function*() {
      const { recorded, runId, wiring, workflow } = this
      const parent = Option.getOrUndefined(recorded.run.parent)
      if (parent !== undefined) {
        yield* persistently(wiring.journal.offer(parent, Model.deferred.child(runId), ended.exit))
      }
      yield* wiring.journal.ended(runId, ended)
      const outcome = ended.status === "succeeded" ? "success" : "failure"
      yield* Events.publish({ _tag: "RunCompleted", workflow, runId, outcome })
      return ended
    })
  }

  /** Ends this execution and not the run: whoever asks for the run is told why, and has it go on. */
  private stop(cause: Cause.Cause<unknown>): Effect.Effect<never> {
    const text = Model.stopText(cause)
    this.instance.cause = Cause.die(new Model.Stopped(text))
    return Effect.zipRight(this.wiring.journal.halted(this.runId, text), Workflow.suspend(this.instance))
  }

  /** Runs the compensations that have not run, the last registered first; why that failed. */
  private get undo(): Effect.Effect<Cause.Cause<unknown> | undefined> {
    return Effect.gen(this, function*() {
      for (const { name, undo } of this.compensations.toReversed()) {
        const step = `undo ${name}`
        if (this.undone.has(step)) continue
        const failure = yield* this.record(step, "compensation", "main", success, undo)
        if (Exit.isFailure(failure)) return failure.cause
      }
      return undefined
    })
  }

  // ---------------------------------------------------------------------------
  // from outside
  // ---------------------------------------------------------------------------

  /** Something was sent to the run. */
  get hear(): Effect.Effect<void> {
    return Effect.asVoid(this.news.release)
  }

  /** Tells the run how it is to end; the first to say so counts. */
  tell(end: End): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.ending !== undefined || this.over) return Effect.void
      this.ending = end
      return this.main === undefined ? Effect.void : Fiber.interruptFork(this.main)
    })
  }

  private get keepDeadline(): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const { deadlineAt } = this.recorded.run
      if (Option.isNone(deadlineAt)) return
      yield* sleepUntil(deadlineAt.value)
      yield* this.tell(new RunDeadlineExceeded({ runId: this.runId, deadlineAt: deadlineAt.value }))
    })
  }

  private abort(cause: Cause.Cause<RunError>): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.aborted ??= cause
      return this.main === undefined
        ? Effect.interrupt
        : Effect.zipRight(Fiber.interruptFork(this.main), Effect.interrupt)
    })
  }

  private fail(error: RunError): Effect.Effect<never> {
    return this.abort(Cause.fail(error))
  }

  private misuse(message: string): Effect.Effect<never> {
    return this.abort(Cause.die(new Cause.RuntimeException(`Checkpoint: run "${this.runId}" ${message}`)))
  }

  // ---------------------------------------------------------------------------
  // what a run does
  // ---------------------------------------------------------------------------

  step<A, E, R>({ body, compensate, name, onInDoubt, outcomes }: Engine.StepRequest<A, E, R>): Effect.Effect<A, E, R> {
    const called = this.call(name, "step", outcomes, (step, branch) => {
      const begun = onInDoubt === "retry" ? undefined : this.begun(step)
      if (begun === undefined) return this.record(step, "step", branch, outcomes, body)
      const { startedAt } = begun
      const settled = this.recorded.deferreds.get(Model.deferred.settle(step))
      if (settled === "") return this.record(step, "step", branch, outcomes, body)
      if (settled !== undefined) return this.decoded(step, outcomes, settled)
      if (typeof onInDoubt === "string") return this.fail(new StepInDoubt({ runId: this.runId, step, startedAt }))
      const probed = Effect.flatMap(onInDoubt.probe, Option.match({ onNone: () => body, onSome: Effect.succeed }))
      return this.record(step, "step", branch, outcomes, probed)
    })
    return compensate === undefined
      ? called
      : Effect.tap(called, (value) => this.compensate({ name, undo: compensate(value) }))
  }

  transaction<A, E, R>(): Effect.Effect<A, E, R> {
    return this.fail(new Unsupported({ engine: this.wiring.journal.name, capability: "transaction" }))
  }

  sleep({ duration, name }: { readonly name: string; readonly duration: Duration.Duration }): Effect.Effect<void> {
    return this.call(name, "sleep", voids, (step, branch) =>
      Effect.zipRight(
        this.waitFor(step, "sleep", branch, Model.clock.sleep(step), Option.some(duration), Effect.succeedNone),
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
        Effect.succeed(Exit.isSuccess(exit) && Option.isSome(exit.value) ? received(exit.value.value) : nothing),
      decode: (text) => Effect.succeed(Exit.succeed(payloadOf(text)))
    }
    return this.call(name, "signal", outcomes, (step, branch) => {
      const key = Model.deferred.signal(step)
      const sent = Effect.map(journal.deferreds(runId), (_) => Option.fromNullable(_.get(key)))
      return Effect.flatMap(
        this.waitFor(step, "signal", branch, Model.clock.signal(step), within, sent),
        (found) =>
          this.record(
            step,
            "signal",
            branch,
            outcomes,
            Effect.map(
              Option.isSome(found)
                ? Effect.succeed(found.value)
                : persistently(journal.offer(runId, key, Model.expiredText)),
              (text) => Option.map(Model.signalOf(text), (_) => _.payload)
            )
          )
      )
    }).pipe(Effect.flatMap(Option.match({
      onNone: () => Effect.succeedNone,
      onSome: (payload) =>
        Effect.catchAll(Effect.asSome(decode(payload)), (flaw) => this.fail(codecError(runId, name, flaw)))
    })))
  }

  child<A, E, R, S>({ definition, name, outcomes, payload }: {
    readonly name: string
    readonly definition: Engine.Definition<A, E, R, S>
    readonly payload: string
    readonly outcomes: Engine.Outcomes<A, E | RunEnded, S>
  }): Effect.Effect<A, E | RunEnded, Exclude<R, Engine.CurrentRun> | S> {
    return this.call<A, E | RunEnded, Exclude<R, Engine.CurrentRun> | S>(
      name,
      "child",
      outcomes,
      (step, branch) =>
        Effect.flatMap(
          Effect.either(this.wiring.children.start(this, { name: step, definition, payload })),
          (started) =>
            started._tag === "Left"
              ? this.fail(started.left)
              : Effect.flatMap(
                Option.match(started.right, {
                  onSome: Effect.succeed,
                  onNone: () => this.waitForChild(step, `${definition.name}/${this.childKey(step)}`)
                }),
                (text) =>
                  Effect.flatMap(
                    this.recordText(step, "child", branch, Effect.asSome(Effect.succeed(text))),
                    () => this.decoded(step, outcomes, text)
                  )
              )
        )
    )
  }

  /** The key of a child run: its parent, and the step that it is there. */
  childKey(step: string): string {
    return `${this.runId}/${step}`
  }

  compensate<R>({ name, undo }: {
    readonly name: string
    readonly undo: Effect.Effect<void, never, R>
  }): Effect.Effect<void, never, R> {
    return Effect.contextWith((context: Context.Context<R>) => {
      const times = this.compensations.filter((_) => _.base === name).length + 1
      this.compensations.push({
        base: name,
        name: times === 1 ? name : `${name}#${times}`,
        undo: Effect.provide(undo, context)
      })
    })
  }

  // ---------------------------------------------------------------------------
  // how it does it
  // ---------------------------------------------------------------------------

  /** Replays what is recorded under the name; has the rest performed. */
  private call<A, E, R>(
    base: string,
    kind: Store.StepKind,
    outcomes: Engine.Outcomes<A, E, R>,
    perform: (name: string, branch: Branch) => Effect.Effect<Exit.Exit<A, E>, never, R>
  ): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        const { runId, workflow } = this
        // a body that caught its end gets no further
        if (this.aborted !== undefined) return Effect.interrupt
        if (this.over) {
          return Effect.dieMessage(`Checkpoint: ${kind} "${base}" is called after the end of run "${runId}"`)
        }
        const outer = Context.get(fiber.currentContext, Engine.CurrentStep)
        if (Option.isSome(outer) && outer.value.runId === runId) {
          return this.misuse(`calls step "${base}" inside step "${outer.value.step}"; a step cannot contain another`)
        }
        const branch = fiber === this.main ? "main" : "side"
        const [history, decision] = History.call(this.history, { name: base, kind, branch, settled: false })
        this.history = history
        switch (decision._tag) {
          case "Mismatch": {
            const { called, recorded } = decision
            return this.fail(new HistoryMismatch({ runId, seq: recorded.seq, recorded: recorded.name, called }))
          }
          case "Duplicate":
            return this.misuse(`calls step "${base}" twice, not one after the other; give each call a name of its own`)
          case "Replay": {
            const { exit, name: step, seq } = decision.step
            return Effect.zipRight(
              Events.publish({ _tag: "StepReplayed", workflow, runId, step, seq }),
              Effect.flatten(this.decoded(step, outcomes, exit))
            )
          }
          case "Resume":
          case "Execute":
            // a run that is to end goes only as far as it had come
            if (this.ending !== undefined) return Effect.interrupt
            return Effect.flatMap(restore(perform(decision.name, branch)), (exit) => {
              if (!isOutcome(exit)) this.history = History.forget(this.history, base)
              return exit
            })
          default:
            return decision satisfies never
        }
      })
    )
  }

  private decoded<A, E, R>(
    step: string,
    outcomes: Engine.Outcomes<A, E, R>,
    text: string
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    return Effect.catchAll(outcomes.decode(text), (flaw) => this.fail(codecError(this.runId, step, flaw)))
  }

  /** A step that was begun in an earlier execution and has no outcome. */
  private begun(step: string): Store.Started | undefined {
    return this.recorded.started.find((_) => _.name === step && _.kind === "step")
  }

  /** Executes a step as an activity and records its outcome; a defect or an interruption of `body` is not recorded. */
  private record<A, E, R>(
    name: string,
    kind: Store.StepKind,
    branch: Branch,
    outcomes: Engine.Outcomes<A, E, R>,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    return Effect.suspend(() => {
      const { runId } = this
      const current = Option.some(Engine.runningStep(runId, name))
      const inside = Effect.provideService(body, Engine.CurrentStep, current) as Effect.Effect<A, E, R>
      let result: Exit.Exit<A, E> | undefined
      let flaw: Engine.Flaw | undefined
      const text = Effect.flatMap(Effect.exit(inside), (exit) => {
        result = exit
        if (!isOutcome(exit)) return Effect.succeedNone
        return Effect.matchEffect(outcomes.encode(exit), {
          onFailure: (_) => {
            flaw = _
            return Effect.succeedNone
          },
          onSuccess: (_) => Effect.succeedSome(_)
        })
      })
      return Effect.flatMap(this.recordText(name, kind, branch, text), (recorded) => {
        if (flaw !== undefined) return this.fail(codecError(runId, name, flaw))
        if (result !== undefined) return Effect.succeed(result)
        // it was recorded by an execution that this one did not know of
        return Option.isSome(recorded) ? this.decoded(name, outcomes, recorded.value) : Effect.interrupt
      })
    })
  }

  /** The activity itself: gives what was recorded; nothing is where `body` gives nothing. */
  private recordText<R>(
    name: string,
    kind: Store.StepKind,
    branch: Branch,
    body: Effect.Effect<Option.Option<string>, never, R>
  ): Effect.Effect<Option.Option<string>, never, R> {
    return Effect.gen(this, function*() {
      const { instance, runId, wiring, workflow } = this
      yield* Events.publish({ _tag: "StepStarted", workflow, runId, step: name })
      const startedAt = yield* Clock.currentTimeMillis
      const activity = Model.activity(
        name,
        Effect.flatMap(
          body,
          Option.match({
            // suspended is what the engine does not keep of an activity
            onNone: () => Effect.flatMap(WorkflowInstance, Workflow.suspend),
            onSome: (exit) => Effect.succeed<Model.Recorded>({ kind, branch, exit })
          })
        )
      )
      this.busy++
      this.idle.unsafeClose()
      const result = yield* persistentlyAlive(wiring.workflows.activityExecute(activity, wiring.journal.attempt()))
        .pipe(
          Effect.provideService(WorkflowInstance, instance),
          Effect.ensuring(Effect.sync(() => {
            if (--this.busy === 0) this.idle.unsafeOpen()
          }))
        )
      if (result._tag === "Suspended") return Option.none()
      const { exit } = yield* result.exit
      const seq = this.nextSeq++
      const endedAt = yield* Clock.currentTimeMillis
      yield* wiring.journal.saved({ runId, seq, name, kind, branch, exit, startedAt, endedAt })
      const outcome = exit.startsWith(`{"_tag":"Success"`) ? "success" : "failure"
      yield* Events.publish({ _tag: "StepSaved", workflow, runId, step: name, seq, outcome })
      return Option.some(exit)
    }) as Effect.Effect<Option.Option<string>, never, R>
  }

  /**
   * Waits until `sent` gives something, or for the duration, counted from when it was first waited. A long wait suspends
   * the run, once its other steps have ended: it is executed anew when something is sent or the time is over.
   */
  private waitFor(
    step: string,
    kind: "sleep" | "signal",
    branch: Branch,
    clock: string,
    duration: Option.Option<Duration.Duration>,
    sent: Effect.Effect<Option.Option<string>, unknown>
  ): Effect.Effect<Option.Option<string>> {
    return Effect.gen(this, function*() {
      const { journal, patience } = this.wiring
      const { deferreds, run, started } = this.recorded
      const { runId } = this
      const now = yield* Clock.currentTimeMillis
      let wakeAt = Infinity
      if (Option.isSome(duration)) {
        const before = started.find((_) => _.name === step && _.kind === kind)
        wakeAt = before !== undefined && Option.isSome(before.wakeAt)
          ? before.wakeAt.value
          : yield* persistently(
            journal.wake(run, clock, duration.value, { runId, name: step, kind, branch, startedAt: now })
          )
        // its clock has rung, whatever the time is here
        if (deferreds.has(`DurableClock/${clock}`)) wakeAt = now
      }
      while (true) {
        this.news.unsafeClose()
        const found = yield* persistently(sent)
        if (Option.isSome(found)) return found
        const left = wakeAt - (yield* Clock.currentTimeMillis)
        if (left <= 0) return Option.none<string>()
        if (left <= patience) yield* Effect.race(Effect.sleep(left), this.news.await)
        else if (this.busy > 0) {
          yield* Effect.raceFirst(
            this.idle.await,
            Number.isFinite(left) ? Effect.race(sleepUntil(wakeAt), this.news.await) : this.news.await
          )
        } else {
          // what was forked beside this fiber may be about to begin a step
          yield* Effect.yieldNow()
          if (this.busy === 0) return yield* this.suspend
        }
      }
    })
  }

  /** Gives up this fiber; the run is suspended when all have. */
  private get suspend(): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.suspended = true
      return Effect.withFiberRuntime((fiber) =>
        Effect.zipRight(Fiber.interruptFork(fiber), Effect.interruptible(Effect.never))
      )
    })
  }

  private waitForChild(step: string, childId: string): Effect.Effect<string> {
    const { journal } = this.wiring
    const key = Model.deferred.child(childId)
    const sent = Effect.map(journal.deferreds(this.runId), (_) => Option.fromNullable(_.get(key)))
    return Effect.flatMap(
      this.waitFor(step, "signal", "side", "", Option.none(), sent),
      Option.match({ onNone: () => Effect.interrupt, onSome: Effect.succeed })
    )
  }
}

/** However far it is: a timer holds 24 days, and a sleep beyond never ends. */
const sleepUntil = (time: number): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    time <= now
      ? Effect.void
      : Effect.zipRight(Effect.sleep(Math.min(time - now, 86_400_000)), Effect.suspend(() => sleepUntil(time))))

const encodeEnded = Schema.encode(RunEnded)

const codecError = (runId: string, step: string | null, flaw: Engine.Flaw): StepCodecError =>
  new StepCodecError({ runId, step, ...flaw })

/** Success or a typed failure: what a record can hold. */
const isOutcome = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit) || (Option.isSome(Cause.failureOption(exit.cause)) && Option.isNone(Cause.dieOption(exit.cause)))

const causeOf = (exit: Exit.Exit<unknown, unknown>): Cause.Cause<unknown> =>
  Exit.isFailure(exit) ? exit.cause : Cause.empty

const nothing = `{"_tag":"Success"}`
const received = (payload: string): string => `{"_tag":"Success","value":${payload}}`
const payloadOf = (text: string): Option.Option<string> =>
  text === nothing ? Option.none() : Option.some(text.slice(received("").length - 1, -1))

const voids: Engine.Outcomes<void, never, never> = {
  encode: () => Effect.succeed(nothing),
  decode: () => Effect.succeed(Exit.void)
}
const success = voids

const again = Schedule.spaced("500 millis")

/** What only the database can make fail is asked again: without it the runner loses the run before long. */
const persistently = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, never, R> =>
  Effect.orDie(Effect.retry(effect, again))

/** The same for what the engine turns into a defect. */
const persistentlyAlive = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchAllDefect(
    effect,
    (defect) => isPersistenceError(defect) ? Effect.delay(persistentlyAlive(effect), "500 millis") : Effect.die(defect)
  )

const isPersistenceError = (defect: unknown): boolean =>
  typeof defect === "object" && defect !== null && "_tag" in defect && defect._tag === "PersistenceError"
