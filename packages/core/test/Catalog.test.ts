import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { readdirSync, readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

/** The fields of every event by its tag, from the source of `Catalog`. */
const catalog: Record<string, ReadonlyArray<string>> = (() => {
  const [, body] = /^export interface Catalog \{\n([^]*?)^\}/m.exec(read("../src/Events.ts"))!
  return Object.fromEntries(Array.from(
    body!.matchAll(/^ {2}(\w+): \{([^]*?)\}$/gm),
    ([, tag, fields]) => [tag, Array.from(fields!.matchAll(/readonly (\w+)\??:/g), ([, field]) => field!)]
  ))
})()

/** The rows of the table whose head begins with event and fields: tags, and cells. */
const rowsOf = (page: string) => {
  const [, table = ""] = /^\| event \| fields \|.*\n\|[- |]*\n((?:\|.*\n)*)/m.exec(read(`../../../docs/${page}`)) ?? []
  return table.trimEnd().split("\n").filter((row) => row !== "").map((row) => {
    const [, tags = "", fields = "", , level = ""] = row.split("|").map((cell) => cell.trim())
    return { tags: words(tags), fields: words(fields.split(";")[0]!), level }
  })
}

const words = (cell: string) => Array.from(cell.matchAll(/`(\w+)`/g), ([, word]) => word!)

describe("the catalog of events", () => {
  it("is read as a whole", () => {
    expect(Object.keys(catalog).length).toBeGreaterThanOrEqual(30)
    expect(catalog["StepSaved"]).toEqual(["workflow", "runId", "step", "seq", "outcome"])
  })

  it("is the table of docs/events.md, in the same order", () => {
    const rows = rowsOf("events.md").flatMap(({ fields, tags }) => tags.map((tag) => [tag, fields]))
    expect(rows).toEqual(Object.entries(catalog))
  })

  for (const page of readdirSync(new URL("../../../docs", import.meta.url)).filter((name) => name.endsWith(".md"))) {
    const rows = rowsOf(page)
    if (rows.length === 0) continue
    it(`has the events of docs/${page}`, () => {
      for (const { fields, tags } of rows) {
        for (const tag of tags) expect([tag, fields]).toEqual([tag, catalog[tag]])
      }
    })
  }

  it.effect("is logged at the levels of docs/events.md", () =>
    Effect.gen(function*() {
      const levels = new Map<string, string>()
      const recorder = Logger.make(({ logLevel, message }) => {
        levels.set([message].flat().join(" "), logLevel.label.toLowerCase().replace("warn", "warning"))
      })
      const logged = Effect.fnUntraced(
        function*(tag: string, end: { readonly outcome: string; readonly status: string }) {
          // only what the level depends on
          const event = { _tag: tag, ...end } as unknown as Events.Event
          yield* Events.publish(event).pipe(
            Effect.provide(EventSink.layerLog.pipe(Layer.provideMerge(Events.layer))),
            Effect.provide(Logger.replace(Logger.defaultLogger, recorder)),
            Logger.withMinimumLogLevel(LogLevel.All)
          )
          return levels.get(tag)
        }
      )
      for (const { level, tags } of rowsOf("events.md")) {
        for (const tag of tags) {
          const well = yield* logged(tag, { outcome: "success", status: "healthy" })
          const badly = yield* logged(tag, { outcome: "failure", status: "critical" })
          const [usual, , otherwise = usual] = level.split(/(?:; | healthy: | failure: )/)
          expect([tag, well, badly]).toEqual([tag, usual, otherwise])
        }
      }
      expect(yield* logged("PageSpooled", { outcome: "failure", status: "critical" })).toBe("info")
    }))
})
