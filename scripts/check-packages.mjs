// Packs each package as it would be published and lets publint and "are the types wrong" look at the result.
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "firebreak-pack-"))
try {
  for (const name of readdirSync("packages")) {
    execFileSync("pnpm", ["pack", "--pack-destination", folder], {
      cwd: `packages/${name}`,
      stdio: ["ignore", "ignore", "inherit"]
    })
  }
  for (const tarball of readdirSync(folder)) {
    const path = join(folder, tarball)
    execFileSync("publint", ["run", path, "--strict"], { stdio: "inherit" })
    execFileSync("attw", [path, "--profile", "esm-only", "--format", "ascii", "--no-emoji", "--quiet"], {
      stdio: "inherit"
    })
  }
} finally {
  rmSync(folder, { recursive: true })
}
