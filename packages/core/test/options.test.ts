import { describe, expect, it } from "@effect/vitest"
import * as core from "@firebreak/core"
import * as Check from "@firebreak/core/InvalidOption"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

/** Calls a constructor with options that it takes, and those that are given beside them. */
type Make = (others: object) => unknown

interface Row {
  /** What faults name. */
  readonly module: string
  /** The module that exports it, where that is another. */
  readonly of?: keyof typeof core
  readonly make: Make
  /** Options that are one of a few words. */
  readonly words?: { readonly [option: string]: ReadonlyArray<string> }
}

class Database extends Context.Tag("Database")<Database, { readonly query: Effect.Effect<string> }>() {}
const database = Layer.succeed(Database, { query: Effect.succeed("1") })

const ofWorkers = {
  target: 1,
  max: 2,
  measure: Effect.succeed(1),
  current: Effect.succeed(1),
  scaleTo: () => Effect.void
}
const ofReplicas = {
  desired: Effect.succeed(new Map<string, number>()),
  actual: Effect.succeed(new Map<string, number>()),
  create: () => Effect.void,
  update: () => Effect.void
}
const scaling = { name: "workers", ...ofWorkers }
const replicas = { name: "replicas", ...ofReplicas }
const checks = { ping: core.HealthCheck.make(Effect.void) }
const backup = { primary: 1, backups: { other: 2 } }
const datadog = core.Chaos.target<string, number>("datadog")
const budget = core.RetryBudget.Tag("datadog")<"budget">()
const chain = core.Degradation.component("logs", Effect.succeed(1))
const cached = { key: "a", schema: Schema.Number }
const jitters = ["none", "full", "equal", "proportional", "decorrelated", "decorrelated-v2"]

const rows: ReadonlyArray<Row> = [
  { module: "Autoscale", make: (_) => core.Autoscale.make({ ...scaling, ..._ }) },
  { module: "Autoscale", make: (_) => core.Autoscale.layer({ ...scaling, every: "1 second", ..._ }) },
  { module: "Autoscale", make: (_) => core.Autoscale.Tag("a")<"a">().layer({ ...ofWorkers, every: "1 second", ..._ }) },
  { module: "Backoff", make: (_) => core.Backoff.make(_), words: { jitter: jitters } },
  { module: "Bulkhead", make: (_) => core.Bulkhead.make({ name: "a", ..._ }) },
  { module: "Bulkhead", make: (_) => core.Bulkhead.Tag("a")<"a">().layer(_) },
  { module: "Chaos.fault", of: "Chaos", make: (_) => datadog.fault({ error: () => "no", rate: 0.5, ..._ }) },
  { module: "Chaos.latency", of: "Chaos", make: (_) => datadog.latency({ delay: "1 second", from: 0, ..._ }) },
  { module: "Chaos.outcome", of: "Chaos", make: (_) => datadog.outcome({ value: () => 1, until: 1, ..._ }) },
  { module: "Chaos.hang", of: "Chaos", make: (_) => datadog.hang(_) },
  {
    module: "Checkpoint.workflow",
    make: (_) => core.Checkpoint.workflow("a", { payload: Schema.String, key: (a) => a, ..._ }, () => Effect.void)
  },
  { module: "Checkpoint.run", make: (_) => core.Checkpoint.run("a", { lease: "1 minute", ..._ }, Effect.void) },
  {
    module: "Checkpoint.step",
    make: (_) => core.Checkpoint.step("a", { success: Schema.Void, ..._ }, Effect.void),
    words: { onInDoubt: ["retry", "escalate"] }
  },
  {
    module: "Checkpoint.step.onInDoubt",
    make: (_) => core.Checkpoint.step("a", { onInDoubt: { probe: Effect.succeedNone, ..._ } }, Effect.void)
  },
  { module: "Checkpoint.transaction", make: (_) => core.Checkpoint.transaction("a", _, Effect.void) },
  { module: "Checkpoint.signal", make: (_) => core.Checkpoint.signal("a", _) },
  { module: "Checkpoint.cancel", make: (_) => core.Checkpoint.cancel("a", { reason: "no", ..._ }) },
  {
    module: "Checkpoint.list",
    make: (_) => core.Checkpoint.list(_),
    words: { status: ["running", "succeeded", "failed", "cancelled", "dead"] }
  },
  { module: "Checkpoint.prune", make: (_) => core.Checkpoint.prune({ olderThan: "1 day", ..._ }) },
  { module: "Checkpoint.resumeAll", make: (_) => core.Checkpoint.resumeAll(_) },
  { module: "Checkpoint.layerResume", make: (_) => core.Checkpoint.layerResume(_) },
  { module: "Checkpoint.layerRetention", make: (_) => core.Checkpoint.layerRetention({ olderThan: "1 day", ..._ }) },
  { module: "Checkpoint.layerEngine", make: (_) => core.Checkpoint.layerEngineWith(_) },
  { module: "CircuitBreaker", make: (_) => core.CircuitBreaker.make({ name: "a", ..._ }) },
  { module: "CircuitBreaker", make: (_) => core.CircuitBreaker.Tag("a")<"a">().layer(_) },
  {
    module: "CircuitBreaker.ramp",
    of: "CircuitBreaker",
    make: (_) => core.CircuitBreaker.make({ name: "a", ramp: { from: 0, over: "1 second", ..._ } })
  },
  {
    module: "CircuitBreaker.growing",
    of: "CircuitBreaker",
    make: (_) => core.CircuitBreaker.growing({ base: "1 second", cap: "1 minute", ..._ })
  },
  {
    module: "CircuitBreaker",
    of: "CircuitBreakerRegistry",
    make: (_) => core.CircuitBreakerRegistry.make({ name: "a", idleFor: "1 hour", ..._ })
  },
  { module: "ConcurrencyLimit", make: (_) => core.ConcurrencyLimit.make({ name: "a", ..._ }) },
  {
    module: "Degradation.component",
    of: "Degradation",
    make: (_) => core.Degradation.component("a", Effect.void, { advice: "wait", ..._ })
  },
  {
    module: "Degradation.orCached",
    of: "Degradation",
    make: (_) => core.Degradation.orCached(chain, { ...cached, ..._ })
  },
  { module: "Degradation.run", of: "Degradation", make: (_) => core.Degradation.run(chain, _) },
  {
    module: "Degradation.all",
    of: "Degradation",
    make: (_) => core.Degradation.all({ chain }, _),
    words: { tolerate: ["full", "slight", "moderate", "minimal", "failed"] }
  },
  { module: "DegradationCache", make: (_) => core.DegradationCache.makeMemory(_) },
  { module: "DegradationSlo", make: (_) => core.DegradationSlo.make(_) },
  { module: "DegradationSlo", make: (_) => core.DegradationSlo.layer({ every: "1 second", ..._ }) },
  {
    module: "DegradationSlo.named.hints",
    of: "DegradationSlo",
    make: (_) => core.DegradationSlo.make({ named: { hints: { full: 0.9, ..._ } } })
  },
  {
    module: "DesiredState.ensure",
    make: (_) =>
      core.DesiredState.ensure({
        name: "a",
        read: Effect.succeed(1),
        isDesired: () => true,
        act: () => Effect.void,
        ..._
      })
  },
  {
    module: "DesiredState.setTo",
    make: (_) =>
      core.DesiredState.setTo({ name: "a", target: 1, read: Effect.succeed(1), write: () => Effect.void, ..._ })
  },
  { module: "EventSink", make: (_) => core.EventSink.make(() => Effect.void, _) },
  {
    module: "Events.subscribeTo",
    of: "Events",
    make: (_) => core.Events.subscribeTo(Context.unsafeGet(Context.empty(), core.Events.Events), _)
  },
  { module: "Failover", make: (_) => core.Failover.make({ name: "a", ...backup, ..._ }) },
  {
    module: "Failover",
    make: (_) => core.Failover.layer(Database, { primary: database, backups: { other: database }, ..._ })
  },
  { module: "Healing", make: (_) => core.Healing.make({ checks, ..._ }) },
  { module: "Healing", make: (_) => core.Healing.layer({ checks, ..._ }) },
  {
    module: "Healing.onStatus",
    of: "Healing",
    make: (_) => core.Healing.make({ checks, onStatus: { critical: [], ..._ } })
  },
  { module: "HealthCheck", make: (_) => core.HealthCheck.make(Effect.void, _) },
  { module: "HealthCheck.heap", of: "HealthCheck", make: (_) => core.HealthCheck.heap({ limit: 1, ..._ }) },
  { module: "HealthCheck.eventLoopDelay", of: "HealthCheck", make: (_) => core.HealthCheck.eventLoopDelay(_) },
  {
    module: "HealthCheck.queueDepth",
    of: "HealthCheck",
    make: (_) => core.HealthCheck.queueDepth(Effect.succeed(1), _)
  },
  { module: "HealthCheck.responseTime", of: "HealthCheck", make: (_) => core.HealthCheck.responseTime(Effect.void, _) },
  { module: "HealthCheck", make: (_) => core.HealthCheck.breakers([], _) },
  { module: "Hedge", make: (_) => core.Hedge.make({ name: "a", ..._ }) },
  { module: "Hedge.quantile", of: "Hedge", make: (_) => core.Hedge.quantile(0.9, _) },
  {
    module: "Idempotency.make",
    make: (_) => core.Idempotency.make("a", { payload: Schema.String, key: (a) => a, ..._ }, () => Effect.void),
    words: { inFlight: ["wait", "fail"], onUnknown: ["retry", "escalate"] }
  },
  {
    module: "Idempotency.make.onUnknown",
    make: (_) => {
      const onUnknown = { probe: () => Effect.succeedNone, ..._ }
      return core.Idempotency.make("a", { payload: Schema.String, key: (a) => a, onUnknown }, () => Effect.void)
    }
  },
  {
    module: "Idempotency.once",
    make: (_) => core.Idempotency.once({ operation: "a", key: "a", ..._ }, Effect.void),
    words: { inFlight: ["wait", "fail"], onUnknown: ["retry", "escalate"] }
  },
  { module: "Idempotency.list", make: (_) => core.Idempotency.list({ operation: "a", ..._ }) },
  { module: "Idempotency.reset", make: (_) => core.Idempotency.reset({ operation: "a", key: "a", ..._ }) },
  { module: "LimitStrategy.gradient2", of: "LimitStrategy", make: (_) => core.LimitStrategy.gradient2(_) },
  { module: "LimitStrategy.aimd", of: "LimitStrategy", make: (_) => core.LimitStrategy.aimd(_) },
  { module: "LoopGuard", make: (_) => core.LoopGuard.make({ name: "a", ..._ }) },
  { module: "LoopGuard", make: (_) => core.LoopGuard.Tag("a")<"a">().layer(_) },
  { module: "Policy", make: (_) => core.Policy.make(_), words: { timeoutBy: ["timer", "fiber"] } },
  {
    module: "Policy.retry",
    make: (_) => core.Policy.make({ retry: { schedule: Schedule.forever, while: () => true, ..._ } }),
    words: { whenOpen: ["fail", "wait"], whenTimedOut: ["retry", "fail"] }
  },
  {
    module: "RateLimit",
    make: (_) => core.RateLimit.make({ name: "a", limits: [{ rate: 1, per: 1 }], ..._ }),
    words: { onLimit: ["wait", "reject"] }
  },
  {
    module: "RateLimit.limits",
    of: "RateLimit",
    make: (_) => core.RateLimit.make({ name: "a", limits: [{ rate: 1, per: 1, ..._ }] })
  },
  { module: "Reconcile", make: (_) => core.Reconcile.make({ ...replicas, ..._ }) },
  { module: "Reconcile", make: (_) => core.Reconcile.layer({ ...replicas, every: "1 second", ..._ }) },
  {
    module: "Reconcile",
    make: (_) => core.Reconcile.Tag("a")<"a", number, number>().layer({ ...ofReplicas, every: "1 second", ..._ })
  },
  { module: "Remedy", make: (_) => core.Remedy.make("a", Effect.void, _) },
  { module: "Restartable", make: (_) => core.Restartable.make(Effect.void, { name: "a", ..._ }) },
  { module: "Restartable", make: (_) => core.Restartable.layer(Database, database, _) },
  { module: "RetryAllowance.tokens", of: "RetryAllowance", make: (_) => core.RetryAllowance.tokens(_) },
  { module: "RetryAllowance.ratio", of: "RetryAllowance", make: (_) => core.RetryAllowance.ratio(_) },
  { module: "RetryBudget", make: (_) => core.RetryBudget.make({ name: "a", ..._ }) },
  {
    module: "RetryBudget.retry",
    make: (_) => core.RetryBudget.retry(budget, { schedule: Schedule.forever, ..._ })
  },
  {
    module: "Supervision",
    make: (_) => core.Supervision.make({ name: "a", children: { a: core.Supervision.child(Effect.never) }, ..._ }),
    words: { strategy: ["one-for-one", "one-for-all", "rest-for-one"] }
  },
  {
    module: "Supervision.child",
    make: (_) => core.Supervision.child(Effect.never, _),
    words: { restart: ["permanent", "transient", "temporary"] }
  },
  { module: "SystemCheck.rss", of: "SystemCheck", make: (_) => core.SystemCheck.rss({ limit: 1, below: 0.5, ..._ }) },
  {
    module: "SystemCheck.disk",
    of: "SystemCheck",
    make: (_) => core.SystemCheck.disk("/", { read: Effect.succeed({ used: 1, available: 1 }), ..._ })
  },
  {
    module: "SystemCheck.fileHandles",
    of: "SystemCheck",
    make: (_) => core.SystemCheck.fileHandles({ read: Effect.succeed({ open: 1, limit: 2 }), ..._ })
  },
  { module: "Throttle", make: (_) => core.Throttle.make({ name: "a", ..._ }) },
  {
    module: "TripStrategy.countInWindow",
    make: (_) => core.TripStrategy.countInWindow({ failures: 1, within: "1 second", ..._ })
  },
  {
    module: "TripStrategy.failureRate",
    make: (_) => core.TripStrategy.failureRate({ rate: 0.5, within: "1 second", ..._ })
  },
  {
    module: "TripStrategy.slowCallRate",
    make: (_) => core.TripStrategy.slowCallRate({ rate: 0.5, slowerThan: 1, latest: 20, ..._ })
  }
]

describe.each(rows.map((row) => [row.module, row] as const))("the options of %s", (module, { make, words = {} }) => {
  it("are taken, and one that there is not is refused", () => {
    make({})
    expect(() => make({ mistyped: "secret" })).toThrow(Check.InvalidOption)
    expect(() => make({ mistyped: "secret" })).toThrow(`${module}: there is no option "mistyped", there are`)
    expect(() => make({ mistyped: "secret" })).not.toThrow("secret")
  })

  it.each(Object.entries(words))("are one of a few words for %s", (option, allowed) => {
    for (const word of allowed) make({ [option]: word })
    make({ [option]: undefined })
    for (const value of ["mistyped", "toString", 1, null]) {
      expect(() => make({ [option]: value })).toThrow(Check.InvalidOption)
      expect(() => make({ [option]: value })).toThrow(
        `${module}: ${option} must be one of ${allowed.map((word) => JSON.stringify(word)).join(", ")}, got `
      )
    }
  })
})

describe("options", () => {
  it("are looked at in every module that has defaults", () => {
    const known = new Set(rows.map(({ module, of }) => of ?? module.split(".")[0]!))
    const withDefaults = Object.entries(core).filter(([, module]) => "defaults" in module).map(([name]) => name)
    // these take no options, or not under that name
    const others = ["CheckpointWorkflow", "Escalation", "Health", "IdempotencyStore"]
    expect(withDefaults.filter((name) => !known.has(name))).toEqual(others)
  })

  it("of a layer that lets rounds go on are listed with the time between them", () => {
    const mistyped = { evry: "1 second" }
    expect(() => core.Autoscale.layer({ ...scaling, ...mistyped })).toThrow(/no option "evry", there are .*, every$/)
    expect(() => core.Reconcile.layer({ ...replicas, ...mistyped })).toThrow(/no option "evry", there are .*, every$/)
  })

  it("of a tag's layer have no name, for the tag has it", () => {
    const other: object = { name: "other" }
    const layers: Record<string, () => unknown> = {
      Autoscale: () => core.Autoscale.Tag("a")<"a">().layer({ ...ofWorkers, ...other }),
      Bulkhead: () => core.Bulkhead.Tag("a")<"a">().layer({ ...other }),
      CircuitBreaker: () => core.CircuitBreaker.Tag("a")<"a">().layer({ ...other }),
      LoopGuard: () => core.LoopGuard.Tag("a")<"a">().layer({ ...other }),
      Reconcile: () => core.Reconcile.Tag("a")<"a", number, number>().layer({ ...ofReplicas, ...other })
    }
    for (const [module, layer] of Object.entries(layers)) {
      expect(layer).toThrow(Check.InvalidOption)
      expect(layer).toThrow(`${module}: there is no option "name" here, the tag has it: "a"`)
    }
  })

  it("for what is in doubt have a probe that is there", () => {
    const workflow = { payload: Schema.String, key: (a: string) => a }
    for (const [got, doubt] of [["undefined", {}], ["undefined", { probe: undefined }], ["null", { probe: null }]]) {
      const given = `probe must be given, got ${got}`
      expect(() => core.Checkpoint.step("a", { onInDoubt: doubt as never }, Effect.void)).toThrow(
        `Checkpoint.step.onInDoubt: ${given}`
      )
      expect(() => core.Idempotency.make("a", { ...workflow, onUnknown: doubt as never }, () => Effect.void)).toThrow(
        `Idempotency.make.onUnknown: ${given}`
      )
    }
  })

  it("must be an object", () => {
    expect(() => core.Bulkhead.make(undefined as never)).toThrow("Bulkhead: options must be an object, got undefined")
    expect(() => core.Backoff.make(null as never)).toThrow("Backoff: options must be an object, got null")
  })
})
