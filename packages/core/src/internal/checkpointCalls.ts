/** How the steps of one attempt at a run are called: what is recorded is replayed, what is not is performed and saved. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { CurrentStep, type Flaw, runningStep, type StepRequest } from "../CheckpointEngine.js"
import { HistoryMismatch, type RunError, StepCodecError } from "../CheckpointError.js"
import * as History from "../CheckpointHistory.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import * as Events from "../Events.js"
import type { Forks } from "./checkpointForks.js"
import type { Life } from "./checkpointLife.js"
import { closeOver } from "./closeOver.js"
import { settled } from "./outcomeCodec.js"
import { current, Within } from "./runtime.js"
import * as Time from "./time.js"

export interface Compensation {
  readonly name: string
  readonly undo: Effect.Effect<void>
}

/** Success or a typed failure: what a record can hold. A defect and an interruption are no outcome. */
export const isOutcome = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit) || (Option.isSome(Cause.failureOption(exit.cause)) && Option.isNone(Cause.dieOption(exit.cause)))

export const codecError = (runId: string, step: string | null, flaw: Flaw): StepCodecError =>
  new StepCodecError({ runId, step, ...flaw })

/** A step that is not recorded yet; `base` is its name without a number. */
export interface Open {
  readonly base: string
  readonly name: string
  readonly kind: CheckpointStore.StepKind
  readonly branch: CheckpointStore.Step["branch"]
  readonly begun: boolean
}

export type Running = Fiber.RuntimeFiber<any, any>
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class Calls {
  readonly runId: string
  readonly workflow: string
  readonly version: string
  /** In the order in which they were registered. */
  readonly compensations: Array<Compensation> = []
  private readonly compensated = new Set<string>()
  /** Children begun and not recorded, with what ends them. */
  readonly children = new Map<string, Effect.Effect<void, RunError>>()
  /** Whether the body has ended: no step is taken any more. */
  over = false

  protected history: History.History
  protected nextSeq: number
  protected readonly started = new Map<string, { readonly startedAt: number; readonly wake: bigint | undefined }>()
  private replays = 0
  /** Called when a signal has come or a step was replayed. */
  private readonly watchers = new Set<() => void>()

  constructor(
    protected readonly store: CheckpointStore.Service,
    protected readonly life: Life,
    private readonly forks: Forks,
    { now, run, started, steps }: CheckpointStore.Claimed,
    /** When the store had answered, by this process's monotonic clock. */
    answered: bigint
  ) {
    this.runId = run.runId
    this.workflow = run.workflow
    this.version = run.version
    this.history = History.make(steps.filter(({ kind }) => kind !== "compensation"), started)
    this.nextSeq = (steps.at(-1)?.seq ?? -1) + 1
    for (const { name, startedAt, wakeAt } of started) {
      this.started.set(name, { startedAt, wake: wake(wakeAt, now, answered) })
    }
  }

  /** The step that the code should have come to by now and did not. */
  get leftover(): History.Place | undefined {
    return History.leftover(this.history, this.forks.settled)
  }

  /** A call of a step: replays it, or leaves it to `perform`. `skipped` is told of one that an ending run does not perform. */
  protected called<A, E, R>(
    base: string,
    kind: CheckpointStore.StepKind,
    request: Pick<StepRequest<A, E, R>, "outcomes" | "compensate">,
    perform: (fiber: Running, open: Open, restore: Restore) => Effect.Effect<A, E, R>,
    skipped?: (fiber: Running, open: Open) => void
  ): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        const { life, runId } = this
        // a body that caught its end gets no further
        if (life.aborted !== undefined) return Effect.interrupt
        if (this.over) return this.tooLate(kind, base)
        const outer = Context.get(fiber.currentContext, CurrentStep)
        if (Option.isSome(outer) && outer.value.runId === runId) {
          return life.misuse(`calls step "${base}" inside step "${outer.value.step}"; a step cannot contain another`)
        }
        const branch = fiber === life.main ? "main" : "side"
        const call: History.Call = { name: base, kind, branch, settled: this.forks.settled }
        const [history, decision] = History.call(this.history, call)
        this.history = history
        switch (decision._tag) {
          case "Mismatch":
            return life.fail(mismatch(runId, decision, kind))
          case "Duplicate":
            return life.misuse(`calls step "${base}" twice, not one after the other; give each call a name of its own`)
          case "Replay":
            this.replays++
            this.notify()
            return this.replay(fiber, decision.step, branch, request, restore)
        }
        const open: Open = { base, name: decision.name, kind, branch, begun: decision._tag === "Resume" }
        if (life.ending !== undefined) {
          skipped?.(fiber, open)
          return this.parked(branch, restore)
        }
        // the store refuses a late record, not a late effect: an owner that stood still must not start
        return life.isLate(Time.monotonicNanos(fiber))
          ? Effect.zipRight(life.reclaim, perform(fiber, open, restore))
          : perform(fiber, open, restore)
      })
    )
  }

  protected replay<A, E, R>(
    fiber: Running,
    { exit, name, seq }: CheckpointStore.Step,
    branch: CheckpointStore.Step["branch"],
    { compensate, outcomes }: Pick<StepRequest<A, E, R>, "outcomes" | "compensate">,
    restore: Restore
  ): Effect.Effect<A, E, R> {
    return settled(outcomes.decode(exit), {
      onFailure: (flaw) => this.life.fail(codecError(this.runId, name, flaw)),
      onSuccess: (outcome) => {
        Events.unsafePublish(fiber, () => ({
          _tag: "StepReplayed",
          workflow: this.workflow,
          runId: this.runId,
          step: name,
          seq
        }))
        if (Exit.isSuccess(outcome)) {
          if (compensate === undefined) return outcome
          return this.register(name, compensate(outcome.value), fiber) ?? outcome
        }
        // a failure cuts its siblings short: what they had done before it comes first
        return branch === "main" || History.isReplayed(this.history, seq)
          ? outcome
          : Effect.zipRight(restore(this.replayed(seq)), outcome)
      }
    })
  }

  /** A run that ends takes no new step: it only looks what it had done. */
  protected parked(branch: CheckpointStore.Step["branch"], restore: Restore): Effect.Effect<never> {
    const stop = Effect.suspend(() => this.over ? Effect.interrupt : this.life.stop)
    return branch === "main" ? stop : Effect.zipRight(restore(this.replayed()), stop)
  }

  /** Runs the body and saves its outcome, if it has one. */
  protected execute<A, E, R>(
    fiber: Running,
    open: Open,
    request: Pick<StepRequest<A, E, R>, "outcomes" | "compensate">,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    const startedAt = this.startedAt(fiber, open)
    return this.inStep(open.name, body, (exit) => this.ended(fiber, open, request, exit, startedAt))
  }

  protected startedAt(fiber: Running, { name }: Open): number {
    Events.unsafePublish(fiber, () => ({
      _tag: "StepStarted",
      workflow: this.workflow,
      runId: this.runId,
      step: name
    }))
    return Time.wallMillis(fiber)
  }

  /**
   * Runs it as the current step, uninterruptibly but for the body. Context is set by hand: `provideService` takes as long
   * as all else of a step. It is that of the moment the step runs: a store may have added its transaction.
   */
  protected inStep<A, E, R, A2, E2, R2>(
    name: string,
    body: Effect.Effect<A, E, R>,
    then: (exit: Exit.Exit<A, E>) => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A2, E2, R | R2> {
    return Effect.withFiberRuntime((fiber) => {
      const step = Option.some(runningStep(this.runId, name))
      const within = new Within(fiber, Context.add(fiber.currentContext, CurrentStep, step))
      return Effect.matchCauseEffect(body, {
        onFailure: (cause) => {
          within.leave()
          return then(Exit.failCause(cause))
        },
        onSuccess: (value) => {
          within.leave()
          return then(Exit.succeed(value))
        }
      })
    })
  }

  protected ended<A, E, R>(
    fiber: Running,
    open: Open,
    request: Pick<StepRequest<A, E, R>, "outcomes" | "compensate">,
    exit: Exit.Exit<A, E>,
    startedAt: number
  ): Effect.Effect<A, E, R> {
    if (!isOutcome(exit)) {
      this.forget(open)
      return exit
    }
    return settled(request.outcomes.encode(exit), {
      onFailure: (flaw) => this.life.fail(codecError(this.runId, open.name, flaw)),
      onSuccess: (text) => this.save(fiber, open, text, exit, request, startedAt)
    })
  }

  protected save<A, E>(
    fiber: Running,
    open: Open,
    exit: string,
    outcome: Exit.Exit<A, E>,
    request: { readonly compensate?: ((value: A) => Effect.Effect<void, never, any>) | undefined },
    startedAt: number
  ): Effect.Effect<A, E> {
    const step = this.record(fiber, open, exit, startedAt, this.nextSeq++)
    return Effect.matchEffect(this.store.save({ token: this.life.token, step }), {
      onFailure: (error) => this.life.fail(error),
      onSuccess: (saved) => saved ? this.saved(fiber, open, step.seq, outcome, request) : this.life.fenced
    })
  }

  protected saved<A, E>(
    fiber: Running,
    { name }: Open,
    seq: number,
    outcome: Exit.Exit<A, E>,
    { compensate }: { readonly compensate?: ((value: A) => Effect.Effect<void, never, any>) | undefined }
  ): Effect.Effect<A, E> {
    if (this.children.size > 0) this.children.delete(name)
    Events.unsafePublish(fiber, () => ({
      _tag: "StepSaved",
      workflow: this.workflow,
      runId: this.runId,
      step: name,
      seq,
      outcome: Exit.isSuccess(outcome) ? "success" : "failure"
    }))
    if (compensate === undefined || Exit.isFailure(outcome)) return outcome
    return this.register(name, compensate(outcome.value), fiber) ?? outcome
  }

  protected record(
    fiber: Running,
    { branch, kind, name }: Open,
    exit: string,
    startedAt: number,
    seq: number
  ): CheckpointStore.Step {
    return { runId: this.runId, seq, name, kind, branch, exit, startedAt, endedAt: Time.wallMillis(fiber) }
  }

  /** Undoes one thing and records that it is undone. */
  protected undoOne({ name, undo }: Compensation): Effect.Effect<void> {
    const open: Open = { base: name, name, kind: "compensation", branch: "main", begun: false }
    const { life, runId, workflow } = this
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<void>((fiber) => {
        const startedAt = Time.wallMillis(fiber)
        const undoing = this.inStep(`undo ${name}`, restore(undo), (exit) => {
          if (Exit.isFailure(exit)) return exit
          const step = this.record(fiber, open, done, startedAt, this.nextSeq++)
          return Effect.matchEffect(this.store.save({ token: life.token, step }), {
            onFailure: (error) => life.fail(error),
            onSuccess: (saved) => {
              if (!saved) return life.fenced
              Events.unsafePublish(fiber, () => ({ _tag: "StepCompensated", workflow, runId, step: name }))
              return Effect.void
            }
          })
        })
        return life.isLate(Time.monotonicNanos(fiber)) ? Effect.zipRight(life.reclaim, undoing) : undoing
      })
    )
  }

  protected forget({ base }: Open): void {
    this.history = History.forget(this.history, base)
  }

  /** Records that a step begins; gives the time its wait is over, by this process's monotonic clock. */
  protected begin(fiber: Running, open: Open, wait?: Duration.Duration): Effect.Effect<bigint | undefined> {
    const { branch, kind, name } = open
    if (open.begun) return Effect.succeed(this.started.get(name)?.wake)
    const { life, runId } = this
    const step = { runId, name, kind, branch, startedAt: Time.wallMillis(fiber) }
    return Effect.matchEffect(this.store.start({ token: life.token, step, wait }), {
      onFailure: (error) => life.fail(error),
      onSuccess: (answer) => {
        if (answer._tag === "Lost") return life.fenced
        const { startedAt, wakeAt } = answer.started
        const until = wake(wakeAt, answer.now, Time.monotonicNanos(fiber))
        this.started.set(name, { startedAt, wake: until })
        this.history = History.begin(this.history, name, kind)
        return Effect.succeed(until)
      }
    })
  }

  /** When no step was replayed for a while. */
  rest(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const before = this.replays
      return Effect.flatMap(Effect.sleep(quiet), () => before === this.replays ? Effect.void : this.rest())
    })
  }

  /** When every recorded step, or every one before `seq`, has been called again, or will not be any more. */
  protected replayed(seq?: number): Effect.Effect<void> {
    const awaited = Effect.raceFirst(this.until(() => History.isReplayed(this.history, seq)), this.rest())
    // the fibers of the race are none of the body's
    return Effect.provideService(awaited, CurrentStep, Option.some(runningStep(this.runId, "replay")))
  }

  /** Waits for news that make it true. */
  protected until(isReady: () => boolean): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (isReady()) return resume(Effect.void)
      const watcher = () => {
        if (!isReady()) return
        this.watchers.delete(watcher)
        resume(Effect.void)
      }
      this.watchers.add(watcher)
      return Effect.sync(() => this.watchers.delete(watcher))
    })
  }

  protected notify(): void {
    for (const watcher of this.watchers) watcher()
  }

  /** Registers a compensation; gives what to do where its name is taken. */
  protected register(
    name: string,
    undo: Effect.Effect<void, never, any>,
    fiber: Running
  ): Effect.Effect<never> | undefined {
    if (this.compensated.has(name)) {
      return this.life.misuse(`registers compensation "${name}" twice; give each a name of its own`)
    }
    this.compensated.add(name)
    // it runs in the context of now, but as a step of its own
    const step = Option.some(runningStep(this.runId, `undo ${name}`))
    const context = Context.add(current(fiber).currentContext as Context.Context<any>, CurrentStep, step)
    this.compensations.push({ name, undo: closeOver(context)(undo) })
    return undefined
  }

  protected tooLate(kind: string, name: string): Effect.Effect<never> {
    return Effect.dieMessage(`Checkpoint: ${kind} "${name}" is called after the end of run "${this.runId}"`)
  }
}

/** The outcome of a sleep and of a compensation. */
export const done = `{"_tag":"Success"}`

/** A run that ends waits so long for its code to come to its next step. */
const quiet = Duration.seconds(10)

/** A time of the store on this process's monotonic clock; `at` is when its clock was at `now`, or a little later. */
const wake = (wakeAt: Option.Option<number>, now: number, at: bigint): bigint | undefined =>
  Option.isNone(wakeAt) ? undefined : at + BigInt(Math.round((wakeAt.value - now) * 1e6))

const mismatch = (
  runId: string,
  { called, recorded }: Extract<History.Decision, { _tag: "Mismatch" }>,
  kind: CheckpointStore.StepKind
): HistoryMismatch => {
  const alike = called === recorded.name
  return new HistoryMismatch({
    runId,
    seq: recorded.seq,
    recorded: alike ? `${recorded.name} (${recorded.kind})` : recorded.name,
    called: alike ? `${called} (${kind})` : called
  })
}
