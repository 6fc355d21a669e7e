import { assert, describe, it } from "@effect/vitest"
import type BetterSqlite3 from "better-sqlite3"
import * as Effect from "effect/Effect"
import { MainWriter } from "../src/internal/MainWriter.js"
import { temporaryFile } from "./fixtures/temporary.js"

const request = { runId: "r", token: 1, now: 0, clock: "clock", wall: 0, lease: 1 }

describe("MainWriter", () => {
  for (const [reason, code, tries] of [["full", "SQLITE_FULL", 1], ["busy", "SQLITE_BUSY", 50]] as const) {
    it.scoped(`is asked ${tries} times of 50 when the file is ${reason}`, () =>
      Effect.gen(function*() {
        let opened = 0
        const driver = function() {
          opened++
          throw Object.assign(new Error("no"), { code })
        } as unknown as typeof BetterSqlite3
        const writer = new MainWriter(driver, { filename: yield* temporaryFile, owner: "o" })
        for (let i = 0; i < 50; i++) assert.isUndefined(writer.attempt("renewRun", request))
        assert.strictEqual(opened, tries)
      }))
  }
})
