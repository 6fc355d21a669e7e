import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpServer from "@effect/platform/HttpServer"
import { describe, expect, it } from "@effect/vitest"
import * as Healing from "@firebreak/core/Healing"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as HealthRoutes from "@firebreak/http/HealthRoutes"
import * as HttpHealthCheck from "@firebreak/http/HttpHealthCheck"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"

const pass = HealthCheck.make(Effect.void)
const fail = HealthCheck.make(Effect.fail("postgres://user:secret@db refused"))

const serverOf = (health: Layer.Layer<Health.Health>, options?: HealthRoutes.Options) =>
  HttpServer.serve(HealthRoutes.router(options)).pipe(
    Layer.provide(health),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
    Layer.merge(FetchHttpClient.layer)
  )

const request = (method: "GET" | "HEAD" | "POST", path: string) =>
  Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    if (address._tag !== "TcpAddress") return yield* Effect.dieMessage("no TCP server")
    const response = yield* HttpClient.execute(
      HttpClientRequest.make(method)(`http://127.0.0.1:${address.port}${path}`)
    )
    const body = yield* response.text
    return { status: response.status, headers: response.headers, body: body === "" ? undefined : JSON.parse(body) }
  })

describe("HealthRoutes", () => {
  it.live("GET /livez passes without a look at the checks", () =>
    Effect.gen(function*() {
      const answer = yield* request("GET", "/livez")
      expect(answer).toMatchObject({ status: 200, body: { status: "pass" } })
      expect(answer.headers["content-type"]).toBe("application/health+json")
      expect(answer.headers["cache-control"]).toBe("no-store")
    }).pipe(Effect.provide(serverOf(Health.layer({ stuck: HealthCheck.make(Effect.never) })))))

  it.live("GET /readyz passes while every check does", () =>
    Effect.gen(function*() {
      const answer = yield* request("GET", "/readyz")
      expect(answer).toMatchObject({ status: 200, body: { status: "pass", checks: { a: [{ status: "pass" }] } } })
      expect(answer.body.checks.a[0].time).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
      expect((yield* request("HEAD", "/readyz")).status).toBe(200)
    }).pipe(Effect.provide(serverOf(Health.layer({ a: pass })))))

  it.live("GET /readyz warns while degraded, and keeps the reason to itself", () =>
    Effect.gen(function*() {
      const { body, status } = yield* request("GET", "/readyz")
      expect([status, body.status, body.checks.d[0].status]).toEqual([200, "warn", "fail"])
      expect(JSON.stringify(body)).not.toContain("secret")
    }).pipe(Effect.provide(serverOf(Health.layer({ a: pass, b: pass, c: pass, d: fail })))))

  it.live("GET /readyz is 503 when it is worse than ready, with the reason if that is wanted", () =>
    Effect.gen(function*() {
      const { body, status } = yield* request("GET", "/readyz")
      expect([status, body.status]).toEqual([503, "fail"])
      expect(body.checks.b[0].output).toBe("postgres://user:secret@db refused")
      expect(body.checks.a[0].output).toBeUndefined()
    }).pipe(Effect.provide(serverOf(Health.layer({ a: pass, b: fail }), { details: true }))))

  it.live("`readyWhile` moves the line", () =>
    Effect.gen(function*() {
      expect(yield* request("GET", "/readyz")).toMatchObject({ status: 200, body: { status: "warn" } })
    }).pipe(Effect.provide(serverOf(Health.layer({ a: pass, b: fail }), { readyWhile: "unhealthy" }))))

  it.live("a hung check answers within its timeout", () =>
    Effect.gen(function*() {
      const hung = yield* request("GET", "/readyz")
      expect(hung).toMatchObject({ status: 503, body: { checks: { hung: [{ status: "fail" }] } } })
    }).pipe(
      Effect.provide(serverOf(Health.layer({
        hung: HealthCheck.make(Effect.uninterruptible(Effect.never), { timeout: "50 millis" })
      })))
    ))

  it.live("many that ask at once cause one run of the checks", () => {
    let runs = 0
    const counted = HealthCheck.make(Effect.sync(() => runs++))
    return Effect.gen(function*() {
      yield* Effect.all(Array.from({ length: 50 }, () => request("GET", "/readyz")), { concurrency: "unbounded" })
      expect(runs).toBe(1)
    }).pipe(Effect.provide(serverOf(Health.layer({ counted }), { maxAge: "1 minute" })))
  })

  it.live("serves the health that Healing watches", () =>
    Effect.gen(function*() {
      expect(yield* request("GET", "/readyz")).toMatchObject({ status: 200, body: { checks: { a: [{}] } } })
    }).pipe(Effect.provide(serverOf(Healing.layer({ checks: { a: pass } })))))

  it.live("GET /healthz warns until it is critical, and says who answers", () =>
    Effect.gen(function*() {
      expect(yield* request("GET", "/readyz")).toMatchObject({ status: 503, body: { status: "fail" } })
      const { body, headers, status } = yield* request("GET", "/healthz")
      expect([status, headers["content-type"]]).toEqual([200, "application/health+json"])
      expect(body).toMatchObject({ status: "warn", releaseId: "1.2.2", serviceId: "shop" })
      expect(body.checks.b[0].status).toBe("fail")
      expect(body.version).toBeUndefined()
    }).pipe(Effect.provide(serverOf(Health.layer({ a: pass, b: fail }), {
      service: { releaseId: "1.2.2", serviceId: "shop" }
    }))))

  it.live("GET /healthz is 503 when it is critical, whatever is ready", () =>
    Effect.gen(function*() {
      expect(yield* request("GET", "/readyz")).toMatchObject({ status: 200, body: { status: "warn" } })
      expect(yield* request("GET", "/healthz")).toMatchObject({ status: 503, body: { status: "fail" } })
    }).pipe(Effect.provide(serverOf(Health.layer({ b: fail }), { readyWhile: "critical" }))))

  it.effect("tells what was measured, and what a check fails because of", () =>
    Effect.gen(function*() {
      const health = yield* Health.make({
        queue: HealthCheck.queueDepth(Effect.succeed(1_200), { componentType: "component" }),
        worker: HealthCheck.make(Effect.void, { dependsOn: ["queue"] })
      })
      const report = yield* health.check
      const time = "1970-01-01T00:00:00.000Z"
      expect(HealthRoutes.toBody(report, { details: true }).checks).toEqual({
        queue: [{
          status: "fail",
          componentType: "component",
          time,
          observedValue: 1_200,
          observedUnit: "items",
          output: "queue holds 1200, limit 1000"
        }],
        worker: [{ status: "fail", time, because: ["queue"] }]
      })
      expect(HealthRoutes.toBody(report).checks!["queue"]).toEqual([
        { status: "fail", componentType: "component", time }
      ])
    }).pipe(Effect.scoped))

  it("a failing run below the threshold is a warning", () => {
    const check = { name: "a", critical: false, passing: true, at: 0 }
    const report: Health.Report = {
      status: "healthy",
      checks: [{ ...check, latest: { _tag: "Failed", elapsed: 1, error: "once" } }],
      at: 0
    }
    expect(HealthRoutes.toBody(report)).toEqual({
      status: "pass",
      checks: { a: [{ status: "warn", time: "1970-01-01T00:00:00.000Z" }] }
    })
  })

  it("has the defaults that its page tells", () => {
    const text = readFileSync(new URL("../../../docs/health.md", import.meta.url), "utf8")
    const { details, maxAge, readyWhile } = HealthRoutes.defaults
    expect(text).toContain(`| \`HealthRoutes\`: \`maxAge\` | ${maxAge} |`)
    expect(text).toContain(`| \`readyWhile\` | \`"${readyWhile}"\` |`)
    expect(text).toContain(`| \`details\` | \`${details}\` |`)
    expect(text).toContain(`| \`HttpHealthCheck\`: \`below\` | ${HttpHealthCheck.defaults.below} |`)
  })
})
