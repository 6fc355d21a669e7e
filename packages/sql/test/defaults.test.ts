import { expect, it } from "@effect/vitest"
import * as SqlStore from "@firebreak/sql/SqlStore"
import { readFileSync } from "node:fs"

/** The rows of a table of defaults, below its heading. */
const tableOf = (heading: string) => {
  const text = readFileSync(new URL("../../../docs/stores.md", import.meta.url), "utf8")
  const section = text.split(`\n## ${heading}\n`)[1]!.split("\n## ")[0]!
  return Object.fromEntries(
    Array.from(section.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm), ([, option, value]) => [option, value!.trim()])
  )
}

const shown = (defaults: object) =>
  Object.fromEntries(
    Object.entries(defaults).map((
      [name, value]
    ) => [name, typeof value === "number" ? value.toLocaleString("en") : value])
  )

it("the tables of defaults in docs/stores.md are those of SqlStore", () => {
  expect(tableOf("Defaults")).toEqual({ filename: "none", ...shown(SqlStore.defaults) })
  expect(tableOf("Defaults on PostgreSQL")).toEqual({ url: "none", ...shown(SqlStore.postgresDefaults) })
})
