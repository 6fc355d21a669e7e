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

/** What outlives an engine, for as long as somebody holds it. */
export interface Held {
  readonly store: Store.Service
  /** Why runs stopped. */
  readonly stopped: Map<string, string>
  /** What was sent to runs, by name. */
  readonly offers: Map<string, Map<string, string>>
}

export const held: Effect.Effect<Held> = Effect.map(
  CheckpointMemory.make,
  (store) => ({ store, stopped: new Map(), offers: new Map() })
)

/** The one owner of every run. */
const lease = Duration.days(36_500)

export const make = ({ offers, stopped, store }: Held) =>
(
  workflows: WorkflowEngine["Type"],
  active: ReadonlyMap<string, ClusterRun>
): Effect.Effect<Journal, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    /** Of the runs that this engine has begun or taken up. */
    const tokens = new Map<string, number>()
    /** Runs to which something was sent since they were last loaded. */
    const unread = new Set<string>()
    const waiting = new Map<string, Deferred.Deferred<void>>()
    /** A run that was cleared and begun anew must be another to the engine. */
    const generations = new Map<string, number>()
    let attempts = 0

    yield* Effect.addFinalizer(() =>
      Effect.forEach(tokens, ([runId, token]) => Effect.ignore(store.release({ runId, token })), { discard: true })
    )

    const executionId = (runId: string) => `${runId}#${generations.get(runId) ?? 0}`
    const tokenOf = (runId: string) => tokens.get(runId) ?? 0
    const offersOf = (runId: string): ReadonlyMap<string, string> => offers.get(runId) ?? none
    const withOffers = (run: Store.Run): Store.Run => ({
      ...run,
      cancelled: Option.fromNullable(offersOf(run.runId).get(Model.deferred.cancel))
    })
    const headOf = (run: Store.Run): Head => ({
      run: withOffers(run),
      stopped: Option.fromNullable(stopped.get(run.runId))
    })

    const put = (runId: string, name: string, value: string): string => {
      let sent = offers.get(runId)
      if (sent === undefined) offers.set(runId, sent = new Map())
      const first = sent.get(name)
      if (first === undefined) sent.set(name, value)
      return first ?? value
    }

    const head = (runId: string): Effect.Effect<Head, StoreError> =>
      Effect.flatMap(store.load(runId), (found) =>
        Option.isSome(found)
          ? Effect.succeed(headOf(found.value.run))
          : Effect.die(new Error(`run "${runId}" is gone`)))

    const claim = (begun: Model.Begun) =>
      Effect.gen(function*() {
        const { deadlineAt, key, parent, payload, runId, version } = begun
        const now = yield* Clock.currentTimeMillis
        const answer = yield* store.begin({
          runId,
          workflow: Model.nameOf(runId),
          key,
          payload,
          version,
          lease,
          maxStalls: Infinity,
          parent: parent ?? undefined,
          deadline: deadlineAt === null ? undefined : Duration.millis(Math.max(0, deadlineAt - now))
        })
        if (answer._tag === "Claimed") tokens.set(runId, answer.token)
        return answer._tag === "Claimed"
      })

    /** Has this engine execute a run that it does not have yet. */
    const takeUp = (begun: Model.Begun) =>
      Effect.flatMap(claim(begun), (claimed) =>
        claimed
          ? Effect.ignore(workflows.execute(Model.workflow(Model.nameOf(begun.runId)), {
            executionId: executionId(begun.runId),
            payload: begun,
            discard: true
          }))
          : Effect.void)

    /** The engine ignores what wakes a run whose execution has not quite ended. */
    const rouse = (runId: string, needed: () => boolean): Effect.Effect<void> =>
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

    const forget = (runId: string) => {
      offers.delete(runId)
      stopped.delete(runId)
      tokens.delete(runId)
      generations.set(runId, (generations.get(runId) ?? 0) + 1)
    }

    return {
      name: "cluster in memory",
      begin: (_, begun) =>
        Effect.gen(function*() {
          const found = yield* store.load(begun.runId)
          const same = Option.isNone(found) || found.value.run.payload === begun.payload
          if (!tokens.has(begun.runId) && same && !stopped.has(begun.runId)) {
            yield* takeUp(Option.match(found, { onNone: () => begun, onSome: ({ run }) => Model.begunOf(run) }))
          }
          return yield* head(begun.runId)
        }),
      resume: ({ run }) =>
        Effect.suspend(() => {
          const { runId } = run
          const again = stopped.delete(runId)
          if (!tokens.has(runId)) return takeUp(Model.begunOf(run))
          return again ? Effect.zipRight(claim(Model.begunOf(run)), rouse(runId, () => true)) : Effect.void
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
        Effect.map(store.list({ status: "running" }), (runs) =>
          runs.filter(({ runId, workflow }) =>
            names.includes(workflow) && (stopped.has(runId) || !tokens.has(runId))
          )
            .map(headOf)),
      deferreds: (runId) => Effect.sync(() => offersOf(runId)),
      mark: (runId, name) => Effect.sync(() => put(runId, name, Model.expiredText)),
      offer: (runId, name, value) =>
        Effect.gen(function*() {
          const first = put(runId, name, value)
          if (first !== value) return first
          unread.add(runId)
          yield* workflows.deferredDone(Model.durable(name), {
            workflowName: Model.nameOf(runId),
            executionId: executionId(runId),
            deferredName: name,
            exit: Exit.succeed(value)
          })
          yield* active.get(runId)?.hear ?? Effect.void
          return value
        }),
      clear: (runId) => Effect.tap(store.clear(runId), (cleared) => Effect.sync(() => cleared && forget(runId))),
      prune: (options) =>
        Effect.gen(function*() {
          const before = yield* store.list()
          const pruned = yield* store.prune(options)
          const left = new Set((yield* store.list()).map((run) => run.runId))
          for (const { runId } of before) if (!left.has(runId)) forget(runId)
          return pruned
        }),
      leaving: Effect.succeed(false),
      wake: (run, clock, started, duration) =>
        Effect.gen(function*() {
          const { runId, workflow } = run
          const now = yield* Clock.currentTimeMillis
          const left = Option.isNone(duration) ? undefined : duration.value
          if (left !== undefined) {
            yield* workflows.scheduleClock(Model.workflow(workflow), {
              executionId: executionId(runId),
              clock: DurableClock.make({ name: clock, duration: left })
            })
          }
          if (started !== undefined) yield* store.start({ token: tokenOf(runId), step: started, wait: left })
          return left === undefined ? Infinity : now + Duration.toMillis(left)
        }),
      // in memory the engine keeps interruptions too, and would give them again
      attempt: () => ++attempts,
      began: (step) => Effect.orDie(Effect.asVoid(store.start({ token: tokenOf(step.runId), step }))),
      saved: (step) => Effect.orDie(store.save({ token: tokenOf(step.runId), step })),
      ended: (runId, { exit, status }) =>
        Effect.zipRight(
          Effect.orDie(store.finish({ runId, token: tokenOf(runId), status, exit })),
          settle(runId)
        ),
      halted: (runId, text) =>
        Effect.suspend(() => {
          stopped.set(runId, text)
          return Effect.zipRight(Effect.orDie(store.release({ runId, token: tokenOf(runId) })), settle(runId))
        }),
      suspending: (runId) => Effect.asVoid(Effect.forkIn(rouse(runId, () => unread.has(runId)), scope))
    }
  })

const none: ReadonlyMap<string, string> = new Map()
