/**
 * The simulated fleet: what runs, what was done to it and when. Nothing moves by itself: every state in between
 * (a rollout half done, a cache on its way back) is computed from the recorded changes and the time of the question,
 * so that the past never changes and all vendors tell the same truth.
 *
 * One workload is seen through both orchestrators: ECS cluster `production` and Kubernetes namespace `production` show
 * the same services, and every service `S` has a cache cluster `S-cache`. Metrics carry these names:
 *
 * | metric | unit | Datadog query | PromQL query |
 * | --- | --- | --- | --- |
 * | errorRate | fraction of requests | `avg:service.error_rate{service:S}` | `service_error_rate{service="S"}` |
 * | latencyP99 | s | `avg:service.latency.p99{service:S}` | `service_latency_p99_seconds{service="S"}` |
 * | cpu | % | `avg:service.cpu.percent{service:S}` | `service_cpu_percent{service="S"}` |
 * | memory | % | `avg:service.memory.percent{service:S}` | `service_memory_percent{service="S"}` |
 * | requestRate | 1/s | `avg:service.requests.rate{service:S}` | `service_requests_per_second{service="S"}` |
 * | cacheHitRate | fraction of reads | `avg:service.cache.hit_rate{service:S}` | `service_cache_hit_ratio{service="S"}` |
 * | dbConnectionErrors | 1/s | `avg:service.db.connection_errors{service:S}` | `service_db_connection_errors_per_second{service="S"}` |
 *
 * Firing monitors are also `ALERTS{alertstate="firing",service="S"}`. Logs: Datadog `service:S status:error`,
 * Loki `{service="S"} |= "timeout"`.
 *
 * @since 0.1.0
 */
import * as Scenario from "./Scenario.js"

/**
 * Times of the fleet, in milliseconds.
 *
 * @since 0.1.0
 * @category defaults
 */
export const defaults = {
  /** How long before the fleet's start its troubles began. */
  onset: 300_000,
  /** How long a trouble takes to full severity. */
  rise: 15_000,
  /** How long a restart, a scaling or a cache reboot takes. */
  rollout: 500,
  /** How long metrics take to return to normal after the cure is complete. */
  recovery: 300
} as const

/**
 * A change that took `doneAt - at` milliseconds. Rollouts start new pods, scalings change their number, reboots empty
 * a cache.
 *
 * @since 0.1.0
 * @category models
 */
export interface Change {
  readonly id: string
  readonly at: number
  readonly doneAt: number
}

/**
 * A change of the number of replicas.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scaling extends Change {
  readonly from: number
  readonly to: number
}

/**
 * A service as its orchestrators know it. `rollouts` begins with the one that first deployed it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Workload {
  readonly name: string
  readonly replicas: number
  /** Annotations of the pod template. */
  readonly annotations: Readonly<Record<string, string>>
  /** Counts changes of the specification, as Kubernetes does. */
  readonly generation: number
  readonly rollouts: readonly [Change, ...Array<Change>]
  readonly scalings: ReadonlyArray<Scaling>
}

/**
 * A cache cluster and its reboots.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cache {
  readonly name: string
  readonly service: string
  readonly nodes: ReadonlyArray<string>
  readonly reboots: ReadonlyArray<Change & { readonly nodes: ReadonlyArray<string> }>
}

/**
 * An alert that paged someone. `status` follows PagerDuty: after `resolved` the same key pages anew.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  readonly dedupKey: string
  readonly status: "triggered" | "acknowledged" | "resolved"
  readonly summary: string
  readonly severity: string
  readonly source: string
  readonly at: number
}

/**
 * The whole state of the sandbox's world. Times are milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fleet {
  readonly seed: number
  readonly startedAt: number
  /** When the troubles began. */
  readonly onset: number
  readonly workloads: Readonly<Record<string, Workload>>
  readonly caches: Readonly<Record<string, Cache>>
  readonly pages: ReadonlyArray<Page>
}

/**
 * What can be done to the fleet. `Restart` replaces all pods, with `annotations` merged into the pod template.
 *
 * @since 0.1.0
 * @category models
 */
export type Command =
  | { readonly _tag: "Restart"; readonly service: string; readonly annotations?: Readonly<Record<string, string>> }
  | { readonly _tag: "Scale"; readonly service: string; readonly replicas: number }
  | { readonly _tag: "RebootCache"; readonly cluster: string; readonly nodes: ReadonlyArray<string> }
  | { readonly _tag: "Page"; readonly page: Omit<Page, "at" | "status"> }
  | { readonly _tag: "SettlePage"; readonly dedupKey: string; readonly status: "acknowledged" | "resolved" }

/**
 * The fleet at `now`, its troubles `defaults.onset` old.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (seed: number, now: number): Fleet => {
  const deployedAt = now - 86_400_000
  const workloads: Record<string, Workload> = {}
  const caches: Record<string, Cache> = {}
  for (const [name, profile] of Object.entries(Scenario.services)) {
    workloads[name] = {
      name,
      replicas: profile.replicas,
      annotations: {},
      generation: 1,
      rollouts: [{ id: changeId(seed, name, 0), at: deployedAt, doneAt: deployedAt + defaults.rollout }],
      scalings: []
    }
    caches[`${name}-cache`] = { name: `${name}-cache`, service: name, nodes: ["0001"], reboots: [] }
  }
  return { seed, startedAt: now, onset: now - defaults.onset, workloads, caches, pages: [] }
}

/**
 * The fleet after `command`. It is the same object if the command changes nothing: an unknown target, annotations or
 * a number of replicas that are already so, a page that is already open.
 *
 * @since 0.1.0
 * @category state
 */
export const step = (fleet: Fleet, command: Command, now: number): Fleet => {
  switch (command._tag) {
    case "Restart": {
      const workload = workloadNamed(fleet, command.service)
      if (workload === undefined) return fleet
      const annotations = Object.entries(command.annotations ?? {})
      if (annotations.length > 0 && annotations.every(([key, value]) => workload.annotations[key] === value)) {
        return fleet
      }
      return withWorkload(fleet, {
        ...workload,
        annotations: { ...workload.annotations, ...command.annotations },
        generation: workload.generation + 1,
        rollouts: [...workload.rollouts, change(fleet, workload.name, workload.rollouts.length, now)]
      })
    }
    case "Scale": {
      const workload = workloadNamed(fleet, command.service)
      if (workload === undefined || workload.replicas === command.replicas) return fleet
      return withWorkload(fleet, {
        ...workload,
        replicas: command.replicas,
        generation: workload.generation + 1,
        scalings: [...workload.scalings, {
          ...change(fleet, `${workload.name}/scale`, workload.scalings.length, now),
          from: replicasAt(workload, now),
          to: command.replicas
        }]
      })
    }
    case "RebootCache": {
      const cache = cacheNamed(fleet, command.cluster)
      if (cache === undefined) return fleet
      const reboot = { ...change(fleet, cache.name, cache.reboots.length, now), nodes: command.nodes }
      return {
        ...fleet,
        caches: { ...fleet.caches, [cache.name]: { ...cache, reboots: [...cache.reboots, reboot] } }
      }
    }
    case "Page": {
      if (openPage(fleet, command.page.dedupKey) !== undefined) return fleet
      return { ...fleet, pages: [...fleet.pages, { ...command.page, status: "triggered", at: now }] }
    }
    case "SettlePage": {
      const open = openPage(fleet, command.dedupKey)
      if (open === undefined || open.status === command.status) return fleet
      return {
        ...fleet,
        pages: fleet.pages.map((page) => page === open ? { ...page, status: command.status } : page)
      }
    }
  }
}

/**
 * The workload of this name, which may come from a request.
 *
 * @since 0.1.0
 * @category questions
 */
export const workloadNamed = (fleet: Fleet, name: string): Workload | undefined =>
  Object.hasOwn(fleet.workloads, name) ? fleet.workloads[name] : undefined

/**
 * The cache cluster of this name, which may come from a request.
 *
 * @since 0.1.0
 * @category questions
 */
export const cacheNamed = (fleet: Fleet, name: string): Cache | undefined =>
  Object.hasOwn(fleet.caches, name) ? fleet.caches[name] : undefined

/**
 * The page of this key that is triggered or acknowledged, if there is one.
 *
 * @since 0.1.0
 * @category questions
 */
export const openPage = (fleet: Fleet, dedupKey: string): Page | undefined =>
  fleet.pages.find((page) => page.dedupKey === dedupKey && page.status !== "resolved")

/**
 * How far a change has come at `now`, from 0 to 1.
 *
 * @since 0.1.0
 * @category questions
 */
export const progress = (change: Change, now: number): number => ramp(now - change.at, change.doneAt - change.at)

/**
 * The latest rollout of a workload.
 *
 * @since 0.1.0
 * @category questions
 */
export const latestRollout = (workload: Workload): Change => workload.rollouts.at(-1) ?? workload.rollouts[0]

/**
 * The replicas that run at `now`, which move from the old number to the new while a scaling is under way.
 *
 * @since 0.1.0
 * @category questions
 */
export const replicasAt = (workload: Workload, now: number): number => {
  const last = workload.scalings.filter((scaling) => scaling.at <= now).at(-1)
  if (last === undefined) return workload.scalings[0]?.from ?? workload.replicas
  return Math.round(last.from + (last.to - last.from) * progress(last, now))
}

/**
 * How strongly a trouble is felt at `now`, from 0 to 1: it rises at the fleet's onset and fades once its cure is
 * complete.
 *
 * @since 0.1.0
 * @category questions
 */
export const severity = (fleet: Fleet, service: string, trouble: Scenario.Trouble, now: number): number => {
  const cured = curedAt(fleet, service, trouble.cure, now)
  return ramp(now - fleet.onset, defaults.rise) * (cured === undefined ? 1 : 1 - ramp(now - cured, defaults.recovery))
}

/**
 * A number in [0, 1) that depends on its parts alone: the fleet's only source of noise.
 *
 * @since 0.1.0
 * @category questions
 */
export const noise = (seed: number, ...parts: ReadonlyArray<string | number>): number => {
  let hash = (seed | 0) ^ 0x9e3779b9
  const text = parts.join("/")
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  // the finalizer of MurmurHash3: neighbouring seconds must not get neighbouring values
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 4_294_967_296
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const ramp = (elapsed: number, length: number): number => Math.min(1, Math.max(0, elapsed / length))

const changeId = (seed: number, name: string, index: number): string =>
  String(Math.floor(noise(seed, name, index, "high") * 9e9) + 1e9) +
  String(Math.floor(noise(seed, name, index, "low") * 9e8) + 1e8)

const change = (fleet: Fleet, name: string, index: number, now: number): Change => ({
  id: changeId(fleet.seed, name, index),
  at: now,
  doneAt: now + defaults.rollout
})

const withWorkload = (fleet: Fleet, workload: Workload): Fleet => ({
  ...fleet,
  workloads: { ...fleet.workloads, [workload.name]: workload }
})

const curedAt = (fleet: Fleet, service: string, cure: Scenario.Cure, now: number): number | undefined => {
  const workload = fleet.workloads[service]
  switch (cure._tag) {
    case "None":
      return undefined
    case "Restart":
      return workload?.rollouts.find((rollout) => rollout.at > fleet.onset && rollout.at <= now)?.doneAt
    case "RebootCache":
      return fleet.caches[`${service}-cache`]?.reboots.find((reboot) => reboot.at <= now)?.doneAt
    case "Scale":
      return workload?.scalings.filter((scaling) => scaling.at <= now).reduce<number | undefined>(
        (since, scaling) => scaling.to >= cure.replicas ? since ?? scaling.doneAt : undefined,
        undefined
      )
  }
}
