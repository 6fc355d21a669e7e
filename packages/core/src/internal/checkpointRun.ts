/** One attempt at a run: it holds the lease, replays what is recorded, executes and saves what is not, and ends. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Supervisor from "effect/Supervisor"
import {
  HistoryMismatch,
  PayloadMismatch,
  RunDead,
  type RunError,
  RunFenced,
  RunInProgress,
  StepCodecError,
  VersionMismatch
} from "../CheckpointError.js"
import * as History from "../CheckpointHistory.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import * as Events from "../Events.js"
import { sha256 } from "./hash.js"
import type { OutcomeCodec } from "./outcomeCodec.js"

/** What is wrong with a value, before it is known whose it is. */
export type Flaw = Pick<StepCodecError, "part" | "path" | "detail">

export type Codec<A, E, R> = OutcomeCodec<A, E, R, Flaw>

export const codecError = (runId: string, step: string | null, flaw: Flaw): StepCodecError =>
  new StepCodecError({ runId, step, ...flaw })

/** The run as its steps see it. An engine gives its own: a step is whatever `step` makes of it. */
export interface RunningRun {
  readonly runId: string
  readonly workflow: string
  readonly step: <A, E, R>(
    name: string,
    outcomes: Codec<A, E, R>,
    body: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
}

/** The step whose body is running. */
export interface RunningStep {
  readonly runId: string
  readonly step: string
  /** 64 hexadecimal digits. */
  readonly key: string
}

class Step implements RunningStep {
  constructor(readonly runId: string, readonly step: string) {}
  get key(): string {
    return sha256(JSON.stringify([this.runId, this.step]))
  }
}

/** None outside steps. */
export class CurrentStep extends Context.Reference<CurrentStep>()("@firebreak/core/CurrentStep", {
  defaultValue: (): Option.Option<RunningStep> => Option.none()
}) {}

/** The run to be resumed is no longer there. */
export class Gone extends Data.TaggedError("Gone")<{ readonly runId: string }> {}

/** What to begin. `existing` means that the run is resumed and must not be created. */
export interface Request<A, E, R, R2> {
  readonly runId: string
  readonly workflow: string
  readonly key: string
  readonly payload: string
  readonly lease: Duration.Duration
  readonly existing: boolean
  readonly outcomes: Codec<A, E, R>
  readonly body: (run: RunningRun) => Effect.Effect<A, E, R2>
}

/** Runs it, or takes it up where it was left, or gives its recorded outcome. */
export const start = <A, E, R, R2>(
  store: CheckpointStore.Service,
  request: Request<A, E, R, R2>
): Effect.Effect<A, E | RunError | Gone, R | R2> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const { key, outcomes, runId, workflow } = request
    const asked = yield* Clock.currentTimeNanos
    const begun = yield* store.begin({ ...request, version: "1", maxStalls: 20 })
    switch (begun._tag) {
      case "Missing":
        return yield* new Gone({ runId })
      case "OtherVersion":
        return yield* new VersionMismatch({ runId, recorded: begun.version, version: "1" })
      case "Mismatch":
        return yield* new PayloadMismatch({ workflow, key })
      case "InProgress":
        return yield* new RunInProgress({ runId, retryAfter: begun.retryAfter })
      case "Finished":
        if (begun.run.status === "dead") return yield* new RunDead({ runId, stalls: begun.run.stalls })
        return yield* Effect.flatten(
          Effect.mapError(
            outcomes.decode(Option.getOrElse(begun.run.exit, () => "")),
            (_) => codecError(runId, null, _)
          )
        )
      case "Claimed": {
        const attempt = new Attempt(store, request, begun, asked + Duration.unsafeToNanos(request.lease))
        yield* Events.publish(
          begun.resumed
            ? { _tag: "RunResumed", workflow, runId, completedSteps: begun.steps.length }
            : { _tag: "RunStarted", workflow, runId }
        )
        return yield* attempt.run(request)
      }
    }
  }))

class Attempt implements RunningRun {
  readonly runId: string
  readonly workflow: string
  private readonly token: number
  private readonly lease: Duration.Duration
  private readonly forked: Forked
  private history: History.History
  private nextSeq: number
  private main: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Why the run was ended from outside. */
  private aborted: Cause.Cause<RunError> | undefined
  private ended = false

  constructor(
    private readonly store: CheckpointStore.Service,
    { lease, runId, workflow }: Pick<Request<never, never, never, never>, "runId" | "workflow" | "lease">,
    begun: Extract<CheckpointStore.Begin, { _tag: "Claimed" }>,
    /** Monotonic nanoseconds by this process's clock. */
    private leaseUntil: bigint
  ) {
    this.runId = runId
    this.workflow = workflow
    this.lease = lease
    this.token = begun.token
    this.forked = new Forked(runId)
    this.history = History.make(begun.steps)
    this.nextSeq = (begun.steps.at(-1)?.seq ?? -1) + 1
  }

  // ---------------------------------------------------------------------------
  // the run
  // ---------------------------------------------------------------------------

  /** Runs the body on a fiber of its own and records how it ended. Called uninterruptibly. */
  run<A, E, R, R2>({ body, outcomes }: Request<A, E, R, R2>): Effect.Effect<A, E | RunError, R | R2> {
    return Effect.gen(this, function*() {
      const main = yield* Effect.fork(Effect.interruptible(Effect.withFiberRuntime<A, E, R2>((fiber) => {
        this.main = fiber
        return Effect.supervised(body(this), this.forked)
      })))
      const keeper = yield* Effect.fork(Effect.interruptible(this.keepLease))
      const awaited = yield* Effect.exit(Effect.interruptible(Fiber.await(main)))
      const exit = Exit.isSuccess(awaited) ? awaited.value : yield* Fiber.interrupt(main)
      yield* Fiber.interrupt(keeper)
      this.ended = true

      const recorded = yield* Effect.exit(this.record(exit, outcomes))
      if (Exit.isFailure(recorded)) {
        // changes nothing once another owner has the run
        yield* Effect.ignore(this.store.release({ runId: this.runId, token: this.token }))
        return yield* Effect.failCause(recorded.cause)
      }
      const outcome = Exit.isSuccess(exit) ? "success" : "failure"
      yield* Events.publish({ _tag: "RunCompleted", workflow: this.workflow, runId: this.runId, outcome })
      return yield* exit
    })
  }

  /** Records an outcome; fails with why there is none. */
  private record<A, E, R>(
    exit: Exit.Exit<A, E>,
    outcomes: Codec<A, E, R>
  ): Effect.Effect<void, E | RunError, R> {
    return Effect.gen(this, function*() {
      const { runId, token } = this
      if (this.aborted !== undefined) return yield* Effect.failCause(this.aborted)
      if (Exit.isFailure(exit) && !isOutcome(exit)) return yield* Effect.failCause(exit.cause)
      const left = History.leftover(this.history, this.forked.settled)
      if (left !== undefined) {
        return yield* new HistoryMismatch({ runId, seq: left.seq, recorded: left.name, called: null })
      }
      const encoded = yield* Effect.mapError(outcomes.encode(exit), (flaw) => codecError(runId, null, flaw))
      const status = Exit.isSuccess(exit) ? "succeeded" : "failed"
      const finished = yield* this.store.finish({ runId, token, status, exit: encoded })
      return finished ? undefined : yield* new RunFenced({ runId })
    })
  }

  /** Ends the run from outside: the caller goes no further, and the body is interrupted, whatever it catches. */
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
  // the lease
  // ---------------------------------------------------------------------------

  /** Renews at a third of the lease; a store out of reach is asked again for as long as the lease lasts. */
  private get keepLease(): Effect.Effect<never> {
    return Effect.gen(this, function*() {
      while (true) {
        yield* Effect.sleep(Duration.times(this.lease, 1 / 3))
        const left = Duration.nanos(bigMax(this.leaseUntil - (yield* Clock.currentTimeNanos), 1_000_000n))
        const renewed = yield* this.renew.pipe(
          Effect.either,
          Effect.timeoutTo({ duration: left, onSuccess: Option.some, onTimeout: () => Option.none() })
        )
        if (Option.isSome(renewed) && Either.isRight(renewed.value)) {
          if (!renewed.value.right) return yield* this.fail(new RunFenced({ runId: this.runId }))
        } else if ((yield* Clock.currentTimeNanos) >= this.leaseUntil) {
          return yield* this.fail(
            Option.isSome(renewed) && Either.isLeft(renewed.value)
              ? renewed.value.left
              : new RunFenced({ runId: this.runId })
          )
        }
      }
    })
  }

  private get renew() {
    return Effect.gen(this, function*() {
      const { lease, runId, token } = this
      const asked = yield* Clock.currentTimeNanos
      const renewed = (yield* this.store.renew({ runId, token, lease }))._tag === "Held"
      if (renewed) this.leaseUntil = asked + Duration.unsafeToNanos(lease)
      return renewed
    })
  }

  // ---------------------------------------------------------------------------
  // a step
  // ---------------------------------------------------------------------------

  step<A, E, R>(name: string, outcomes: Codec<A, E, R>, body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, E, R>((fiber) => {
        const { runId, workflow } = this
        // a body that caught its end gets no further
        if (this.aborted !== undefined) return Effect.interrupt
        if (this.ended) return Effect.dieMessage(`Checkpoint: step "${name}" is called after the end of run "${runId}"`)
        const outer = Context.get(fiber.currentContext, CurrentStep)
        if (Option.isSome(outer) && outer.value.runId === runId) {
          return this.misuse(`calls step "${name}" inside step "${outer.value.step}"; a step cannot contain another`)
        }
        const branch = fiber === this.main ? "main" : "side"
        const [history, decision] = History.call(this.history, { name, branch, settled: this.forked.settled })
        this.history = history
        switch (decision._tag) {
          case "Mismatch": {
            const { called, recorded } = decision
            return this.fail(new HistoryMismatch({ runId, seq: recorded.seq, recorded: recorded.name, called }))
          }
          case "Duplicate":
            return this.misuse(`calls step "${name}" twice, not one after the other; give each call a name of its own`)
          case "Replay": {
            const { exit, name: step, seq } = decision.step
            return Effect.matchEffect(outcomes.decode(exit), {
              onFailure: (flaw) => this.fail(codecError(runId, step, flaw)),
              onSuccess: (outcome) =>
                Effect.zipRight(Events.publish({ _tag: "StepReplayed", workflow, runId, step, seq }), outcome)
            })
          }
          case "Execute": {
            const step = decision.name
            const current = Option.some(new Step(runId, step))
            const inside = Effect.provideService(restore(body), CurrentStep, current) as Effect.Effect<A, E, R>
            return Effect.flatMap(this.execute(step, branch, outcomes, inside), (exit) => {
              if (!isOutcome(exit)) this.history = History.forget(this.history, name)
              return exit
            })
          }
        }
      })
    )
  }

  /** Runs the body and saves its outcome, if it has one. */
  private execute<A, E, R>(
    name: string,
    branch: History.Recorded["branch"],
    outcomes: Codec<A, E, R>,
    body: Effect.Effect<A, E, R>
  ): Effect.Effect<Exit.Exit<A, E>, never, R> {
    return Effect.gen(this, function*() {
      const { runId, token, workflow } = this
      // the store refuses a late record, not a late effect: an owner that stood still must not start
      if ((yield* Clock.currentTimeNanos) >= this.leaseUntil) {
        const renewed = yield* Effect.either(this.renew)
        if (Either.isLeft(renewed)) return yield* this.fail(renewed.left)
        if (!renewed.right) return yield* this.fail(new RunFenced({ runId }))
      }
      yield* Events.publish({ _tag: "StepStarted", workflow, runId, step: name })
      const startedAt = yield* Clock.currentTimeMillis
      const exit = yield* Effect.exit(body)
      if (!isOutcome(exit)) return exit
      const encoded = yield* Effect.either(outcomes.encode(exit))
      if (Either.isLeft(encoded)) return yield* this.fail(codecError(runId, name, encoded.left))
      const endedAt = yield* Clock.currentTimeMillis
      const seq = this.nextSeq++
      const saved = yield* Effect.either(
        this.store.save({
          token,
          step: { runId, seq, name, kind: "step", branch, exit: encoded.right, startedAt, endedAt }
        })
      )
      if (Either.isLeft(saved)) return yield* this.fail(saved.left)
      if (!saved.right) return yield* this.fail(new RunFenced({ runId }))
      const outcome = Exit.isSuccess(exit) ? "success" : "failure"
      yield* Events.publish({ _tag: "StepSaved", workflow, runId, step: name, seq, outcome })
      return exit
    })
  }
}

/** Success or a typed failure: what a record can hold. A defect and an interruption are no outcome. */
const isOutcome = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(exit) || (Option.isSome(Cause.failureOption(exit.cause)) && Option.isNone(Cause.dieOption(exit.cause)))

const bigMax = (a: bigint, b: bigint): bigint => a > b ? a : b

/** Watches the fibers that a body forks, those within its steps apart. */
class Forked extends Supervisor.AbstractSupervisor<void> {
  private readonly alive = new Set<unknown>()
  /** Whether one ended by failure or interruption: what it recorded in an earlier attempt it may not have come to now. */
  private cut = false

  constructor(private readonly runId: string) {
    super()
  }

  /** Whether every fiber has ended, and by itself. */
  get settled(): boolean {
    return this.alive.size === 0 && !this.cut
  }

  override get value(): Effect.Effect<void> {
    return Effect.void
  }

  override onStart<A, E, R>(
    context: Context.Context<R>,
    _effect: Effect.Effect<A, E, R>,
    _parent: Option.Option<Fiber.RuntimeFiber<any, any>>,
    fiber: Fiber.RuntimeFiber<A, E>
  ): void {
    const step = Context.get(context, CurrentStep)
    if (Option.isNone(step) || step.value.runId !== this.runId) this.alive.add(fiber)
  }

  override onEnd<A, E>(exit: Exit.Exit<A, E>, fiber: Fiber.RuntimeFiber<A, E>): void {
    if (!this.alive.delete(fiber)) return
    // the workers of `Effect.all` end with the exit of their work as a value
    const value: unknown = Exit.isSuccess(exit) ? exit.value : undefined
    if (Exit.isFailure(exit) || (Exit.isExit(value) && Exit.isFailure(value))) this.cut = true
  }
}
