/**
 * The sandbox as a child process of the agent, for a run that was given no vendors.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

/**
 * The sandbox ended before it listened.
 *
 * @since 0.1.0
 * @category errors
 */
export class SandboxFailed extends Data.TaggedError("SandboxFailed")<{ readonly message: string }> {}

/**
 * Starts a sandbox and returns its URL. It keeps its world in `directory`, so that a run that was cut short finds it as it
 * was left, and it ends with the agent, however that ends: its standard input is the leash.
 *
 * @since 0.1.0
 * @category constructors
 */
export const start = (directory: string): Effect.Effect<string, SandboxFailed, Scope.Scope> =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(
          process.execPath,
          [
            ...process.execArgv,
            main,
            "--leash",
            "--port=0",
            `--ledger=${Path.join(directory, "sandbox-ledger.jsonl")}`,
            `--state=${Path.join(directory, "sandbox-fleet.json")}`
          ],
          // a process group of its own: what a terminal interrupts is the agent, and the leash then ends the sandbox
          { stdio: ["pipe", "pipe", "inherit"], detached: true }
        )
      ),
      (child) =>
        Effect.sync(() => {
          child.stdout.destroy()
          child.stdin.end()
          child.unref()
        })
    ),
    (child) =>
      Effect.async<string, SandboxFailed>((resume) => {
        let said = ""
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          said += text
          const url = /^sandbox: (\S+)$/m.exec(said)
          if (url !== null) resume(Effect.succeed(url[1]!))
        })
        child.once("error", ({ message }) =>
          resume(new SandboxFailed({ message: `the sandbox cannot start: ${message}` })))
        child.once("exit", (code) =>
          resume(new SandboxFailed({ message: `the sandbox ended with ${code} at its start` })))
      })
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const main = fileURLToPath(new URL("./sandbox/main.ts", import.meta.url))
