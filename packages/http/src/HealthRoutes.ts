/**
 * `/livez`, `/readyz` and `/healthz` for orchestrators, load balancers and monitors, in the format of the health+json
 * draft.
 *
 * They answer questions that must not be mixed up. `/livez`: does this process still turn its event loop? It runs no
 * check, for restarting a process because its database is down makes two outages of one. `/readyz`: should it get
 * traffic? That is its `Health`. `/healthz`: how well is it? It fails only when it is critical, and says who answers.
 *
 * @since 0.1.0
 * @see https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Health from "@firebreak/core/Health"
import * as Check from "@firebreak/core/InvalidOption"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How old an answer may be; so however many ask, checks run no more often. Default 1 second. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** The worst status that still gets traffic. Default "degraded". */
  readonly readyWhile?: Health.Status | undefined
  /** Whether to tell why a check fails and what was measured. Default false: such text may name hosts and users. */
  readonly details?: boolean | undefined
  /** Who answers, told by `/healthz`. Default: nothing. */
  readonly service?: Service | undefined
}

/**
 * What the draft has to say of who answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Of the interface, such as "1". */
  readonly version?: string | undefined
  /** Of the program, such as "1.2.2". */
  readonly releaseId?: string | undefined
  readonly serviceId?: string | undefined
  readonly description?: string | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { maxAge: "1 second", readyWhile: "degraded", details: false } as const

/**
 * The draft's three states.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "pass" | "warn" | "fail"

/**
 * A check after the draft, and what it has no field for. One that fails but has not failed often enough to count is a
 * `warn`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Component {
  readonly status: Status
  readonly componentType?: string
  /** When the check last ran, ISO 8601. */
  readonly time: string
  /** The checks it depends on that make it fail. */
  readonly because?: ReadonlyArray<string>
  /** Only with `details`, as what follows. */
  readonly observedValue?: number
  readonly observedUnit?: string
  /** Why it fails. */
  readonly output?: string
}

/**
 * The body of an answer, after the draft.
 *
 * @since 0.1.0
 * @category models
 */
export interface Body extends Service {
  readonly status: Status
  readonly checks?: { readonly [name: string]: ReadonlyArray<Component> }
}

/**
 * The body for a report: `pass` when healthy, `warn` up to `readyWhile`, `fail` beyond.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toBody = (report: Health.Report, options: Options = {}): Body => bodyOf(report, resolve(options))

/**
 * Answers 200 for as long as the process answers at all.
 *
 * @since 0.1.0
 * @category apps
 */
export const livez: HttpApp.Default = Effect.sync(() => respond({ status: "pass" }))

/**
 * Answers 200 while the program should get traffic (`pass` or `warn`), else 503 (`fail`).
 *
 * @since 0.1.0
 * @category apps
 */
export const readyz = (options: Options = {}): HttpApp.Default<never, Health.Health> => {
  const settings = resolve(options)
  return Effect.map(
    Effect.flatMap(Health.Health, (health) => health.current(settings.maxAge)),
    (report) => respond(bodyOf(report, settings))
  )
}

/**
 * Answers 503 (`fail`) when the program is critical, else 200: `pass` when it is healthy, `warn` when not. `readyWhile`
 * does not move that.
 *
 * @since 0.1.0
 * @category apps
 */
export const healthz = (options: Options = {}): HttpApp.Default<never, Health.Health> => {
  const settings = resolve(options)
  return Effect.map(
    Effect.flatMap(Health.Health, (health) => health.current(settings.maxAge)),
    (report) => respond({ ...options.service, ...bodyOf(report, { ...settings, readyWhile: "unhealthy" }) })
  )
}

/**
 * A router with `GET /livez`, `GET /readyz` and `GET /healthz`, to serve alone or to put beside your own routes.
 *
 * @example
 * import * as HttpRouter from "@effect/platform/HttpRouter"
 * import * as HttpServer from "@effect/platform/HttpServer"
 * import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
 * import * as HealthRoutes from "@firebreak/http/HealthRoutes"
 *
 * const app = HttpRouter.empty.pipe(
 *   HttpRouter.get("/", HttpServerResponse.text("hello")),
 *   HttpRouter.concat(HealthRoutes.router()),
 *   HttpServer.serve()
 * )
 *
 * @since 0.1.0
 * @category routers
 */
export const router = (options: Options = {}): HttpRouter.HttpRouter<never, Health.Health> =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/livez", livez),
    HttpRouter.get("/readyz", readyz(options)),
    HttpRouter.get("/healthz", healthz(options))
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Settings {
  readonly maxAge: number
  readonly readyWhile: Health.Status
  readonly details: boolean
}

const resolve = (options: Options): Settings => {
  Check.known("HealthRoutes", options, {
    maxAge: true,
    readyWhile: { healthy: true, degraded: true, unhealthy: true, critical: true },
    details: true,
    service: true
  })
  return {
    maxAge: Check.millis("HealthRoutes", "maxAge", options.maxAge ?? defaults.maxAge),
    readyWhile: options.readyWhile ?? defaults.readyWhile,
    details: options.details ?? defaults.details
  }
}

const bodyOf = (report: Health.Report, { details, readyWhile }: Settings): Body => {
  const ready = Health.isAtLeast(readyWhile, report.status)
  return {
    status: report.status === "healthy" ? "pass" : ready ? "warn" : "fail",
    checks: Object.fromEntries(report.checks.map((check) => [check.name, [componentOf(check, details)]]))
  }
}

const componentOf = (check: Health.CheckResult, details: boolean): Component => {
  const { at, because, componentType, latest, passing } = check
  const { observed } = latest
  return {
    status: !passing ? "fail" : latest._tag === "Failed" ? "warn" : "pass",
    ...componentType === undefined ? {} : { componentType },
    time: new Date(at).toISOString(),
    ...because === undefined ? {} : { because },
    ...details && observed !== undefined
      ? { observedValue: observed.value, observedUnit: observed.unit }
      : {},
    ...details && latest._tag === "Failed" ? { output: latest.error } : {}
  }
}

const respond = (body: Body): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(body, {
    status: body.status === "fail" ? 503 : 200,
    contentType: "application/health+json",
    headers: { "cache-control": "no-store" }
  })
