import { describe, expect, it } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Check from "@firebreak/core/InvalidOption"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

describe("InvalidOption.name", () => {
  it("takes text and refuses what no store and no wire can hold", () => {
    expect(Check.name("X", "key", "on fire 🔥")).toBe("on fire 🔥")
    expect(() => Check.name("X", "key", "on fire 🔥".slice(0, -1))).toThrow(
      "X: key must be well-formed text, got \"on fire \\ud83d\""
    )
    expect(() => Check.name("X", "key", "\udd25")).toThrow("must be well-formed text")
    expect(() => Check.name("X", "version", 1 as never)).toThrow("X: version must be a string, got 1")
    expect(() => Check.name("X", "name", " ")).toThrow("X: name must be a name that is not empty, got \" \"")
  })

  it.effect("refuses the key of a run before anything runs", () =>
    Effect.gen(function*() {
      let ran = false
      const Ticket = Checkpoint.workflow("ticket", {
        payload: Schema.String,
        key: (title) => title.slice(0, 1)
      }, () => Effect.sync(() => void (ran = true)))
      const defect = yield* Effect.flip(Effect.sandbox(Ticket.run("🔥")))
      expect(String(defect)).toContain("Workflow \"ticket\": key must be well-formed text")
      expect(ran).toBe(false)
      expect(() => Checkpoint.step("x\ud83d", {}, Effect.void)).toThrow("name must be well-formed text")
    }).pipe(Effect.provide(Checkpoint.layerMemory)))
})
