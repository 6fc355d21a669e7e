/**
 * The services of the simulated fleet and what is wrong with them.
 *
 * | service | trouble | what cures it |
 * | --- | --- | --- |
 * | `payment-api` | pods hold dead database connections, and the cache is stale: 5 % of requests fail | a restart of its pods and a reboot of `payment-api-cache`; one alone is not enough |
 * | `search-api` | its database is down, which looks the same from outside | nothing the agent can do |
 * | `orders-api` | too few workers: the queue is full | at least 6 replicas |
 * | `checkout-api` | none | - |
 *
 * @since 0.1.0
 */

/**
 * What the fleet measures for every service.
 *
 * @since 0.1.0
 * @category models
 */
export type MetricName =
  | "errorRate"
  | "latencyP99"
  | "cpu"
  | "memory"
  | "requestRate"
  | "cacheHitRate"
  | "dbConnectionErrors"

/**
 * What ends a trouble. `None` never ends.
 *
 * @since 0.1.0
 * @category models
 */
export type Cure =
  | { readonly _tag: "Restart" }
  | { readonly _tag: "RebootCache" }
  | { readonly _tag: "Scale"; readonly replicas: number }
  | { readonly _tag: "None" }

/**
 * A fault inside a service: how far it moves each metric at full severity, and what it logs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trouble {
  readonly name: string
  readonly cure: Cure
  readonly shift: Readonly<Partial<Record<MetricName, number>>>
  /** `#` stands for a number that differs from line to line. */
  readonly logs: ReadonlyArray<{ readonly level: "error" | "warn"; readonly message: string }>
}

/**
 * A service as it is when all is well, and its troubles.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceProfile {
  readonly replicas: number
  readonly image: string
  readonly normal: Readonly<Record<MetricName, number>>
  readonly logs: ReadonlyArray<string>
  readonly troubles: ReadonlyArray<Trouble>
}

/**
 * The fleet's services by name.
 *
 * @since 0.1.0
 * @category scenario
 */
export const services: Readonly<Record<string, ServiceProfile>> = {
  "payment-api": {
    replicas: 3,
    image: "registry.example/payment-api:2024.01.10-3",
    normal: {
      errorRate: 0.004,
      latencyP99: 0.24,
      cpu: 42,
      memory: 58,
      requestRate: 220,
      cacheHitRate: 0.96,
      dbConnectionErrors: 0.02
    },
    logs: ["POST /v1/payments 201 in # ms", "GET /v1/payments/# 200 in 31 ms"],
    troubles: [
      {
        name: "dead-db-connections",
        cure: { _tag: "Restart" },
        shift: { errorRate: 0.027, latencyP99: 1.1, cpu: 28, memory: 9, requestRate: -12, dbConnectionErrors: 6 },
        logs: [
          { level: "error", message: "Connection timeout: no answer from payments-db in 5000 ms (connection #)" },
          { level: "error", message: "Connection timeout: pool payments-db exhausted, # callers waiting" },
          { level: "error", message: "Database deadlock detected: transaction # was rolled back" }
        ]
      },
      {
        name: "stale-cache",
        cure: { _tag: "RebootCache" },
        shift: { errorRate: 0.019, latencyP99: 0.5, cpu: 15.5, memory: 5, cacheHitRate: -0.41 },
        logs: [
          { level: "warn", message: "Stale cache entry for merchant:#: version in cache is behind the database" },
          { level: "error", message: "Payment # rejected: exchange rate from a stale cache entry" }
        ]
      }
    ]
  },
  "checkout-api": {
    replicas: 4,
    image: "registry.example/checkout-api:2024.01.09-1",
    normal: {
      errorRate: 0.003,
      latencyP99: 0.18,
      cpu: 38,
      memory: 51,
      requestRate: 340,
      cacheHitRate: 0.97,
      dbConnectionErrors: 0.01
    },
    logs: ["POST /v1/checkout 200 in # ms", "GET /v1/cart/# 200 in 12 ms"],
    troubles: []
  },
  "search-api": {
    replicas: 3,
    image: "registry.example/search-api:2024.01.11-2",
    normal: {
      errorRate: 0.005,
      latencyP99: 0.31,
      cpu: 47,
      memory: 63,
      requestRate: 510,
      cacheHitRate: 0.93,
      dbConnectionErrors: 0.02
    },
    logs: ["GET /v1/search 200 in # ms"],
    troubles: [
      {
        name: "database-down",
        cure: { _tag: "None" },
        shift: { errorRate: 0.075, latencyP99: 2.4, cpu: 22, cacheHitRate: -0.3, dbConnectionErrors: 9 },
        logs: [
          { level: "error", message: "Connection timeout: no answer from search-db in 5000 ms (connection #)" },
          { level: "warn", message: "Stale cache entry for query:#: refresh failed, database unavailable" }
        ]
      }
    ]
  },
  "orders-api": {
    replicas: 3,
    image: "registry.example/orders-api:2024.01.08-4",
    normal: {
      errorRate: 0.004,
      latencyP99: 0.27,
      cpu: 45,
      memory: 54,
      requestRate: 180,
      cacheHitRate: 0.95,
      dbConnectionErrors: 0.01
    },
    logs: ["POST /v1/orders 201 in # ms"],
    troubles: [
      {
        name: "too-few-workers",
        cure: { _tag: "Scale", replicas: 6 },
        shift: { errorRate: 0.031, latencyP99: 1.8, cpu: 50, memory: 18, requestRate: 160 },
        logs: [
          { level: "error", message: "Worker pool saturated: # requests waiting, request rejected" },
          { level: "warn", message: "Queue depth # is above the limit of 500" }
        ]
      }
    ]
  }
}
