/** The anchor's file itself: what is in it after short writes, late lines and growth. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { join } from "node:path"
import { vi } from "vitest"
import * as Anchor from "../src/internal/writer/anchor.js"
import { temporaryDirectory } from "./fixtures/temporary.js"

const hash = "0123456789abcdef"

const file = Effect.map(temporaryDirectory, (directory) => {
  const filename = join(directory, "a.db")
  Fs.writeFileSync(Anchor.pathOf(filename), "")
  return filename
})

/** The runs that are left in it. */
const runsOf = (filename: string) => [...Anchor.read(Anchor.pathOf(filename))?.runs.keys() ?? []]

/** While it is open, the next writes take half of what they are given. */
const shortWrites = (count: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const real = Fs.writeSync
      let left = count
      const spy = vi.spyOn(Fs.default, "writeSync").mockImplementation(
        ((descriptor: number, data: Uint8Array) =>
          left-- > 0 ? real(descriptor, data, 0, data.length >> 1) : real(descriptor, data)) as typeof Fs.writeSync
      )
      syncBuiltinESMExports()
      return spy
    }),
    (spy) =>
      Effect.sync(() => {
        spy.mockRestore()
        syncBuiltinESMExports()
      })
  )

describe("the anchor's file", () => {
  it.scoped("a line written in part comes again as a whole", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const anchor = Anchor.make(filename)
      anchor.advance([Anchor.run("r", 3, hash, 1), Anchor.run("s", 3, hash, 1)])
      anchor.close()
      assert.deepStrictEqual(runsOf(filename), ["r", "s"])
      yield* shortWrites(1)
      anchor.retract(["r"], 1)
      anchor.close()
      assert.deepStrictEqual(runsOf(filename), ["s"])
    }))

  it.scoped("a deletion whose line cannot be written as a whole is refused", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const anchor = Anchor.make(filename)
      anchor.advance([Anchor.run("r", 3, hash, 1)])
      anchor.close()
      yield* shortWrites(Infinity)
      assert.throws(() => anchor.retract(["r"], 1), "in part only")
      anchor.close()
      assert.deepStrictEqual(runsOf(filename), ["r"])
    }))
})
