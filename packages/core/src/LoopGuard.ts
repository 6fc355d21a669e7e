/**
 * Stops a program that runs in circles: an agent that does the same thing again and again, goes to and fro between two
 * states, makes no progress, or has used up its steps, its time or its money.
 *
 * The program tells the guard what it is about to do, in which state it is and how far it has come; the guard answers
 * nothing, or fails with `LoopDetected` and the evidence. Once it has stopped a program it refuses everything until
 * somebody resets it. The rules are in `LoopGuardState`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Events from "./Events.js"
import { canonicalJson } from "./internal/canonicalJson.js"
import { durationText } from "./internal/durationText.js"
import { sha256 } from "./internal/hash.js"
import * as Check from "./internal/options.js"
import { named } from "./internal/partTag.js"
import * as State from "./LoopGuardState.js"
import * as Rejection from "./Rejection.js"

/**
 * `Infinity` switches a limit off.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Actions in all. Default 100. */
  readonly maxSteps?: number | undefined
  /** Time since the guard was made or reset. Default 1 hour. */
  readonly maxTime?: Duration.DurationInput | undefined
  /** What all actions may cost together, in whatever unit their costs have. Default `Infinity`. */
  readonly maxCost?: number | undefined
  /** How often one action may be taken with the same arguments within `within`. Default 3. */
  readonly maxRepeats?: number | undefined
  /** How often a cycle of states may be gone through in a row within `within`. Default 3. */
  readonly maxCycles?: number | undefined
  /** The most states of a cycle that is recognised. Default 4. */
  readonly longestCycle?: number | undefined
  /** Actions in a row that may bring no progress, once a measure was told. Default 10. */
  readonly maxStalled?: number | undefined
  /** How long actions and states are held against the program. Default 10 minutes. */
  readonly within?: Duration.DurationInput | undefined
  /**
   * What was done before, oldest first, for a program whose runs are to be seen together; `at` is in milliseconds since the
   * epoch. Default: nothing.
   */
  readonly history?: ReadonlyArray<Action & { readonly at: number }> | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  maxSteps: 100,
  maxTime: "1 hour",
  maxCost: Infinity,
  maxRepeats: 3,
  maxCycles: 3,
  longestCycle: 4,
  maxStalled: 10,
  within: "10 minutes"
} as const

/**
 * Something a program does. Two actions are the same when their names and their arguments are; `arguments` must be JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Action {
  readonly action: string
  readonly arguments?: unknown
  /** Default 0. */
  readonly cost?: number | undefined
}

/**
 * What a guard has seen since it was made or reset; `elapsed` is the time since then.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly steps: number
  readonly cost: number
  readonly elapsed: Duration.Duration
  /** The best measure that was told. */
  readonly best: Option.Option<number>
  /** Why it stopped the program, if it has. */
  readonly stopped: Option.Option<State.Evidence>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface LoopGuard {
  readonly name: string
  /** Asks leave for an action before it is taken. */
  readonly action: (action: Action) => Effect.Effect<void, LoopDetected>
  /** Runs the effect as an action, if it is allowed. */
  readonly protect: (
    action: Action
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LoopDetected, R>
  /** Tells what something has cost, where that is known only afterwards. */
  readonly spent: (cost: number) => Effect.Effect<void, LoopDetected>
  /** Tells in which state the program, or what it takes care of, is now. */
  readonly state: (state: string) => Effect.Effect<void, LoopDetected>
  /** Tells how far the program has come; more is better. */
  readonly progress: (measure: number) => Effect.Effect<void, LoopDetected>
  readonly report: Effect.Effect<Report>
  /** Forgets everything, so that a stopped program may go on. */
  readonly reset: Effect.Effect<void>
}

/**
 * The program runs in circles. From `action` and `protect` it is a `Rejection`: the action was not started. From `spent`,
 * `state` and `progress`, which are told afterwards, it is not.
 *
 * @since 0.1.0
 * @category errors
 */
export class LoopDetected extends Data.TaggedError("LoopDetected")<{
  readonly guard: string
  readonly evidence: State.Evidence
  /** Whether an action was refused by it. */
  readonly refused: boolean
}> {
  /**
   * @since 0.1.0
   */
  get [Rejection.TypeId](): boolean {
    return this.refused
  }
  override get message(): string {
    return `LoopGuard "${this.guard}" stopped the program: ${explain(this.evidence)}`
  }
}

/**
 * The evidence in words.
 *
 * @since 0.1.0
 * @category rendering
 */
export const explain = (evidence: State.Evidence): string => {
  switch (evidence._tag) {
    case "StepsUsedUp":
      return `all ${evidence.steps} steps are used up`
    case "TimeUsedUp":
      return `it has run for ${ago(evidence.elapsedMillis)}, allowed are ${ago(evidence.limitMillis)}`
    case "CostUsedUp":
      return `it would cost ${evidence.cost}, allowed are ${evidence.limit}`
    case "ActionRepeated":
      return `"${evidence.action}" was taken ${evidence.times} times with the same arguments within ${
        ago(evidence.withinMillis)
      }`
    case "StatesCycled":
      return `it went through ${
        evidence.cycle.map((state) => `"${state}"`).join(", ")
      } ${evidence.times} times in a row`
    case "NoProgress":
      return `the last ${evidence.steps} actions brought nothing better than ${evidence.best}`
  }
}

/**
 * Makes a guard.
 *
 * @example
 * import * as LoopGuard from "@firebreak/core/LoopGuard"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const guard = yield* LoopGuard.make({ name: "agent", maxSteps: 20, maxRepeats: 2 })
 *   const restart = Effect.log("restarting").pipe(guard.protect({ action: "restart", arguments: { service: "api" } }))
 *   // the third of them fails with LoopDetected
 *   yield* Effect.forever(restart)
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options & { readonly name: string }): Effect.Effect<LoopGuard> => {
  Check.known("LoopGuard", options, {
    name: true,
    history: true,
    maxSteps: true,
    maxTime: true,
    maxCost: true,
    maxRepeats: true,
    maxCycles: true,
    longestCycle: true,
    maxStalled: true,
    within: true
  })
  const name = Check.name("LoopGuard", "name", options.name)
  const limits = resolve(options)
  const earlier = (options.history ?? []).map(({ at, ...action }) => ({ ...observed(name, action), at }))
  return Effect.gen(function*() {
    const clock = yield* Clock.clockWith(Effect.succeed)
    const events = yield* Events.Events
    const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
    const wallToMonotonic = now() - clock.unsafeCurrentTimeMillis()
    let state = State.initial(now(), earlier.map((action) => ({ ...action, at: action.at + wallToMonotonic })))

    const tell = (observation: State.Observation): Effect.Effect<void, LoopDetected> =>
      Effect.suspend(() => {
        const before = state.stopped
        const [next, evidence] = State.step(state, observation, now(), limits)
        state = next
        if (evidence === undefined) return Effect.void
        if (before === undefined) {
          const detail = explain(evidence)
          events.unsafePublish(
            { _tag: "LoopStopped", guard: name, evidence: evidence._tag, detail },
            clock.unsafeCurrentTimeMillis()
          )
        }
        return Effect.fail(new LoopDetected({ guard: name, evidence, refused: observation._tag === "Action" }))
      })

    return {
      name,
      action: (action) => Effect.suspend(() => tell(observed(name, action))),
      protect: (action) => {
        const observation = observed(name, action)
        return (effect) => Effect.zipRight(tell(observation), effect)
      },
      spent: (cost) => Effect.suspend(() => tell({ _tag: "Spent", cost: amount(name, "cost", cost) })),
      state: (entered) => tell({ _tag: "State", state: entered }),
      progress: (measure) =>
        Effect.suspend(() =>
          tell({
            _tag: "Progress",
            measure: Check.between(`LoopGuard "${name}"`, "measure", measure, { min: -Infinity, max: Infinity })
          })
        ),
      report: Effect.sync(() => ({
        steps: state.steps,
        cost: state.cost,
        elapsed: Duration.millis(now() - state.startedAt),
        best: Option.fromNullable(state.best),
        stopped: Option.fromNullable(state.stopped)
      })),
      reset: Effect.sync(() => {
        state = State.initial(now())
      })
    }
  })
}

/**
 * The class of a guard's tag: a service that knows how it is built and used.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Name extends string>
  extends Context.TagClass<Self, `@firebreak/core/LoopGuard/${Name}`, LoopGuard>
{
  /** Builds this guard. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  /** Runs the effect as an action, if it is allowed. */
  readonly protect: (
    action: Action
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LoopDetected, R | Self>
}

/**
 * Declares the guard of one program.
 *
 * @example
 * import * as LoopGuard from "@firebreak/core/LoopGuard"
 * import * as Effect from "effect/Effect"
 *
 * class Agent extends LoopGuard.Tag("agent")<Agent>() {}
 *
 * const program = Effect.log("restarting").pipe(
 *   Agent.protect({ action: "restart", arguments: { service: "api" } }),
 *   Effect.provide(Agent.layer({ maxRepeats: 2 }))
 * )
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name) => <Self>(): TagClass<Self, Name> => {
  Check.name("LoopGuard.Tag", "name", name)
  const tag = Context.Tag(`@firebreak/core/LoopGuard/${name}`)<Self, LoopGuard>()
  return Object.assign(tag, {
    layer: (options?: Options) => Layer.effect(tag, make(named("LoopGuard", name, options))),
    protect: (action: Action) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.flatMap(tag, (guard) => guard.protect(action)(effect))
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const ago = (millis: number) => durationText(Duration.millis(millis))

const observed = (
  guard: string,
  { action, arguments: given, cost }: Action
): State.Observation & { readonly _tag: "Action" } => {
  Check.name(`LoopGuard "${guard}"`, "action", action)
  return {
    _tag: "Action",
    action,
    fingerprint: fingerprint(guard, action, given),
    cost: amount(guard, "cost", cost ?? 0)
  }
}

const amount = (guard: string, option: string, value: number): number =>
  Check.between(`LoopGuard "${guard}"`, option, value, { min: 0, max: Number.MAX_VALUE })

const fingerprint = (guard: string, action: string, given: unknown): string => {
  try {
    return sha256(JSON.stringify(action) + canonicalJson(given ?? null))
  } catch (error) {
    throw new Check.InvalidOption(
      `LoopGuard "${guard}": arguments of "${action}" must be JSON; ${(error as Error).message}`
    )
  }
}

const resolve = (options: Options): State.Limits => {
  const whole = (option: "maxSteps" | "maxRepeats" | "maxCycles" | "longestCycle" | "maxStalled", min: number) =>
    Check.whole("LoopGuard", option, options[option] ?? defaults[option], { min, infinite: option !== "longestCycle" })
  const maxTime = options.maxTime ?? defaults.maxTime
  return {
    maxSteps: whole("maxSteps", 1),
    maxTime: maxTime === Infinity || maxTime === Duration.infinity
      ? Infinity
      : Check.millis("LoopGuard", "maxTime", maxTime, { min: 1 }),
    maxCost: Check.between("LoopGuard", "maxCost", options.maxCost ?? defaults.maxCost, { min: 0, max: Infinity }),
    maxRepeats: repeats(whole("maxRepeats", 1)),
    maxCycles: whole("maxCycles", 2),
    longestCycle: whole("longestCycle", 2),
    maxStalled: whole("maxStalled", 1),
    within: Check.millis("LoopGuard", "within", options.within ?? defaults.within, { min: 1 })
  }
}

/** No more than are remembered, or it would never be seen. */
const repeats = (maxRepeats: number): number =>
  maxRepeats === Infinity
    ? Infinity
    : Check.between("LoopGuard", "maxRepeats", maxRepeats, { min: 1, max: State.memory })
