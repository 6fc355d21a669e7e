/**
 * What clears a service's cache.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { VendorError } from "./VendorError.js"

/**
 * `at` is when the reboot was decided, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reboot {
  readonly cluster: string
  readonly at: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Reboots all nodes of the cluster; returns its name. */
  readonly reboot: (reboot: Reboot) => Effect.Effect<string, VendorError>
  /** The cluster's name if it was rebooted since: the call has no key, so its events are what can be asked. */
  readonly rebootedSince: (reboot: Reboot) => Effect.Effect<Option.Option<string>, VendorError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class CacheAdmin extends Context.Tag("incident-agent/CacheAdmin")<CacheAdmin, Service>() {}
