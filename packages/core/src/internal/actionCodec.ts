/** Between an action's values and the JSON text in the store. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { CodecError } from "../IdempotencyError.js"
import { canonicalJson, NotJson, showPath } from "./canonicalJson.js"

/** An outcome as text, and back. Only what the schemas declare can be encoded. */
export interface OutcomeCodec<A, E, R> {
  readonly encode: (exit: Exit.Exit<A, unknown>) => Effect.Effect<string, CodecError, R>
  readonly decode: (text: string) => Effect.Effect<Exit.Exit<A, E>, CodecError, R>
}

/** The canonical JSON of an encoded value; `undefined` as a whole counts as null. */
export const toJson = (
  operation: string,
  part: CodecError["part"],
  encoded: unknown
): Effect.Effect<string, CodecError> =>
  Effect.try({
    try: () => canonicalJson(encoded ?? null),
    catch: (fault) => {
      if (!(fault instanceof NotJson)) throw fault
      return new CodecError({ operation, part, path: showPath(fault.path), detail: fault.detail })
    }
  })

/** Encodes by the schema, then to canonical JSON. */
export const encoder = <A, I, R>(operation: string, part: CodecError["part"], schema: Schema.Schema<A, I, R>) => {
  const encode = Schema.encodeUnknown(schema)
  return (value: unknown): Effect.Effect<{ readonly encoded: I; readonly json: string }, CodecError, R> =>
    Effect.flatMap(
      Effect.mapError(encode(value), (error) => mismatch(operation, part, error)),
      (encoded) => Effect.map(toJson(operation, part, encoded), (json) => ({ encoded, json }))
    )
}

/** Compiled once per action. */
export const codec = <A, IA, RA, E, IE, RE>(
  operation: string,
  success: Schema.Schema<A, IA, RA>,
  error: Schema.Schema<E, IE, RE>
): OutcomeCodec<A, E, RA | RE> => {
  const encodeSuccess = encoder(operation, "success", success)
  const encodeError = encoder(operation, "error", error)
  const decodeSuccess = Schema.decodeUnknown(success)
  const decodeError = Schema.decodeUnknown(error)
  return {
    encode: Exit.matchEffect({
      onSuccess: (value: A): Effect.Effect<string, CodecError, RA | RE> =>
        Effect.map(encodeSuccess(value), (_) => text("Success", _)),
      onFailure: (cause) => Effect.map(encodeError(Cause.squash(cause)), (_) => text("Failure", _))
    }),
    decode: (record) =>
      Effect.flatMap(parse(operation, record), (stored) => {
        const decoded: Effect.Effect<Exit.Exit<A, E>, ParseResult.ParseError, RA | RE> = stored._tag === "Success"
          ? Effect.map(decodeSuccess(stored.value), Exit.succeed)
          : Effect.map(decodeError(stored.value), Exit.fail)
        return Effect.mapError(decoded, (error) => mismatch(operation, "record", error))
      })
  }
}

interface Stored {
  readonly _tag: "Success" | "Failure"
  /** Left out where the encoded value is `undefined`. */
  readonly value?: unknown
}

const text = (tag: Stored["_tag"], { encoded, json }: { readonly encoded: unknown; readonly json: string }): string =>
  encoded === undefined ? `{"_tag":"${tag}"}` : `{"_tag":"${tag}","value":${json}}`

const isStored = (u: unknown): u is Stored =>
  Predicate.hasProperty(u, "_tag") && (u._tag === "Success" || u._tag === "Failure")

const parse = (operation: string, record: string): Effect.Effect<Stored, CodecError> => {
  const unreadable = (detail: string) => new CodecError({ operation, part: "record", path: "(root)", detail })
  return Effect.flatMap(
    Effect.try({ try: (): unknown => JSON.parse(record), catch: () => unreadable("it is not JSON") }),
    (stored) => isStored(stored) ? Effect.succeed(stored) : Effect.fail(unreadable("it is not an outcome"))
  )
}

const mismatch = (operation: string, part: CodecError["part"], error: ParseResult.ParseError): CodecError => {
  const [first] = ParseResult.ArrayFormatter.formatErrorSync(error)
  return new CodecError({ operation, part, path: showPath(first?.path ?? []), detail: first?.message ?? error.message })
}
