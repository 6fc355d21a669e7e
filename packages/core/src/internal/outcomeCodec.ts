/** Between the values of an action or a step and the JSON text in its store. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { canonicalJson, NotJson, showPath } from "./canonicalJson.js"

/** What was being encoded or, for a `record`, decoded. */
export type Part = "payload" | "success" | "error" | "record"

/** Makes the error of whoever encodes: where in the value it is wrong, and how. */
export type Fault<F> = (part: Part, path: string, detail: string) => F

/**
 * An outcome as text, and back. Only what the schemas declare can be encoded. What needs neither waiting nor a service
 * is an `Either`, so that it can be had without running an Effect.
 */
export interface OutcomeCodec<A, E, R, F> {
  readonly success: Schema.Schema.All
  readonly error: Schema.Schema.All
  readonly encode: (exit: Exit.Exit<A, unknown>) => Effect.Effect<string, F, R>
  readonly decode: (text: string) => Effect.Effect<Exit.Exit<A, E>, F, R>
}

/** The canonical JSON of an encoded value; `undefined` as a whole counts as null. */
export const toJson = <F>(fault: Fault<F>, part: Part, encoded: unknown): Either.Either<string, F> =>
  Either.try({
    try: () => canonicalJson(encoded ?? null),
    catch: (error) => {
      if (!(error instanceof NotJson)) throw error
      return fault(part, showPath(error.path), error.detail)
    }
  })

/** Encodes by the schema. */
export const schemaEncoder = <A, I, R, F>(fault: Fault<F>, part: Part, schema: Schema.Schema<A, I, R>) => {
  const encode = Schema.encodeUnknown(schema)
  return (value: unknown): Effect.Effect<I, F, R> =>
    ParseResult.mapError(encode(value), (error) => mismatch(fault, part, error))
}

/** Encodes by the schema, then to canonical JSON. */
export const encoder = <A, I, R, F>(fault: Fault<F>, part: Part, schema: Schema.Schema<A, I, R>) => {
  const encode = schemaEncoder(fault, part, schema)
  return (value: unknown): Effect.Effect<{ readonly encoded: I; readonly json: string }, F, R> =>
    ParseResult.flatMap(
      encode(value),
      (encoded) => Either.map(toJson(fault, part, encoded), (json) => ({ encoded, json }))
    )
}

/** Compiled once per action or step. */
export const codec = <A, IA, RA, E, IE, RE, F>(
  fault: Fault<F>,
  success: Schema.Schema<A, IA, RA>,
  error: Schema.Schema<E, IE, RE>
): OutcomeCodec<A, E, RA | RE, F> => {
  const encodeSuccess = encoder(fault, "success", success)
  const encodeError = encoder(fault, "error", error)
  const decodeSuccess = Schema.decodeUnknown(success)
  const decodeError = Schema.decodeUnknown(error)
  return {
    success,
    error,
    encode: Exit.matchEffect({
      onSuccess: (value: A): Effect.Effect<string, F, RA | RE> =>
        ParseResult.map(encodeSuccess(value), (_) => text("Success", _)),
      onFailure: (cause) => ParseResult.map(encodeError(Cause.squash(cause)), (_) => text("Failure", _))
    }),
    decode: (record) =>
      ParseResult.flatMap(parse(fault, record), (stored) => {
        const decoded: Effect.Effect<Exit.Exit<A, E>, ParseResult.ParseError, RA | RE> = stored._tag === "Success"
          ? ParseResult.map(decodeSuccess(stored.value), Exit.succeed)
          : ParseResult.map(decodeError(stored.value), Exit.fail)
        return ParseResult.mapError(decoded, (error) => mismatch(fault, "record", error))
      })
  }
}

/** Goes on at once with what was encoded or decoded without an Effect. */
export const settled = <A, E, R, A2, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  cases: {
    readonly onFailure: (error: E) => Effect.Effect<A2, E2, R2>
    readonly onSuccess: (value: A) => Effect.Effect<A2, E2, R2>
  }
): Effect.Effect<A2, E2, R | R2> => {
  const either: unknown = effect
  if (!Either.isEither(either)) return Effect.matchEffect(effect, cases)
  return Either.isLeft(either) ? cases.onFailure(either.left as E) : cases.onSuccess(either.right as A)
}

/** An `Effect<number>` is an `Effect<void>` to the compiler: without a success schema, or with Void, its value is dropped. */
export const voided = <A, E, R>(
  success: Schema.Schema.Any | undefined,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  success === undefined || SchemaAST.isVoidKeyword(success.ast)
    ? Effect.asVoid(effect) as Effect.Effect<A, E, R>
    : effect

interface Stored {
  readonly _tag: "Success" | "Failure"
  /** Left out where the encoded value is `undefined`. */
  readonly value?: unknown
}

const text = (tag: Stored["_tag"], { encoded, json }: { readonly encoded: unknown; readonly json: string }): string =>
  encoded === undefined ? `{"_tag":"${tag}"}` : `{"_tag":"${tag}","value":${json}}`

const isStored = (u: unknown): u is Stored =>
  Predicate.hasProperty(u, "_tag") && (u._tag === "Success" || u._tag === "Failure")

const parse = <F>(fault: Fault<F>, record: string): Either.Either<Stored, F> => {
  let stored: unknown
  try {
    stored = JSON.parse(record)
  } catch {
    return Either.left(fault("record", "(root)", "it is not JSON"))
  }
  return isStored(stored) ? Either.right(stored) : Either.left(fault("record", "(root)", "it is not an outcome"))
}

const mismatch = <F>(fault: Fault<F>, part: Part, error: ParseResult.ParseError): F => {
  const [first] = ParseResult.ArrayFormatter.formatErrorSync(error)
  return fault(part, showPath(first?.path ?? []), first?.message ?? error.message)
}
