import * as Failover from "@firebreak/core/Failover"
import * as Healing from "@firebreak/core/Healing"
import * as Health from "@firebreak/core/Health"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Restartable from "@firebreak/core/Restartable"
import * as SystemCheck from "@firebreak/core/SystemCheck"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, test } from "tstyche"

class Pool extends Context.Tag("Pool")<Pool, { readonly ping: Effect.Effect<void> }>() {}
class Cache extends Context.Tag("Cache")<Cache, { readonly clear: Effect.Effect<void> }>() {}
class Pager extends Context.Tag("Pager")<Pager, object>() {}

declare const ping: Effect.Effect<string, "down", Pool>
declare const clear: Effect.Effect<void, "busy", Cache>
declare const page: Effect.Effect<void, "no pager", Pager>

const checks = { memory: HealthCheck.heap({ limit: 1 }), connectivity: HealthCheck.make(ping) }
const remedy = Healing.remedy("clear", clear)

describe("Healing", () => {
  test("a remedy for a check that does not exist does not compile", () => {
    expect(Healing.layer).type.toBeCallableWith({ checks, remedies: { connectivity: [remedy] } })
    expect(Healing.layer).type.not.toBeCallableWith({ checks, remedies: { conectivity: [remedy] } })
    expect(Healing.layer).type.not.toBeCallableWith({ checks, remedies: { connectivity: [remedy], other: [remedy] } })
  })

  test("a remedy for a status that does not exist, or for a healthy system, does not compile", () => {
    expect(Healing.layer).type.toBeCallableWith({ checks, onStatus: { unhealthy: [remedy] } })
    expect(Healing.layer).type.not.toBeCallableWith({ checks, onStatus: { healthy: [remedy] } })
    expect(Healing.layer).type.not.toBeCallableWith({ checks, onStatus: { sick: [remedy] } })
  })

  test("a bare effect is no remedy: it has no bounds", () => {
    expect(Healing.layer).type.not.toBeCallableWith({ checks, remedies: { connectivity: [clear] } })
  })

  test("its layer requires what the checks, the remedies and the escalation require", () => {
    expect(Healing.layer({ checks: { memory: HealthCheck.heap({ limit: 1 }) } })).type.toBe<
      Layer.Layer<Healing.Healing | Health.Health>
    >()
    expect(Healing.layer({ checks })).type.toBe<Layer.Layer<Healing.Healing | Health.Health, never, Pool>>()
    expect(Healing.layer({ checks, remedies: { connectivity: [remedy] }, escalate: () => page })).type.toBe<
      Layer.Layer<Healing.Healing | Health.Health, never, Pool | Cache | Pager>
    >()
    expect(Healing.layer({ checks, onStatus: { critical: [remedy] } })).type.toBe<
      Layer.Layer<Healing.Healing | Health.Health, never, Pool | Cache>
    >()
  })

  test("a restartable fails as its program does, and its remedy needs nothing", () => {
    expect(Restartable.make(null! as Effect.Effect<number, "boom", Pool | Scope.Scope>, { name: "x" })).type.toBe<
      Effect.Effect<Restartable.Restartable<number, "boom">, "boom", Pool | Scope.Scope>
    >()
  })
})

describe("checks that depend on others", () => {
  const database = HealthCheck.make(ping)
  const api = HealthCheck.make(Effect.succeed(1), { dependsOn: ["database"], timeout: "1 second" })

  test("know by their type what they depend on", () => {
    expect(api).type.toBe<HealthCheck.HealthCheck<never, "database">>()
    expect(database).type.toBe<HealthCheck.HealthCheck<Pool, never>>()
    expect(HealthCheck.heap({ dependsOn: ["a", "b"] })).type.toBe<HealthCheck.HealthCheck<never, "a" | "b">>()
    expect(SystemCheck.disk("/")).type.toBe<HealthCheck.HealthCheck<never, never>>()
  })

  test("do not compile without it, or on themselves", () => {
    expect(Health.layer).type.toBeCallableWith({ database, api })
    expect(Health.layer).type.not.toBeCallableWith({ db: database, api })
    expect(Health.layer).type.not.toBeCallableWith({ api })
    expect(Health.layer).type.not.toBeCallableWith({ database: api })
    expect(Healing.layer).type.toBeCallableWith({ checks: { database, api } })
    expect(Healing.layer).type.not.toBeCallableWith({ checks: { api } })
  })

  test("known by any name are looked at when they are made", () => {
    expect(Health.layer).type.toBeCallableWith(null! as HealthCheck.Checks)
    expect(Health.layer).type.toBeCallableWith({ api: null! as HealthCheck.HealthCheck })
  })

  test("health requires what its checks do", () => {
    expect(Health.make({ database, api })).type.toBe<Effect.Effect<Health.Service, never, Pool | Scope.Scope>>()
  })
})

interface Database {
  readonly query: (sql: string) => Effect.Effect<string, "lost">
}
class Main extends Context.Tag("Main")<Main, Database>() {}
class Synchronous extends Context.Tag("Synchronous")<Synchronous, { readonly now: () => number }>() {}
declare const mainLayer: Layer.Layer<Main, "no config", Pool>

describe("Restartable.layer", () => {
  test("provides the service and the restartable behind it", () => {
    expect(Restartable.layer(Main, mainLayer)).type.toBe<
      Layer.Layer<Main | Restartable.Of<Main, "no config">, "no config", Pool>
    >()
    expect(Restartable.of(Main)).type.toBe<
      Context.Tag<Restartable.Of<Main, never>, Restartable.Restartable<Database, never>>
    >()
  })

  test("a service with a member that is not an effect cannot be restarted under its users", () => {
    expect(Restartable.layer).type.not.toBeCallableWith(Synchronous, null! as Layer.Layer<Synchronous>)
  })
})

describe("Failover", () => {
  test("provides the service and the failover behind it", () => {
    expect(Failover.layer(Main, { primary: mainLayer, backups: { replica: mainLayer } })).type.toBe<
      Layer.Layer<Main | Failover.Of<Main>, "no config", Pool>
    >()
    expect(Failover.of(Main)).type.toBe<Context.Tag<Failover.Of<Main>, Failover.Failover<Database>>>()
  })

  test("a service with a member that is not an effect cannot be swapped", () => {
    expect(Failover.layer).type.not.toBeCallableWith(Synchronous, {
      primary: null! as Layer.Layer<Synchronous>,
      backups: {}
    })
  })

  test("only failing over can fail", () => {
    const failover = null! as Failover.Failover<Database>
    expect(failover.failover).type.toBe<Effect.Effect<void, Failover.NoBackup>>()
    expect(failover.failback).type.toBe<Effect.Effect<void>>()
    expect(failover.use(({ query }) => query("select 1"))).type.toBe<Effect.Effect<string, "lost">>()
  })
})
