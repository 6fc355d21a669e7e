/**
 * The steps of a run, and what undoes them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { CurrentRun } from "./CheckpointEngine.js"
import { outcomesOf, stepName } from "./internal/checkpointCodec.js"
import * as Check from "./internal/options.js"
import { voided } from "./internal/outcomeCodec.js"

/**
 * What keeps a step from being part of another step.
 *
 * @since 0.1.0
 * @category models
 */
export type NotNested<R> = CurrentRun extends R ? "a step cannot contain another step" : unknown

/**
 * @since 0.1.0
 * @category options
 */
export interface TransactionOptions<Success extends Schema.Schema.Any, Error extends Schema.Schema.All, UndoR> {
  /** Default: `Schema.Void`. */
  readonly success?: Success | undefined
  /** Default: `Schema.Never`. */
  readonly error?: Error | undefined
  /** Undoes the step if the run fails, is cancelled or passes its deadline; see `compensate`. */
  readonly compensate?:
    | ((value: Schema.Schema.Type<Success>) => Effect.Effect<void, never, UndoR> & NotNested<UndoR>)
    | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface StepOptions<Success extends Schema.Schema.Any, Error extends Schema.Schema.All, ProbeR, UndoR>
  extends TransactionOptions<Success, Error, UndoR>
{
  /**
   * What to do about a step in which the run's owner died, so that nobody knows whether it happened.
   *
   * - `retry`: run it again. The default, right for what may be done twice or goes by an idempotency key.
   * - `probe`: look whether it happened; run it again only if not.
   * - `escalate`: end in `StepInDoubt` until somebody has settled it.
   *
   * The latter two cost one more durable write, before the step.
   */
  readonly onInDoubt?:
    | "retry"
    | "escalate"
    | {
      readonly probe:
        & Effect.Effect<Option.Option<Schema.Schema.Type<Success>>, never, ProbeR>
        & NotNested<ProbeR>
    }
    | undefined
}

/**
 * A step of a run: its outcome is saved when it has ended, and never computed again.
 *
 * Steps of one run need different names where they run concurrently; one after the other, the second of a name is
 * recorded as `name#2`.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * // a resumed run gets the time that was saved
 * const startedAt = Checkpoint.step("start", { success: Schema.Number }, Effect.clockWith((_) => _.currentTimeMillis))
 *
 * export const program = Checkpoint.run("INC-1", { success: Schema.Number }, startedAt).pipe(
 *   Effect.provide(Checkpoint.layerMemory)
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const step = <
  E extends Schema.Schema.Type<Error>,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never,
  ProbeR = never,
  UndoR = never
>(
  name: string,
  options: StepOptions<Success, Error, ProbeR, UndoR>,
  effect: Effect.Effect<Schema.Schema.Type<Success>, E, R> & NotNested<R>
): Effect.Effect<
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error>,
  R | ProbeR | UndoR | CurrentRun | Schema.Schema.Context<Success> | Schema.Schema.Context<Error>
> => {
  Check.known("Checkpoint.step", options, known)
  const { compensate, error, onInDoubt = "retry", success } = options
  if (onInDoubt !== "retry") Check.doubt("Checkpoint.step", "onInDoubt", onInDoubt)
  const request = {
    name: stepName("Checkpoint.step", name),
    outcomes: outcomesOf(success, error),
    onInDoubt,
    compensate,
    body: voided(success, effect)
  }
  // looked up by hand, for this is most of what a step does here
  return Effect.withFiberRuntime<any, any, R | ProbeR | UndoR | CurrentRun>((fiber) =>
    Context.get(fiber.currentContext as Context.Context<CurrentRun>, CurrentRun).step(request)
  )
}

/**
 * A step that is a transaction of the database in which the run is recorded: its record is committed with what the effect
 * wrote, so it happens exactly once. A failure rolls back what it wrote and is recorded by itself. Needs an engine with
 * the capability `transaction`; its Layer says how the effect comes to the database.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import type * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * export const book = (insert: Effect.Effect<number>) => Checkpoint.transaction("book", { success: Schema.Number }, insert)
 *
 * @since 0.1.0
 * @category constructors
 */
export const transaction = <
  E extends Schema.Schema.Type<Error>,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never,
  UndoR = never
>(
  name: string,
  options: TransactionOptions<Success, Error, UndoR>,
  effect: Effect.Effect<Schema.Schema.Type<Success>, E, R> & NotNested<R>
): Effect.Effect<
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error>,
  R | UndoR | CurrentRun | Schema.Schema.Context<Success> | Schema.Schema.Context<Error>
> => {
  Check.known("Checkpoint.transaction", options, knownOfTransaction)
  const { compensate, error, success } = options
  const request = {
    name: stepName("Checkpoint.transaction", name),
    outcomes: outcomesOf(success, error),
    compensate,
    body: voided(success, effect)
  }
  return Effect.flatMap(CurrentRun, (run) => run.transaction<any, any, R | UndoR>(request))
}

/**
 * Says how to undo what comes next, if the run fails, is cancelled or passes its deadline. Compensations run in reverse
 * order, each at least once, and each is recorded; one that dies is tried again when the run is taken up. Stated before
 * a step it also undoes one that was cut short, and must then bear that nothing was done; to undo only what was done,
 * give it to the step.
 *
 * @example
 * import * as Checkpoint from "@firebreak/core/Checkpoint"
 * import * as Effect from "effect/Effect"
 *
 * export const program = Checkpoint.run(
 *   "INC-1",
 *   Effect.zipRight(
 *     Checkpoint.compensate("silence", Effect.log("alerts are heard again")),
 *     Checkpoint.step("silence", {}, Effect.log("alerts are silenced"))
 *   )
 * ).pipe(Effect.provide(Checkpoint.layerMemory))
 *
 * @since 0.1.0
 * @category constructors
 */
export const compensate = <R>(
  name: string,
  undo: Effect.Effect<void, never, R> & NotNested<R>
): Effect.Effect<void, never, R | CurrentRun> => {
  const request = { name: stepName("Checkpoint.compensate", name), undo: undo as Effect.Effect<void, never, R> }
  return Effect.flatMap(CurrentRun, (run) => run.compensate(request))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const knownOfTransaction = { success: true, error: true, compensate: true } as const

const known = { ...knownOfTransaction, onInDoubt: true } as const
