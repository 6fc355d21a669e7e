/**
 * @since 0.1.0
 */

export * as SqlHealingStore from "./SqlHealingStore.js"

/**
 * @since 0.1.0
 */
export * as SqlHealthCheck from "./SqlHealthCheck.js"

/**
 * @since 0.1.0
 */
export * as SqlStore from "./SqlStore.js"
