/** The sandbox seen by the AWS SDK itself, so that client and sandbox cannot share one misunderstanding. */
import * as Ecs from "@aws-sdk/client-ecs"
import * as ElastiCache from "@aws-sdk/client-elasticache"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as Sandbox from "../../src/sandbox/Sandbox.js"

const start = 1_700_000_000_000

const clients = Effect.gen(function*() {
  yield* TestClock.setTime(start)
  const sandbox = yield* Sandbox.make()
  const config = { region: "us-east-1", credentials: { accessKeyId: "a", secretAccessKey: "b" }, maxAttempts: 1 }
  const ecs = new Ecs.ECSClient({ ...config, endpoint: `${sandbox.url}/ecs` })
  const elasticache = new ElastiCache.ElastiCacheClient({ ...config, endpoint: `${sandbox.url}/elasticache` })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      ecs.destroy()
      elasticache.destroy()
    })
  )
  return { sandbox, ecs, elasticache }
})

const send = <A>(call: () => Promise<A>) => Effect.tryPromise({ try: call, catch: (error) => error })

describe("ECS by the SDK", () => {
  it.scoped("deploys anew, and once more for a blind retry", () =>
    Effect.gen(function*() {
      const { ecs, sandbox } = yield* clients
      const describe = send(() =>
        ecs.send(new Ecs.DescribeServicesCommand({ cluster: "production", services: ["payment-api", "nobody"] }))
      )
      const update = send(() =>
        ecs.send(
          new Ecs.UpdateServiceCommand({ cluster: "production", service: "payment-api", forceNewDeployment: true })
        )
      )
      const before = yield* describe
      expect(before.failures).toMatchObject([{ reason: "MISSING" }])
      expect(before.services?.[0]?.deployments).toMatchObject([{ status: "PRIMARY", rolloutState: "COMPLETED" }])

      const { service } = yield* update
      const [primary, old] = service?.deployments ?? []
      expect(primary).toMatchObject({ status: "PRIMARY", rolloutState: "IN_PROGRESS", createdAt: new Date(start) })
      expect(old?.id).toBe(before.services?.[0]?.deployments?.[0]?.id)

      yield* TestClock.adjust("500 millis")
      const done = yield* describe
      expect(done.services?.[0]).toMatchObject({ runningCount: 3, desiredCount: 3 })
      expect(done.services?.[0]?.deployments).toMatchObject([{ id: primary?.id, rolloutState: "COMPLETED" }])

      const retried = yield* update
      expect(retried.service?.deployments?.[0]?.id).not.toBe(primary?.id)
      const updates = (yield* sandbox.ledger).filter((line) => line.operation === "updateService")
      expect(updates).toMatchObject([{ target: "payment-api", effect: true }, { target: "payment-api", effect: true }])
    }))

  it.scoped("refuses with errors the SDK knows", () =>
    Effect.gen(function*() {
      const { ecs, sandbox } = yield* clients
      const update = (cluster: string, service: string) =>
        Effect.flip(send(() => ecs.send(new Ecs.UpdateServiceCommand({ cluster, service, desiredCount: 2 }))))
      expect(yield* update("production", "nobody")).toBeInstanceOf(Ecs.ServiceNotFoundException)
      expect(yield* update("staging", "payment-api")).toBeInstanceOf(Ecs.ClusterNotFoundException)
      yield* sandbox.setFaults([{ vendor: "ecs", kind: "status", status: 429 }])
      expect(yield* update("production", "payment-api")).toMatchObject({
        name: "ThrottlingException",
        $metadata: { httpStatusCode: 400 }
      })
    }))
})

describe("ElastiCache by the SDK", () => {
  const CacheClusterId = "payment-api-cache"

  it.scoped("reboots, and tells of it in its events from the moment it begins", () =>
    Effect.gen(function*() {
      const { elasticache } = yield* clients
      const status = Effect.map(
        send(() =>
          elasticache.send(new ElastiCache.DescribeCacheClustersCommand({ CacheClusterId, ShowCacheNodeInfo: true }))
        ),
        (
          { CacheClusters }
        ) => [CacheClusters?.[0]?.CacheClusterStatus, CacheClusters?.[0]?.CacheNodes?.[0]?.CacheNodeId]
      )
      const events = Effect.map(
        send(() =>
          elasticache.send(
            new ElastiCache.DescribeEventsCommand({
              SourceIdentifier: CacheClusterId,
              SourceType: "cache-cluster",
              StartTime: new Date(start)
            })
          )
        ),
        ({ Events }) => (Events ?? []).map(({ Date: at, Message }) => [Message, at?.getTime()])
      )
      expect(yield* status).toEqual(["available", "0001"])
      expect(yield* events).toEqual([])
      const { CacheCluster } = yield* send(() =>
        elasticache.send(new ElastiCache.RebootCacheClusterCommand({ CacheClusterId, CacheNodeIdsToReboot: ["0001"] }))
      )
      expect(CacheCluster?.CacheClusterStatus).toBe("rebooting cluster nodes")
      expect(yield* events).toEqual([["Cache node 0001 shutdown", start]])
      yield* TestClock.adjust("500 millis")
      expect(yield* status).toEqual(["available", "0001"])
      expect(yield* events).toEqual([["Cache node 0001 shutdown", start], ["Cache node 0001 restarted", start + 500]])
    }))

  it.scoped("refuses with errors the SDK knows", () =>
    Effect.gen(function*() {
      const { elasticache, sandbox } = yield* clients
      const reboot = (CacheClusterId: string, node: string) =>
        Effect.flip(send(() =>
          elasticache.send(new ElastiCache.RebootCacheClusterCommand({ CacheClusterId, CacheNodeIdsToReboot: [node] }))
        ))
      expect(yield* reboot("nobody-cache", "0001")).toMatchObject({ name: "CacheClusterNotFoundFault" })
      expect(yield* reboot(CacheClusterId, "0009")).toMatchObject({ name: "CacheNodeNotFound" })
      yield* sandbox.setFaults([{ vendor: "elasticache", kind: "status", status: 503 }])
      expect(yield* reboot(CacheClusterId, "0001")).toMatchObject({
        name: "ServiceUnavailable",
        $metadata: { httpStatusCode: 503 }
      })
      expect((yield* sandbox.ledger).some((line) =>
        line.effect
      )).toBe(false)
    }))
})
