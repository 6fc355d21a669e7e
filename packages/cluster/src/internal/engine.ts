/** The engine of `Checkpoint` over @effect/workflow: what asks for runs and tells of them. */
import { WorkflowEngine, type WorkflowInstance } from "@effect/workflow/WorkflowEngine"
import type * as Engine from "@firebreak/core/CheckpointEngine"
import {
  PayloadMismatch,
  RunCancelled,
  type RunError,
  StepCodecError,
  Unsupported,
  VersionMismatch
} from "@firebreak/core/CheckpointError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { AnyDefinition, Wiring } from "./calls.js"
import type { Head, Journal } from "./journal.js"
import * as Model from "./model.js"
import { InvalidOption } from "./options.js"
import { type ClusterRun, execute } from "./run.js"

/** What every engine of this package offers. */
export const capabilities: ReadonlyArray<Engine.Capability> = [
  "sleep",
  "signals",
  "children",
  "compensation",
  "in-doubt",
  "cancel",
  "deadline",
  "versions",
  "progress",
  "search",
  "retention"
]

export interface Options {
  readonly journal: (
    workflows: WorkflowEngine["Type"],
    active: ReadonlyMap<string, ClusterRun>
  ) => Effect.Effect<Journal, never, Scope.Scope>
  readonly capabilities: ReadonlyArray<Engine.Capability>
  /** Milliseconds. */
  readonly patience: number
  /** Whether a workflow that is run here is executed here though no layer registered it. */
  readonly local: boolean
}

/** The workflow of `Checkpoint.run`. */
const unnamed = "run"

interface Program {
  readonly definition: AnyDefinition
  readonly context: Context.Context<never>
}

export const make = (options: Options): Effect.Effect<Engine.Service, never, WorkflowEngine | Scope.Scope> =>
  Effect.gen(function*() {
    const workflows = yield* WorkflowEngine
    const scope = yield* Effect.scope
    const active = new Map<string, ClusterRun>()
    const registered = new Map<string, Program>()
    /** Of workflows that nobody registered: as they were run last. */
    const local = new Map<string, Program>()
    const known = new Set<string>()
    const journal = yield* options.journal(workflows, active)
    const unsupported = (capability: string) => new Unsupported({ engine: journal.name, capability })

    const wiring: Wiring = {
      workflows,
      journal,
      patience: options.patience,
      stops: new Map(),
      children: {
        start: (request, parent) =>
          Effect.gen(function*() {
            yield* adopt(request.definition)
            const head = yield* begin(provided(request.definition), request, parent)
            if (Option.isSome(head.stopped)) yield* journal.resume(head)
            return head.run.exit
          }) as Effect.Effect<Option.Option<string>, RunError, any>,
        drop: (runId, parent) =>
          Effect.gen(function*() {
            const answer = yield* service.cancel({ runId, reason: `its parent "${parent}" has ended` })
            if (answer === "Missing" || answer === "Ended") return
            const child = yield* journal.load(runId)
            if (Option.isSome(child)) yield* journal.settled(child.value)
          })
      }
    }

    /** Has the engine execute a workflow: by the program that is known when it does. */
    const host = (name: string) =>
      Effect.suspend(() => {
        if (known.has(name)) return Effect.void
        known.add(name)
        return Effect.zipRight(
          Effect.addFinalizer(() => Effect.sync(() => known.delete(name))),
          workflows.register(Model.workflow(name), (begun) => {
            const program = registered.get(name) ?? local.get(name)
            return program === undefined
              ? Effect.dieMessage(`ClusterEngine: workflow "${name}" is not registered`)
              : Effect.mapInputContext(
                execute(wiring, active, program.definition, begun),
                (context: Context.Context<WorkflowInstance>) => Context.merge(program.context, context)
              )
          })
        )
      })

    /** Makes a workflow known that was called and that no layer registered, where that is enough. */
    const adopt = <A, E, R, S>(definition: Engine.Definition<A, E, R, S>) =>
      Effect.flatMap(Effect.context<never>(), (context) => {
        if (!options.local) return Effect.void
        local.set(definition.name, { definition: provided(definition), context })
        return Scope.extend(host(definition.name), scope)
      })

    const begin = (
      definition: AnyDefinition,
      { key, payload, runId }: { readonly runId: string; readonly key: string; readonly payload: string },
      parent: string | null
    ): Effect.Effect<Head, RunError> =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const { deadline, name, version } = definition
        const deadlineAt = Option.getOrNull(Option.map(deadline, (_) => now + Duration.toMillis(_)))
        const head = yield* journal.begin(Model.workflow(name), { runId, key, payload, version, parent, deadlineAt })
        if (head.run.payload !== payload) return yield* new PayloadMismatch({ workflow: name, key })
        const recorded = head.run.version
        if (head.run.status === "running" && recorded !== version && !definition.accepts.includes(recorded)) {
          return yield* new VersionMismatch({ runId, recorded, version })
        }
        return head
      })

    /** Waits for a run; one that had stopped goes on first. */
    const settled = (definition: AnyDefinition, head: Head): Effect.Effect<unknown, unknown> =>
      Effect.gen(function*() {
        if (Option.isSome(head.stopped)) yield* journal.resume(head)
        const { run, stopped } = yield* journal.settled(head)
        if (Option.isSome(run.exit)) return yield* outcome(definition, run.runId, run.exit.value)
        const text = Option.getOrElse(stopped, () => "")
        const here = wiring.stops.get(run.runId)
        return yield* Effect.failCause(here?.text === text ? here.cause : Model.stopCause(text))
      })

    const service: Engine.Service = {
      name: journal.name,
      capabilities: new Set([...capabilities, ...options.capabilities]),

      register: (definition) =>
        Effect.gen(function*() {
          const { name } = definition
          if (registered.has(name)) {
            throw new InvalidOption(`Checkpoint: the workflow "${name}" is registered twice`)
          }
          const context = yield* Effect.context<never>()
          registered.set(name, {
            definition: provided(definition),
            context: Context.omit(Scope.Scope)(context as Context.Context<Scope.Scope>)
          })
          yield* Effect.addFinalizer(() => Effect.sync(() => registered.delete(name)))
          yield* host(name)
        }) as Effect.Effect<void, never, any>,

      run: ({ definition, key, payload, runId }) =>
        Effect.gen(function*() {
          // its program is known here only, and the run may fall to another runner
          if (definition.name === unnamed && !options.local) return yield* unsupported("runs without a definition")
          yield* adopt(definition)
          return yield* settled(provided(definition), yield* begin(provided(definition), { key, payload, runId }, null))
        }) as Effect.Effect<any, any, any>,

      resumeAll: ({ concurrency, except }) =>
        Effect.gen(function*() {
          // those that another process executes go on by themselves
          const heads = yield* journal.stopped(Array.from(registered.keys()))
          return yield* Effect.forEach(heads.filter((head) => except?.(head.run.runId) !== true), (head) => {
            const { runId, workflow } = head.run
            const program = registered.get(workflow)
            const exit = program === undefined
              ? Effect.succeed(Exit.void)
              : Effect.exit(
                Effect.provide(
                  Effect.zipRight(journal.resume(head), settled(program.definition, head)),
                  program.context
                )
              )
            return Effect.map(exit, (exit) => ({ runId, workflow, exit }))
          }, { concurrency })
        }),

      send: ({ name, payload, runId }) =>
        Effect.gen(function*() {
          const sentAt = yield* Clock.currentTimeMillis
          const loaded = yield* journal.load(runId)
          if (Option.isSome(loaded) && loaded.value.run.status !== "running") return "Ended"
          const sender = String(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER))
          const text = Model.signalText({ payload, sender, sentAt })
          const key = Model.deferred.signal(name)
          // where nobody was there to give the wait up, the sender does
          const late = Option.exists(loaded, ({ started }) =>
            started.some((_) =>
              _.kind === "signal" && _.name === name && Option.exists(_.wakeAt, (at) => at <= sentAt)
            ))
          const first = yield* late ? journal.mark(runId, key) : journal.offer(runId, key, text)
          if (first === text) return "Sent"
          return first === Model.expiredText ? "TooLate" : "AlreadySent"
        }),

      cancel: ({ reason, runId }) =>
        Effect.gen(function*() {
          const loaded = yield* journal.load(runId)
          if (Option.isNone(loaded)) return "Missing"
          const { run } = loaded.value
          if (run.status !== "running") return "Ended"
          if (Option.isSome(run.cancelled)) return "AlreadyRequested"
          yield* journal.offer(runId, Model.deferred.cancel, reason)
          yield* active.get(runId)?.tell(new RunCancelled({ runId, reason })) ?? Effect.void
          return "Requested"
        }),

      settle: ({ exit, name, runId }) =>
        Effect.gen(function*() {
          const loaded = yield* journal.load(runId)
          if (Option.isNone(loaded)) return false
          const { deferreds, started, stopped } = loaded.value
          if (Option.isNone(stopped) || !started.some((_) => _.name === name)) return false
          const settlement = Model.deferred.settle(name, Model.timesSettled(deferreds, name))
          if (deferreds.has(settlement)) return false
          const text = Option.getOrElse(exit, () => "")
          return (yield* journal.offer(runId, settlement, text)) === text
        }),

      load: (runId) => journal.load(runId),
      list: (filter) => journal.list(filter ?? {}),
      clear: journal.clear,
      prune: journal.prune,
      requeue: () => unsupported("dead-letter"),
      verify: Effect.suspend(() => unsupported("chain"))
    }
    return service
  })

/** What the definition requires is provided by whoever executes it. */
const provided = <A, E, R, S>(definition: Engine.Definition<A, E, R, S>): AnyDefinition =>
  definition as unknown as AnyDefinition

/** How a run ended, for whoever waits for it. */
const outcome = (definition: AnyDefinition, runId: string, text: string): Effect.Effect<unknown, unknown> => {
  const ending = Model.endOf(runId, text)
  if (Option.isSome(ending)) return Effect.fail(ending.value)
  return Effect.flatten(
    Effect.mapError(definition.outcomes.decode(text), (flaw) => new StepCodecError({ runId, step: null, ...flaw }))
  )
}
