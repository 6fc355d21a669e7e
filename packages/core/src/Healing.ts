/**
 * Watches the health of a program, tries to mend what fails, and calls people when that does not help.
 *
 * Every round runs the checks, applies the remedies of those that fail, asks the checks again, and then, if the status
 * is still bad, climbs a ladder of stronger remedies by status. A remedy has succeeded only when the checks say so.
 * Remedies are bounded by attempts and cooldowns; when they are used up, or too many rounds in a row were bad, people
 * are called once and nothing more is tried until somebody resumes it. The decisions are in `HealingState`.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Escalation from "./Escalation.js"
import * as Events from "./Events.js"
import * as HealingState from "./HealingState.js"
import * as Health from "./Health.js"
import type * as HealthCheck from "./HealthCheck.js"
import { bounded } from "./internal/bounded.js"
import { closeOver } from "./internal/closeOver.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"
import type * as Remedy from "./Remedy.js"

export {
  /**
   * A bounded attempt to mend something.
   *
   * @since 0.1.0
   * @category constructors
   */
  make as remedy
} from "./Remedy.js"

export {
  /**
   * Owns a scoped program and restarts it.
   *
   * @since 0.1.0
   * @category constructors
   */
  make as restartable
} from "./Restartable.js"

/**
 * Remedies tried in order.
 *
 * @since 0.1.0
 * @category models
 */
export type Remedies = ReadonlyArray<Remedy.Remedy<any>>

/**
 * The type of `Options` with which it does not compile to name a key that is not there.
 *
 * @since 0.1.0
 * @category models
 */
export type Only<Given, Keys extends PropertyKey> =
  & Given
  & {
    readonly [K in Exclude<keyof Given, Keys>]: never
  }

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<
  Checks extends HealthCheck.Checks,
  ByCheck extends { readonly [check: string]: Remedies | undefined },
  ByStatus extends { readonly [status: string]: Remedies | undefined },
  R
> {
  /** Names this loop in events and pages. Default "healing". */
  readonly name?: string | undefined
  /** Time between the end of a round and the next. Default 30 seconds. */
  readonly every?: Duration.DurationInput | undefined
  readonly checks: Checks
  /** What to try, in order, while a check fails. */
  readonly remedies?: Only<ByCheck, keyof Checks> | undefined
  /** What to try, in order, while the status is as bad as the key or worse. */
  readonly onStatus?: Only<ByStatus, HealingState.Rung> | undefined
  /** Calls people. Tried until it succeeds, each time for at most 30 seconds. By default the log. */
  readonly escalate?: ((escalation: Escalation.Escalation) => Effect.Effect<unknown, unknown, R>) | undefined
  /** Unhealthy or critical rounds in a row after which people are called. Default 5. */
  readonly maxConsecutiveFailures?: number | undefined
  /** Decide and say what would be done, but do nothing. Default false. */
  readonly observeOnly?: boolean | undefined
}

/**
 * The book's figures, and those of what it leaves open.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  name: "healing",
  every: "30 seconds",
  maxConsecutiveFailures: 5,
  observeOnly: false,
  history: 100
} as const

/**
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly mode: "healing" | "observing" | "escalated"
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
  /** Runs one round now and returns the report it started from. */
  readonly runOnce: Effect.Effect<Health.Report>
  /** Runs rounds until interrupted. The layer does so by itself. */
  readonly run: Effect.Effect<never>
  /** The checks it watches. */
  readonly health: Health.Service
}

/**
 * The healing of this program.
 *
 * @since 0.1.0
 * @category tags
 */
export class Healing extends Context.Tag("@firebreak/core/Healing")<Healing, Service>() {}

/**
 * Makes a healer that rests until `run` or `runOnce`. What it started is interrupted when the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Checks extends HealthCheck.Checks,
  const ByCheck extends { readonly [check: string]: Remedies | undefined } = {},
  const ByStatus extends { readonly [status: string]: Remedies | undefined } = {},
  R = never
>(
  options: Options<Checks, ByCheck, ByStatus, R>
): Effect.Effect<Service, never, Scope.Scope | Requirements<Checks, ByCheck, ByStatus, R>> => {
  const settings = resolve(options)
  return Effect.gen(function*() {
    const context = yield* Effect.context<Requirements<Checks, ByCheck, ByStatus, R>>()
    const health = yield* Health.make(options.checks)
    const events = yield* Events.Events
    const scope = yield* Effect.scope
    return new Healer(settings, health, events, scope, context)
  })
}

/**
 * Watches and heals for as long as the layer lives; provides the `Health` it watches too.
 *
 * @example
 * import type * as Escalation from "@firebreak/core/Escalation"
 * import * as Healing from "@firebreak/core/Healing"
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * declare const pool: { readonly ping: Effect.Effect<void, Error>; readonly reset: Effect.Effect<void> }
 * declare const page: (escalation: Escalation.Escalation) => Effect.Effect<void, Error>
 *
 * const HealingLive = Healing.layer({
 *   every: "30 seconds",
 *   checks: { connectivity: HealthCheck.make(pool.ping, { critical: true }) },
 *   remedies: { connectivity: [Healing.remedy("reset connections", pool.reset, { attempts: 3, cooldown: "1 minute" })] },
 *   escalate: page
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  const Checks extends HealthCheck.Checks,
  const ByCheck extends { readonly [check: string]: Remedies | undefined } = {},
  const ByStatus extends { readonly [status: string]: Remedies | undefined } = {},
  R = never
>(
  options: Options<Checks, ByCheck, ByStatus, R>
): Layer.Layer<Healing | Health.Health, never, Requirements<Checks, ByCheck, ByStatus, R>> =>
  Layer.scopedContext(
    make(options).pipe(
      Effect.tap((healing) => Effect.forkScoped(healing.run)),
      Effect.map((healing) => Context.add(Context.make(Healing, healing), Health.Health, healing.health))
    )
  )

/**
 * What the checks, the remedies and the escalation of some options require.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements<Checks extends HealthCheck.Checks, ByCheck, ByStatus, R> =
  | HealthCheck.Context<Checks>
  | RemedyContext<ByCheck>
  | RemedyContext<ByStatus>
  | R

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

type RemedyContext<By> = { readonly [K in keyof By]: Remedy.Context<Elements<By[K]>> }[keyof By]
type Elements<A> = A extends ReadonlyArray<infer Element> ? Element : never

interface Settings {
  readonly name: string
  readonly every: number
  readonly config: HealingState.Config<Remedy.Remedy<any>>
  readonly escalate: (escalation: Escalation.Escalation) => Effect.Effect<unknown, unknown, any>
}

type AnyOptions = Options<any, Record<string, Remedies>, Record<string, Remedies>, any>

const resolve = (options: AnyOptions): Settings => {
  const remedies = Object.entries(options.remedies ?? {})
  for (const [check] of remedies) {
    if (!Object.hasOwn(options.checks, check)) {
      throw new Check.InvalidOption(`Healing: remedies are for checks, and there is no ${JSON.stringify(check)}`)
    }
  }
  const ladder = Array.filterMap(
    rungsInOrder,
    (rung) => Option.map(Option.fromNullable(options.onStatus?.[rung]), (list) => [rung, list] as const)
  )
  const byName = new Map<string, Remedy.Remedy<any>>()
  for (const remedy of [...remedies, ...ladder].flatMap(([, list]) => list)) {
    if ((byName.get(remedy.name) ?? remedy) !== remedy) {
      throw new Check.InvalidOption(`Healing: two different remedies are named ${JSON.stringify(remedy.name)}`)
    }
    byName.set(remedy.name, remedy)
  }
  return {
    name: Check.name("Healing", "name", options.name ?? defaults.name),
    every: Check.millis("Healing", "every", options.every ?? defaults.every, { min: 1 }),
    config: {
      remedies: new Map(remedies),
      ladder: new Map(ladder),
      maxConsecutiveFailures: Check.whole(
        "Healing",
        "maxConsecutiveFailures",
        options.maxConsecutiveFailures ?? defaults.maxConsecutiveFailures,
        { min: 1 }
      ),
      observeOnly: options.observeOnly ?? defaults.observeOnly
    },
    escalate: options.escalate ?? ((escalation) => Effect.logFatal(Escalation.message(escalation)))
  }
}

const rungsInOrder: ReadonlyArray<HealingState.Rung> = ["degraded", "unhealthy", "critical"]

type Move = typeof HealingState.step<Remedy.Remedy<any>>

/** Why what a remedy was for is not well: judged by the latest runs, not by the thresholds. */
type Complaint = (report: Health.Report, trigger: string) => string | undefined

const ofCheck: Complaint = (report, trigger) => {
  const check = report.checks.find((check) => check.name === trigger)
  return check?.latest._tag === "Failed" ? `${trigger} still fails: ${check.latest.error}` : undefined
}

const ofStatus: Complaint = (report, trigger) => {
  const status = Health.status(
    report.checks.map(({ critical, latest }) => ({ critical, passing: latest._tag === "Passed" }))
  )
  return Health.isAtLeast(status, trigger as HealingState.Rung) ? `still ${status}` : undefined
}

const remember = <A>(list: Array<A>, item: A): void => {
  list.push(item)
  if (list.length > defaults.history) list.shift()
}

class Healer implements Service {
  private state = HealingState.initial
  private rounds = 0
  private applied = 0
  private succeeded = 0
  private undelivered = 0
  private readonly reports: Array<Health.Report> = []
  private readonly treated: Array<Escalation.Treatment> = []
  private readonly guards = new Map<string, ReturnType<typeof bounded>>()
  private readonly oneAtATime = Effect.unsafeMakeSemaphore(1)

  constructor(
    private readonly settings: Settings,
    readonly health: Health.Service,
    private readonly events: Events.Service,
    private readonly scope: Scope.Scope,
    private readonly context: Context.Context<any>
  ) {}

  readonly status = Effect.sync(() => this.reports.at(-1)?.status ?? "unknown")
  readonly history = Effect.sync(() => Array.copy(this.reports))
  readonly treatments = Effect.sync(() => Array.copy(this.treated))
  readonly stats = Effect.sync((): Stats => ({
    mode: this.state._tag === "Escalated"
      ? "escalated"
      : this.settings.config.observeOnly
      ? "observing"
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
    return this.publish({ _tag: "HealingResumed", name: this.settings.name })
  })

  readonly runOnce: Effect.Effect<Health.Report> = Effect.suspend(() => this.round).pipe(this.oneAtATime.withPermits(1))

  readonly run: Effect.Effect<never> = Effect.suspend(() => this.runOnce).pipe(
    // a round has no failure of its own; this is for the bug that nobody thought of
    Effect.catchAllDefect((defect) => Effect.logError("A healing round died; the loop goes on", defect)),
    Effect.zipRight(Effect.suspend(() => Effect.sleep(this.settings.every))),
    Effect.forever
  )

  private readonly round = Effect.gen(this, function*() {
    const report = yield* this.health.check
    this.rounds++
    remember(this.reports, report)
    const left = yield* this.move(HealingState.step, report, ofCheck)
    yield* this.move(HealingState.climb, left, ofStatus)
    return report
  })

  /** Decides, does it, and returns what the checks say then. */
  private move(decide: Move, report: Health.Report, complaint: Complaint): Effect.Effect<Health.Report> {
    return Effect.gen(this, function*() {
      const now = yield* monotonic
      const [state, actions] = decide(this.settings.config, this.state, report, now)
      this.state = state
      let latest = report
      for (const action of actions) latest = yield* this.perform(action, latest, complaint)
      return latest
    })
  }

  private perform(
    action: HealingState.Action<Remedy.Remedy<any>>,
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

  private apply(action: Step, report: Health.Report, complaint: Complaint): Effect.Effect<Health.Report> {
    return Effect.gen(this, function*() {
      const { attempt, remedy, trigger } = action
      const guard = this.guardOf(remedy)
      if (guard.running()) {
        yield* this.publish(skippedEvent(action, "running"))
        return report
      }
      this.applied++
      yield* this.publish(appliedEvent(action, false))
      const ran = yield* guard.run(closeOver(this.context)(remedy.effect))
      if (Either.isRight(ran)) yield* Effect.sleep(remedy.verifyAfter)
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
    if (dryRun) return event
    const history = Array.copy(this.reports)
    const treatments = Array.copy(this.treated)
    const escalation = { name, reason, consecutiveFailures, report, history, treatments }
    this.undelivered++
    // on its own fiber: while people cannot be reached, the checks go on
    const delivery = Escalation.deliver(escalation, this.settings.escalate).pipe(
      Effect.zipRight(Effect.sync(() => this.undelivered--)),
      Effect.provideService(Events.Events, this.events),
      closeOver(this.context),
      Effect.interruptible
    )
    return Effect.zipRight(event, Effect.asVoid(Effect.forkIn(delivery, this.scope)))
  }

  private guardOf(remedy: Remedy.Remedy<any>): ReturnType<typeof bounded> {
    const guard = this.guards.get(remedy.name) ?? bounded(remedy.timeout)
    this.guards.set(remedy.name, guard)
    return guard
  }

  private publish(event: Events.Event): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (at) => this.events.unsafePublish(event, at))
  }
}

type Step = Extract<HealingState.Action<Remedy.Remedy<any>>, { readonly _tag: "Apply" | "Propose" }>
type Skip = Extract<HealingState.Action<Remedy.Remedy<any>>, { readonly _tag: "Skip" }>

const appliedEvent = ({ attempt, remedy, trigger }: Step, dryRun: boolean): Events.Event => ({
  _tag: "RemedyApplied",
  remedy: remedy.name,
  trigger,
  attempt,
  dryRun
})

const skippedEvent = ({ remedy, trigger }: Step | Skip, reason: Skip["reason"] | "running"): Events.Event => ({
  _tag: "RemedySkipped",
  remedy: remedy.name,
  trigger,
  reason
})

const monotonic: Effect.Effect<number> = Effect.withFiberRuntime((fiber) => Effect.succeed(Time.monotonicMillis(fiber)))
