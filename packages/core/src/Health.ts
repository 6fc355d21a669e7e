/**
 * How well a program is: its checks run side by side, and one status for all of them.
 *
 * The status is the share of checks that pass (the book's fractions): 1 is healthy, at least 0.75 degraded, at least
 * 0.5 unhealthy, less is critical. A failing check that is marked critical makes the whole critical by itself.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Events from "./Events.js"
import * as HealthCheck from "./HealthCheck.js"
import { closeOver } from "./internal/closeOver.js"
import * as Check from "./internal/options.js"
import * as Time from "./internal/time.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Status = "healthy" | "degraded" | "unhealthy" | "critical"

/**
 * The statuses, best first.
 *
 * @since 0.1.0
 * @category models
 */
export const statuses: ReadonlyArray<Status> = ["healthy", "degraded", "unhealthy", "critical"]

/**
 * Where one check stands. Plain data: it can be sent and stored as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckResult {
  readonly name: string
  readonly critical: boolean
  /** What counts for the status: the latest run, seen through `fall` and `rise`, and what it depends on. */
  readonly passing: boolean
  /** The failing checks that are the cause of this one's failing; absent if it is none but itself. */
  readonly because?: ReadonlyArray<string>
  /** The latest run. Its `elapsed` is milliseconds. */
  readonly latest: HealthCheck.Outcome
  /** When the latest run ended, in milliseconds since the epoch. */
  readonly at: number
  readonly componentType?: string
}

/**
 * The state of all checks at one time. Plain data: it can be sent and stored as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly status: Status
  readonly checks: ReadonlyArray<CheckResult>
  /** When it was made, in milliseconds since the epoch. */
  readonly at: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Runs the checks that are due, side by side, and reports on all. Callers at the same time share one run. */
  readonly check: Effect.Effect<Report>
  /** Runs the named checks now, whatever their interval. */
  readonly recheck: (names: ReadonlyArray<string>) => Effect.Effect<Report>
  /** The last report if it is younger than `maxAge`, else a new one. */
  readonly current: (maxAge: Duration.DurationInput) => Effect.Effect<Report>
  /** The last report, if there is one. Runs nothing. */
  readonly latest: Effect.Effect<Option.Option<Report>>
  /** The last 100 reports of `check`, oldest first. */
  readonly history: Effect.Effect<ReadonlyArray<Report>>
}

/**
 * The health of this program.
 *
 * @since 0.1.0
 * @category tags
 */
export class Health extends Context.Tag("@firebreak/core/Health")<Health, Service>() {}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { history: 100 } as const

/**
 * The status of some checks; no checks are healthy.
 *
 * @since 0.1.0
 * @category decisions
 */
export const status = (
  checks: ReadonlyArray<{ readonly passing: boolean; readonly critical: boolean }>
): Status => {
  if (checks.some((check) => check.critical && !check.passing)) return "critical"
  const share = checks.length === 0 ? 1 : checks.filter((check) => check.passing).length / checks.length
  return share === 1 ? "healthy" : share >= 0.75 ? "degraded" : share >= 0.5 ? "unhealthy" : "critical"
}

/**
 * Whether a status is as bad as another or worse.
 *
 * @since 0.1.0
 * @category decisions
 */
export const isAtLeast = (status: Status, bad: Status): boolean => statuses.indexOf(status) >= statuses.indexOf(bad)

/**
 * Why checks fail that depend on others: for each with a failing check among those it needs, directly or through others,
 * the ones at the root of it, in the order of `checks`. What is named and not there counts as passing.
 *
 * @since 0.1.0
 * @category decisions
 */
export const causes = (
  checks: ReadonlyArray<
    { readonly name: string; readonly passing: boolean; readonly dependsOn: ReadonlyArray<string> }
  >
): ReadonlyMap<string, ReadonlyArray<string>> => {
  const byName = new Map(checks.map((check) => [check.name, check]))
  const roots = new Map<string, ReadonlySet<string>>()
  const rootsOf = (name: string): ReadonlySet<string> => {
    const known = roots.get(name)
    if (known !== undefined) return known
    // for a circle, which `make` refuses: it ends here
    roots.set(name, new Set())
    const found = new Set<string>()
    for (const needed of byName.get(name)?.dependsOn ?? []) {
      const deeper = rootsOf(needed)
      for (const root of deeper) found.add(root)
      if (deeper.size === 0 && byName.get(needed)?.passing === false) found.add(needed)
    }
    roots.set(name, found)
    return found
  }
  const found = checks.map(({ name }) => [name, rootsOf(name)] as const).filter(([, roots]) => roots.size > 0)
  const names = checks.map(({ name }) => name)
  return new Map(found.map(([name, roots]) => [name, names.filter((name) => roots.has(name))]))
}

/**
 * The type of some checks with which it does not compile to depend on one that is not there, or on itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Closed<Checks extends HealthCheck.Checks> = {
  readonly [K in keyof Checks]: Checks[K] extends HealthCheck.HealthCheck<any, infer D>
    ? string extends D ? unknown : [D] extends [Exclude<keyof Checks, K>] ? unknown : never
    : never
}

/**
 * The names of the checks that fail.
 *
 * @since 0.1.0
 * @category decisions
 */
export const failing = (report: Report): ReadonlyArray<string> =>
  report.checks.filter((check) => !check.passing).map((check) => check.name)

/**
 * A report in one line, as the book prints it: `3/4 checks passing`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const message = (report: Report): string => {
  const total = report.checks.length
  const passing = total - failing(report).length
  return passing === total ? "All systems operational" : `${passing}/${total} checks passing`
}

/**
 * Makes the health of some checks. A run in flight when the scope closes is interrupted. Throws if a check depends on one
 * that is not there, or, through others, on itself.
 *
 * @example
 * import * as Health from "@firebreak/core/Health"
 * import * as HealthCheck from "@firebreak/core/HealthCheck"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const health = yield* Health.make({
 *     memory: HealthCheck.heap({ below: 0.9, limit: 512 * 1024 * 1024 }),
 *     database: HealthCheck.make(Effect.succeed("PONG"), { critical: true })
 *   })
 *   const report = yield* health.check
 *   return report.status
 * }).pipe(Effect.scoped)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Checks extends HealthCheck.Checks>(
  checks: Checks & Closed<Checks>
): Effect.Effect<Service, never, Scope.Scope | HealthCheck.Context<Checks>> => {
  refuseCircles(checks)
  return Effect.gen(function*() {
    const events = yield* Events.Events
    const context = yield* Effect.context<HealthCheck.Context<Checks>>()
    const probes = yield* Effect.forEach(
      Object.entries<HealthCheck.HealthCheck<HealthCheck.Context<Checks>>>(checks),
      ([name, check]) => probeOf(name, { ...check, effect: closeOver(context)(check.effect) })
    )
    const history: Array<Report> = []
    let latest: { readonly report: Report; readonly at: number } | undefined
    let flight: Deferred.Deferred<Report> | undefined

    const runAll = (due: (probe: Probe, now: number) => boolean) =>
      Effect.withFiberRuntime<Report>((fiber) => {
        const now = Time.monotonicMillis(fiber)
        const asked = probes.filter((probe) => due(probe, now))
        // one alone needs no fiber beside this one
        const concurrency = asked.length === 1 ? 1 : "unbounded"
        return Effect.forEach(asked, ({ run }) => run, { concurrency, discard: true }).pipe(
          Effect.zipRight(Effect.withFiberRuntime<Report>((fiber) => {
            const report = reportOf(probes, Time.wallMillis(fiber))
            latest = { report, at: Time.monotonicMillis(fiber) }
            return Effect.succeed(report)
          }))
        )
      })

    const round = Effect.tap(
      runAll((probe, now) => probe.isDue(now)),
      (report) => {
        history.push(report)
        if (history.length > defaults.history) history.shift()
        const failed = failing(report)
        const total = report.checks.length
        const event = { status: report.status, passing: total - failed.length, total, failed }
        events.unsafePublish({ _tag: "HealthChecked", ...event }, report.at)
      }
    )

    let running: Fiber.RuntimeFiber<Report> | undefined
    yield* Effect.addFinalizer(() => running === undefined ? Effect.void : Fiber.interrupt(running))

    // a round runs on its own fiber, so that no caller's interruption fails the others that share it
    const check = Effect.uninterruptibleMask((restore) => {
      if (flight !== undefined) return restore(Deferred.await(flight))
      const deferred = Deferred.unsafeMake<Report>(FiberId.none)
      flight = deferred
      return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(round)), (fiber) => {
        running = fiber
        fiber.addObserver((exit) => {
          running = undefined
          flight = undefined
          Deferred.unsafeDone(deferred, exit)
        })
        return restore(Deferred.await(deferred))
      })
    })

    return {
      check,
      recheck: (names) => runAll((probe) => names.includes(probe.name)),
      current: (maxAge) => {
        const millis = Check.millis("Health", "maxAge", maxAge)
        return Effect.withFiberRuntime((fiber) =>
          latest !== undefined && Time.monotonicMillis(fiber) - latest.at < millis
            ? Effect.succeed(latest.report)
            : check
        )
      },
      latest: Effect.sync(() => Option.map(Option.fromNullable(latest), ({ report }) => report)),
      history: Effect.sync(() => Array.copy(history))
    }
  })
}

/**
 * Provides `Health` of some checks. Nothing runs until somebody asks; `Healing.layer` also asks by itself.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const Checks extends HealthCheck.Checks>(
  checks: Checks & Closed<Checks>
): Layer.Layer<Health, never, HealthCheck.Context<Checks>> => Layer.scoped(Health, make<Checks>(checks))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** A check at work: when it last ran, and where it stands. */
interface Probe {
  readonly name: string
  readonly isDue: (now: number) => boolean
  readonly dependsOn: ReadonlyArray<string>
  readonly run: Effect.Effect<void>
  /** Seen through its thresholds, but not through what it depends on. */
  readonly result: () => CheckResult | undefined
}

const probeOf = Effect.fnUntraced(function*(name: string, check: HealthCheck.HealthCheck) {
  const runner = yield* HealthCheck.runner(check)
  const oneAtATime = yield* Effect.makeSemaphore(1)
  let standing: HealthCheck.Standing | undefined
  let result: CheckResult | undefined
  let ranAt = -Infinity
  const { componentType, critical } = check
  const kind = componentType === undefined ? undefined : { componentType }
  const settle = (latest: HealthCheck.Outcome) =>
    Effect.withFiberRuntime<void>((fiber) => {
      standing = HealthCheck.observe(check, standing, latest._tag === "Passed")
      result = { name, critical, passing: standing.passing, latest, at: Time.wallMillis(fiber), ...kind }
      ranAt = Time.monotonicMillis(fiber)
      return Effect.void
    })
  const probe: Probe = {
    name,
    dependsOn: check.dependsOn,
    isDue: (now) => now - ranAt >= check.interval,
    run: oneAtATime.withPermits(1)(Effect.flatMap(runner, settle)),
    result: () => result
  }
  return probe
})

const reportOf = (probes: ReadonlyArray<Probe>, at: number): Report => {
  const own = Array.filterMap(probes, (probe) => Option.fromNullable(probe.result()))
  const checks = probes.some(({ dependsOn }) => dependsOn.length > 0) ? explained(probes, own) : own
  return { status: status(checks), checks, at }
}

const explained = (probes: ReadonlyArray<Probe>, own: ReadonlyArray<CheckResult>): ReadonlyArray<CheckResult> => {
  const dependsOn = new Map(probes.map((probe) => [probe.name, probe.dependsOn]))
  const because = causes(own.map(({ name, passing }) => ({ name, passing, dependsOn: dependsOn.get(name) ?? [] })))
  return own.map((check) => {
    const roots = because.get(check.name)
    return roots === undefined ? check : { ...check, passing: false, because: roots }
  })
}

const refuseCircles = (checks: HealthCheck.Checks): void => {
  const seen = new Set<string>()
  const visit = (name: string, path: ReadonlyArray<string>): void => {
    if (path.includes(name)) {
      const circle = [...path.slice(path.indexOf(name)), name].join(" > ")
      throw new Check.InvalidOption(`Health: checks must not depend on themselves, got ${circle}`)
    }
    if (seen.has(name)) return
    seen.add(name)
    for (const needed of checks[name]!.dependsOn) {
      if (!Object.hasOwn(checks, needed)) {
        throw new Check.InvalidOption(
          `Health: dependsOn must name checks, and for ${JSON.stringify(name)} there is no ${JSON.stringify(needed)}`
        )
      }
      visit(needed, [...path, name])
    }
  }
  for (const name of Object.keys(checks)) visit(name, [])
}
