import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { createHash } from "node:crypto"
import { canonicalJson, equalJson, NotJson } from "../src/internal/canonicalJson.js"
import { sha256 } from "../src/internal/hash.js"

const nest = (depth: number): unknown => depth === 0 ? 1 : depth % 2 === 0 ? [nest(depth - 1)] : { a: nest(depth - 1) }

const shuffled = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).toReversed().map(([key, field]) => [key, shuffled(field)]))
}

const json = FastCheck.jsonValue({ maxDepth: 4 }).filter((value) => !JSON.stringify(value).includes("__proto__"))

describe("canonicalJson", () => {
  it("sorts keys at every depth and leaves undefined fields out", () => {
    assert.strictEqual(
      canonicalJson({ b: [{ d: 1, c: null }], a: "x", u: undefined }),
      `{"a":"x","b":[{"c":null,"d":1}]}`
    )
  })

  it.prop("means the same value", [json], ([value]) => {
    assert.deepStrictEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)))
  })

  it.prop("does not see the order of keys", [json], ([value]) => {
    assert.strictEqual(canonicalJson(shuffled(value)), canonicalJson(value))
  })

  it.prop("tells different values apart", [json, json], ([one, two]) => {
    const same = canonicalJson(one) === canonicalJson(two)
    assert.strictEqual(same, canonicalJson(JSON.parse(JSON.stringify(one))) === canonicalJson(two))
    if (same) assert.deepStrictEqual(JSON.parse(canonicalJson(one)), JSON.parse(canonicalJson(two)))
  })

  it.prop("equalJson says the same without making text", [json, json], ([one, two]) => {
    const parsed: unknown = JSON.parse(canonicalJson(two))
    assert.strictEqual(equalJson(one, parsed), canonicalJson(one) === canonicalJson(two))
    assert.isTrue(equalJson(shuffled(two), parsed))
    assert.isTrue(equalJson({ two, gone: undefined }, { two: parsed }))
  })

  it("equalJson takes nothing for equal that is not JSON", () => {
    // oxlint-disable-next-line no-sparse-arrays -- that is what is tested
    const holes = [, 1]
    for (
      const [value, other] of [
        [NaN, null],
        [holes, [null, 1]],
        [{ a: undefined, b: 1 }, { a: null, b: 1 }],
        [new Date(0), {}],
        [new Map(), {}],
        [[], {}],
        [{}, []],
        [{ length: 0 }, []],
        [undefined, null]
      ]
    ) {
      assert.isFalse(equalJson(value, other))
    }
    assert.isFalse(equalJson(cycle, { self: [{}] }))
  })

  const cycle: { self?: unknown } = {}
  cycle.self = [cycle]
  const refused: ReadonlyArray<readonly [string, unknown, string]> = [
    ["NaN", { a: [1, NaN] }, "a[1]: NaN is not JSON"],
    ["infinities", -Infinity, "(root): -Infinity is not JSON"],
    ["BigInt", { n: 1n }, "n: a bigint is not JSON"],
    ["functions", { f: () => 1 }, "f: a function is not JSON"],
    ["symbols", Symbol("s"), "(root): a symbol is not JSON"],
    ["undefined in an array", [undefined], "[0]: undefined is not JSON"],
    ["dates", { at: new Date(0) }, "at: an instance of Date is not JSON"],
    ["maps", new Map(), "(root): an instance of Map is not JSON"],
    ["cycles", cycle, "self[0]: the value contains itself"],
    ["keys named __proto__", JSON.parse(`{"a":{"__proto__":1}}`), "a.__proto__: a key named __proto__ is refused"]
  ]
  for (const [what, value, message] of refused) {
    it(`refuses ${what}`, () => {
      assert.throws(() => canonicalJson(value), NotJson, message)
    })
  }

  it("takes 64 levels and refuses 65", () => {
    assert.strictEqual(canonicalJson(nest(64)), JSON.stringify(nest(64)))
    assert.throws(() => canonicalJson(nest(65)), NotJson, "nested more than 64 deep")
  })

  it("takes the same object twice side by side", () => {
    const part = { a: 1 }
    assert.strictEqual(canonicalJson([part, part]), `[{"a":1},{"a":1}]`)
  })
})

describe("sha256", () => {
  it("gives the standard's test vectors", () => {
    assert.strictEqual(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert.strictEqual(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert.strictEqual(
      sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    )
    assert.strictEqual(
      sha256("a".repeat(1_000_000)),
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    )
  })

  it("agrees with node at every length around a block", () => {
    for (let length = 0; length <= 200; length++) {
      const text = "é".repeat(length % 7) + "x".repeat(length)
      assert.strictEqual(sha256(text), createHash("sha256").update(text).digest("hex"))
    }
  })

  it.prop("agrees with node", [FastCheck.string({ unit: "binary", maxLength: 300 })], ([text]) => {
    assert.strictEqual(sha256(text), createHash("sha256").update(text).digest("hex"))
  })
})
