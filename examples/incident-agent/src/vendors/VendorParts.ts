/**
 * What protects each vendor, and its figures: a bulkhead, a retry budget, a throttle, a rate limit and a circuit breaker,
 * each a service shared by all that the agent does at that vendor.
 *
 * @since 0.1.0
 */
import * as Bulkhead from "@firebreak/core/Bulkhead"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as RateLimit from "@firebreak/core/RateLimit"
import * as RetryBudget from "@firebreak/core/RetryBudget"
import * as Throttle from "@firebreak/core/Throttle"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/**
 * The figures of one vendor.
 *
 * @since 0.1.0
 * @category options
 */
export interface Figures {
  /** The longest time of one call, its retries and their waits included. */
  readonly deadline: Duration.DurationInput
  /** Calls under way at once; others wait for a slot. */
  readonly maxConcurrent: number
  /** What the vendor takes from one client; calls beyond it wait. */
  readonly rate: RateLimit.Limit
}

/**
 * A source of data has 45 seconds, for there is another one; a page a minute, for it can be spooled; an action as long as
 * its attempts and their longest waits add up to.
 *
 * @since 0.1.0
 * @category options
 */
export const figures = {
  datadog: { deadline: "45 seconds", maxConcurrent: 8, rate: { rate: 10, per: "1 second", burst: 20 } },
  prometheus: { deadline: "45 seconds", maxConcurrent: 16, rate: { rate: 50, per: "1 second", burst: 50 } },
  loki: { deadline: "45 seconds", maxConcurrent: 8, rate: { rate: 10, per: "1 second", burst: 20 } },
  pagerduty: { deadline: "1 minute", maxConcurrent: 4, rate: { rate: 2, per: "1 second", burst: 20 } },
  aws: { deadline: "2 minutes", maxConcurrent: 4, rate: { rate: 10, per: "1 second", burst: 20 } },
  kubernetes: { deadline: "2 minutes", maxConcurrent: 4, rate: { rate: 5, per: "1 second", burst: 10 } }
} as const satisfies Readonly<Record<string, Figures>>

/**
 * What is the same for all vendors: the chapter's figures for retries and breakers, and how long one attempt may take. A
 * throttle and a budget that suit an agent of few calls: 20 retries, or 10 after timeouts, until successes earn more.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  backoff: { base: "1 second", cap: "32 seconds", maxRetries: 3 },
  attemptTimeout: "5 seconds",
  trip: CircuitBreaker.consecutive(3),
  resetAfter: Duration.seconds(30),
  allowance: RetryBudget.tokens({ capacity: 100 }),
  throttleFrom: 20
} as const

/**
 * @since 0.1.0
 * @category models
 */
export type Name = keyof typeof figures

/**
 * Identifies the services of a vendor's parts; they are built together.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts<N extends Name> {
  readonly vendor: N
}

const vendor = <const N extends Name>(name: N) => ({
  name,
  bulkhead: Bulkhead.Tag(name)<Parts<N>>(),
  retryBudget: RetryBudget.Tag(name)<Parts<N>>(),
  throttle: Throttle.Tag(name)<Parts<N>>(),
  rateLimit: RateLimit.Tag(name)<Parts<N>>(),
  breaker: CircuitBreaker.Tag(name)<Parts<N>>()
})

/**
 * The tags of a vendor's parts.
 *
 * @since 0.1.0
 * @category models
 */
export type Vendor<N extends Name> = ReturnType<typeof vendor<N>>

/**
 * @since 0.1.0
 * @category vendors
 */
export const Datadog = vendor("datadog")
/**
 * @since 0.1.0
 * @category vendors
 */
export const Prometheus = vendor("prometheus")
/**
 * @since 0.1.0
 * @category vendors
 */
export const Loki = vendor("loki")
/**
 * @since 0.1.0
 * @category vendors
 */
export const PagerDuty = vendor("pagerduty")
/**
 * @since 0.1.0
 * @category vendors
 */
export const Aws = vendor("aws")
/**
 * @since 0.1.0
 * @category vendors
 */
export const Kubernetes = vendor("kubernetes")

/**
 * The parts of all vendors. Open circuits stay so for `resetAfter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  resetAfter: Duration.DurationInput = defaults.resetAfter
): Layer.Layer<{ readonly [N in Name]: Parts<N> }[Name]> => {
  const of = <N extends Name>({ breaker, bulkhead, name, rateLimit, retryBudget, throttle }: Vendor<N>) => {
    const { maxConcurrent, rate }: Figures = figures[name]
    return Layer.mergeAll(
      bulkhead.layer({ maxConcurrent }),
      retryBudget.layer({ allowance: defaults.allowance }),
      throttle.layer({ minimumCalls: defaults.throttleFrom }),
      rateLimit.layer({ limits: [rate] }),
      breaker.layer({ trip: defaults.trip, resetAfter })
    )
  }
  return Layer.mergeAll(of(Datadog), of(Prometheus), of(Loki), of(PagerDuty), of(Aws), of(Kubernetes))
}

/**
 * Within the effect no call to any vendor is repeated. For what is a repetition itself: retries of several layers then add
 * up and do not multiply.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutRetries = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Object.keys(figures).reduce((effect, name) => RetryBudget.withRetrying(effect, name), effect)
