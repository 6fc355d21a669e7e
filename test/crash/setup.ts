/** Bundles the programs once, for a process that is started a thousand times should start fast. */
import { build } from "esbuild"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const programs = ["traveller", "ledger", "duplicates", "reader", "bookings"]

const from = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Where the bundles are. */
export const bundles = from("../node_modules/.cache/crash")

export const setup = async (): Promise<void> => {
  await build({
    entryPoints: {
      ...Object.fromEntries(programs.map((name) => [name, from(`programs/${name}.ts`)])),
      // the store's writer is a thread of its own, found beside the code that starts it
      sqliteWriter: from("../../packages/sql/src/internal/sqliteWriter.js")
    },
    outdir: bundles,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    external: ["better-sqlite3", "pg-native"],
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url)` },
    logLevel: "error"
  })
  writeFileSync(join(bundles, "package.json"), `{ "type": "module" }\n`)
}
