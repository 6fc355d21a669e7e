/**
 * What the fleet shows: metrics, logs and monitors as pure functions of its state and a time. Datadog, Prometheus and
 * Loki are three ways to read this module.
 *
 * @since 0.1.0
 */
import * as Fleet from "./Fleet.js"
import * as Scenario from "./Scenario.js"

/**
 * The vendors' names of each metric, its relative noise, and the highest value it can take.
 *
 * @since 0.1.0
 * @category metrics
 */
export const metrics: Readonly<
  Record<
    Scenario.MetricName,
    { readonly datadog: string; readonly prometheus: string; readonly noise: number; readonly max: number }
  >
> = {
  errorRate: { datadog: "service.error_rate", prometheus: "service_error_rate", noise: 0.08, max: 1 },
  latencyP99: { datadog: "service.latency.p99", prometheus: "service_latency_p99_seconds", noise: 0.06, max: 60 },
  cpu: { datadog: "service.cpu.percent", prometheus: "service_cpu_percent", noise: 0.03, max: 100 },
  memory: { datadog: "service.memory.percent", prometheus: "service_memory_percent", noise: 0.01, max: 100 },
  requestRate: { datadog: "service.requests.rate", prometheus: "service_requests_per_second", noise: 0.05, max: 1e6 },
  cacheHitRate: { datadog: "service.cache.hit_rate", prometheus: "service_cache_hit_ratio", noise: 0.01, max: 1 },
  dbConnectionErrors: {
    datadog: "service.db.connection_errors",
    prometheus: "service_db_connection_errors_per_second",
    noise: 0.1,
    max: 1e6
  }
}

/**
 * The metric that a vendor calls `name`, if there is one.
 *
 * @since 0.1.0
 * @category metrics
 */
export const metricNamed = (vendor: "datadog" | "prometheus", name: string): Scenario.MetricName | undefined =>
  metricNames.find((metric) => metrics[metric][vendor] === name)

/**
 * How long the fleet remembers: metrics 15 days, logs a day. In milliseconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retention = { metrics: 15 * 86_400_000, logs: 86_400_000 } as const

/**
 * A metric of a service at `time`: its normal value, moved by what is wrong at that moment, with noise that is the
 * same for the same second. Zero for a service that does not exist.
 *
 * @since 0.1.0
 * @category metrics
 */
export const value = (fleet: Fleet.Fleet, service: string, metric: Scenario.MetricName, time: number): number => {
  const profile = Scenario.services[service]
  if (profile === undefined) return 0
  const shifted = profile.troubles.reduce(
    (sum, trouble) => sum + (trouble.shift[metric] ?? 0) * Fleet.severity(fleet, service, trouble, time),
    profile.normal[metric]
  )
  const { max, noise } = metrics[metric]
  const swing = 1 + noise * (2 * Fleet.noise(fleet.seed, service, metric, Math.floor(time / 1_000)) - 1)
  return Number(Math.min(max, Math.max(0, shifted * swing)).toPrecision(6))
}

/**
 * All metrics of all services at `time`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshot = (fleet: Fleet.Fleet, time: number): Readonly<Record<string, Record<string, number>>> =>
  Object.fromEntries(
    Object.keys(fleet.workloads).map((service) => [
      service,
      Object.fromEntries(metricNames.map((metric) => [metric, value(fleet, service, metric, time)]))
    ])
  )

/**
 * A log line of a service. `id` is unique and the same however the logs are searched.
 *
 * @since 0.1.0
 * @category logs
 */
export interface LogLine {
  readonly id: string
  readonly at: number
  readonly service: string
  readonly host: string
  readonly level: "error" | "warn" | "info"
  readonly message: string
}

/**
 * The log lines from `from` (inclusive) to `to` (exclusive), oldest first: about one in seven seconds when all is well,
 * and one more every three seconds for each trouble at full severity.
 *
 * @since 0.1.0
 * @category logs
 */
export const logs = (
  fleet: Fleet.Fleet,
  service: string,
  from: number,
  to: number
): ReadonlyArray<LogLine> => {
  const profile = Scenario.services[service]
  const lines: Array<LogLine> = []
  if (profile === undefined) return lines
  const add = (slot: number, source: string, level: LogLine["level"], messages: ReadonlyArray<string>) => {
    const draw = (what: string) => Fleet.noise(fleet.seed, service, slot, source, what)
    const at = slot * logSlot + Math.floor(draw("at") * logSlot)
    const message = messages[Math.floor(draw("message") * messages.length)]
    if (message === undefined || at < from || at >= to) return
    lines.push({
      id: `${slot.toString(36)}${Math.floor(draw("id") * 2 ** 32).toString(36).padStart(7, "0")}`,
      at,
      service,
      host: `${service}-${Math.floor(draw("host") * profile.replicas)}`,
      level,
      message: message.replace("#", String(100 + Math.floor(draw("number") * 8_900)))
    })
  }
  for (let slot = Math.floor(from / logSlot); slot * logSlot < to; slot++) {
    if (Fleet.noise(fleet.seed, service, slot, "info") < 0.3) add(slot, "info", "info", profile.logs)
    for (const trouble of profile.troubles) {
      const severity = Fleet.severity(fleet, service, trouble, slot * logSlot)
      const draw = Fleet.noise(fleet.seed, service, slot, trouble.name)
      const template = trouble.logs[Math.floor(draw * 7919) % trouble.logs.length]
      if (draw < severity * 0.66 && template !== undefined) add(slot, trouble.name, template.level, [template.message])
    }
  }
  return lines.toSorted((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1))
}

/**
 * A threshold on a metric of a service, and how it stands. `since` is when it last triggered.
 *
 * @since 0.1.0
 * @category monitors
 */
export interface Monitor {
  readonly id: number
  readonly name: string
  readonly service: string
  readonly metric: Scenario.MetricName
  readonly critical: number
  readonly warning: number
  readonly value: number
  readonly status: "Alert" | "Warn" | "OK"
  readonly since: number | null
}

/**
 * All monitors at `now`: error rate, latency and CPU of every service.
 *
 * @since 0.1.0
 * @category monitors
 */
export const monitors = (fleet: Fleet.Fleet, now: number): ReadonlyArray<Monitor> =>
  Object.keys(fleet.workloads).flatMap((service, index) =>
    thresholds.map(({ critical, metric, title, warning }, offset) => {
      const current = value(fleet, service, metric, now)
      const status = current > critical ? "Alert" : current > warning ? "Warn" : "OK"
      return {
        id: 1_000 + index * 10 + offset,
        name: `${title} on ${service}`,
        service,
        metric,
        critical,
        warning,
        value: current,
        status,
        since: status === "OK" ? null : fleet.onset + Fleet.defaults.rise
      }
    })
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const metricNames = Object.keys(metrics) as ReadonlyArray<Scenario.MetricName>

const logSlot = 2_000

const thresholds = [
  { metric: "errorRate", title: "High error rate", critical: 0.01, warning: 0.0075 },
  { metric: "latencyP99", title: "High latency", critical: 1, warning: 0.75 },
  { metric: "cpu", title: "High CPU", critical: 90, warning: 80 }
] as const
