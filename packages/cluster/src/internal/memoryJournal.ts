/** The journal of the engine in memory: a store in memory beside it, for the engine itself keeps nothing readable. */
import * as DurableClock from "@effect/workflow/DurableClock"
import type { WorkflowEngine } from "@effect/workflow/WorkflowEngine"
import * as CheckpointMemory from "@firebreak/core/CheckpointMemory"
import type * as Store from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Head, Journal } from "./journal.js"
import * as Model from "./model.js"
import type { ClusterRun } from "./run.js"

/** The one owner of every run. */
const lease = Duration.days(36_500)

export const make = (
  workflows: WorkflowEngine["Type"],
  active: ReadonlyMap<string, ClusterRun>
): Effect.Effect<Journal, never, Scope.Scope> =>
  Effect.gen(function*() {
    const store = yield* CheckpointMemory.make
    const scope = yield* Effect.scope
    const tokens = new Map<string, number>()
    const stopped = new Map<string, string>()
    const offers = new Map<string, Map<string, string>>()
    /** Runs to which something was sent since they were last loaded. */
    const unread = new Set<string>()
    const waiting = new Map<string, Deferred.Deferred<void>>()
    /** A run that was cleared and begun anew must be another to the engine. */
    const generations = new Map<string, number>()

    let attempts = 0

    const executionId = (runId: string) => `${runId}#${generations.get(runId) ?? 0}`
    const offersOf = (runId: string): ReadonlyMap<string, string> => offers.get(runId) ?? none
    const withOffers = (run: Store.Run): Store.Run => ({
      ...run,
      cancelled: Option.fromNullable(offersOf(run.runId).get(Model.deferred.cancel))
    })
    const headOf = (run: Store.Run): Head => ({
      run: withOffers(run),
      stopped: Option.fromNullable(stopped.get(run.runId))
    })
    const held = (runId: string) => tokens.get(runId) ?? 0

    const claim = (run: Pick<Store.Run, "runId" | "workflow" | "key" | "payload" | "version">, begun?: Model.Begun) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const deadlineAt = begun?.deadlineAt ?? undefined
        const answer = yield* store.begin({
          ...run,
          lease,
          maxStalls: Infinity,
          parent: begun?.parent ?? undefined,
          deadline: deadlineAt === undefined ? undefined : Duration.millis(deadlineAt - now)
        })
        if (answer._tag === "Claimed") tokens.set(run.runId, answer.token)
      })

    /** The engine ignores what wakes a run whose execution has not quite ended. */
    const resume = (runId: string, needed: () => boolean): Effect.Effect<void> =>
      Effect.gen(function*() {
        const workflow = Model.workflow(Model.nameOf(runId))
        while ((yield* workflows.poll(workflow, executionId(runId))) === undefined) yield* Effect.yieldNow()
        if (needed()) yield* workflows.resume(workflow, executionId(runId))
      })

    const settle = (runId: string) =>
      Effect.suspend(() => {
        const waiter = waiting.get(runId)
        waiting.delete(runId)
        return waiter === undefined ? Effect.void : Deferred.succeed(waiter, undefined)
      })

    const forgotten = (runId: string) => {
      offers.delete(runId)
      stopped.delete(runId)
      tokens.delete(runId)
      generations.set(runId, (generations.get(runId) ?? 0) + 1)
    }

    const head = (runId: string): Effect.Effect<Head, StoreError> =>
      Effect.flatMap(
        store.load(runId),
        Option.match({
          onNone: () => Effect.die(new Error(`run "${runId}" is gone`)),
          onSome: ({ run }) => Effect.succeed(headOf(run))
        })
      )

    return {
      name: "cluster in memory",
      begin: (workflow, begun) =>
        Effect.gen(function*() {
          const { runId } = begun
          if (Option.isNone(yield* store.load(runId))) {
            yield* claim({ ...begun, workflow: workflow.name }, begun)
            yield* Effect.ignore(
              workflows.execute(workflow, { executionId: executionId(runId), payload: begun, discard: true })
            )
          }
          return yield* head(runId)
        }),
      resume: ({ run }) =>
        Effect.suspend(() => {
          if (!stopped.delete(run.runId)) return Effect.void
          return Effect.zipRight(claim(run), resume(run.runId, () => true))
        }),
      settled: ({ run: { runId } }) =>
        Effect.gen(function*() {
          while (true) {
            const now = yield* head(runId)
            if (now.run.status !== "running" || Option.isSome(now.stopped)) return now
            const waiter = waiting.get(runId) ?? Deferred.unsafeMake<void>(yield* Effect.fiberId)
            waiting.set(runId, waiter)
            yield* Deferred.await(waiter)
          }
        }),
      load: (runId) =>
        Effect.map(
          store.load(runId),
          Option.map((progress) => {
            unread.delete(runId)
            return {
              ...progress,
              ...headOf(progress.run),
              signals: Model.signalsOf(runId, offersOf(runId)),
              deferreds: offersOf(runId)
            }
          })
        ),
      list: (filter) => Effect.map(store.list(filter), (runs) => runs.map(withOffers)),
      stopped: (names) =>
        Effect.forEach(
          Array.from(stopped.keys()).filter((runId) => names.includes(Model.nameOf(runId))),
          head
        ),
      deferreds: (runId) => Effect.sync(() => offersOf(runId)),
      offer: (runId, name, value) =>
        Effect.gen(function*() {
          let sent = offers.get(runId)
          if (sent === undefined) offers.set(runId, sent = new Map())
          const first = sent.get(name)
          if (first !== undefined) return first
          sent.set(name, value)
          unread.add(runId)
          const deferred = Model.durable(name)
          yield* workflows.deferredDone(deferred, {
            workflowName: Model.nameOf(runId),
            executionId: executionId(runId),
            deferredName: name,
            exit: Exit.succeed(value)
          })
          yield* active.get(runId)?.hear ?? Effect.void
          return value
        }),
      clear: (runId) => Effect.tap(store.clear(runId), (cleared) => Effect.sync(() => cleared && forgotten(runId))),
      prune: (options) =>
        Effect.gen(function*() {
          const before = yield* store.list()
          const pruned = yield* store.prune(options)
          const left = new Set((yield* store.list()).map((run) => run.runId))
          for (const { runId } of before) if (!left.has(runId)) forgotten(runId)
          return pruned
        }),
      leaving: Effect.succeed(false),
      wake: (run, clock, duration, started) =>
        Effect.gen(function*() {
          const { runId } = run
          const now = yield* Clock.currentTimeMillis
          yield* workflows.scheduleClock(Model.workflow(run.workflow), {
            executionId: executionId(runId),
            clock: DurableClock.make({ name: clock, duration })
          })
          if (started !== undefined) yield* store.start({ token: held(runId), step: started, wait: duration })
          return now + Duration.toMillis(duration)
        }),
      // in memory the engine keeps interruptions too, and would give them again
      attempt: () => ++attempts,
      began: (step) => Effect.orDie(Effect.asVoid(store.start({ token: held(step.runId), step }))),
      saved: (step) => Effect.orDie(store.save({ token: held(step.runId), step })),
      ended: (runId, { exit, status }) =>
        Effect.zipRight(
          Effect.orDie(store.finish({ runId, token: held(runId), status, exit })),
          settle(runId)
        ),
      halted: (runId, text) =>
        Effect.suspend(() => {
          stopped.set(runId, text)
          return Effect.zipRight(Effect.orDie(store.release({ runId, token: held(runId) })), settle(runId))
        }),
      suspending: (runId) => Effect.asVoid(Effect.forkIn(resume(runId, () => unread.has(runId)), scope))
    }
  })

const none: ReadonlyMap<string, string> = new Map()
