/**
 * The sandbox: one HTTP server that stands in for all vendors, each under its own path prefix (`/datadog`,
 * `/prometheus`, `/loki`, `/pagerduty`, `/ecs`, `/elasticache`, `/kubernetes`), over one simulated fleet. What a test
 * needs is under `/_sandbox`: `ledger` (GET), `faults` (GET, PUT, DELETE), `fleet` (GET).
 *
 * Handlers are pure (`Vendor.ts`); here a call becomes: read the body, choose a fault, let the handler change the fleet
 * and write the ledger in one synchronous step, answer.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import { datadog } from "./Datadog.js"
import { ecs } from "./Ecs.js"
import { elasticache } from "./ElastiCache.js"
import * as Faults from "./Faults.js"
import * as Fleet from "./Fleet.js"
import * as FleetFile from "./FleetFile.js"
import { kubernetes } from "./Kubernetes.js"
import * as Ledger from "./Ledger.js"
import { loki } from "./Loki.js"
import { pagerduty } from "./PagerDuty.js"
import { prometheus } from "./Prometheus.js"
import * as Telemetry from "./Telemetry.js"
import * as Vendor from "./Vendor.js"

/**
 * How to run a sandbox; all have defaults.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Where to listen on 127.0.0.1; 0 takes any free port. */
  readonly port?: number | undefined
  /** The file to which ledger lines are appended; without it they are kept in memory alone. */
  readonly ledger?: string | undefined
  /** The file in which the fleet is kept; if it is there, the sandbox goes on from it. */
  readonly state?: string | undefined
  /** Fixes the noise of the fleet and the chance of faults with a `rate`. */
  readonly seed?: number | undefined
}

/**
 * The options' defaults: any free port, seed 1, no ledger file.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { port: 0, seed: 1 } as const

/**
 * The largest request body, in bytes.
 *
 * @since 0.1.0
 * @category options
 */
export const maxBodySize = 1_000_000

/**
 * All vendors.
 *
 * @since 0.1.0
 * @category vendors
 */
export const vendors: ReadonlyArray<Vendor.Vendor> = [
  datadog,
  prometheus,
  loki,
  pagerduty,
  ecs,
  elasticache,
  kubernetes
]

/**
 * A running sandbox. `url` has no slash at its end; a vendor's base URL is `url` + "/" + its name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly url: string
  readonly ledger: Effect.Effect<ReadonlyArray<Ledger.Line>>
  readonly fleet: Effect.Effect<Fleet.Fleet>
  readonly faults: Effect.Effect<ReadonlyArray<Faults.Fault>>
  /** Replaces all faults. */
  readonly setFaults: (faults: ReadonlyArray<Faults.Fault>) => Effect.Effect<void>
}

/**
 * The sandbox that a test runs against.
 *
 * @since 0.1.0
 * @category services
 */
export class Sandbox extends Context.Tag("incident-agent/Sandbox")<Sandbox, Service>() {}

/**
 * Starts a sandbox that serves until the scope closes, when it also drops the calls that still hang.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Sandbox from "./Sandbox.js"
 *
 * export const program = Effect.gen(function*() {
 *   const sandbox = yield* Sandbox.make({ seed: 7 })
 *   yield* sandbox.setFaults([{ vendor: "datadog", kind: "status", status: 503, count: 2 }])
 *   // ... run the agent against sandbox.url
 *   return yield* sandbox.ledger
 * })
 */
export const make: (
  options?: Options
) => Effect.Effect<Service, ServeError | Ledger.LedgerUnavailable | FleetFile.StateUnavailable, Scope.Scope> = Effect
  .fnUntraced(
    function*(options: Options = {}) {
      const seed = options.seed ?? defaults.seed
      const fresh = Fleet.make(seed, yield* Clock.currentTimeMillis)
      const world: World = {
        fleet: options.state === undefined ? fresh : yield* FleetFile.load(options.state, fresh),
        faults: [],
        ledger: yield* Ledger.make(options.ledger),
        random: Random.make(seed),
        keep: (fleet) => {
          world.fleet = fleet
          if (options.state !== undefined) FleetFile.save(options.state, fleet)
        }
      }
      world.keep(world.fleet)
      const node = createServer()
      const server = yield* NodeHttpServer.make(() => node, { host: "127.0.0.1", port: options.port ?? defaults.port })
      yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
      yield* Effect.provideService(HttpServer.serveEffect(router(world)), HttpServer.HttpServer, server)
      return {
        url: server.address._tag === "TcpAddress" ? `http://127.0.0.1:${server.address.port}` : server.address.path,
        ledger: world.ledger.lines,
        fleet: Effect.sync(() => world.fleet),
        faults: Effect.sync(() => world.faults),
        setFaults: (faults) =>
          Effect.sync(() => {
            world.faults = faults
          })
      }
    }
  )

/**
 * A sandbox as a Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options?: Options
): Layer.Layer<Sandbox, ServeError | Ledger.LedgerUnavailable | FleetFile.StateUnavailable> =>
  Layer.scoped(Sandbox, make(options))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface World {
  fleet: Fleet.Fleet
  faults: ReadonlyArray<Faults.Fault>
  readonly ledger: Ledger.Ledger
  readonly random: Random.Random
  /** Makes this the fleet, in the file as well if there is one. */
  readonly keep: (fleet: Fleet.Fleet) => void
}

const router = (world: World) => {
  const ofVendors = vendors.reduce(
    (router, vendor) =>
      vendor.routes()
        .reduce(
          (router, route) =>
            HttpRouter.route(route.method)(router, `/${vendor.name}${route.path}`, serve(world, vendor, route)),
          router
        )
        .pipe(HttpRouter.all(`/${vendor.name}/*`, serve(world, vendor, nowhere(vendor)))),
    HttpRouter.empty as HttpRouter.HttpRouter<never, never>
  )
  return ofVendors.pipe(
    HttpRouter.get("/_sandbox/ledger", Effect.map(world.ledger.lines, (lines) => respond(Vendor.json(200, lines)))),
    HttpRouter.get(
      "/_sandbox/fleet",
      Effect.map(
        Clock.currentTimeMillis,
        (now) => respond(Vendor.json(200, { ...world.fleet, metrics: Telemetry.snapshot(world.fleet, now) }))
      )
    ),
    HttpRouter.get("/_sandbox/faults", Effect.sync(() => respond(Vendor.json(200, world.faults)))),
    HttpRouter.put("/_sandbox/faults", putFaults(world)),
    HttpRouter.del(
      "/_sandbox/faults",
      Effect.sync(() => {
        world.faults = []
        return HttpServerResponse.empty({ status: 204 })
      })
    ),
    HttpRouter.get(
      "/",
      Effect.succeed(respond(Vendor.json(200, { prefixes: [...vendors.map(({ name }) => `/${name}`), "/_sandbox"] })))
    ),
    HttpRouter.all("*", Effect.succeed(respond(Vendor.json(404, { error: "no such path in the sandbox" }))))
  )
}

const nowhere = (vendor: Vendor.Vendor): Vendor.Route => ({
  method: "GET",
  path: "/",
  operation: "unknown",
  handle: (fleet, call) => Vendor.answered(fleet, vendor.refuse(404, "Not Found"), { target: call.params["*"] })
})

const respond = ({ body, contentType, headers, status }: Vendor.Reply) =>
  HttpServerResponse.text(body, { status, contentType, headers: { ...headers } })

// control

const operations = Object.fromEntries(vendors.map(({ name, operations }) => [name, operations])) as Record<
  Vendor.VendorName,
  ReadonlyArray<string>
>

const putFaults = Effect.fnUntraced(function*(world: World) {
  const body = yield* readBody
  const decoded = Either.flatMap(
    Either.fromNullable(body, () => [{ path: "", message: "the body is larger than 1 MB" }] as const),
    (body) => Vendor.decodeJson(Faults.faults(operations), body, { onExcessProperty: "error" })
  )
  if (Either.isLeft(decoded)) {
    const [{ message, path }] = decoded.left
    return respond(
      Vendor.json(400, { error: path === "" ? message : `faults${path}: ${message}`, problems: decoded.left })
    )
  }
  world.faults = decoded.right
  return respond(Vendor.json(200, world.faults))
})

// calls

/**
 * The body, or `undefined` if it is too large: the rest is read and dropped, so that the client can hear the refusal.
 * A client that leaves halfway gets no ledger line.
 */
const readBody: Effect.Effect<string | undefined, never, HttpServerRequest.HttpServerRequest> = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return request.stream.pipe(
      Stream.runForEach((chunk) =>
        Effect.sync(() => {
          size += chunk.byteLength
          if (size <= maxBodySize) chunks.push(chunk)
        })
      ),
      Effect.map(() => size <= maxBodySize ? Buffer.concat(chunks).toString() : undefined),
      Effect.catchAll(() => Effect.interrupt)
    )
  }
)

const serve = (world: World, vendor: Vendor.Vendor, route: Vendor.Route) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = yield* readBody
    const call: Vendor.Call = {
      params: yield* HttpRouter.params,
      query: new URL(request.url, "http://sandbox").searchParams,
      headers: request.headers,
      body: body ?? ""
    }
    const handle: Vendor.Handler = body === undefined
      ? (fleet) => Vendor.answered(fleet, vendor.refuse(413, "The request body is larger than 1 MB"))
      : route.handle
    const operation = typeof route.operation === "string" ? route.operation : route.operation(call)
    const fault = yield* strike(world, { vendor: vendor.name, operation })

    // one synchronous step, so that no interruption and no other call can come between fleet and ledger
    const perform = (carriedOut: boolean, statusOf: (reply: Vendor.Reply) => number) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const outcome = handle(world.fleet, call, now)
        if (carriedOut && outcome.fleet !== world.fleet) world.keep(outcome.fleet)
        world.ledger.append({
          at: new Date(now).toISOString(),
          vendor: vendor.name,
          operation,
          target: outcome.target,
          key: outcome.key ?? call.headers["idempotency-key"] ?? null,
          status: statusOf(outcome.reply),
          effect: carriedOut && outcome.effect
        })
        return outcome.reply
      })
    const answer = perform(true, (reply) => reply.status)
    if (fault === undefined) return respond(yield* answer)

    const after = fault.after === true
    switch (fault.kind) {
      case "status": {
        const status = fault.status ?? 500
        const reply = vendor.refuse(status, messages[status] ?? "Injected fault", fault.retryAfter)
        yield* perform(after, () => reply.status)
        return respond(reply)
      }
      case "latency": {
        const delay = Effect.sleep(fault.ms ?? 0)
        if (after) return respond(yield* Effect.zipLeft(answer, delay))
        yield* Effect.onInterrupt(delay, () => perform(false, () => 0))
        return respond(yield* answer)
      }
      case "hang":
        yield* perform(after, () => 0)
        return yield* Effect.never
      case "reset":
        yield* perform(after, () => 0)
        yield* Effect.sync(() => NodeHttpServerRequest.toIncomingMessage(request).socket.resetAndDestroy())
        return yield* Effect.never
    }
  })

const strike = (world: World, call: { readonly vendor: Vendor.VendorName; readonly operation: string }) =>
  Effect.map(Effect.replicateEffect(world.random.next, world.faults.length), (draws) => {
    const [remaining, struck] = Faults.strike(world.faults, call, draws)
    world.faults = remaining
    return struck
  })

const messages: Readonly<Record<number, string>> = {
  400: "Bad request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  429: "Too many requests",
  500: "Internal server error",
  502: "Bad gateway",
  503: "Service unavailable",
  504: "Gateway timeout"
}
