/** The anchor's file itself: what is in it after short writes, late lines and growth. */
import { assert, describe, it } from "@effect/vitest"
import { CheckpointStore } from "@firebreak/core/CheckpointStore"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { join } from "node:path"
import { vi } from "vitest"
import * as Anchor from "../src/internal/writer/anchor.js"
import * as SqlStore from "../src/SqlStore.js"
import { temporaryDirectory, temporaryFile } from "./fixtures/temporary.js"

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
      const spy = vi.spyOn(Fs, "writeSync").mockImplementation(
        ((descriptor: number, data: string | Uint8Array) => {
          const bytes = Buffer.from(data as string)
          return real(descriptor, bytes, 0, left-- > 0 ? bytes.length >> 1 : bytes.length)
        }) as typeof Fs.writeSync
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

  it.scoped("what was flushed bears the zeros that a power cut leaves of the line after it", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const anchor = Anchor.make(filename)
      anchor.advance([Anchor.run("r", 3, hash, 1), Anchor.run("s", 3, hash, 1)])
      anchor.close()
      anchor.retract(["r"], 1)
      Fs.appendFileSync(Anchor.pathOf(filename), Buffer.alloc(100))
      anchor.advance([Anchor.run("t", 3, hash, 1)])
      anchor.close()
      assert.deepStrictEqual(runsOf(filename), ["s", "t"])
      assert.isTrue(Anchor.read(Anchor.pathOf(filename))?.isReadable)
    }))

  it.scoped("an anchor of which only the first line was flushed can be read", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Layer.build(SqlStore.layerSqlite({ filename })))
      Fs.appendFileSync(Anchor.pathOf(filename), Buffer.alloc(100))
      yield* Layer.build(SqlStore.layerSqlite({ filename }))
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

  it.scoped("a deletion is written at once, whatever the size; to write it anew is another matter", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sizeOf = () => Fs.statSync(Anchor.pathOf(filename)).size
      const anchor = Anchor.make(filename)
      assert.isFalse(anchor.isLarge())
      anchor.advance([Anchor.run("kept", 3, hash, 1)])
      anchor.close()
      const ids = Array.from({ length: 20_000 }, (_, i) => `${i}`.padEnd(250))
      anchor.retract(ids, 1)
      assert.isAbove(sizeOf(), 4_000_000)
      assert.isTrue(anchor.isLarge())
      anchor.compact()
      assert.isBelow(sizeOf(), 4_000_000)
      assert.isFalse(anchor.isLarge())
      assert.deepStrictEqual(runsOf(filename), ["kept"])
    }))

  it.scoped("a late line of a deleted run counts for nothing after it was written anew", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const [anchor, other] = [Anchor.make(filename), Anchor.make(filename)]
      anchor.advance([Anchor.run("r", 3, hash, 1)])
      anchor.close()
      anchor.retract(["r"], 1)
      anchor.compact()
      other.advance([Anchor.run("r", 4, hash, 1)])
      other.close()
      assert.deepStrictEqual(runsOf(filename), [])
      // begun anew, under a newer token
      other.advance([Anchor.run("r", 1, hash, 2)])
      other.close()
      assert.deepStrictEqual(runsOf(filename), ["r"])
    }))

  it.scoped("the main thread does not write it anew, the writer thread does", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const anchor = Anchor.pathOf(filename)
      const store = Context.get(yield* Layer.build(SqlStore.layerSqlite({ filename })), CheckpointStore)
      const begin = (runId: string) =>
        store.begin({
          runId,
          workflow: "w",
          key: runId,
          payload: "{}",
          version: "1",
          lease: Duration.minutes(1),
          maxStalls: 20
        })
      Fs.appendFileSync(anchor, `\n${"x".repeat(5_000_000)}`)
      yield* begin("alone")
      assert.isAbove(Fs.statSync(anchor).size, 5_000_000)
      // two at once go to the writer thread
      yield* Effect.all([begin("a"), begin("b")], { concurrency: "unbounded" })
      assert.isBelow(Fs.statSync(anchor).size, 5_000_000)
      // its lines come soon after the commits
      while (!["alone", "a", "b"].every((runId) => Fs.readFileSync(anchor, "utf8").includes(`"run","${runId}"`))) {
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.deepStrictEqual(yield* store.verify!, [])
    }))
})
