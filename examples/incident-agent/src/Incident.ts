/**
 * An incident as it comes in, checked: what is wrong with a bad one is said in one line that names the field.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { clip, excerpt } from "./InertText.js"

const Text = (field: string) =>
  Schema.String.annotations({ message: ({ actual }) => `${field} must be a string, got ${excerpt(actual)}` })

const Name = (field: string, max: number) =>
  Text(field).pipe(Schema.filter((text) =>
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text) && text.length <= max
      ? undefined
      : `${field} must be 1 to ${max} letters, digits, ".", "_" or "-", starting with a letter or digit, got ${
        excerpt(text)
      }`
  ))

/**
 * How bad it is.
 *
 * @since 0.1.0
 * @category models
 */
export const Severity = Schema.Literal("critical", "high", "medium", "low").annotations({
  message: ({ actual }) => ({
    message: `severity must be critical, high, medium or low, got ${excerpt(actual)}`,
    override: true
  })
})

/**
 * An incident in the agent's wire format.
 *
 * @since 0.1.0
 * @category models
 */
export class Incident extends Schema.Class<Incident>("Incident")({
  incident_id: Name("incident_id", 128),
  severity: Severity,
  service: Name("service", 128),
  description: Text("description").pipe(
    Schema.minLength(1, { message: () => "description must not be empty" }),
    Schema.maxLength(2_000, { message: () => "description must have at most 2000 characters" })
  )
}) {}

/**
 * The chapter's own incident.
 *
 * @since 0.1.0
 * @category models
 */
export const chapter: Incident = new Incident({
  incident_id: "INC-20240111-001",
  severity: "high",
  service: "payment-api",
  description: "High error rate detected (5% of requests failing)"
})

/**
 * The largest incident accepted, in bytes.
 *
 * @since 0.1.0
 * @category options
 */
export const maxBytes = 1_000_000

/**
 * Input that is no incident. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadIncident extends Data.TaggedError("BadIncident")<{ readonly message: string }> {}

/**
 * Reads an incident from the bytes of JSON text in UTF-8; a byte order mark is passed over.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseBytes = (bytes: Uint8Array): Effect.Effect<Incident, BadIncident> => {
  if (bytes.length > maxBytes) return tooLarge
  return Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => new BadIncident({ message: "the incident is not valid UTF-8" })
  }).pipe(Effect.flatMap(parse))
}

/**
 * Reads an incident from JSON text.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (text: string): Effect.Effect<Incident, BadIncident> => {
  if (Buffer.byteLength(text) > maxBytes) return tooLarge
  return Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: () =>
      new BadIncident({ message: `the incident is not JSON: ${text === "" ? "it is empty" : excerpt(text)}` })
  }).pipe(
    Effect.filterOrFail(
      (json) => typeof json === "object" && json !== null && !Array.isArray(json),
      (json) => new BadIncident({ message: `the incident must be a JSON object, got ${excerpt(json)}` })
    ),
    Effect.flatMap((json) =>
      Effect.mapError(decode(json), (error) => {
        const { message, path } = ParseResult.ArrayFormatter.formatErrorSync(error)[0]!
        const field = path.map(String).join(".")
        return new BadIncident({
          message: clip(message.startsWith(field) ? message : `${field} ${lower(message)}`, 200)
        })
      })
    )
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const tooLarge = Effect.suspend(() =>
  new BadIncident({ message: `the incident is larger than ${maxBytes} bytes, the most that is read` })
)

const decode = Schema.decodeUnknown(Incident)

const lower = (text: string) => text.charAt(0).toLowerCase() + text.slice(1)
