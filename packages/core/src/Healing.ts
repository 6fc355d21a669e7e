/**
 * Watches the health of a program, tries to mend what fails, and calls people when that does not help.
 *
 * Every round runs the checks, applies the remedies of those that fail, asks the checks again, and then, if the status
 * is still bad, climbs a ladder of stronger remedies by status. A remedy has succeeded only when the checks say so.
 * Remedies are bounded by attempts and cooldowns; when they are used up, or too many rounds in a row were bad, people
 * are called once and nothing more is tried until somebody resumes it. The decisions are in
 * `HealingState`, the shell around them in `HealingLoop`.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Escalation from "./Escalation.js"
import * as HealingLoop from "./HealingLoop.js"
import type * as HealingState from "./HealingState.js"
import * as Health from "./Health.js"
import type * as HealthCheck from "./HealthCheck.js"
import * as Check from "./internal/options.js"
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
  readonly checks: Checks & Health.Closed<Checks>
  /** What to try, in order, while a check fails. */
  readonly remedies?: Only<ByCheck, keyof Checks> | undefined
  /** What to try, in order, while the status is as bad as the key or worse. */
  readonly onStatus?: Only<ByStatus, HealingState.Rung> | undefined
  /** Calls people. Tried until it succeeds, each time for at most 30 seconds. By default the log. */
  readonly escalate?: ((escalation: Escalation.Escalation) => Effect.Effect<unknown, unknown, R>) | undefined
  /** Unhealthy or critical rounds in a row after which people are called. Default 5. */
  readonly maxConsecutiveFailures?: number | undefined
  /** Decide and say what would be done, but do nothing. Default false. */
  readonly dryRun?: boolean | undefined
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
  dryRun: false
} as const

/**
 * What a healer has done so far.
 *
 * @since 0.1.0
 * @category models
 */
export type Stats = HealingLoop.Stats

/**
 * A healer: its status, what it did, and the handle to let it go on after it called people.
 *
 * @since 0.1.0
 * @category models
 */
export type Service = HealingLoop.Service

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
  const settings: HealingLoop.Settings<Requirements<Checks, ByCheck, ByStatus, R>> = resolve(options)
  const health = Health.make<Checks>(options.checks)
  return Effect.flatMap(health, (health) => HealingLoop.make(settings, health))
}

/**
 * Watches and heals for as long as the layer lives; provides the `Health` it watches too.
 *
 * @example
 * import * as Escalation from "@firebreak/core/Escalation"
 * import * as Healing from "@firebreak/core/Healing"
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * const pool = { ping: Effect.fail("no connection"), reset: Effect.log("connections reset") }
 *
 * const HealingLive = Healing.layer({
 *   every: "30 seconds",
 *   checks: { connectivity: HealthCheck.make(pool.ping, { critical: true }) },
 *   remedies: { connectivity: [Healing.remedy("reset connections", pool.reset, { attempts: 3, cooldown: "1 minute" })] },
 *   escalate: (escalation) => Effect.logError(Escalation.message(escalation))
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

type AnyOptions = Options<any, Record<string, Remedies>, Record<string, Remedies>, any>

const resolve = (options: AnyOptions): HealingLoop.Settings<any> => {
  Check.known("Healing", options, {
    name: true,
    every: true,
    checks: true,
    remedies: true,
    onStatus: true,
    escalate: true,
    maxConsecutiveFailures: true,
    dryRun: true
  })
  Check.known("Healing.onStatus", options.onStatus ?? {}, { degraded: true, unhealthy: true, critical: true })
  const remedies = Object.entries(options.remedies ?? {}).filter(([, list]) => list !== undefined)
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
      dryRun: options.dryRun ?? defaults.dryRun
    },
    escalate: options.escalate ?? ((escalation) => Effect.logFatal(Escalation.message(escalation)))
  }
}

const rungsInOrder: ReadonlyArray<HealingState.Rung> = ["degraded", "unhealthy", "critical"]
