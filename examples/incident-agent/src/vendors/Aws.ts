/**
 * AWS through its SDK v3, which is loaded when first used and never retries by itself (`maxAttempts: 1`): one layer
 * retries, and that is `VendorCall`. ElastiCache clears caches; ECS restarts services.
 *
 * @since 0.1.0
 */
import * as RetryAfter from "@firebreak/http/RetryAfter"
import type { isThrottlingError } from "@smithy/core/retry"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { CacheAdmin } from "../CacheAdmin.js"
import { Orchestrator } from "../Orchestrator.js"
import { VendorError } from "../VendorError.js"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * Caches in ElastiCache.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerElastiCache: Layer.Layer<CacheAdmin, never, VendorConfig | VendorParts.Parts<"aws">> = Layer.scoped(
  CacheAdmin,
  Effect.gen(function*() {
    const context = yield* Effect.context<VendorParts.Parts<"aws">>()
    const sdk = yield* client("elasticache", async (options) => {
      const sdk = await import("@aws-sdk/client-elasticache")
      return { ...sdk, client: new sdk.ElastiCacheClient(options) }
    })
    return {
      reboot: ({ cluster }) =>
        Effect.gen(function*() {
          const { client, DescribeCacheClustersCommand, RebootCacheClusterCommand } = yield* sdk
          const found = yield* call("describeCacheClusters", (abortSignal) =>
            client.send(
              new DescribeCacheClustersCommand({ CacheClusterId: cluster, ShowCacheNodeInfo: true }),
              { abortSignal }
            ))
          const nodes = (found.CacheClusters?.[0]?.CacheNodes ?? []).flatMap(({ CacheNodeId }) => CacheNodeId ?? [])
          yield* callOnce("rebootCacheCluster", (abortSignal) =>
            client.send(
              new RebootCacheClusterCommand({ CacheClusterId: cluster, CacheNodeIdsToReboot: nodes }),
              { abortSignal }
            ))
          return cluster
        }).pipe(Effect.provide(context)),
      rebootedSince: ({ at, cluster }) =>
        Effect.gen(function*() {
          const { client, DescribeEventsCommand } = yield* sdk
          const { Events = [] } = yield* call("describeEvents", (abortSignal) =>
            client.send(
              new DescribeEventsCommand({
                SourceIdentifier: cluster,
                SourceType: "cache-cluster",
                StartTime: new Date(at)
              }),
              { abortSignal }
            ))
          return Events.some(({ Message = "" }) => /shutdown|restarted/.test(Message))
            ? Option.some(cluster)
            : Option.none()
        }).pipe(Effect.provide(context))
    }
  })
)

/**
 * Services in ECS. UpdateService has no client token, so a restart is known by a deployment created since.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEcs: Layer.Layer<Orchestrator, never, VendorConfig | VendorParts.Parts<"aws">> = Layer.scoped(
  Orchestrator,
  Effect.gen(function*() {
    const context = yield* Effect.context<VendorParts.Parts<"aws">>()
    const { environment: cluster } = yield* VendorConfig
    const sdk = yield* client("ecs", async (options) => {
      const sdk = await import("@aws-sdk/client-ecs")
      return { ...sdk, client: new sdk.ECSClient(options) }
    })
    const deployments = (service: string) =>
      Effect.gen(function*() {
        const { client, DescribeServicesCommand } = yield* sdk
        const { services = [] } = yield* call("describeServices", (abortSignal) =>
          client.send(new DescribeServicesCommand({ cluster, services: [service] }), { abortSignal }))
        return services[0]?.deployments ?? []
      })
    return {
      restart: ({ service }) =>
        Effect.gen(function*() {
          const { client, UpdateServiceCommand } = yield* sdk
          const answer = yield* callOnce("updateService", (abortSignal) =>
            client.send(new UpdateServiceCommand({ cluster, service, forceNewDeployment: true }), { abortSignal }))
          return answer.service?.deployments?.find(({ status }) =>
            status === "PRIMARY"
          )?.id ?? service
        }).pipe(Effect.provide(context)),
      restartedSince: ({ at, service }) =>
        Effect.map(
          deployments(service),
          (all) =>
            Option.fromNullable(all.find(({ createdAt }) => createdAt !== undefined && createdAt.getTime() >= at)?.id)
        ).pipe(
          Effect.provide(context)
        ),
      isComplete: ({ service }) =>
        Effect.map(deployments(service), (all) => all.length === 1 && all[0]?.rolloutState === "COMPLETED").pipe(
          Effect.provide(context)
        )
    }
  })
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface ClientOptions {
  readonly endpoint: string
  readonly region: string
  readonly maxAttempts: number
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/**
 * A client that is made at its first use and destroyed with the scope. What is kept is the promise of it: a caller that is
 * interrupted leaves it to the others, and one that failed is made anew.
 */
const client = <A extends { readonly client: { readonly destroy: () => void } }>(
  vendor: "ecs" | "elasticache",
  make: (options: ClientOptions) => Promise<A>
) =>
  Effect.gen(function*() {
    const config = yield* VendorConfig
    let made: Promise<A> | undefined
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => made?.then(({ client }) => client.destroy(), () => undefined))
    )
    // the SDK warns on standard error that its releases of 2027 will not run on Node 20; the one installed here does
    process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true"
    return Effect.promise(() =>
      made ??= make({
        endpoint: config.url(vendor),
        region: config.awsRegion,
        maxAttempts: 1,
        credentials: {
          accessKeyId: Redacted.value(config.awsAccessKeyId),
          secretAccessKey: Redacted.value(config.awsSecretAccessKey)
        }
      }).catch((error) => {
        made = undefined
        throw error
      })
    )
  })

const through =
  (protect: ReturnType<typeof VendorCall.make<"aws">>) =>
  <A>(operation: string, send: (signal: AbortSignal) => Promise<A>) =>
    Effect.tryPromise({ try: send, catch: (error) => error as SdkError }).pipe(
      Effect.catchAll((error) => Effect.flatMap(toVendorError(operation, error), Effect.fail)),
      protect(operation)
    )

const call = through(VendorCall.make(VendorParts.Aws))

/** For what has no key and acts each time it arrives. */
const callOnce = through(VendorCall.make(VendorParts.Aws, "once"))

/** What the SDK throws: an answer that is an error, or what became of the connection. */
type SdkError = Parameters<typeof isThrottlingError>[0]

const toVendorError = (operation: string, error: SdkError) =>
  Effect.gen(function*() {
    const sdk = yield* Effect.promise(() => import("@smithy/core/retry"))
    const { $metadata, $response, message, name } = error
    const status = $metadata?.httpStatusCode
    const asked = RetryAfter.fromHeaders($response?.headers ?? {}, yield* Clock.currentTimeMillis)
    return new VendorError({
      vendor: "aws",
      operation,
      // which names mean "not now" and which "perhaps later" is for the SDK to know
      kind: sdk.isThrottlingError(error)
        ? "throttled"
        : status === undefined || status === 408 || status >= 500 || sdk.isTransientError(error)
        ? "unavailable"
        : "refused",
      detail: `${name}: ${message}`,
      ...(status !== undefined && { status }),
      ...(Option.isSome(asked) && { retryAfterMillis: Duration.toMillis(asked.value) })
    })
  })
