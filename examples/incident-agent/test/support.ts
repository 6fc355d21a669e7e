/**
 * The agent's world in memory: the sandbox's fleet, vendors and faults without its server, so that the whole agent runs
 * under TestClock. Only AWS is a stand-in of its own: its SDK brings its own HTTP and its own clock.
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { afterAll, beforeAll, vi } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Events from "@firebreak/core/Events"
import * as Idempotency from "@firebreak/core/Idempotency"
import { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { CacheAdmin } from "../src/CacheAdmin.js"
import * as Paging from "../src/Paging.js"
import * as Faults from "../src/sandbox/Faults.js"
import * as Fleet from "../src/sandbox/Fleet.js"
import type * as Ledger from "../src/sandbox/Ledger.js"
import { vendors } from "../src/sandbox/Sandbox.js"
import * as Vendor from "../src/sandbox/Vendor.js"
import * as Spool from "../src/Spool.js"
import { VendorError } from "../src/VendorError.js"
import * as Kubernetes from "../src/vendors/Kubernetes.js"
import * as VendorCall from "../src/vendors/VendorCall.js"
import * as VendorConfig from "../src/vendors/VendorConfig.js"
import * as VendorParts from "../src/vendors/VendorParts.js"

/** When the fleet starts, its troubles five minutes old: milliseconds since the epoch. */
export const start = Date.UTC(2024, 0, 11, 9, 30)

/** A line of the sandbox's ledger, with `at` in milliseconds since the start. */
export type Call = Omit<Ledger.Line, "at"> & { readonly at: number }

/** What a test sees of the world, and does to it. */
export interface Service {
  fleet: Fleet.Fleet
  /** As the sandbox takes them; all strike with certainty. */
  faults: ReadonlyArray<Faults.Fault>
  readonly calls: Array<Call>
  readonly events: Array<Events.Published>
  readonly spool: Spool.Spool
}

export class World extends Context.Tag("test/World")<World, Service>() {}

/** The world with an event bus that records into it. Sets the clock to `start`. */
export const layerWorld = (seed = 1): Layer.Layer<World> =>
  Layer.effect(
    World,
    Effect.gen(function*() {
      yield* TestClock.setTime(start)
      const world: Service = {
        fleet: Fleet.make(seed, start),
        faults: [],
        calls: [],
        events: [],
        spool: Spool.inMemory()
      }
      const events = yield* Events.Events
      events.unsafeListen((event) => void world.events.push(event))
      return world
    })
  ).pipe(Layer.provideMerge(Events.layer))

/** One process of the agent over the world: protections, clients, paging. Its stores are `layerStores`. */
export const layerAgent = Layer.mergeAll(
  Layer.unwrapEffect(Effect.map(World, ({ spool }) => Paging.layer(spool))),
  Kubernetes.layer,
  Layer.effect(CacheAdmin, Effect.suspend(() => cacheAdmin))
).pipe(Layer.provideMerge(Layer.mergeAll(
  VendorParts.layer(),
  VendorConfig.layer("http://world"),
  Layer.effect(HttpClient.HttpClient, Effect.map(World, (world) => client(world)))
)))

/** The agent's memory, for as many processes as are to share it. */
export const layerStores = Layer.merge(Checkpoint.layerMemory, Idempotency.layerMemory)

/** What a process of the agent has of its own over shared stores: all of it, what is in flight included, dies with it. */
export const layerProcess = Layer.merge(
  layerAgent,
  Layer.scoped(
    IdempotencyStore,
    Effect.zipWith(IdempotencyStore, Effect.scope, (store, scope) => ({ ...store, scope }))
  )
)

/** All of it, for tests of a single process. */
export const layer = (seed?: number) => Layer.provideMerge(Layer.merge(layerAgent, layerStores), layerWorld(seed))

/**
 * Between any two sleepers TestClock lets three timers of a millisecond pass, for what else is going on to settle. An
 * hour has thousands of sleepers; turns of the event loop do as well.
 */
export const quickTurns = (): void => {
  const { setTimeout } = globalThis
  beforeAll(() => {
    vi.stubGlobal(
      "setTimeout",
      (run: () => void, millis: number) => millis === 0 ? setImmediate(run) : setTimeout(run, millis)
    )
  })
  afterAll(() => void vi.unstubAllGlobals())
}

/** Runs the effect to its end, moving the clock along. */
export const toTheEnd = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* turnsUntilDone(fiber)
    return yield* Fiber.join(fiber)
  })

/** Moves the clock along until the fiber has ended, a quarter of a second at a time. */
export const turnsUntilDone = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, turn: Duration.DurationInput = "250 millis") =>
  Effect.repeat(TestClock.adjust(turn), { until: () => Effect.map(Fiber.poll(fiber), Option.isSome) })

/** A source of chance that is the same on every run. */
export const seeded = (seed: number | string) => Effect.withRandom(Random.make(seed))

/** The events of one tag. */
export const eventsOf = <Tag extends keyof Events.Catalog>(world: Service, tag: Tag): ReadonlyArray<Events.Of<Tag>> =>
  world.events.filter((event): event is Events.Of<Tag> => event._tag === tag)

/** The calls to a vendor, or to one of its operations. */
export const callsTo = (world: Service, vendor: Vendor.VendorName, operation?: string): ReadonlyArray<Call> =>
  world.calls.filter((call) => call.vendor === vendor && (operation === undefined || call.operation === operation))

/** The operations that changed something, in order. */
export const effects = (world: Service): ReadonlyArray<string> =>
  world.calls.filter(({ effect }) => effect).map(({ operation }) => operation)

// -----------------------------------------------------------------------------
// internal: what the sandbox's server does, without the server
// -----------------------------------------------------------------------------

interface Request {
  readonly vendor: Vendor.VendorName
  readonly operation: string
  readonly handle: (fleet: Fleet.Fleet, now: number) => Vendor.Outcome
  readonly refuse: Vendor.Vendor["refuse"]
}

/** Carries out a call, or what a fault makes of it: none is the answer to a connection that was reset. */
const perform = (world: Service, { handle, operation, refuse, vendor }: Request) =>
  Effect.gen(function*() {
    const [faults, fault] = Faults.strike(world.faults, { vendor, operation }, [])
    world.faults = faults
    const carryOut = (really: boolean, status: (reply: Vendor.Reply) => number) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const { effect, fleet, key, reply, target } = handle(world.fleet, now)
        if (really) world.fleet = fleet
        const line = { vendor, operation, target, key, status: status(reply), effect: really && effect }
        world.calls.push({ at: now - start, ...line })
        return Option.some(reply)
      })
    const after = fault?.after === true
    switch (fault?.kind) {
      case undefined:
        return yield* carryOut(true, ({ status }) => status)
      case "status": {
        const reply = refuse(fault?.status ?? 500, "scripted", fault?.retryAfter)
        yield* carryOut(after, () => reply.status)
        return Option.some(reply)
      }
      case "latency": {
        const answer = carryOut(true, ({ status }) => status)
        const delay = Effect.sleep(fault?.ms ?? 0)
        return yield* after ? Effect.zipLeft(answer, delay) : Effect.zipRight(delay, answer)
      }
      case "hang":
        yield* carryOut(after, () => 0)
        return yield* Effect.never
      case "reset":
        yield* carryOut(after, () => 0)
        return Option.none<Vendor.Reply>()
    }
  })

const client = (world: Service): HttpClient.HttpClient =>
  HttpClient.make((request, url) => {
    const [, prefix = "", ...rest] = url.pathname.split("/")
    const vendor = vendors.find(({ name }) => name === prefix)!
    const path = `/${rest.join("/")}`
    for (const route of vendor.routes()) {
      const params = request.method === route.method ? match(route.path, path) : undefined
      if (params === undefined) continue
      const call = { params, query: url.searchParams, headers: request.headers, body: bodyOf(request) }
      const operation = typeof route.operation === "string" ? route.operation : route.operation(call)
      const handle = (fleet: Fleet.Fleet, now: number) => route.handle(fleet, call, now)
      return Effect.flatMap(
        perform(world, { vendor: vendor.name, operation, handle, refuse: vendor.refuse }),
        Option.match({
          onNone: () =>
            Effect.fail(
              new HttpClientError.RequestError({ request, reason: "Transport", description: "connection reset" })
            ),
          onSome: ({ body, contentType, headers, status }) =>
            Effect.succeed(HttpClientResponse.fromWeb(
              request,
              new Response(body, { status, headers: { "content-type": contentType, ...headers } })
            ))
        })
      )
    }
    return Effect.dieMessage(`no vendor answers ${request.method} ${url}`)
  })

const match = (template: string, path: string): Readonly<Record<string, string>> | undefined =>
  new RegExp(`^${template.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`).exec(path)?.groups ??
    (template === path ? {} : undefined)

const bodyOf = ({ body }: HttpClientRequest.HttpClientRequest): string =>
  body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : ""

const cacheAdmin: Effect.Effect<Context.Tag.Service<CacheAdmin>, never, World | VendorParts.Parts<"aws">> = Effect.gen(
  function*() {
    const world = yield* World
    const context = yield* Effect.context<VendorParts.Parts<"aws">>()
    const protect = VendorCall.make(VendorParts.Aws)
    const protectOnce = VendorCall.make(VendorParts.Aws, "once")
    const call = <A>(
      operation: string,
      handle: (fleet: Fleet.Fleet, now: number) => Pick<Vendor.Outcome, "fleet" | "effect"> & { readonly answer: A }
    ): Effect.Effect<A, VendorError> =>
      perform(world, {
        vendor: "elasticache",
        operation,
        handle: (fleet, now) => {
          const { answer, ...outcome } = handle(fleet, now)
          return { ...outcome, target: null, key: null, reply: Vendor.json(200, answer) }
        },
        refuse: (status, message, retryAfter) => Vendor.json(status, { message, retryAfter })
      }).pipe(
        Effect.flatMap((reply): Effect.Effect<A, VendorError> => {
          if (Option.isNone(reply)) return failure(operation, { kind: "unavailable", detail: "connection reset" })
          const { body, status } = reply.value
          const answer = JSON.parse(body)
          if (status === 200) return Effect.succeed(answer)
          const kind = status === 429 ? "throttled" : status >= 500 ? "unavailable" : "refused"
          return failure(operation, {
            kind,
            status,
            detail: answer.message,
            ...(answer.retryAfter !== undefined && { retryAfterMillis: answer.retryAfter * 1_000 })
          })
        }),
        (operation === "rebootCacheCluster" ? protectOnce : protect)(operation),
        Effect.provide(context)
      )
    return {
      reboot: ({ cluster }) =>
        call("rebootCacheCluster", (fleet, now) => ({
          fleet: Fleet.step(fleet, { _tag: "RebootCache", cluster, nodes: ["0001"] }, now),
          effect: true,
          answer: cluster
        })),
      rebootedSince: ({ at, cluster }) =>
        Effect.map(
          call("describeEvents", (fleet) => ({
            fleet,
            effect: false,
            answer: Fleet.cacheNamed(fleet, cluster)?.reboots.some((reboot) => reboot.at >= at) === true
          })),
          (rebooted) => rebooted ? Option.some(cluster) : Option.none()
        )
    }
  }
)

const failure = (
  operation: string,
  fields: Pick<VendorError, "kind" | "status" | "detail" | "retryAfterMillis">
): Effect.Effect<never, VendorError> => Effect.fail(new VendorError({ vendor: "aws", operation, ...fields }))
