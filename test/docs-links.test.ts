import { describe, expect, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"

const root = new URL("../", import.meta.url)

const filesIn = (folder: string, ending: string) =>
  readdirSync(new URL(folder, root)).filter((name) => name.endsWith(ending)).map((name) => `${folder}/${name}`)

const readmesIn = (folder: string) =>
  readdirSync(new URL(folder, root)).map((name) => `${folder}/${name}/README.md`).filter((path) =>
    existsSync(new URL(path, root))
  )

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  ...filesIn("docs", ".md"),
  ...readmesIn("packages"),
  ...readmesIn("examples")
]

const textOf = (page: URL) => readFileSync(page, "utf8").replaceAll(/^```[^]*?^```$/gm, "")

/** Links that stay in the repository. */
const linksIn = (text: string) =>
  Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => link!).filter((link) => !/^[a-z]+:/.test(link))

/** The anchor that a page has for each of its headings. */
const anchorsIn = (text: string) =>
  Array.from(
    text.matchAll(/^#+ (.*)$/gm),
    ([, heading]) => heading!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  )

describe("the relative links exist", () => {
  for (const page of pages) {
    it(page, () => {
      const url = new URL(page, root)
      const text = textOf(url)
      const broken = linksIn(text).filter((link) => {
        const target = new URL(link, url)
        const anchor = target.hash.slice(1)
        target.hash = ""
        return !existsSync(target) || (anchor !== "" && !anchorsIn(textOf(target)).includes(anchor))
      })
      expect(broken).toEqual([])
    })
  }
})

it("every page of docs/ is linked from the README", () => {
  const linked = linksIn(textOf(new URL("README.md", root)))
  for (const page of filesIn("docs", ".md")) expect(linked).toContain(page)
})
