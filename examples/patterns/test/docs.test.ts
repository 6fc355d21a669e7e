import { describe, expect, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { demos } from "../src/demos.js"

const root = new URL("../../../", import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), "utf8")
const filesIn = (folder: string, ending: string) =>
  readdirSync(new URL(folder, root)).filter((file) => file.endsWith(ending)).map((file) => `${folder}/${file}`)

/** What stands between `// #region usage` and `// #endregion`, without its indentation. */
const usagesIn = (file: string) =>
  Array.from(read(file).matchAll(/^( *)\/\/ #region usage\n([^]*?)\n *\/\/ #endregion/gm)).map(
    ([, indent, body]) => body!.split("\n").map((line) => line.slice(indent!.length)).join("\n")
  )

const snippetsIn = (page: string) => Array.from(read(page).matchAll(/^```ts\n([^]*?)\n```$/gm), ([, code]) => code!)

const inDemos = filesIn("examples/patterns/src", ".ts").flatMap(usagesIn)
const inDocs = filesIn("test/docs", ".ts").flatMap(usagesIn)

const pages = [
  "README.md",
  ...filesIn("docs", ".md"),
  ...readdirSync(new URL("packages", root)).map((name) => `packages/${name}/README.md`)
]

/** They have figures only, or commands. */
const withoutCode = ["docs/benchmarks.md", "docs/crash-tests.md"]

describe("the code of a page is that of an example", () => {
  for (const page of pages) {
    it(page, () => {
      const snippets = snippetsIn(page)
      expect(snippets.length > 0).toBe(!withoutCode.includes(page))
      for (const snippet of snippets) expect([...inDemos, ...inDocs]).toContain(snippet)
    })
  }
})

it("what is in test/docs is shown on a page", () => {
  const shown = pages.flatMap(snippetsIn)
  for (const usage of inDocs) expect(shown).toContain(usage)
})

it("the demos that pages name exist, and the README names all", () => {
  const names = Object.keys(demos)
  const named = pages.flatMap((page) => Array.from(read(page).matchAll(/pnpm example ([\w-]+)/g), ([, name]) => name!))
  expect(named.length).toBeGreaterThan(0)
  for (const name of named) expect(names).toContain(name)
  for (const name of names) expect(read("README.md")).toContain(`\`${name}\``)
})
