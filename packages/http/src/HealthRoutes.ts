/**
 * `/livez` and `/readyz` for load balancers and orchestrators, in the format of the health+json draft.
 *
 * They answer two questions that must not be mixed up. `/livez`: does this process still turn its event loop? It runs no
 * check, for restarting a process because its database is down makes two outages of one. `/readyz`: should it get
 * traffic? That is its `Health`.
 *
 * @since 0.1.0
 * @see https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Health from "@firebreak/core/Health"
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
  /** Whether to tell why a check fails. Default false: such text may name hosts and users. */
  readonly details?: boolean | undefined
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
 * The body of an answer, after the draft. A check that fails but has not failed often enough to count is a `warn`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Body {
  readonly status: Status
  readonly checks?: {
    readonly [name: string]: ReadonlyArray<{
      readonly status: Status
      /** When the check last ran, ISO 8601. */
      readonly time: string
      readonly output?: string
    }>
  }
}

/**
 * The body for a report: `pass` when healthy, `warn` up to `readyWhile`, `fail` beyond.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toBody = (report: Health.Report, options: Options = {}): Body => {
  const { details = defaults.details, readyWhile = defaults.readyWhile } = options
  const ready = Health.isAtLeast(readyWhile, report.status)
  return {
    status: report.status === "healthy" ? "pass" : ready ? "warn" : "fail",
    checks: Object.fromEntries(report.checks.map((check) => {
      const status = !check.passing ? "fail" : check.latest._tag === "Failed" ? "warn" : "pass"
      const output = details && check.latest._tag === "Failed" ? { output: check.latest.error } : {}
      return [check.name, [{ status, time: new Date(check.at).toISOString(), ...output }]]
    }))
  }
}

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
export const readyz = (options: Options = {}): HttpApp.Default<never, Health.Health> =>
  Effect.map(
    Effect.flatMap(Health.Health, (health) => health.current(options.maxAge ?? defaults.maxAge)),
    (report) => respond(toBody(report, options))
  )

/**
 * A router with `GET /livez` and `GET /readyz`, to serve alone or to put beside your own routes.
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
  HttpRouter.empty.pipe(HttpRouter.get("/livez", livez), HttpRouter.get("/readyz", readyz(options)))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const respond = (body: Body): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(body, {
    status: body.status === "fail" ? 503 : 200,
    contentType: "application/health+json",
    headers: { "cache-control": "no-store" }
  })
