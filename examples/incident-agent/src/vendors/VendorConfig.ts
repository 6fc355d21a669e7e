/**
 * Where the vendors are and who the agent is to them. Secrets are `Redacted` from the environment to the wire.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The base URL of a vendor, without a slash at its end. */
  readonly url: (
    vendor: "datadog" | "prometheus" | "loki" | "pagerduty" | "ecs" | "elasticache" | "kubernetes"
  ) => string
  readonly datadogApiKey: Redacted.Redacted
  readonly datadogApplicationKey: Redacted.Redacted
  readonly pagerdutyRoutingKey: Redacted.Redacted
  readonly kubernetesToken: Redacted.Redacted
  readonly awsAccessKeyId: Redacted.Redacted
  readonly awsSecretAccessKey: Redacted.Redacted
  readonly awsRegion: string
  /** The Kubernetes namespace and the ECS cluster of the services. */
  readonly environment: string
}

/**
 * @since 0.1.0
 * @category tags
 */
export class VendorConfig extends Context.Tag("incident-agent/VendorConfig")<VendorConfig, Service>() {}

/**
 * One base URL for all vendors, each under its own path, as the sandbox serves them. Keys come from the environment;
 * the sandbox takes any.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (base: string): Layer.Layer<VendorConfig, ConfigError.ConfigError> => {
  const secret = (name: string, fallback: string) => Config.withDefault(Config.redacted(name), Redacted.make(fallback))
  const root = base.replace(/\/+$/, "")
  return Layer.effect(
    VendorConfig,
    Effect.map(
      Config.all({
        datadogApiKey: secret("DD_API_KEY", "sandbox"),
        datadogApplicationKey: secret("DD_APP_KEY", "sandbox"),
        pagerdutyRoutingKey: secret("PAGERDUTY_ROUTING_KEY", "sandbox".padEnd(32, "0")),
        kubernetesToken: secret("KUBERNETES_TOKEN", "sandbox"),
        awsAccessKeyId: secret("AWS_ACCESS_KEY_ID", "sandbox"),
        awsSecretAccessKey: secret("AWS_SECRET_ACCESS_KEY", "sandbox"),
        awsRegion: Config.withDefault(Config.string("AWS_REGION"), "us-east-1"),
        environment: Config.withDefault(Config.string("AGENT_ENVIRONMENT"), "production")
      }),
      (config) => ({ ...config, url: (vendor) => `${root}/${vendor}` })
    )
  )
}
