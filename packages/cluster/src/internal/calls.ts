/** How the steps of one execution of a run are called: what is recorded is replayed, what is not becomes an activity. */
import * as Workflow from "@effect/workflow/Workflow"
import { type WorkflowEngine, WorkflowInstance } from "@effect/workflow/WorkflowEngine"
import * as Engine from "@firebreak/core/CheckpointEngine"
import {
  HistoryMismatch,
  type RunCancelled,
  type RunDeadlineExceeded,
  type RunError,
  StepCodecError
} from "@firebreak/core/CheckpointError"
import * as History from "@firebreak/core/CheckpointHistory"
import type * as Store from "@firebreak/core/CheckpointStore"
import * as Events from "@firebreak/core/Events"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Journal, Records } from "./journal.js"
import * as Model from "./model.js"
import { persistentlyAlive } from "./retrying.js"

/** A definition whose requirements are provided, but for its run. */
export type AnyDefinition = Engine.Definition<unknown, unknown, Engine.CurrentRun, never>

/** What a run needs of the engine that executes it. */
export interface Wiring {
  readonly workflows: WorkflowEngine["Type"]
  readonly journal: Journal
  /** Milliseconds: a wait that is shorter is spent in place, a longer one with the run suspended. */
  readonly patience: number
  readonly children: Children
  /** Why runs stopped here, for those who wait for them here: a record has only the text. */
  readonly stops: Map<string, { readonly text: string; readonly cause: Cause.Cause<unknown> }>
}

export interface Children {
  /** Begins a run as a part of another; how it ended, if it has. */
  readonly start: <A, E, R, S>(
    request: Pick<Engine.RunRequest<A, E, R, S>, "definition" | "payload" | "runId" | "key">,
    parent: string
  ) => Effect.Effect<Option.Option<string>, RunError, Exclude<R, Engine.CurrentRun> | S>
  /** Cancels one and sees to its end. */
  readonly drop: (runId: string, parent: string) => Effect.Effect<void, RunError>
}

export type Branch = Store.Step["branch"]

/** What a run can be told to come to. */
export type End = RunCancelled | RunDeadlineExceeded

interface Compensation {
  readonly name: string
  readonly undo: Effect.Effect<void>
}

/** The step as it is asked for, and what undoes it. */
type Request<A, E, R> = Pick<Engine.StepRequest<A, E, R>, "outcomes" | "compensate">

export class Calls {
  readonly runId: string
  readonly workflow: string
  readonly version: string
  /** In the order in which they were registered. */
  protected readonly compensations: Array<Compensation> = []
  protected history: History.History
  /** The fiber that works on the run. */
  protected main: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Why the run stops without having ended. */
  protected aborted: Cause.Cause<RunError> | undefined
  /** What the run was told to come to. */
  protected ending: End | undefined
  /** Whether a fiber of it has given up for a long wait. */
  protected suspended = false
  /** Whether the run goes on elsewhere. */
  protected left = false
  /** Whether the body has ended. */
  protected over = false
  private nextSeq: number
  /** Steps that are being executed. */
  protected busy = 0
  protected readonly idle = Effect.unsafeMakeLatch(true)
  /** Opened when a step was replayed. */
  private readonly replays = Effect.unsafeMakeLatch(false)

  constructor(
    protected readonly wiring: Wiring,
    protected readonly instance: WorkflowInstance["Type"],
    readonly recorded: Records
  ) {
    const { run, steps } = recorded
    this.runId = run.runId
    this.workflow = run.workflow
    this.version = run.version
    this.history = History.make(steps.filter(({ kind }) => kind !== "compensation"))
    this.nextSeq = (steps.at(-1)?.seq ?? -1) + 1
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  /** Stops the run from outside: the caller goes no further, and the body is interrupted, whatever it catches. */
  protected fail(error: RunError): Effect.Effect<never> {
    return this.abort(Cause.fail(error))
  }

  protected misuse(message: string): Effect.Effect<never> {
    return this.abort(Cause.die(new Cause.RuntimeException(`Checkpoint: run "${this.runId}" ${message}`)))
  }

  private abort(cause: Cause.Cause<RunError>): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.aborted ??= cause
      return this.halt
    })
  }

  private get halt(): Effect.Effect<never> {
    return this.main === undefined
      ? Effect.interrupt
      : Effect.zipRight(Fiber.interruptFork(this.main), Effect.interrupt)
  }

  // ---------------------------------------------------------------------------
  // a call
  // ---------------------------------------------------------------------------

  /** Replays what is recorded under the name; has the rest performed. */
  protected call<A, E, R>(
    base: string,
    kind: Store.StepKind,
    request: Request<A, E, R>,
    perform: (name: string, branch: Branch) => Effect.Effect<Exit.Exit<A, E>, never, R>,
    skipped?: (name: string) => void
  ): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        const { runId } = this
        // a body that caught its end gets no further
        if (this.aborted !== undefined) return Effect.interrupt
        if (this.over) return this.tooLate(kind, base)
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
          case "Replay":
            return this.replay(decision.step, branch, request, restore)
        }
        const { name } = decision
        // a run that is to end goes only as far as it had come
        if (this.ending !== undefined) {
          skipped?.(name)
          return branch === "main" ? this.halt : Effect.zipRight(restore(this.caughtUp()), this.halt)
        }
        const performed = Effect.flatMap(this.wiring.journal.leaving, (leaving) =>
          leaving ? this.leave : perform(name, branch))
        return Effect.flatMap(restore(performed), (exit) => {
          if (!isOutcome(exit)) {
            this.history = History.forget(this.history, base)
          }
          return this.succeeded(name, exit, request)
        })
      })
    )
  }

  /** Leaves the run to another process, once the steps under way have ended. */
  private get leave(): Effect.Effect<never> {
    return Effect.zipRight(
      Effect.suspend(() => this.busy > 0 ? this.idle.await : Effect.void),
      Effect.suspend(() => {
        this.left = true
        return this.halt
      })
    )
  }

  private replay<A, E, R>(
    { exit, name, seq }: Store.Step,
    branch: Branch,
    request: Request<A, E, R>,
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    const { runId, workflow } = this
    return Effect.gen(this, function*() {
      yield* this.replays.open
      const outcome = yield* this.decoded(name, request.outcomes, exit)
      yield* Events.publish({ _tag: "StepReplayed", workflow, runId, step: name, seq })
      // a failure cuts its siblings short: what they had done before it comes first
      if (Exit.isFailure(outcome) && branch === "side") yield* restore(this.caughtUp(seq))
      return yield* this.succeeded(name, outcome, request)
    })
  }

  /** Registers what undoes a step that succeeded. */
  private succeeded<A, E, R>(
    name: string,
    exit: Exit.Exit<A, E>,
    { compensate }: Request<A, E, R>
  ): Effect.Effect<A, E, R> {
    return compensate === undefined || Exit.isFailure(exit)
      ? exit
      : Effect.zipRight(this.register(name, compensate(exit.value)), exit)
  }

  protected register<R>(name: string, undo: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> {
    return Effect.contextWithEffect((context: Context.Context<R>) => {
      if (this.compensations.some((other) => other.name === name)) {
        return this.misuse(`registers compensation "${name}" twice; give each a name of its own`)
      }
      this.compensations.push({ name, undo: Effect.provide(undo, context) })
      return Effect.void
    })
  }

  /** When every recorded step, or every one before `seq`, has been called again, or none was for a second. */
  private caughtUp(seq?: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (History.isReplayed(this.history, seq)) return Effect.void
      this.replays.unsafeClose()
      return Effect.flatMap(
        Effect.timeoutOption(this.replays.await, "1 second"),
        (replayed) => Option.isSome(replayed) ? this.caughtUp(seq) : Effect.void
      )
    })
  }

  protected tooLate(kind: string, name: string): Effect.Effect<never> {
    return Effect.dieMessage(`Checkpoint: ${kind} "${name}" is called after the end of run "${this.runId}"`)
  }

  protected decoded<A, E, R>(
    step: string,
    outcomes: Engine.Outcomes<A, E, R>,
    text: string
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    return Effect.catchAll(outcomes.decode(text), (flaw) => this.fail(codecError(this.runId, step, flaw)))
  }

  // ---------------------------------------------------------------------------
  // an activity
  // ---------------------------------------------------------------------------

  /** Executes a step as an activity and records its outcome; a defect or an interruption of `body` is not recorded. */
  protected record<A, E, R>(
    name: string,
    kind: Store.StepKind,
    branch: Branch,
    outcomes: Engine.Outcomes<A, E, R>,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    return Effect.suspend(() => {
      const { runId } = this
      const label = kind === "compensation" ? `undo ${name}` : name
      const current = Option.some(Engine.runningStep(runId, label))
      const inside = Effect.provideService(body, Engine.CurrentStep, current) as Effect.Effect<A, E, R>
      let result: Exit.Exit<A, E> | undefined
      let flaw: Engine.Flaw | undefined
      const text = Effect.flatMap(Effect.exit(inside), (exit) => {
        result = exit
        if (!isOutcome(exit)) return Effect.succeedNone
        return Effect.matchEffect(outcomes.encode(exit), {
          onFailure: (found) => {
            flaw = found
            return Effect.succeedNone
          },
          onSuccess: (encoded) => Effect.succeedSome(encoded)
        })
      })
      return Effect.flatMap(this.activity(name, kind, branch, text), (recorded) => {
        if (flaw !== undefined) return this.fail(codecError(runId, name, flaw))
        if (result !== undefined) return Effect.succeed(result)
        // it was recorded by an execution that this one did not know of
        return Option.isSome(recorded) ? this.decoded(name, outcomes, recorded.value) : Effect.interrupt
      })
    })
  }

  /** Gives what is recorded; nothing is where `body` gives nothing. */
  private activity<R>(
    name: string,
    kind: Store.StepKind,
    branch: Branch,
    body: Effect.Effect<Option.Option<string>, never, R>
  ): Effect.Effect<Option.Option<string>, never, R> {
    return Effect.gen(this, function*() {
      const { instance, runId, wiring, workflow } = this
      if (kind !== "compensation") yield* Events.publish({ _tag: "StepStarted", workflow, runId, step: name })
      const startedAt = yield* Clock.currentTimeMillis
      const activity = Model.activity(
        Model.activityName(name, kind),
        Effect.flatMap(
          body,
          Option.match({
            // the engine does not keep what was suspended
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
      const outcome = exit.startsWith(done.slice(0, -1)) ? "success" : "failure"
      yield* Events.publish(
        kind === "compensation"
          ? { _tag: "StepCompensated", workflow, runId, step: name }
          : { _tag: "StepSaved", workflow, runId, step: name, seq, outcome }
      )
      return Option.some(exit)
    }) as Effect.Effect<Option.Option<string>, never, R>
  }
}

/** The outcome of what gives nothing. */
export const done = `{"_tag":"Success"}`

export const voids: Engine.Outcomes<void, never, never> = {
  encode: () => Effect.succeed(done),
  decode: () => Effect.succeed(Exit.void)
}

export const codecError = (runId: string, step: string | null, flaw: Engine.Flaw): StepCodecError =>
  new StepCodecError({ runId, step, ...flaw })

/** Success or a typed failure: what a record can hold. */
export const isOutcome = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit) || (Option.isSome(Cause.failureOption(exit.cause)) && Option.isNone(Cause.dieOption(exit.cause)))
