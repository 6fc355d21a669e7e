/**
 * Kubernetes apps/v1: restarts a deployment the way `kubectl rollout restart` does, by an annotation of its pod
 * template. Its value comes from the action, not from the clock, so that a second request changes nothing.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Orchestrator } from "../Orchestrator.js"
import * as VendorCall from "./VendorCall.js"
import { VendorConfig } from "./VendorConfig.js"
import * as VendorParts from "./VendorParts.js"

/**
 * The orchestrator over Kubernetes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Orchestrator,
  never,
  HttpClient.HttpClient | VendorConfig | VendorParts.Parts<"kubernetes">
> = Layer.effect(
  Orchestrator,
  Effect.gen(function*() {
    const context = yield* Effect.context<HttpClient.HttpClient | VendorConfig | VendorParts.Parts<"kubernetes">>()
    return {
      restart: ({ at, service }) =>
        Effect.provide(
          Effect.map(patch(service, new Date(at).toISOString()), rolloutOf),
          context
        ),
      restartedSince: ({ at, service }) =>
        Effect.provide(
          Effect.map(get(service), (deployment) =>
            deployment.spec.template.metadata?.annotations?.[annotation] === new Date(at).toISOString()
              ? Option.some(rolloutOf(deployment))
              : Option.none()),
          context
        ),
      isComplete: ({ service }) => Effect.provide(Effect.map(get(service), isComplete), context)
    }
  })
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const annotation = "kubectl.kubernetes.io/restartedAt"

const call = VendorCall.makeHttp(VendorParts.Kubernetes)

const Deployment = Schema.Struct({
  metadata: Schema.Struct({ name: Schema.String, generation: Schema.Number }),
  spec: Schema.Struct({
    replicas: Schema.Number,
    template: Schema.Struct({
      metadata: Schema.optional(Schema.Struct({
        annotations: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String }))
      }))
    })
  }),
  status: Schema.Struct({
    observedGeneration: Schema.optionalWith(Schema.Number, { default: () => 0 }),
    updatedReplicas: Schema.optionalWith(Schema.Number, { default: () => 0 }),
    availableReplicas: Schema.optionalWith(Schema.Number, { default: () => 0 }),
    replicas: Schema.optionalWith(Schema.Number, { default: () => 0 })
  })
})

const request = (service: string) =>
  Effect.map(VendorConfig, (config) =>
    HttpClientRequest.get(
      `${config.url("kubernetes")}/apis/apps/v1/namespaces/${config.environment}/deployments/${service}`
    ).pipe(HttpClientRequest.bearerToken(Redacted.value(config.kubernetesToken))))

const get = (service: string) => call("getDeployment", request(service), Deployment)

const patch = (service: string, restartedAt: string) =>
  call(
    "patchDeployment",
    Effect.map(request(service), (request) =>
      request.pipe(
        HttpClientRequest.setMethod("PATCH"),
        HttpClientRequest.setUrlParam("fieldManager", "firebreak"),
        HttpClientRequest.bodyText(
          JSON.stringify({ spec: { template: { metadata: { annotations: { [annotation]: restartedAt } } } } }),
          "application/strategic-merge-patch+json"
        )
      )),
    Deployment
  )

const rolloutOf = ({ metadata }: typeof Deployment.Type) => `${metadata.name}@${metadata.generation}`

const isComplete = ({ metadata, spec, status }: typeof Deployment.Type): boolean =>
  status.observedGeneration >= metadata.generation && status.updatedReplicas === spec.replicas &&
  status.availableReplicas === spec.replicas && status.replicas === spec.replicas
