import { expect, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

/** What stands between `// #region usage` and `// #endregion`, without its indentation. */
const usages = readdirSync(new URL("../src", import.meta.url)).filter((file) => file.endsWith(".ts")).flatMap((file) =>
  Array.from(read(`../src/${file}`).matchAll(/^( *)\/\/ #region usage\n([^]*?)\n *\/\/ #endregion/gm)).map(
    ([, indent, body]) => body!.split("\n").map((line) => line.slice(indent!.length)).join("\n")
  )
)

for (const page of ["README.md", "docs/circuit-breaker.md", "docs/backoff.md"]) {
  it(`the code in ${page} is that of an example`, () => {
    const snippets = Array.from(
      read(`../../../${page}`).matchAll(/^```ts\n([^]*?)\n```$/gm),
      ([, code]) => code
    )
    expect(snippets.length).toBeGreaterThan(0)
    for (const snippet of snippets) expect(usages).toContain(snippet)
  })
}
