/** Our own engine: runs live in the process that called or resumed them, over any `CheckpointStore`. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import type { Capability, CurrentRun, Definition, Resumed, RunRequest, Service } from "../CheckpointEngine.js"
import { type RunEnded, type RunError, RunInProgress, Unsupported } from "../CheckpointError.js"
import type * as CheckpointStore from "../CheckpointStore.js"
import { type Attempt, attempt, type Attended, Gone } from "./checkpointAttempt.js"
import { codecError } from "./checkpointCalls.js"
import type { Life } from "./checkpointLife.js"
import type { ChildRequest, Host, Steps } from "./checkpointSteps.js"
import { closeOver } from "./closeOver.js"
import { Waiter } from "./line.js"
import * as Check from "./options.js"
import { Slots } from "./slots.js"

export interface Options {
  readonly name: string
  /** How often signals sent by other processes are looked for while a run waits for one. */
  readonly poll: Duration.Duration
}

const capabilities: ReadonlyArray<Capability> = [
  "fencing",
  "sleep",
  "signals",
  "children",
  "compensation",
  "in-doubt",
  "cancel",
  "deadline",
  "dead-letter",
  "versions",
  "progress",
  "search",
  "retention"
]

/** How many unfinished runs are read at a time. */
const page = 500

export const make = (store: CheckpointStore.Service, options: Options): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const engine = new Engine(store, options, scope)
    const verify = store.verify ?? Effect.fail(new Unsupported({ engine: options.name, capability: "chain" }))
    return {
      name: options.name,
      capabilities: new Set([...capabilities, ...store.capabilities]),
      register: (definition) => engine.register(definition),
      run: (request) => engine.run(request),
      resumeAll: (options) => engine.resumeAll(options),
      send: (request) =>
        Effect.tap(store.send(request), (sent) =>
          Effect.sync(() => {
            if (sent === "Sent") engine.deliver(request)
          })),
      cancel: (request) =>
        Effect.tap(store.cancel(request), (answer) => answer === "Requested" ? engine.cancelled(request) : Effect.void),
      settle: store.settle,
      requeue: store.requeue,
      load: store.load,
      list: store.list,
      clear: store.clear,
      prune: store.prune,
      verify
    }
  })

/** A workflow whose runs can be taken up. */
type Resume = (
  run: CheckpointStore.Run,
  permit: Permit
) => Effect.Effect<Exit.Exit<unknown, unknown>, RunError | Gone>

class Engine implements Attended {
  private readonly workflows = new Map<string, Resume>()
  /** The runs that this process works on. */
  private readonly live = new Map<string, { readonly life: Life; readonly steps: Steps }>()
  /** The unfinished runs that are being taken up, those that wait for a slot among them. */
  private readonly taking = new Set<string>()
  private slots: Slots<Waiter> | undefined
  private listening = false

  constructor(
    private readonly store: CheckpointStore.Service,
    private readonly options: Options,
    private readonly scope: Scope.Scope
  ) {}

  enter(life: Life, steps: Steps): void {
    this.live.set(life.runId, { life, steps })
  }

  leave(life: Life): void {
    // a later attempt may have taken its place
    if (this.live.get(life.runId)?.life === life) this.live.delete(life.runId)
  }

  run<A, E, R, S>(request: RunRequest<A, E, R, S>): Effect.Effect<A, E | RunError, Exclude<R, CurrentRun> | S> {
    return Effect.matchEffect(this.attempt(request), {
      onFailure: (error): Effect.Effect<never, RunError> =>
        error instanceof Gone ? Effect.die(error) : Effect.fail(error),
      onSuccess: (exit): Exit.Exit<A, E | RunEnded> => exit
    })
  }

  private attempt<A, E, R, S>(request: Attempt<A, E, R, S>, permit?: Permit) {
    const host: Host = {
      name: this.options.name,
      child: (child) => this.child(child),
      drop: (child) => this.drop(child),
      pause: permit === undefined ? identity : (effect) => permit.pause(effect),
      listen: this.listen
    }
    return attempt(this.store, host, this, request)
  }

  // ---------------------------------------------------------------------------
  // children
  // ---------------------------------------------------------------------------

  private child<A, E, R, S>(
    request: ChildRequest<A, E, R, S>
  ): Effect.Effect<Exit.Exit<A, E | RunEnded>, RunError, Exclude<R, CurrentRun> | S> {
    return Effect.catchAll(this.attempt(request), (error) => {
      if (error instanceof Gone) return Effect.die(error)
      if (!(error instanceof RunInProgress) || error.runId !== request.runId) return Effect.fail(error)
      // somebody else has taken it up: wait for its end
      const wait = Duration.min(error.retryAfter, this.options.poll)
      return Effect.zipRight(Effect.sleep(wait), this.child(request))
    })
  }

  private drop<A, E, R, S>(
    request: ChildRequest<A, E, R, S>
  ): Effect.Effect<void, RunError, Exclude<R, CurrentRun> | S> {
    const { parent, runId } = request
    return Effect.flatMap(
      this.store.cancel({ runId, reason: `its parent "${parent}" has ended` }),
      (answer) => answer === "Missing" || answer === "Ended" ? Effect.void : Effect.asVoid(this.child(request))
    )
  }

  // ---------------------------------------------------------------------------
  // news from outside
  // ---------------------------------------------------------------------------

  deliver({ name, payload, runId }: Pick<CheckpointStore.Signal, "runId" | "name" | "payload">): void {
    this.live.get(runId)?.steps.deliver(name, payload)
  }

  cancelled({ reason, runId }: { readonly runId: string; readonly reason: string }): Effect.Effect<void> {
    return Effect.suspend(() => this.live.get(runId)?.life.end({ _tag: "Cancelled", reason }) ?? Effect.void)
  }

  /** Looks for signals that other processes sent, for as long as a run here waits for one. */
  private get listen(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.listening) return Effect.void
      this.listening = true
      const look: Effect.Effect<void> = Effect.suspend(() => {
        const waiting = Array.from(this.live).filter(([, { steps }]) => steps.waiting > 0).map(([runId]) => runId)
        if (waiting.length === 0) {
          this.listening = false
          return Effect.void
        }
        // a store out of reach is asked again; that a run is lost shows at its renewal
        return this.store.received(waiting).pipe(
          Effect.map((signals) => {
            for (const signal of signals) this.deliver(signal)
          }),
          Effect.ignore,
          Effect.zipRight(next)
        )
      })
      const next = Effect.flatMap(Effect.sleep(this.options.poll), () => look)
      return Effect.asVoid(Effect.forkIn(Effect.interruptible(next), this.scope))
    })
  }

  // ---------------------------------------------------------------------------
  // resuming
  // ---------------------------------------------------------------------------

  register<A, E, R, S>(
    definition: Definition<A, E, R, S>
  ): Effect.Effect<void, never, Exclude<R, CurrentRun> | S | Scope.Scope> {
    type Needs = Exclude<R, CurrentRun> | S
    const { name, program } = definition
    return Effect.flatMap(Effect.context<Needs>(), (context) => {
      const resume: Resume = (run, permit) => {
        const { key, payload, runId } = run
        const body = Effect.mapError(program(payload), (flaw) => codecError(runId, null, flaw))
        // a child stays one, whoever takes it up
        return closeOver(context)(
          Effect.flatMap(
            body,
            (body) => this.attempt({ definition, runId, key, payload, body, existing: true }, permit)
          )
        )
      }
      return Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          if (this.workflows.has(name)) {
            throw new Check.InvalidOption(`Checkpoint: the workflow "${name}" is registered twice`)
          }
          this.workflows.set(name, resume)
        }),
        () => Effect.sync(() => this.workflows.delete(name))
      ))
    })
  }

  resumeAll({ concurrency, except }: Parameters<Service["resumeAll"]>[0]): ReturnType<Service["resumeAll"]> {
    return Effect.gen(this, function*() {
      const unfinished = new Map<string, CheckpointStore.Run>()
      let after: CheckpointStore.Run | undefined
      while (true) {
        const runs = yield* this.store.list({ status: "running", after, limit: page })
        for (const run of runs) if (this.workflows.has(run.workflow)) unfinished.set(run.runId, run)
        if (runs.length < page) break
        after = runs.at(-1)
      }
      const slots = this.slotsFor(concurrency)
      const resumed = yield* Effect.forEach(Array.from(unfinished.values()), (run) => {
        const { parent, runId, workflow } = run
        const resume = this.workflows.get(workflow)
        const isParents = parent._tag === "Some" && unfinished.has(parent.value)
        if (resume === undefined || isParents || this.live.has(runId) || except?.(runId) === true) return nothing
        return this.once(
          runId,
          Effect.exit(new Permit(slots).hold((permit) => resume(run, permit))),
          (exit): ReadonlyArray<Resumed> => {
            const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
            const isHeld = error instanceof RunInProgress && error.runId === runId
            return isHeld || error instanceof Gone ? [] : [{ runId, workflow, exit: Exit.flatten(exit) }]
          }
        )
      }, { concurrency: "unbounded" })
      return resumed.flat()
    })
  }

  /** One set of slots for all that is taken up, however often: who came last says how many. */
  private slotsFor(concurrency: number): Slots<Waiter> {
    if (this.slots === undefined) this.slots = new Slots(concurrency, Infinity)
    else this.slots.resize(concurrency)
    return this.slots
  }

  /** Takes up a run, unless that is under way. */
  private once<A>(
    runId: string,
    taken: Effect.Effect<A>,
    answer: (taken: A) => ReadonlyArray<Resumed>
  ): Effect.Effect<ReadonlyArray<Resumed>> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (this.taking.has(runId)) return nothing
        this.taking.add(runId)
        return Effect.ensuring(Effect.map(restore(taken), answer), Effect.sync(() => this.taking.delete(runId)))
      })
    )
  }
}

const nothing = Effect.succeed<ReadonlyArray<Resumed>>([])

/** A run's right to work, which it gives away while it waits. */
class Permit {
  private isHeld = false
  private isTaking = false
  private pauses = 0

  constructor(private readonly slots: Slots<Waiter>) {}

  hold<A, E, R>(use: (permit: this) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.ensuring(Effect.zipRight(this.take, Effect.suspend(() => use(this))), this.give)
  }

  pause<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.zipLeft(
      Effect.acquireUseRelease(
        Effect.suspend(() => this.pauses++ === 0 ? this.give : Effect.void),
        () => effect,
        () => Effect.sync(() => this.pauses--)
      ),
      Effect.suspend(() => this.pauses === 0 ? this.take : Effect.void)
    )
  }

  private get take(): Effect.Effect<void> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (this.isHeld || this.isTaking) return Effect.void
        if (this.slots.take()) {
          this.isHeld = true
          return Effect.void
        }
        const waiter = new Waiter()
        this.slots.join(waiter)
        this.isTaking = true
        return Effect.matchCauseEffect(restore(waiter.woken), {
          // woken and interrupted may both have happened: a slot that was given goes to the next
          onFailure: (cause) => {
            this.isTaking = false
            this.slots.abandon(waiter)
            return Effect.failCause(cause)
          },
          onSuccess: () => {
            this.isTaking = false
            this.isHeld = true
            return Effect.void
          }
        })
      })
    )
  }

  private get give(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.isHeld) return Effect.void
      this.isHeld = false
      this.slots.release()
      return Effect.void
    })
  }
}
