/**
 * What the end-to-end tests share: the agent and its sandbox as processes of their own, started by the same commands as
 * `pnpm start` and `pnpm sandbox`, and what can be read from outside: output, exit code, the ledger. Whatever a test
 * leaves behind, process or directory, is gone after it.
 */
import type * as Faults from "@firebreak-examples/incident-agent/src/sandbox/Faults.js"
import type * as Ledger from "@firebreak-examples/incident-agent/src/sandbox/Ledger.js"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach } from "vitest"

/** What `run` of the agent ended with. `code` is null if it was killed. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly millis: number
}

/** An agent that runs. */
export interface Agent {
  readonly pid: number
  readonly ended: Promise<Ended>
  readonly hasEnded: () => boolean
  /** SIGKILL. */
  readonly kill: () => void
  /** Closes the reading end of its output. */
  readonly stopReading: () => void
  /** Resolves as soon as a whole line of output satisfies `test`; to false if the agent ends without one. */
  readonly prints: (test: (line: string) => boolean) => Promise<boolean>
}

/** A line of `--json`. */
export interface Event {
  readonly _tag: string
  readonly at: number
  readonly [field: string]: unknown
}

/** A sandbox that runs. */
export interface Sandbox {
  readonly url: string
  readonly ledger: () => ReadonlyArray<Ledger.Line>
  /** The lines of calls that changed something. */
  readonly effects: () => ReadonlyArray<Ledger.Line>
  readonly setFaults: (...faults: ReadonlyArray<Faults.Fault>) => Promise<void>
}

/** A directory of its own; `name` in it does not exist yet. */
export const tempPath = async (name: string): Promise<string> => {
  const directory = await Fs.mkdtemp(Path.join(tmpdir(), "firebreak-e2e-"))
  directories.push(directory)
  return Path.join(directory, name)
}

/** `pnpm start run` with these flags. */
export const startAgent = (
  flags: ReadonlyArray<string>,
  options: {
    readonly stdin?: string
    readonly env?: Readonly<Record<string, string>>
    /** In a process group of its own. */
    readonly detached?: boolean
  } = {}
): Agent => {
  const started = performance.now()
  const child = start("examples/incident-agent/src/main.ts", ["run", ...flags], options)
  child.stdin!.on("error", () => {}).end(options.stdin)
  const output = { stdout: "", stderr: "" }
  const watchers = new Set<() => void>()
  const notify = () => watchers.forEach((watch) => watch())
  child.stdout!.setEncoding("utf8").on("data", (text) => {
    output.stdout += text
    notify()
  })
  child.stderr!.setEncoding("utf8").on("data", (text) => output.stderr += text)
  let closed = false
  const ended = new Promise<Ended>((resolve) =>
    child.once("close", (code) => {
      closed = true
      notify()
      resolve({ code, ...output, millis: performance.now() - started })
    })
  )
  return {
    pid: child.pid!,
    ended,
    hasEnded: () => closed,
    stopReading: () => child.stdout!.destroy(),
    kill: () => child.kill("SIGKILL"),
    prints: (test) =>
      new Promise((resolve) => {
        let read = 0
        const watch = () => {
          while (true) {
            const end = output.stdout.indexOf("\n", read)
            if (end === -1) break
            const line = output.stdout.slice(read, end)
            read = end + 1
            if (test(line)) return settle(true)
          }
          if (closed) settle(false)
        }
        const settle = (found: boolean) => {
          watchers.delete(watch)
          resolve(found)
        }
        watchers.add(watch)
        watch()
      })
  }
}

/** Runs the agent to its end. */
export const runAgent = (...args: Parameters<typeof startAgent>): Promise<Ended> => startAgent(...args).ended

/** `pnpm sandbox --ledger FILE` on a free port. */
export const startSandbox = async (): Promise<Sandbox> => {
  const file = await tempPath("ledger.jsonl")
  const child = start("examples/incident-agent/src/sandbox/main.ts", ["--port", "0", "--ledger", file])
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const line = /^sandbox: (\S+)/.exec(text)
      if (line !== null) resolve(line[1]!)
    })
    child.once("exit", (code) => reject(new Error(`the sandbox ended with ${code}`)))
  })
  const ledger = () => readLedger(file)
  return {
    url,
    ledger,
    effects: () => ledger().filter(({ effect }) => effect),
    setFaults: async (...faults) => {
      const answer = await fetch(`${url}/_sandbox/faults`, { method: "PUT", body: JSON.stringify(faults) })
      if (!answer.ok) throw new Error(await answer.text())
    }
  }
}

/** The lines in a ledger's file; none if there is no file yet. */
export const readLedger = (file: string): ReadonlyArray<Ledger.Line> => existsSync(file) ? parseLines(file) : []

/** The events in the output of `--json`. A line that a kill has cut off is left out. */
export const eventsOf = ({ code, stdout }: Ended): ReadonlyArray<Event> => {
  const lines = stdout.split("\n")
  if (code === null) lines.pop()
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Event)
}

/** An incident as a file; what is not given is the chapter's. */
export const incidentFile = async (fields: {
  readonly incident_id: string
  readonly service: string
}): Promise<string> => {
  const path = await tempPath("incident.json")
  await Fs.writeFile(path, JSON.stringify({ severity: "high", description: "High error rate detected", ...fields }))
  return path
}

/** Asks every 2 ms until it is so; false after `millis`. */
export const eventually = async (isSo: () => boolean, millis = 10_000): Promise<boolean> => {
  const deadline = performance.now() + millis
  while (!isSo()) {
    if (performance.now() > deadline) return false
    await sleep(2)
  }
  return true
}

/** Waits in real time. */
export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const root = fileURLToPath(new URL("../../", import.meta.url))

const children: Array<ChildProcess> = []
const directories: Array<string> = []

afterEach(async () => {
  await Promise.all(children.splice(0).map(end))
  await Promise.all(directories.splice(0).map((directory) => Fs.rm(directory, { recursive: true, force: true })))
})

const start = (
  main: string,
  flags: ReadonlyArray<string>,
  options: Pick<NonNullable<Parameters<typeof startAgent>[1]>, "env" | "detached"> = {}
) => {
  const child = spawn(process.execPath, ["--import", "tsx", main, ...flags], {
    cwd: root,
    env: { ...process.env, ...options.env },
    detached: options.detached === true
  })
  children.push(child)
  return child
}

const end = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once("exit", () => resolve())
    child.kill("SIGKILL")
  })

const parseLines = (file: string): ReadonlyArray<Ledger.Line> =>
  readFileSync(file, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line) as Ledger.Line)
