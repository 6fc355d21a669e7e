/** What a run may do: steps, transactions, sleeps, signals, children, compensations. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { CurrentRun, Flaw, Outcomes, RunningRun, RunRequest, StepRequest } from "../CheckpointEngine.js"
import { type RunEnded, type RunError, StepInDoubt, Unsupported } from "../CheckpointError.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import { Calls, codecError, done, type Open, type Running } from "./checkpointCalls.js"
import type { Forks } from "./checkpointForks.js"
import { type Life, sleepUntil } from "./checkpointLife.js"
import { closeOver } from "./closeOver.js"

export interface ChildRequest<A, E, R, S> extends RunRequest<A, E, R, S> {
  readonly parent: string
}

/** What the steps of a run need of the engine. */
export interface Host {
  readonly name: string
  /** Runs a child until it has ended, whoever holds it meanwhile; fails with why it has no end. */
  readonly child: <A, E, R, S>(
    request: ChildRequest<A, E, R, S>
  ) => Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError, Exclude<R, CurrentRun> | S>
  /** Cancels a child and sees to its end. */
  readonly drop: <A, E, R, S>(
    request: ChildRequest<A, E, R, S>
  ) => Effect.Effect<void, RunError, Exclude<R, CurrentRun> | S>
  /** Runs what waits for a time, a signal or a child; meanwhile others may work. */
  readonly pause: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Has signals delivered for as long as one is waited for. */
  readonly listen: Effect.Effect<void>
}

export class Steps extends Calls implements RunningRun {
  /** How many of its fibers wait for a signal. */
  waiting = 0
  private readonly signals = new Map<string, string>()
  private readonly undoNames = new Map<string, number>()

  constructor(
    private readonly host: Host,
    store: CheckpointStore.Service,
    life: Life,
    forks: Forks,
    claimed: CheckpointStore.Claimed,
    answered: bigint
  ) {
    super(store, life, forks, claimed, answered)
    for (const { name, payload } of claimed.signals) this.signals.set(name, payload)
  }

  deliver(name: string, payload: string): void {
    if (this.signals.has(name)) return
    this.signals.set(name, payload)
    this.notify()
  }

  step<A, E, R>(request: StepRequest<A, E, R>): Effect.Effect<A, E, R> {
    return this.called(request.name, "step", request, (fiber, open, restore) => {
      const { body, onInDoubt } = request
      if (onInDoubt === "retry") return this.execute(fiber, open, request, restore(body))
      if (!open.begun) {
        return Effect.zipRight(this.begin(fiber, open), this.execute(fiber, open, request, restore(body)))
      }
      if (onInDoubt === "escalate") {
        const startedAt = this.started.get(open.name)?.startedAt ?? 0
        return this.life.fail(new StepInDoubt({ runId: this.runId, step: open.name, startedAt }))
      }
      const probed = Effect.flatMap(
        onInDoubt.probe,
        (found) => Option.isSome(found) ? Effect.succeed(found.value) : body
      )
      return this.execute(fiber, open, request, restore(probed))
    })
  }

  transaction<A, E, R>(request: Omit<StepRequest<A, E, R>, "onInDoubt">): Effect.Effect<A, E, R> {
    return this.called<A, E, R>(request.name, "transaction", request, (fiber, open, restore) => {
      const { life, runId, store } = this
      if (store.transact === undefined) {
        return life.fail(new Unsupported({ engine: this.host.name, capability: "transaction" }))
      }
      const startedAt = this.startedAt(fiber, open)
      const seq = this.nextSeq++
      const transacted = store.transact({
        token: life.token,
        runId,
        body: this.inStep(
          open.name,
          restore(request.body),
          (exit): Effect.Effect<Done<A>, Raised | Flawed, R> => {
            if (Exit.isFailure(exit)) return Effect.failCause(Cause.map(exit.cause, (error) => new Raised(error)))
            return Effect.mapBoth(request.outcomes.encode(exit), {
              onFailure: (flaw) => new Flawed(flaw),
              onSuccess: (text) => ({ step: this.record(fiber, open, text, startedAt, seq), value: exit.value })
            })
          }
        )
      })
      return Effect.matchCauseEffect(transacted, {
        onSuccess: (value): Effect.Effect<A, E, R> =>
          Option.isNone(value)
            ? life.fenced
            : this.saved(fiber, open, seq, Exit.succeed(value.value), request),
        onFailure: (cause) => {
          const error = Option.getOrUndefined(Cause.failureOption(cause))
          if (error instanceof Flawed) return life.fail(codecError(runId, open.name, error.flaw))
          if (error !== undefined && !(error instanceof Raised)) return life.fail(error)
          // what was done is rolled back, and the failure recorded by itself
          return this.ended(fiber, open, request, Exit.failCause(Cause.map(cause, raised<E>)), startedAt)
        }
      })
    })
  }

  sleep({ duration, name }: { readonly name: string; readonly duration: Duration.Duration }): Effect.Effect<void> {
    return this.called(name, "sleep", { outcomes: voids }, (fiber, open, restore) =>
      Effect.flatMap(
        this.begin(fiber, open, duration),
        (until) => this.execute(fiber, open, { outcomes: voids }, restore(this.host.pause(sleepUntil(until ?? 0n))))
      ))
  }

  signal<A, R>(request: {
    readonly name: string
    readonly within: Option.Option<Duration.Duration>
    readonly decode: (payload: string) => Effect.Effect<A, Flaw, R>
  }): Effect.Effect<Option.Option<A>, never, R> {
    const { decode, within } = request
    const outcomes: Outcomes<Option.Option<A>, never, R> = {
      encode: () => Effect.succeed(absent),
      decode: (text) =>
        text === absent
          ? Effect.succeed(Exit.succeed(Option.none()))
          : Effect.map(decode(text), (value) => Exit.succeed(Option.some(value)))
    }
    return this.called(request.name, "signal", { outcomes }, (fiber, open, restore) => {
      const startedAt = this.startedAt(fiber, open)
      const { life, runId } = this
      const came = (payload: string): Effect.Effect<Option.Option<A>, never, R> =>
        Effect.matchEffect(decode(payload), {
          onFailure: (flaw) => life.fail(codecError(runId, open.name, flaw)),
          onSuccess: (value) => this.save(fiber, open, payload, Exit.succeed(Option.some(value)), {}, startedAt)
        })
      const timedOut = (): Effect.Effect<Option.Option<A>, never, R> => {
        const step = this.record(fiber, open, absent, startedAt, this.nextSeq++)
        return Effect.matchEffect(this.store.expire({ token: life.token, step }), {
          onFailure: (error) => life.fail(error),
          onSuccess: (expiry) => {
            if (expiry._tag === "Lost") return life.fenced
            if (expiry._tag === "Received") return came(expiry.payload)
            return this.saved(fiber, open, step.seq, Exit.succeed(Option.none()), {})
          }
        })
      }
      return Effect.flatMap(
        this.begin(fiber, open, Option.getOrUndefined(within)),
        (until) =>
          this.inStep(open.name, restore(this.arrival(open.name, until)), (exit) => {
            if (Exit.isSuccess(exit)) return Option.match(exit.value, { onNone: timedOut, onSome: came })
            this.forget(open)
            return Effect.failCause(exit.cause)
          })
      )
    })
  }

  child<A, E, R, S>(
    request: Pick<RunRequest<A, E, R, S>, "definition" | "payload" | "body"> & {
      readonly name: string
      readonly outcomes: Outcomes<A, E | RunEnded, S>
    }
  ): Effect.Effect<A, E | RunEnded, Exclude<R, CurrentRun> | S> {
    type Needs = Exclude<R, CurrentRun> | S
    const { body, definition, outcomes, payload } = request
    const childOf = (fiber: Running, { name }: Open): ChildRequest<A, E, R, S> => {
      const key = `${this.runId}/${name}`
      const child = { definition, payload, body, key, runId: `${definition.name}/${key}`, parent: this.runId }
      this.children.set(name, closeOver(fiber.currentContext as Context.Context<Needs>)(this.host.drop(child)))
      return child
    }
    return this.called<A, E | RunEnded, Needs>(request.name, "child", { outcomes }, (fiber, open, restore) => {
      const child = this.host.pause(this.host.child(childOf(fiber, open)))
      const outcome = Effect.matchEffect(child, {
        onFailure: (error) => this.life.fail(error),
        onSuccess: (exit) => exit
      })
      return this.execute<A, E | RunEnded, Needs>(fiber, open, { outcomes }, restore(outcome))
    }, (fiber, open) => void childOf(fiber, open))
  }

  compensate<R>({ name: base, undo }: {
    readonly name: string
    readonly undo: Effect.Effect<void, never, R>
  }): Effect.Effect<void, never, R> {
    return Effect.withFiberRuntime<void, never, R>((fiber) => {
      if (this.over) return this.tooLate("compensation", base)
      const times = (this.undoNames.get(base) ?? 0) + 1
      if (fiber === this.life.main) this.undoNames.set(base, times)
      return this.register(times === 1 ? base : `${base}#${times}`, undo, fiber) ?? Effect.void
    })
  }

  /** Undoes what was registered and is not undone, the last first; before it, ends the children begun. */
  undo(undone: ReadonlySet<string>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const children = Array.from(this.children.values()).toReversed()
      const compensations = this.compensations.filter(({ name }) => !undone.has(name)).toReversed()
      return Effect.zipRight(
        Effect.forEach(children, Effect.catchAll((error) => this.life.fail(error)), { discard: true }),
        Effect.forEach(compensations, (compensation) => this.undoOne(compensation), { discard: true })
      )
    })
  }

  /** A signal's payload, when it comes; none at the time it is too late. */
  private arrival(name: string, until: bigint | undefined): Effect.Effect<Option.Option<string>> {
    const come = Effect.map(
      this.until(() => this.signals.has(name)),
      () => Option.fromNullable(this.signals.get(name))
    )
    const waiting = until === undefined ? come : Effect.raceFirst(come, Effect.as(sleepUntil(until), Option.none()))
    return Effect.suspend(() =>
      this.signals.has(name)
        ? come
        : this.host.pause(Effect.acquireUseRelease(
          Effect.zipRight(Effect.sync(() => this.waiting++), this.host.listen),
          () => waiting,
          () => Effect.sync(() => this.waiting--)
        ))
    )
  }
}

/** The outcome of a signal that did not come; that of one that came is its payload. */
const absent = `{"_tag":"Failure"}`

const voids: Outcomes<void, never, never> = {
  encode: () => Either.right(done),
  decode: () => Either.right(Exit.void)
}

/** What a transaction gives: the record that was saved in it, and its value. */
interface Done<A> {
  readonly step: CheckpointStore.Step
  readonly value: A
}

/** A failure of the body of a transaction, and of the record it would have. */
class Raised {
  constructor(readonly error: unknown) {}
}
class Flawed {
  constructor(readonly flaw: Flaw) {}
}

const raised = <E>(error: unknown): E => (error instanceof Raised ? error.error : error) as E
