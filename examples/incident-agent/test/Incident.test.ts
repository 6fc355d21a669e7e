import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Incident from "../src/Incident.js"

const parse = (text: string) => Effect.runSync(Effect.either(Incident.parse(text)))

const refusal = (value: unknown): string =>
  Either.match(parse(typeof value === "string" ? value : JSON.stringify(value)), {
    onLeft: ({ message }) => message,
    onRight: () => "accepted"
  })

/** One line that a terminal can show as it is. */
const oneLine = /^[^\p{Cc}\u2028\u2029]{1,300}$/u

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
const valid = fc.record({
  incident_id: name,
  severity: fc.constantFrom("critical", "high", "medium", "low"),
  service: name,
  description: fc.string({ minLength: 1, maxLength: 500, unit: "binary" })
})

const badName = fc.oneof(
  fc.constantFrom(
    "",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a b",
    "a\nb",
    "-a",
    "a/b",
    "\u001b[2J",
    "é",
    "a".repeat(129)
  ),
  fc.string({ maxLength: 50 }).filter((text) => !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text))
)
const notText = fc.constantFrom(null, 1, true, [], {}, ["high"])
const wrong = fc.oneof(
  fc.tuple(fc.constantFrom("incident_id", "service"), fc.oneof(badName, notText)),
  fc.tuple(
    fc.constant("severity"),
    fc.oneof(fc.string().filter((text) => !/^(critical|high|medium|low)$/.test(text)), notText)
  ),
  fc.tuple(fc.constant("description"), fc.oneof(fc.constantFrom("", "x".repeat(2_001)), notText))
)

describe("Incident", () => {
  it.prop("reads what it writes", [valid], ([incident]) => {
    const read = Either.getOrThrow(parse(JSON.stringify(incident)))
    expect(read).toBeInstanceOf(Incident.Incident)
    expect(Schema.encodeSync(Incident.Incident)(read)).toEqual(incident)
  })

  it.prop("names a bad field in one line", [valid, wrong], ([incident, [field, value]]) => {
    const message = refusal({ ...incident, [field]: value })
    expect(message).toMatch(oneLine)
    expect(message.startsWith(`${field} `)).toBe(true)
  })

  it.prop("names a missing field", [valid, fc.constantFrom("incident_id", "severity", "service", "description")], (
    [incident, field]
  ) => {
    expect(refusal({ ...incident, [field]: undefined })).toMatch(oneLine)
    expect(refusal({ ...incident, [field]: undefined }).startsWith(`${field} `)).toBe(true)
  })

  it.prop("refuses any other JSON in one line", [fc.json()], ([json]) => {
    expect(refusal(json)).toMatch(oneLine)
    expect(refusal(json)).not.toBe("accepted")
  })

  it.prop("refuses any other text in one line", [fc.string({ unit: "binary" })], ([text]) => {
    expect(refusal(text)).toMatch(oneLine)
    expect(refusal(text)).not.toBe("accepted")
  })

  it("says what it expected", () => {
    expect(refusal({ ...Incident.chapter, severity: "urgent" })).toBe(
      "severity must be critical, high, medium or low, got \"urgent\""
    )
    expect(refusal({ ...Incident.chapter, incident_id: "../../x" })).toBe(
      "incident_id must be 1 to 128 letters, digits, \".\", \"_\" or \"-\", starting with a letter or digit, got \"../../x\""
    )
    expect(refusal({ ...Incident.chapter, service: undefined })).toBe("service is missing")
    expect(refusal({ ...Incident.chapter, incident_id: 5 })).toBe("incident_id must be a string, got 5")
    expect(refusal("[]")).toBe("the incident must be a JSON object, got []")
    expect(refusal("")).toBe("the incident is not JSON: it is empty")
    expect(refusal("\u007f\u2028")).toBe("the incident is not JSON: \"\\u007f\\u2028\"")
  })

  it("passes over a byte order mark and refuses what is not UTF-8", () => {
    const bytes = Buffer.from(`\ufeff${JSON.stringify(Incident.chapter)}`)
    expect(Effect.runSync(Incident.parseBytes(bytes))).toEqual(Incident.chapter)
    expect(Effect.runSync(Effect.flip(Incident.parseBytes(Uint8Array.of(0x7b, 0xff, 0x7d)))).message).toBe(
      "the incident is not valid UTF-8"
    )
  })

  it("reads up to 1 MB and not a byte more", () => {
    const padded = (size: number) => JSON.stringify(Incident.chapter).padEnd(size, " ")
    expect(refusal(padded(Incident.maxBytes))).toBe("accepted")
    expect(refusal(padded(Incident.maxBytes + 1))).toBe(
      "the incident is larger than 1000000 bytes, the most that is read"
    )
    // bytes, not characters
    expect(refusal(`"${"é".repeat(600_000)}"`)).toContain("larger than")
  })
})
