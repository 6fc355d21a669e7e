/**
 * The contract of `CheckpointEngine`, as programs see it: every engine passes the tests of what it claims. It needs
 * `@effect/vitest`.
 *
 * Records outlive processes: a process is one build of the engine's Layer, and a crash the end of its scope.
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { type Capability, CheckpointEngine } from "../CheckpointEngine.js"
import { RunInProgress } from "../CheckpointError.js"
import * as EngineContract from "../internal/checkpointEngineContract.js"
import { featureTests } from "../internal/checkpointEngineFeatures.js"
import { waitTests } from "../internal/checkpointEngineWaits.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** What the engine claims, and is tested for. */
  readonly capabilities: ReadonlyArray<Capability>
  /** Lets time pass. Default: `TestClock.adjust`; with another the tests run in real time. */
  readonly advance?: ((duration: Duration.Duration) => Effect.Effect<void>) | undefined
  /** What the durations in the tests are multiples of. Default 1 second. */
  readonly unit?: Duration.DurationInput | undefined
  /** The time a test may take, in milliseconds. Default: that of vitest. */
  readonly timeout?: number | undefined
}

/**
 * Registers the contract's tests under `name`. `records` gives an engine over empty records; each time its Layer is
 * built that is another process.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = <E>(
  name: string,
  records: Effect.Effect<Layer.Layer<CheckpointEngine, E>, unknown, Scope.Scope>,
  options: Options
): void => {
  const unit = Duration.decode(options.unit ?? "1 second")
  const advance = options.advance ?? TestClock.adjust
  const test = options.advance === undefined ? it.scoped : it.scopedLive
  const pass = (units: number) => advance(Duration.times(unit, units))

  const worldOf = (engine: Layer.Layer<CheckpointEngine, E>): EngineContract.World => {
    // each `build` has a memory of its own, so this is a process of its own
    const open = (flows: ReadonlyArray<EngineContract.Registered>) =>
      Layer.build(Layer.provideMerge(Layer.mergeAll(Layer.empty, ...flows), engine))
    return {
      unit,
      pass,
      process: (flows, effect) =>
        Effect.scoped(Effect.flatMap(open(flows), (context) => Effect.provide(effect, context))),
      crash: (flows, effect, reached) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const context = yield* Scope.extend(open(flows), scope)
          const fiber = yield* Effect.forkDaemon(Effect.exit(Effect.provide(effect, context)))
          yield* Deferred.await(reached)
          yield* Fiber.interrupt(fiber)
          yield* Scope.close(scope, Exit.void)
        }),
      again: (effect) => {
        const retried: typeof effect = Effect.catchIf(
          effect,
          (error): error is Extract<typeof error, RunInProgress> => error instanceof RunInProgress,
          () => Effect.zipRight(pass(0.5), retried)
        )
        return retried
      }
    }
  }

  describe(`${name}: CheckpointEngine contract`, () => {
    test("claims what it is tested for", () =>
      Effect.gen(function*() {
        const context = yield* Layer.build(yield* records)
        const claims = Array.from(Context.get(context, CheckpointEngine).capabilities).toSorted()
        assert.deepStrictEqual(claims, options.capabilities.toSorted())
      }), options.timeout)

    for (const { body, needs, title } of [...EngineContract.tests, ...waitTests, ...featureTests]) {
      if (!needs.every((capability) => options.capabilities.includes(capability))) continue
      test(title, () => Effect.flatMap(records, (engine) => body(worldOf(engine))), options.timeout)
    }
  })
}
