import { expect, it } from "@effect/vitest"
import * as SqlStore from "@firebreak/sql/SqlStore"
import { readFileSync } from "node:fs"

it("the table of defaults in docs/stores.md is that of SqlStore", () => {
  const text = readFileSync(new URL("../../../docs/stores.md", import.meta.url), "utf8")
  const [, section] = /^## Defaults\n([^]*?)(?=^## )/m.exec(text)!
  const rows = Array.from(
    section!.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm),
    ([, option, value]) => [option, value!.trim()]
  )
  const { cachedResults, lastGoodValues, ...others } = SqlStore.defaults
  expect(Object.fromEntries(rows)).toEqual({
    filename: "none",
    ...others,
    cachedResults: cachedResults.toLocaleString("en"),
    lastGoodValues: lastGoodValues.toLocaleString("en")
  })
})
