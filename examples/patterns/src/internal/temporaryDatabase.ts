import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

/** The name of a database file that is deleted when the scope ends. */
export const temporaryDatabase: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => join(mkdtempSync(join(tmpdir(), "firebreak-demo-")), "demo.db")),
  (file) => Effect.sync(() => rmSync(dirname(file), { recursive: true, force: true }))
)
