/**
 * Actions that run once per key, however often they are called, and whoever dies in between.
 *
 * A call claims its key in the `IdempotencyStore` before it runs, so a second call gets the first one's outcome:
 * success or recorded failure. Within a process all callers of a key share one run on a fiber of its own, which lives in
 * the store's scope: a caller that leaves, the first included, disturbs neither the run nor the others. Across processes
 * the claim is a lease with a fencing token.
 *
 * Between an effect and its record there is a gap that nobody can close: a process that dies there leaves the key in
 * doubt, and so do an error classified `unknown`, a defect and an interruption. `onUnknown` says what happens then; by
 * default nothing is run again. The decisions are in `IdempotencyState`.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { CodecError, type InProgress, type KeyReused, type OutcomeUnknown } from "./IdempotencyError.js"
import type { Key } from "./IdempotencyRecords.js"
import type { Classification } from "./IdempotencyState.js"
import type { IdempotencyStore } from "./IdempotencyStore.js"
import * as Action_ from "./internal/action.js"
import { canonicalJson } from "./internal/canonicalJson.js"
import { sha256 } from "./internal/hash.js"
import * as Check from "./internal/options.js"
import { codec, type Fault, type OutcomeCodec, schemaEncoder, toJson, voided } from "./internal/outcomeCodec.js"
import type { Rejection } from "./Rejection.js"
import type { StoreError } from "./StoreError.js"

/**
 * Idempotency without a key: `ensure` and `setTo`.
 *
 * @since 0.1.0
 * @category without a key
 */
export * from "./DesiredState.js"

/**
 * @since 0.1.0
 * @category errors
 */
export * from "./IdempotencyError.js"

/**
 * What is stored of actions: looked at, reset and pruned.
 *
 * @since 0.1.0
 * @category records
 */
export * from "./IdempotencyRecords.js"

export {
  /**
   * A store in memory.
   *
   * @since 0.1.0
   * @category layers
   */
  layerMemory
} from "./IdempotencyStore.js"

/**
 * What every action and one-off may set.
 *
 * @since 0.1.0
 * @category options
 */
export interface Settings<E, InFlight extends "wait" | "fail" = "wait" | "fail"> {
  /**
   * What an error says about the effect. Default `failed`. A `Rejection` (breaker open, bulkhead full) counts as
   * `not-started` without being asked about; it is neither recorded nor needs it a schema.
   */
  readonly classify?: ((error: E) => Classification) | undefined
  /** How long a claim is held without being renewed, which happens at a third of it. Default 30 seconds. */
  readonly lease?: Duration.DurationInput | undefined
  /** How long an outcome is kept and replayed, from completion. Default 24 hours. */
  readonly retention?: Duration.DurationInput | undefined
  /** For a call that finds the action running: `wait` for its outcome, or `fail` with `InProgress`. Default `wait`. */
  readonly inFlight?: InFlight | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<
  Payload extends Schema.Schema.Any,
  Success extends Schema.Schema.Any,
  Error extends Schema.Schema.All,
  ProbeE,
  ProbeR,
  InFlight extends "wait" | "fail"
> extends Settings<Schema.Schema.Type<Error>, InFlight> {
  readonly payload: Payload
  /** The key within this operation and scope, from the payload and its encoded form: the same key means the same action. */
  readonly key: (payload: Schema.Schema.Type<Payload>, encoded: Schema.Schema.Encoded<Payload>) => string
  /** Default: `Schema.Void`. */
  readonly success?: Success | undefined
  /** Default: `Schema.Never`. */
  readonly error?: Error | undefined
  /**
   * What to do about an action in doubt: `retry` it with the same key downstream, `probe` whether it happened and run it
   * only if not, or `escalate`: fail with `OutcomeUnknown` until the key is reset. Default `escalate`.
   */
  readonly onUnknown?:
    | "retry"
    | "escalate"
    | {
      readonly probe: (
        payload: Schema.Schema.Type<Payload>
      ) => Effect.Effect<Option.Option<Schema.Schema.Type<Success>>, ProbeE, ProbeR>
    }
    | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  onUnknown: "escalate",
  lease: "30 seconds",
  retention: "24 hours",
  inFlight: "wait"
} as const

/**
 * What an action can fail with beside its own errors; `InProgress` only where `inFlight` is `fail`.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<InFlight extends "wait" | "fail" = "wait"> =
  | KeyReused
  | OutcomeUnknown
  | CodecError
  | StoreError
  | ("fail" extends InFlight ? InProgress : never)

/**
 * A function that runs once per key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Action<Payload, A, E, R> {
  (payload: Payload): Effect.Effect<A, E, R | IdempotencyStore>
  readonly operation: string
}

/**
 * Defines an action. Two actions of one operation name share their keys.
 *
 * The run may outlive its callers, so it keeps the first one's context but should not use its Scope, and should not be
 * called within an SQL transaction: its statements would be of a transaction that may be over, and on SQLite the claim
 * waits for the transaction. It must not call itself with the same key: it would wait for itself.
 *
 * @example
 * import * as Idempotency from "@firebreak/core/Idempotency"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const RestartPods = Idempotency.make("restart_pods", {
 *   payload: Schema.Struct({ incident: Schema.String, service: Schema.String }),
 *   key: ({ incident, service }) => `${incident}/${service}`,
 *   success: Schema.Number,
 *   onUnknown: "retry"
 * }, ({ service }) => Effect.succeed(service.length))
 *
 * const program = RestartPods({ incident: "INC-1", service: "payment-api" }).pipe(
 *   Effect.provide(Idempotency.layerMemory)
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  Payload extends Schema.Schema.Any,
  E extends Schema.Schema.Type<Error> | Rejection,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never,
  ProbeE = never,
  ProbeR = never,
  InFlight extends "wait" | "fail" = "wait"
>(
  operation: string,
  options: Options<Payload, Success, Error, ProbeE, ProbeR, InFlight>,
  body: (payload: Schema.Schema.Type<Payload>) => Effect.Effect<Schema.Schema.Type<Success>, E, R>
): Action<
  Schema.Schema.Type<Payload>,
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error> | E | ProbeE | Failure<InFlight>,
  R | ProbeR | Schema.Schema.Context<Payload> | Schema.Schema.Context<Success> | Schema.Schema.Context<Error>
> => {
  Check.known("Idempotency.make", options, { ...known, payload: true, key: true })
  const settings = resolve("Idempotency.make", operation, options)
  const outcome = codec(
    settings.fault,
    Schema.asSchema(options.success ?? Schema.Void),
    Schema.asSchema(options.error ?? Schema.Never)
  )
  const encode = schemaEncoder(settings.fault, "payload", Schema.asSchema(options.payload))
  const onUnknown = options.onUnknown ?? defaults.onUnknown
  const begin = (payload: Schema.Schema.Type<Payload>, encoded: Schema.Schema.Encoded<Payload>) =>
    start(settings, outcome, options.key(payload, encoded), encoded, () => ({
      body: voided(options.success, Effect.suspend(() => body(payload))),
      onUnknown: typeof onUnknown === "string" ? onUnknown : Effect.suspend(() => onUnknown.probe(payload))
    }))
  const slow = (payload: Schema.Schema.Type<Payload>) =>
    Effect.flatMap(encode(payload), (encoded) => begin(payload, encoded))
  // a payload that is its own encoded form need not be encoded to be found equal to a recorded one
  const plain = SchemaAST.encodedAST(options.payload.ast) === options.payload.ast
  const call = plain
    ? (payload: Schema.Schema.Type<Payload>) =>
      Effect.withFiberRuntime<any, any, any>((fiber) =>
        Action_.replay(
          fiber,
          settings,
          options.key(payload, payload as Schema.Schema.Encoded<Payload>),
          payload,
          outcome
        ) ?? slow(payload)
      )
    : (payload: Schema.Schema.Type<Payload>) => Effect.suspend(() => slow(payload))
  return Object.assign(call, { operation }) as Action<any, any, any, any>
}

/**
 * Runs one effect once per key, without a definition. `payload` is any JSON value; the same key with another one is
 * `KeyReused`. As with `make`, the effect may outlive its caller: do not call it within an SQL transaction.
 *
 * @example
 * import * as Idempotency from "@firebreak/core/Idempotency"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const program = Idempotency.once(
 *   { operation: "clear_cache", key: "INC-1", payload: { cluster: "sessions" }, success: Schema.String },
 *   Effect.succeed("cleared")
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const once = <
  E extends Schema.Schema.Type<Error> | Rejection,
  R,
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never,
  ProbeE = never,
  ProbeR = never,
  InFlight extends "wait" | "fail" = "wait"
>(
  options: Settings<Schema.Schema.Type<Error>, InFlight> & {
    readonly operation: string
    readonly key: string
    readonly payload?: unknown
    readonly success?: Success | undefined
    readonly error?: Error | undefined
    readonly onUnknown?:
      | "retry"
      | "escalate"
      | { readonly probe: Effect.Effect<Option.Option<Schema.Schema.Type<Success>>, ProbeE, ProbeR> }
      | undefined
  },
  effect: Effect.Effect<Schema.Schema.Type<Success>, E, R>
): Effect.Effect<
  Schema.Schema.Type<Success>,
  Schema.Schema.Type<Error> | E | ProbeE | Failure<InFlight>,
  R | ProbeR | Schema.Schema.Context<Success> | Schema.Schema.Context<Error> | IdempotencyStore
> => {
  Check.known("Idempotency.once", options, knownOfOnce)
  const settings = resolve("Idempotency.once", options.operation, options)
  const outcome = codec(
    settings.fault,
    Schema.asSchema(options.success ?? Schema.Void),
    Schema.asSchema(options.error ?? Schema.Never)
  )
  const onUnknown = options.onUnknown ?? defaults.onUnknown
  return start(settings, outcome, options.key, options.payload, () => ({
    body: voided(options.success, effect),
    onUnknown: typeof onUnknown === "string" ? onUnknown : onUnknown.probe
  })) as Effect.Effect<any, any, any>
}

/**
 * For `key` where the payload itself is the key: the SHA-256 of name and encoded payload, so a second, wanted run of the
 * same payload needs something in the payload that differs.
 *
 * @since 0.1.0
 * @category keys
 */
export const payloadKey = (name: string) => (_payload: unknown, encoded: unknown): string =>
  sha256(canonicalJson([name, encoded ?? null]))

/**
 * Whose keys the actions of an effect have, such as a tenant's: the same key in two scopes means two actions. It reaches
 * every action that the effect runs, those within steps and actions too. An empty scope is a defect, for it would be the
 * default one, which everybody outside a scope shares.
 *
 * @example
 * import * as Idempotency from "@firebreak/core/Idempotency"
 * import * as Effect from "effect/Effect"
 *
 * const clear = Idempotency.once({ operation: "clear_cache", key: "INC-1" }, Effect.log("cleared"))
 *
 * const program = Effect.zip(Idempotency.scoped(clear, "tenant-a"), clear.pipe(Idempotency.scoped("tenant-b")))
 *
 * @since 0.1.0
 * @category scopes
 */
export const scoped: {
  (scope: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, scope: string): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, scope: string): Effect.Effect<A, E, R> =>
  Effect.suspend(() =>
    // a reference is never a requirement, so nothing is taken from R
    Effect.provideService(effect, currentScope, Check.name("Idempotency.scoped", "scope", scope)) as Effect.Effect<
      A,
      E,
      R
    >
  ))

/**
 * The scope of the actions that run here. Default: the empty one.
 *
 * @since 0.1.0
 * @category scopes
 */
export const currentScope: Context.Reference<CurrentScope, string> = Action_.currentScope

/**
 * @since 0.1.0
 * @category scopes
 */
export type CurrentScope = Action_.CurrentScope

/**
 * The key to send downstream while an action or its probe runs: 64 hexadecimal digits from scope, operation and key, the
 * same on every attempt and after every crash. None outside an action.
 *
 * @since 0.1.0
 * @category keys
 */
export const currentKey: Context.Reference<CurrentKey, Option.Option<string>> = Action_.currentKey

/**
 * @since 0.1.0
 * @category keys
 */
export type CurrentKey = Action_.CurrentKey

/**
 * What `currentKey` is while the action runs.
 *
 * @since 0.1.0
 * @category keys
 */
export const downstreamKey = (id: Key): string => Action_.downstreamKey({ scope: "", ...id })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Resolved {
  readonly operation: string
  readonly fault: Fault<CodecError>
  readonly classify: (error: unknown) => Classification
  readonly lease: Duration.Duration
  readonly retention: Duration.Duration
  readonly inFlight: "wait" | "fail"
}

const known = {
  classify: true,
  lease: true,
  retention: true,
  inFlight: { wait: true, fail: true },
  success: true,
  error: true,
  onUnknown: true
} as const

const knownOfOnce = { ...known, operation: true, key: true, payload: true } as const

const resolve = <E>(
  module: string,
  operation: string,
  settings: Settings<E> & { readonly onUnknown?: unknown }
): Resolved => {
  if (settings.onUnknown !== undefined) Check.doubt(module, "onUnknown", settings.onUnknown)
  return {
    operation: Check.name(module, "operation", operation),
    fault: (part, path, detail) => new CodecError({ operation, part, path, detail }),
    // asked only about errors of the body that are no rejections, and those are E
    classify: (settings.classify ?? (() => "failed")) as (error: unknown) => Classification,
    lease: Duration.millis(Check.millis(module, "lease", settings.lease ?? defaults.lease, { min: 10 })),
    retention: Duration.millis(Check.millis(module, "retention", settings.retention ?? defaults.retention)),
    inFlight: settings.inFlight ?? defaults.inFlight
  }
}

/** Answers at once what has been completed; otherwise makes what is to run and goes to the store. */
const start = <A, E, R, E2, R2, E3, R3>(
  settings: Resolved,
  outcome: OutcomeCodec<A, E, R, CodecError>,
  key: string,
  payload: unknown,
  attempt: () => {
    readonly body: Effect.Effect<A, E2, R2>
    readonly onUnknown: "retry" | "escalate" | Effect.Effect<Option.Option<A>, E3, R3>
  }
): Effect.Effect<A, E | E2 | E3 | Action_.Failure, R | R2 | R3 | IdempotencyStore> =>
  Effect.withFiberRuntime((fiber) => {
    const known = Action_.replay(fiber, settings, key, payload ?? null, outcome)
    if (known !== undefined) return known
    const json = toJson(settings.fault, "payload", payload)
    if (Either.isLeft(json)) return Exit.fail(json.left)
    const { body, onUnknown } = attempt()
    const probed = typeof onUnknown !== "string"
    return Action_.call<A, E | E2 | E3, R | R2 | R3>(Action_.storeOf(fiber), {
      ...settings,
      ...outcome,
      scope: Action_.scopeOf(fiber),
      key: Check.name(`Action "${settings.operation}"`, "key", key),
      fingerprint: sha256(json.right),
      body,
      resolution: probed ? "probe" : onUnknown,
      probe: probed ? onUnknown : Effect.succeedNone
    })
  })
