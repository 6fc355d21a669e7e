/**
 * Every module of the package under its own name. Programs that must start fast import `@firebreak/http/Module` instead.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as DeadlineHttp from "./DeadlineHttp.js"

/**
 * @since 0.1.0
 */
export * as HealthRoutes from "./HealthRoutes.js"

/**
 * @since 0.1.0
 */
export * as HttpHealthCheck from "./HttpHealthCheck.js"

/**
 * @since 0.1.0
 */
export * as IdempotencyKey from "./IdempotencyKey.js"

/**
 * @since 0.1.0
 */
export * as MetricsRoute from "./MetricsRoute.js"

/**
 * @since 0.1.0
 */
export * as ResilientClient from "./ResilientClient.js"

/**
 * @since 0.1.0
 */
export * as RetryAfter from "./RetryAfter.js"
