import { describe, expect, it } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Check from "@firebreak/core/InvalidOption"
import * as Schema from "effect/Schema"

const refuses = (make: () => unknown, message: string) => {
  expect(make).toThrow(Check.InvalidOption)
  expect(make).toThrow(message)
}

describe("Checkpoint.settle", () => {
  const settle = (how: unknown) => () => Checkpoint.settle("order/1", "charge", how as "retry")

  it("takes the word, or a schema with its value", () => {
    settle("retry")()
    settle({ success: Schema.Number, value: 7 })()
    settle({ success: Schema.Void, value: undefined })()
  })

  it.each([
    ["Retry", "\"Retry\""],
    ["retr", "\"retr\""],
    [null, "null"],
    [undefined, "undefined"],
    [true, "true"],
    [[], "[]"]
  ])("does not take %o for a success", (how, got) => {
    refuses(settle(how), `Checkpoint.settle: how must be "retry" or { success, value }, got ${got}`)
  })

  it("does not take what lacks the schema or the value for a success", () => {
    refuses(settle({}), "Checkpoint.settle: success must be a schema, got undefined")
    refuses(settle({ value: 7 }), "Checkpoint.settle: success must be a schema, got undefined")
    refuses(settle({ success: 7, value: 7 }), "Checkpoint.settle: success must be a schema, got 7")
    refuses(settle({ success: Schema.Number }), "Checkpoint.settle: value must be given, got none")
    refuses(
      settle({ success: Schema.Number, valu: 7 }),
      "Checkpoint.settle: there is no option \"valu\", there are success, value"
    )
  })
})

describe("Checkpoint.list", () => {
  const list = (filter: object) => () => Checkpoint.list(filter)

  it("takes limits and times that make sense", () => {
    list({ limit: 1, createdFrom: 0, createdBefore: 1_700_000_000_000 })()
    // before the beginning of a test's time
    list({ limit: undefined, createdFrom: -3_600_000, createdBefore: undefined })()
  })

  it.each([[0, "0"], [-1, "-1"], [1.5, "1.5"], [NaN, "NaN"], [Infinity, "Infinity"], ["5", "\"5\""], [null, "null"]])(
    "refuses the limit %o",
    (limit, got) => {
      refuses(list({ limit }), `Checkpoint.list: limit must be a whole number of at least 1, got ${got}`)
    }
  )

  it.each(["createdFrom", "createdBefore"])("refuses a %s that is no time", (option) => {
    for (const [time, got] of [[NaN, "NaN"], [1.5, "1.5"], ["1", "\"1\""], [null, "null"], [Infinity, "Infinity"]]) {
      refuses(
        list({ [option as string]: time }),
        `Checkpoint.list: ${option} must be a time in whole milliseconds, got ${got}`
      )
    }
  })
})
