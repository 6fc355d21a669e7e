import { expect, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as ClusterEngine from "../src/ClusterEngine.js"
import * as ClusterRunner from "../src/ClusterRunner.js"

it("the table of defaults in docs/cluster.md is that of the code", () => {
  const text = readFileSync(new URL("../../../docs/cluster.md", import.meta.url), "utf8")
  const [, section] = /^## Defaults\n([^]*?)(?=^## )/m.exec(text)!
  const rows = Array.from(
    section!.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm),
    ([, option, value]) => [option, value!.trim()]
  )
  const { pruning: _, ...runner } = ClusterRunner.defaults
  const { connections, ...engine } = ClusterEngine.defaults
  expect(Object.fromEntries(rows)).toEqual({
    ...engine,
    ...runner,
    connections: String(connections),
    retention: "none"
  })
})
