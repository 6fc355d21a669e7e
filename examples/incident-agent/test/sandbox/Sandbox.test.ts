/** The sandbox over real HTTP. The fleet's clock is the TestClock, so a rollout takes no time here. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Sandbox from "../../src/sandbox/Sandbox.js"

const start = 1_700_000_000_000
const keys = { "dd-api-key": "a", "dd-application-key": "b" }
const monitors = "/datadog/api/v1/monitor/search?query=status:Alert"
const enqueue = "/pagerduty/v2/enqueue"
const page = JSON.stringify({
  routing_key: "0".repeat(32),
  event_action: "trigger",
  dedup_key: "INC-1",
  payload: { summary: "s", source: "payment-api", severity: "critical" }
})

const sandbox = (options?: Sandbox.Options) => Effect.zipRight(TestClock.setTime(start), Sandbox.make(options))

const send = (url: string, init: RequestInit = {}) =>
  Effect.tryPromise(async (signal) => {
    const response = await fetch(url, { signal, headers: keys, ...init })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text }
  })

/** One turn of Node's event loop, so that sockets come forward. */
const turn = Effect.promise(() => new Promise(setImmediate))

const until = <A>(question: Effect.Effect<A>, holds: (answer: A) => boolean): Effect.Effect<A> =>
  Effect.flatMap(
    Effect.zipRight(turn, question),
    (answer) => holds(answer) ? Effect.succeed(answer) : until(question, holds)
  )

/** Lets the fleet's time pass until the call has ended. */
const whileTimePasses = <A, E>(call: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(call)
    const clock = yield* Effect.fork(
      Effect.forever(Effect.zipRight(TestClock.adjust("10 seconds"), turn))
    )
    return yield* Effect.ensuring(Fiber.join(fiber), Fiber.interrupt(clock))
  })

const ledgerOf = (service: Sandbox.Service) =>
  Effect.map(service.ledger, (lines) => lines.map(({ at, ...line }) => (expect(at).toBeTypeOf("string"), line)))

describe("Sandbox", () => {
  it.scoped("lists its prefixes at its root", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      const { status, text } = yield* send(`${service.url}/`)
      expect(status).toBe(200)
      expect(JSON.parse(text)).toEqual({
        prefixes: [...Sandbox.vendors.map(({ name }) => `/${name}`), "/_sandbox"]
      })
    }))

  it.scoped("names a state file that is damaged, and says what to do about it", () =>
    Effect.gen(function*() {
      const state = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "sandbox-")), "fleet.json")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(Path.dirname(state), { recursive: true })))
      Fs.writeFileSync(state, "{\"workloads\":")
      const { message } = yield* Effect.flip(sandbox({ state }))
      expect(message).toContain(state)
      expect(message).toMatch(/; delete it to begin with a fresh fleet$/)
    }))

  it.scoped("answers each vendor under its prefix and writes every call to the ledger", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      expect((yield* send(service.url + monitors)).status).toBe(200)
      expect((yield* send(`${service.url}/datadog/api/v9/nothing`)).text).toBe("{\"errors\":[\"Not Found\"]}")
      expect((yield* send(service.url + enqueue, { method: "POST", body: page })).status).toBe(202)
      expect(
        (yield* send(service.url + enqueue, { method: "POST", body: page, headers: { "idempotency-key": "i" } })).status
      )
        .toBe(202)
      const line = { vendor: "pagerduty", operation: "enqueue", target: "payment-api", key: "INC-1", status: 202 }
      expect(yield* ledgerOf(service)).toEqual([
        {
          vendor: "datadog",
          operation: "searchMonitors",
          target: "status:Alert",
          key: null,
          status: 200,
          effect: false
        },
        { vendor: "datadog", operation: "unknown", target: "api/v9/nothing", key: null, status: 404, effect: false },
        { ...line, effect: true },
        { ...line, effect: false }
      ])
    }))

  it.scoped("has the ledger line in the file before the answer leaves", () =>
    Effect.gen(function*() {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sandbox-"))),
        (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
      )
      const ledger = Path.join(directory, "ledger")
      const { url } = yield* sandbox({ ledger })
      yield* send(url + enqueue, { method: "POST", body: page })
      const [line = "", ...rest] = Fs.readFileSync(ledger, "utf8").split("\n")
      expect(JSON.parse(line)).toMatchObject({ at: "2023-11-14T22:13:20.000Z", vendor: "pagerduty", effect: true })
      expect(rest).toEqual([""])
    }))

  it.scoped("says which ledger it cannot open", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Sandbox.make({ ledger: "/nowhere/ledger" }))
      expect(error).toMatchObject({ _tag: "LedgerUnavailable", message: expect.stringContaining("/nowhere/ledger") })
    }))

  it.scoped("refuses a body over 1 MB, chunked or not, and stays up", () =>
    Effect.gen(function*() {
      const { url } = yield* sandbox()
      const body = "x".repeat(Sandbox.maxBodySize + 1)
      const stream = () => new Response(body).body
      expect((yield* send(url + enqueue, { method: "POST", body })).status).toBe(413)
      const chunked = { method: "POST", body: stream(), duplex: "half" } as const
      expect((yield* send(url + enqueue, chunked)).status).toBe(413)
      expect((yield* send(url + monitors)).status).toBe(200)
    }))

  it.scoped("lets the fleet get better only after both fixes", () =>
    Effect.gen(function*() {
      const { url } = yield* sandbox()
      const errorRate = Effect.map(
        send(
          `${url}/prometheus/api/v1/query?query=${encodeURIComponent("service_error_rate{service=\"payment-api\"}")}`
        ),
        ({ text }): number => Number(JSON.parse(text).data.result[0].value[1])
      )
      const deployment = `${url}/kubernetes/apis/apps/v1/namespaces/production/deployments/payment-api`
      const signed = `AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=${"0".repeat(64)}`
      const annotations = { "kubectl.kubernetes.io/restartedAt": "2024-01-11T00:00:00Z" }
      expect(yield* errorRate).toBeGreaterThan(0.04)
      yield* send(deployment, {
        method: "PATCH",
        headers: { authorization: "Bearer t", "content-type": "application/strategic-merge-patch+json" },
        body: JSON.stringify({ spec: { template: { metadata: { annotations } } } })
      })
      yield* TestClock.adjust("1 second")
      expect(yield* errorRate).toBeGreaterThan(0.01)
      yield* send(`${url}/elasticache/`, {
        method: "POST",
        headers: { authorization: signed, "content-type": "application/x-www-form-urlencoded" },
        body: "Action=RebootCacheCluster&CacheClusterId=payment-api-cache&CacheNodeIdsToReboot.CacheNodeId.1=0001"
      })
      yield* TestClock.adjust("1 second")
      expect(yield* errorRate).toBeLessThan(0.01)
    }))
})

describe("Sandbox faults", () => {
  it.scoped("are set, shown and removed over HTTP", () =>
    Effect.gen(function*() {
      const { url } = yield* sandbox()
      const faults = [{ vendor: "loki", operation: "queryRange", kind: "reset", after: true }]
      const put = yield* send(`${url}/_sandbox/faults`, { method: "PUT", body: JSON.stringify(faults) })
      expect([put.status, JSON.parse(put.text)]).toEqual([200, faults])
      expect(JSON.parse((yield* send(`${url}/_sandbox/faults`)).text)).toEqual(faults)
      expect((yield* send(`${url}/_sandbox/faults`, { method: "DELETE" })).status).toBe(204)
      expect((yield* send(`${url}/_sandbox/faults`)).text).toBe("[]")
    }))

  it.scoped("are refused with the name of the field", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      const refusal = (body: string) =>
        Effect.map(send(`${service.url}/_sandbox/faults`, { method: "PUT", body }), ({ status, text }) => {
          expect(status).toBe(400)
          return JSON.parse(text).error
        })
      const fault = { vendor: "datadog", kind: "hang" }
      const refusalOf = (change: object) => refusal(JSON.stringify([fault, { ...fault, ...change }]))
      expect(yield* refusalOf({ vendor: "data" })).toMatch(/^faults\[1\]\.vendor: Expected "datadog" or "prometheus"/)
      expect(yield* refusalOf({ operation: "fly" })).toMatch(/^faults\[1\]\.operation: Expected one of queryMetrics/)
      expect(yield* refusalOf({ kind: "status" })).toBe("faults[1].status: is missing")
      expect(yield* refusalOf({ rate: 2 })).toMatch(/^faults\[1\]\.rate: /)
      expect(yield* refusalOf({ retryafter: 1 })).toMatch(/^faults\[1\]\.retryafter: is unexpected/)
      expect(yield* refusal("[")).toBe("the body is not JSON")
      expect(yield* service.faults).toEqual([])
    }))

  it.scoped("of kind status answer in the vendor's format, as often as asked", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      yield* service.setFaults([
        { vendor: "datadog", kind: "status", status: 429, retryAfter: 2, count: 1 },
        { vendor: "ecs", kind: "status", status: 429, retryAfter: 1.5 },
        { vendor: "elasticache", kind: "status", status: 503 },
        { vendor: "kubernetes", kind: "status", status: 503 }
      ])
      const limited = yield* send(service.url + monitors)
      expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "2"])
      expect(limited.text).toBe("{\"errors\":[\"Too many requests\"]}")
      expect((yield* send(service.url + monitors)).status).toBe(200)
      const ecs = yield* send(`${service.url}/ecs/`, { method: "POST" })
      expect([ecs.status, JSON.parse(ecs.text).__type]).toEqual([400, "ThrottlingException"])
      expect(ecs.headers.get("x-amz-retry-after")).toBe("1500")
      const elasticache = yield* send(`${service.url}/elasticache/`, { method: "POST" })
      expect([elasticache.status, elasticache.text]).toEqual([
        503,
        expect.stringContaining("<Code>ServiceUnavailable</Code>")
      ])
      const kubernetes = yield* send(`${service.url}/kubernetes/apis/apps/v1/namespaces/production/deployments/x`)
      expect(JSON.parse(kubernetes.text)).toMatchObject({ kind: "Status", reason: "ServiceUnavailable", code: 503 })
    }))

  it.scoped("of kind reset lose the call, with after only its answer", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      yield* service.setFaults([
        { vendor: "pagerduty", kind: "reset", count: 1 },
        { vendor: "pagerduty", kind: "reset", after: true, count: 1 }
      ])
      const trigger = send(service.url + enqueue, { method: "POST", body: page })
      expect(Exit.isFailure(yield* Effect.exit(trigger))).toBe(true)
      expect((yield* service.fleet).pages).toHaveLength(0)
      expect(Exit.isFailure(yield* Effect.exit(trigger))).toBe(true)
      expect((yield* service.fleet).pages).toHaveLength(1)
      expect((yield* trigger).status).toBe(202)
      expect((yield* service.ledger).map(({ effect, status }) => [status, effect])).toEqual([
        [0, false],
        [0, true],
        [202, false]
      ])
    }))

  it.scoped("of kind latency answer later by the fleet's clock", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      yield* service.setFaults([{ vendor: "datadog", kind: "latency", ms: 60_000 }])
      const { status } = yield* whileTimePasses(send(service.url + monitors))
      const [line] = yield* service.ledger
      expect(status).toBe(200)
      expect(Date.parse(line?.at ?? "") - start).toBeGreaterThanOrEqual(60_000)
    }))

  it.scoped("of kind latency let a client leave before its call was carried out", () =>
    Effect.gen(function*() {
      const service = yield* sandbox()
      yield* service.setFaults([{ vendor: "pagerduty", kind: "latency", ms: 60_000, count: 1 }])
      const call = yield* Effect.fork(send(service.url + enqueue, { method: "POST", body: page }))
      yield* until(service.faults, (faults) => faults.length === 0)
      yield* Fiber.interrupt(call)
      const lines = yield* until(ledgerOf(service), (lines) => lines.length > 0)
      expect(lines).toMatchObject([{ key: "INC-1", status: 0, effect: false }])
    }))

  it.scoped("of kind hang are let go when the sandbox stops", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(start)
      const scope = yield* Scope.make()
      const service = yield* Scope.extend(Sandbox.make(), scope)
      yield* service.setFaults([{ vendor: "datadog", kind: "hang" }])
      const call = yield* Effect.fork(Effect.exit(send(service.url + monitors)))
      yield* until(service.ledger, (lines) => lines.length > 0)
      yield* Scope.close(scope, Exit.void)
      expect(Exit.isFailure(yield* Fiber.join(call))).toBe(true)
    }))

  it.scoped("of a rate strike the same calls for the same seed", () =>
    Effect.gen(function*() {
      const statuses = (seed: number) =>
        Effect.scoped(Effect.gen(function*() {
          const service = yield* sandbox({ seed })
          yield* service.setFaults([{ vendor: "datadog", kind: "status", status: 500, rate: 0.5 }])
          return yield* Effect.all(
            Effect.replicate(Effect.map(send(service.url + monitors), ({ status }) => status), 20)
          )
        }))
      const [first, again, other] = [yield* statuses(7), yield* statuses(7), yield* statuses(8)]
      expect(again).toEqual(first)
      expect(other).not.toEqual(first)
      expect(new Set(first)).toEqual(new Set([200, 500]))
    }))
})
