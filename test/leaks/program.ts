/**
 * Operations by the hundred thousand on every part that is called all the time, then a look at what they left: bytes of
 * heap, fibers, timers. Runs with `--expose-gc`; the first argument is the number of operations. Prints JSON.
 */
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as Degradation from "@firebreak/core/Degradation"
import type { DegradationCache } from "@firebreak/core/DegradationCache"
import * as Healing from "@firebreak/core/Healing"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Idempotency from "@firebreak/core/Idempotency"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as Policy from "@firebreak/core/Policy"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Supervisor from "effect/Supervisor"

const operations = Number(process.argv[2])
const { gc } = globalThis as { readonly gc?: () => void }
if (gc === undefined) throw new Error("run it with --expose-gc")

/** Succeeds, fails and gives way to others in turn. */
const works = () => {
  let calls = 0
  return Effect.suspend(() => {
    calls++
    return calls % 10 === 0 ? Effect.fail("down") : calls % 3 === 0 ? Effect.yieldNow() : Effect.void
  })
}

const parts = Effect.gen(function*() {
  const breaker = yield* CircuitBreaker.make({ name: "breaker", trip: CircuitBreaker.consecutive(2), resetAfter: 1 })
  const bulkhead = yield* Bulkhead.make({ name: "bulkhead", maxConcurrent: 5, maxQueued: 10 })
  const limit = yield* RateLimit.make({ name: "limit", limits: [{ rate: 1_000, per: "10 millis" }], onLimit: "reject" })
  const policy = Policy.make({
    bulkhead: yield* Bulkhead.make({ name: "policy", maxConcurrent: 100, maxQueued: 10 }),
    breaker: yield* CircuitBreaker.make({ name: "policy" }),
    attemptTimeout: "1 second",
    deadline: "5 seconds"
  })
  const action = Idempotency.make(
    "act",
    { payload: Schema.Struct({ n: Schema.Number }), key: () => "one", onUnknown: "retry" },
    () => Effect.void
  )
  const component = Degradation.component("rate", works()).pipe(
    Degradation.orElse("other", works()),
    Degradation.orCached({ key: "one", schema: Schema.Void }),
    Degradation.orConstant(undefined)
  )
  const checks = {
    database: HealthCheck.make(works()),
    api: HealthCheck.make(works(), { dependsOn: ["database"] }),
    fine: HealthCheck.queueDepth(Effect.succeed(1))
  }
  const health = yield* Health.make(checks)
  const healing = yield* Healing.make({
    checks,
    remedies: { database: [Healing.remedy("reset", works(), { attempts: 1_000_000_000, cooldown: 0 })] },
    maxConsecutiveFailures: 1_000_000_000
  })
  return {
    breaker: breaker.protect(works()),
    bulkhead: bulkhead.protect(works()),
    rateLimit: limit.protect(works()),
    policy: policy(works()),
    idempotency: action({ n: 1 }),
    degradation: Degradation.run(component),
    health: health.check,
    healing: healing.runOnce
  }
})

type Operation = Effect.Effect<unknown, unknown, IdempotencyStore | DegradationCache>

/** In chunks of so many at once, so that they meet. */
const atOnce = 20

const repeat = <R>(operation: Effect.Effect<unknown, unknown, R>, times: number): Effect.Effect<void, never, R> => {
  const chunk = Effect.all(Array.from({ length: atOnce }, () => Effect.exit(operation)), {
    concurrency: "unbounded",
    discard: true
  })
  let left = Math.ceil(times / atOnce)
  return Effect.whileLoop({ while: () => left-- > 0, body: () => chunk, step: () => {} })
}

/** The least that is left after some collections: what only weak references hold goes by and by. */
const heap = Effect.gen(function*() {
  let least = Infinity
  for (let i = 0; i < 12; i++) {
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    gc()
    least = Math.min(least, process.memoryUsage().heapUsed)
  }
  return least
})

/** What leaks grows every time; compiled code and the like only once. */
const passes = 3

const program = Effect.gen(function*() {
  const byName = Object.entries<Operation>(yield* parts)
  const each = Math.ceil(operations / byName.length)
  // fills what is bounded, and lets the code be compiled
  for (const [, operation] of byName) yield* repeat(operation, Math.min(each, 10_000))
  const grown: Array<number> = []
  let before = yield* heap
  for (let pass = 0; pass < passes; pass++) {
    for (const [, operation] of byName) yield* repeat(operation, Math.ceil(each / passes))
    const after = yield* heap
    grown.push(after - before)
    before = after
  }
  // as if every pass had grown like the one in the middle: what happens once, either way, is no leak and hides none
  const middle = grown.toSorted((a, b) => a - b)[Math.floor(passes / 2)]!
  return { operations: each * byName.length, grown, bytes: passes * middle }
})

const main = Effect.gen(function*() {
  const supervisor = yield* Supervisor.track
  const result = yield* Effect.supervised(Effect.scoped(program), supervisor)
  const fibers = (yield* supervisor.value).length
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === "Timeout" || kind === "Immediate").length
  process.stdout.write(JSON.stringify({ ...result, fibers, timers }))
}).pipe(
  Effect.provide(Layer.mergeAll(Idempotency.layerMemory, Degradation.layerMemory)),
  Effect.provide(Logger.remove(Logger.defaultLogger))
)

await Effect.runPromise(main)
