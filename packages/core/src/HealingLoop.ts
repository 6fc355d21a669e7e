/**
 * The loop of `Healing`: rounds that ask the checks, do what `HealingState` decides, and remember what came of it.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import * as Escalation from "./Escalation.js"
import * as Events from "./Events.js"
import * as HealingState from "./HealingState.js"
import * as HealingStore from "./HealingStore.js"
import * as Health from "./Health.js"
import { bounded } from "./internal/bounded.js"
import { closeOver } from "./internal/closeOver.js"
import * as HealingMemory from "./internal/healingMemory.js"
import type { Tried } from "./internal/healingSnapshot.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"
import type * as Remedy from "./Remedy.js"

/**
 * What a loop is made of; `every` is milliseconds. `Healing` makes it from its options.
 *
 * @since 0.1.0
 * @category options
 */
export interface Settings<out R> {
  readonly name: string
  readonly every: number
  readonly config: HealingState.Config<Remedy.Remedy<R>>
  readonly escalate: (escalation: Escalation.Escalation) => Effect.Effect<unknown, unknown, R>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly mode: "healing" | "dry-run" | "escalated"
  readonly rounds: number
  readonly consecutiveFailures: number
  /** Remedies that ran. */
  readonly applied: number
  /** Those after which the checks passed. */
  readonly succeeded: number
  readonly failed: number
  /** Share of `succeeded` in `applied`, 0 to 1; 0 while none ran. */
  readonly successRate: number
  /** Escalations that have not got through yet. */
  readonly undelivered: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly status: Effect.Effect<Health.Status | "unknown">
  /** The reports of the last 100 rounds, oldest first. */
  readonly history: Effect.Effect<ReadonlyArray<Health.Report>>
  /** The last 100 remedies that ran, oldest first. */
  readonly treatments: Effect.Effect<ReadonlyArray<Escalation.Treatment>>
  readonly stats: Effect.Effect<Stats>
  /** Heals again after an escalation, with fresh attempts; cooldowns go on. */
  readonly resume: Effect.Effect<void>
  /**
   * Sends an escalation marked as a drill down the same path, for at most `within` (default 1 minute), and says whether
   * it got through. It changes nothing in the loop.
   */
  readonly drill: (within?: Duration.DurationInput) => Effect.Effect<Escalation.Drill>
  /** Runs one round now and returns the report it started from. */
  readonly runOnce: Effect.Effect<Health.Report>
  /** Runs rounds until interrupted. The layer does so by itself. */
  readonly run: Effect.Effect<never>
  /** The checks it watches. */
  readonly health: Health.Service
}

/**
 * Makes a loop that rests until `run` or `runOnce`. Escalations that have not got through end with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R>(
  settings: Settings<R>,
  health: Health.Service
): Effect.Effect<Service, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const events = yield* Events.Events
    const scope = yield* Effect.scope
    // what was only proposed does not count when it is to be done
    const store = settings.config.dryRun ? HealingStore.nowhere : yield* HealingStore.HealingStore
    const memory = HealingMemory.make(settings.name, store)
    const healer = new Healer(settings, health, events, scope, memory, yield* Effect.context<R>())
    yield* healer.recall
    return healer
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Reports and treatments that are kept. */
const remembered = 100

type Move<R> = typeof HealingState.step<Remedy.Remedy<R>>

/** Why what a remedy was for is not well: judged by the latest runs, not by the thresholds. */
type Complaint = (report: Health.Report, trigger: string) => string | undefined

const ofCheck: Complaint = (report, trigger) => {
  const check = report.checks.find((check) => check.name === trigger)
  return check?.latest._tag === "Failed" ? `${trigger} still fails: ${check.latest.error}` : undefined
}

const ofStatus: Complaint = (report, trigger) => {
  const status = Health.status(
    report.checks.map(({ because = [], critical, latest }) => ({
      critical,
      passing: latest._tag === "Passed" && !because.some((cause) => ofCheck(report, cause) !== undefined)
    }))
  )
  return Health.isAtLeast(status, trigger as HealingState.Rung) ? `still ${status}` : undefined
}

const remember = <A>(list: Array<A>, item: A): void => {
  list.push(item)
  if (list.length > remembered) list.shift()
}

class Healer<R> implements Service {
  private state = HealingState.initial
  private rounds = 0
  private applied = 0
  private succeeded = 0
  private undelivered = 0
  /** Why people are called, as long as that has not got through. */
  private uncalled: HealingState.Reason | undefined
  private readonly reports: Array<Health.Report> = []
  private readonly treated: Array<Escalation.Treatment> = []
  private readonly guards = new Map<string, ReturnType<typeof bounded>>()
  private readonly oneAtATime = Effect.unsafeMakeSemaphore(1)

  constructor(
    private readonly settings: Settings<R>,
    readonly health: Health.Service,
    private readonly events: Events.Service,
    private readonly scope: Scope.Scope,
    private readonly memory: HealingMemory.HealingMemory,
    private readonly context: Context.Context<R>
  ) {}

  readonly status = Effect.sync(() => this.reports.at(-1)?.status ?? "unknown")
  readonly history = Effect.sync(() => Array.copy(this.reports))
  readonly treatments = Effect.sync(() => Array.copy(this.treated))
  readonly stats = Effect.sync((): Stats => ({
    mode: this.state._tag === "Escalated"
      ? "escalated"
      : this.settings.config.dryRun
      ? "dry-run"
      : "healing",
    rounds: this.rounds,
    consecutiveFailures: this.state.consecutiveFailures,
    applied: this.applied,
    succeeded: this.succeeded,
    failed: this.applied - this.succeeded,
    successRate: this.applied === 0 ? 0 : this.succeeded / this.applied,
    undelivered: this.undelivered
  }))

  readonly resume = Effect.suspend(() => {
    this.state = HealingState.resume(this.state)
    return Effect.zipRight(this.keep, this.publish({ _tag: "HealingResumed", name: this.settings.name }))
  })

  private readonly tried = (): Tried => ({ state: this.state, undelivered: this.uncalled })

  /** Takes up what an earlier process has left, once that can be read. */
  readonly recall = Effect.map(
    Effect.suspend(() => this.memory.recall(this.tried)),
    ({ state, undelivered }) => {
      this.state = state
      this.uncalled = undelivered
    }
  )

  private readonly keep = Effect.suspend(() => this.memory.keep(this.tried))

  readonly drill = (within: Duration.DurationInput = Escalation.defaults.drill): Effect.Effect<Escalation.Drill> => {
    const limit = Duration.millis(Check.millis("Healing", "within", within, { min: 1 }))
    return Effect.gen(this, function*() {
      const report = this.reports.at(-1) ?? (yield* this.health.check)
      const escalation = this.escalationOf({ _tag: "Drill" }, report)
      const drill = yield* closeOver(this.context)(Escalation.drill(escalation, this.settings.escalate, limit))
      yield* this.publish({
        _tag: "EscalationDrilled",
        name: this.settings.name,
        outcome: drill.delivered ? "success" : "failure",
        elapsedMillis: drill.elapsed,
        error: drill.error
      })
      return drill
    })
  }

  readonly runOnce: Effect.Effect<Health.Report> = Effect.suspend(() => this.round).pipe(this.oneAtATime.withPermits(1))

  readonly run: Effect.Effect<never> = Effect.suspend(() => this.runOnce).pipe(
    // a round has no failure of its own; this is for the bug that nobody thought of
    Effect.catchAllDefect((defect) => Effect.logError("A healing round died; the loop goes on", defect)),
    Effect.zipRight(Effect.suspend(() => Effect.sleep(this.settings.every))),
    Effect.forever
  )

  private readonly round = Effect.gen(this, function*() {
    yield* this.recall
    const report = yield* this.health.check
    this.rounds++
    remember(this.reports, report)
    // an earlier process has called people, and nobody knows whether it got through
    if (this.uncalled !== undefined && this.undelivered === 0) yield* this.call(this.uncalled, report)
    const left = yield* this.move(HealingState.step, report, ofCheck)
    yield* this.move(HealingState.climb, left, ofStatus)
    return report
  })

  /** Decides, does it, and returns what the checks say then. */
  private move(decide: Move<R>, report: Health.Report, complaint: Complaint): Effect.Effect<Health.Report> {
    return Effect.gen(this, function*() {
      const now = yield* monotonic
      const [state, actions] = decide(this.settings.config, this.state, report, now)
      this.state = state
      const escalate = actions.find((action) => action._tag === "Escalate")
      if (escalate?.dryRun === false) this.uncalled = escalate.reason
      // an attempt counts before it is made: it may end the process
      yield* this.keep
      let latest = report
      for (const action of actions) latest = yield* this.perform(action, latest, complaint)
      return latest
    })
  }

  private perform(
    action: HealingState.Action<Remedy.Remedy<R>>,
    report: Health.Report,
    complaint: Complaint
  ): Effect.Effect<Health.Report> {
    switch (action._tag) {
      case "Apply":
        return this.apply(action, report, complaint)
      case "Propose":
        return Effect.as(this.publish(appliedEvent(action, true)), report)
      case "Skip":
        return Effect.as(this.publish(skippedEvent(action, action.reason)), report)
      case "Escalate":
        return Effect.as(this.escalate(action.reason, report, action.dryRun), report)
    }
  }

  private apply(action: Step<R>, report: Health.Report, complaint: Complaint): Effect.Effect<Health.Report> {
    return Effect.gen(this, function*() {
      const { attempt, remedy, trigger } = action
      const guard = this.guardOf(remedy)
      if (guard.running()) {
        yield* this.publish(skippedEvent(action, "running"))
        return report
      }
      this.applied++
      this.state = HealingState.begin(this.state, remedy.name, yield* monotonic)
      yield* this.publish(appliedEvent(action, false))
      const ran = yield* guard.run(closeOver(this.context)(remedy.effect))
      // a timer of no time is still one
      if (Either.isRight(ran) && remedy.verifyAfter > 0) yield* Effect.sleep(remedy.verifyAfter)
      const after = yield* this.health.recheck(Health.failing(report))
      const error = Either.isLeft(ran) ? ran.left : complaint(after, trigger)
      const at = yield* Clock.currentTimeMillis
      const treatment = { remedy: remedy.name, trigger, attempt, at }
      if (error === undefined) {
        this.succeeded++
        remember(this.treated, treatment)
        yield* this.publish({ _tag: "RemedyVerified", remedy: remedy.name, trigger, attempt })
      } else {
        remember(this.treated, { ...treatment, error })
        yield* this.publish({ _tag: "RemedyFailed", remedy: remedy.name, trigger, attempt, error })
      }
      return after
    })
  }

  private escalate(reason: HealingState.Reason, report: Health.Report, dryRun: boolean): Effect.Effect<void> {
    const { name } = this.settings
    const { consecutiveFailures } = this.state
    const event = Effect.suspend(() =>
      this.publish({
        _tag: "Escalated",
        name,
        reason: reason._tag === "Exhausted" ? "exhausted" : "too many failures",
        failing: Health.failing(report),
        consecutiveFailures,
        dryRun
      })
    )
    return dryRun ? event : Effect.zipRight(event, this.call(reason, report))
  }

  /** On its own fiber: while people cannot be reached, the checks go on. */
  private call(reason: HealingState.Reason, report: Health.Report): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.undelivered++
      const through = Effect.suspend(() => {
        if (this.uncalled === reason) this.uncalled = undefined
        // whoever closes once all is delivered would have people called again, if the store did not know by then
        return Effect.map(this.keep, () => void this.undelivered--)
      })
      const delivery = Escalation.deliver(this.escalationOf(reason, report), this.settings.escalate).pipe(
        Effect.zipRight(through),
        Effect.provideService(Events.Events, this.events),
        closeOver(this.context),
        Effect.interruptible
      )
      return Effect.asVoid(Effect.forkIn(delivery, this.scope))
    })
  }

  private escalationOf(reason: Escalation.Reason, report: Health.Report): Escalation.Escalation {
    return {
      name: this.settings.name,
      reason,
      consecutiveFailures: this.state.consecutiveFailures,
      report,
      history: Array.copy(this.reports),
      treatments: Array.copy(this.treated)
    }
  }

  private guardOf(remedy: Remedy.Remedy<R>): ReturnType<typeof bounded> {
    const guard = this.guards.get(remedy.name) ?? bounded(remedy.timeout)
    this.guards.set(remedy.name, guard)
    return guard
  }

  private publish(event: Events.Event): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (at) => this.events.unsafePublish(event, at))
  }
}

type Step<R> = Extract<HealingState.Action<Remedy.Remedy<R>>, { readonly _tag: "Apply" | "Propose" }>
type Skip<R> = Extract<HealingState.Action<Remedy.Remedy<R>>, { readonly _tag: "Skip" }>

const appliedEvent = ({ attempt, remedy, trigger }: Step<unknown>, dryRun: boolean): Events.Event => ({
  _tag: "RemedyApplied",
  remedy: remedy.name,
  trigger,
  attempt,
  dryRun
})

const skippedEvent = (
  { remedy, trigger }: Step<unknown> | Skip<unknown>,
  reason: Skip<unknown>["reason"] | "running"
): Events.Event => ({
  _tag: "RemedySkipped",
  remedy: remedy.name,
  trigger,
  reason
})

const monotonic: Effect.Effect<number> = Effect.withFiberRuntime((fiber) => Effect.succeed(Time.monotonicMillis(fiber)))
