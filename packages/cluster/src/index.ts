/**
 * Workflows on many machines, and the process that runs them.
 *
 * @since 0.1.0
 */
export * as ClusterEngine from "./ClusterEngine.js"
export * as ClusterRunner from "./ClusterRunner.js"
