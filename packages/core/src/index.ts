/**
 * Every module of the package under its own name. Programs that must start fast import `@firebreak/core/Module` instead.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as Autoscale from "./Autoscale.js"

/**
 * @since 0.1.0
 */
export * as Backoff from "./Backoff.js"

/**
 * @since 0.1.0
 */
export * as BackoffCurve from "./BackoffCurve.js"

/**
 * @since 0.1.0
 */
export * as Bulkhead from "./Bulkhead.js"

/**
 * @since 0.1.0
 */
export * as Chaos from "./Chaos.js"

/**
 * @since 0.1.0
 */
export * as Checkpoint from "./Checkpoint.js"

/**
 * @since 0.1.0
 */
export * as CheckpointEngine from "./CheckpointEngine.js"

/**
 * @since 0.1.0
 */
export * as CheckpointError from "./CheckpointError.js"

/**
 * @since 0.1.0
 */
export * as CheckpointHistory from "./CheckpointHistory.js"

/**
 * @since 0.1.0
 */
export * as CheckpointMemory from "./CheckpointMemory.js"

/**
 * @since 0.1.0
 */
export * as CheckpointRuns from "./CheckpointRuns.js"

/**
 * @since 0.1.0
 */
export * as CheckpointStep from "./CheckpointStep.js"

/**
 * @since 0.1.0
 */
export * as CheckpointStore from "./CheckpointStore.js"

/**
 * @since 0.1.0
 */
export * as CheckpointWait from "./CheckpointWait.js"

/**
 * @since 0.1.0
 */
export * as CheckpointWorkflow from "./CheckpointWorkflow.js"

/**
 * @since 0.1.0
 */
export * as CircuitBreaker from "./CircuitBreaker.js"

/**
 * @since 0.1.0
 */
export * as CircuitBreakerError from "./CircuitBreakerError.js"

/**
 * @since 0.1.0
 */
export * as CircuitBreakerRegistry from "./CircuitBreakerRegistry.js"

/**
 * @since 0.1.0
 */
export * as CircuitState from "./CircuitState.js"

/**
 * @since 0.1.0
 */
export * as ConcurrencyLimit from "./ConcurrencyLimit.js"

/**
 * @since 0.1.0
 */
export * as Deadline from "./Deadline.js"

/**
 * @since 0.1.0
 */
export * as Degradation from "./Degradation.js"

/**
 * @since 0.1.0
 */
export * as DegradationCache from "./DegradationCache.js"

/**
 * @since 0.1.0
 */
export * as DegradationComponent from "./DegradationComponent.js"

/**
 * @since 0.1.0
 */
export * as DegradationLevel from "./DegradationLevel.js"

/**
 * @since 0.1.0
 */
export * as DegradationPart from "./DegradationPart.js"

/**
 * @since 0.1.0
 */
export * as DegradationReport from "./DegradationReport.js"

/**
 * @since 0.1.0
 */
export * as DegradationSlo from "./DegradationSlo.js"

/**
 * @since 0.1.0
 */
export * as DegradationSpells from "./DegradationSpells.js"

/**
 * @since 0.1.0
 */
export * as DesiredState from "./DesiredState.js"

/**
 * @since 0.1.0
 */
export * as Escalation from "./Escalation.js"

/**
 * @since 0.1.0
 */
export * as EventSink from "./EventSink.js"

/**
 * @since 0.1.0
 */
export * as Events from "./Events.js"

/**
 * @since 0.1.0
 */
export * as Failover from "./Failover.js"

/**
 * @since 0.1.0
 */
export * as FailoverState from "./FailoverState.js"

/**
 * @since 0.1.0
 */
export * as Healing from "./Healing.js"

/**
 * @since 0.1.0
 */
export * as HealingLoop from "./HealingLoop.js"

/**
 * @since 0.1.0
 */
export * as HealingState from "./HealingState.js"

/**
 * @since 0.1.0
 */
export * as HealingStore from "./HealingStore.js"

/**
 * @since 0.1.0
 */
export * as Health from "./Health.js"

/**
 * @since 0.1.0
 */
export * as HealthCheck from "./HealthCheck.js"

/**
 * @since 0.1.0
 */
export * as Hedge from "./Hedge.js"

/**
 * @since 0.1.0
 */
export * as Idempotency from "./Idempotency.js"

/**
 * @since 0.1.0
 */
export * as IdempotencyError from "./IdempotencyError.js"

/**
 * @since 0.1.0
 */
export * as IdempotencyRecords from "./IdempotencyRecords.js"

/**
 * @since 0.1.0
 */
export * as IdempotencyState from "./IdempotencyState.js"

/**
 * @since 0.1.0
 */
export * as IdempotencyStore from "./IdempotencyStore.js"

/**
 * @since 0.1.0
 */
export * as InvalidOption from "./InvalidOption.js"

/**
 * @since 0.1.0
 */
export * as LimitStrategy from "./LimitStrategy.js"

/**
 * @since 0.1.0
 */
export * as LoopGuard from "./LoopGuard.js"

/**
 * @since 0.1.0
 */
export * as LoopGuardState from "./LoopGuardState.js"

/**
 * @since 0.1.0
 */
export * as MetricCatalog from "./MetricCatalog.js"

/**
 * @since 0.1.0
 */
export * as Policy from "./Policy.js"

/**
 * @since 0.1.0
 */
export * as RateLimit from "./RateLimit.js"

/**
 * @since 0.1.0
 */
export * as Reconcile from "./Reconcile.js"

/**
 * @since 0.1.0
 */
export * as Rejection from "./Rejection.js"

/**
 * @since 0.1.0
 */
export * as Remedy from "./Remedy.js"

/**
 * @since 0.1.0
 */
export * as Restartable from "./Restartable.js"

/**
 * @since 0.1.0
 */
export * as RetryAllowance from "./RetryAllowance.js"

/**
 * @since 0.1.0
 */
export * as RetryBudget from "./RetryBudget.js"

/**
 * @since 0.1.0
 */
export * as StoreError from "./StoreError.js"

/**
 * @since 0.1.0
 */
export * as Telemetry from "./Telemetry.js"

/**
 * @since 0.1.0
 */
export * as Supervision from "./Supervision.js"

/**
 * @since 0.1.0
 */
export * as SupervisionState from "./SupervisionState.js"

/**
 * @since 0.1.0
 */
export * as SystemCheck from "./SystemCheck.js"

/**
 * @since 0.1.0
 */
export * as Throttle from "./Throttle.js"

/**
 * @since 0.1.0
 */
export * as TripStrategy from "./TripStrategy.js"
