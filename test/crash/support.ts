/**
 * What the crash tests share: the programs as bundled processes, the ledger, directories that are gone after the test, and
 * faults that are counted: each test prints its seed and how many faults it injected, and fails if it injected none.
 *
 * `CRASH_SEED` repeats a run; `CRASH_FULL=1` asks for the full counts instead of CI's share.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { afterAll, afterEach, expect, it, type TestContext } from "vitest"
import * as Server from "../../packages/sql/test/support/postgres.js"
import { type Arrived, type Entry, journeySteps, violations, voyageSteps } from "./ledger.js"
import * as Client from "./programs/client.js"
import type { StoreOptions } from "./programs/store.js"
import type { Said, Task } from "./programs/traveller.js"
import { bundles } from "./setup.js"

export const seed = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 1e6))

/** CI's share, or the full count. */
export const count = (share: number, full: number): number => process.env["CRASH_FULL"] === "1" ? full : share

/** What a test has at hand to harm with. */
export interface Harm {
  /** A number in [0, 1) that the seed and the test's name fix. */
  readonly random: () => number
  /** A whole number from `low` to `high`, both possible. */
  readonly between: (low: number, high: number) => number
  /** To be called for each fault that has certainly struck. */
  readonly injected: (faults?: number) => void
  /** Something to be printed with the counts. */
  readonly note: (text: string) => void
  /** Ends the test as skipped, with the reason. */
  readonly skip: (reason: string) => never
}

/** A test that injects faults. One that ran and injected none fails. */
export const harmful = (name: string, body: (harm: Harm) => Promise<void>): void => {
  it(name, async (context: TestContext) => {
    const random = generator(seed, name)
    const notes: Array<string> = []
    let faults = 0
    await body({
      random,
      between: (low, high) => low + Math.floor(random() * (high - low + 1)),
      injected: (more = 1) => void (faults += more),
      note: (text) => void notes.push(text),
      skip: (reason) => {
        process.stdout.write(`crash: ${name}: skipped, ${reason}\n`)
        return context.skip(reason)
      }
    }).finally(() => {
      if (faults > 0) {
        process.stdout.write(`crash: ${[`${name}: ${faults} faults`, ...notes, `seed ${seed}`].join(", ")}\n`)
      }
    })
    expect(faults, "faults injected").toBeGreaterThan(0)
  })
}

// -----------------------------------------------------------------------------
// processes
// -----------------------------------------------------------------------------

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly said: ReadonlyArray<Said>
  readonly stderr: string
}

export interface Process {
  readonly pid: number
  readonly stdin: NodeJS.WritableStream
  readonly said: ReadonlyArray<Said>
  readonly hasEnded: () => boolean
  readonly ended: Promise<Ended>
  readonly signal: (signal: NodeJS.Signals) => void
}

/** Starts a program, under another command (`prefix`) if one is given. */
export const start = (
  program: string,
  args: ReadonlyArray<string>,
  { env, prefix = [] }: { readonly prefix?: ReadonlyArray<string>; readonly env?: Readonly<Record<string, string>> } =
    {}
): Process => {
  const [command, ...rest] = [...prefix, process.execPath, Path.join(bundles, `${program}.js`), ...args]
  const child = spawn(command!, rest, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] })
  children.push(child)
  child.stdin.on("error", () => {})
  const said: Array<Said> = []
  let stderr = ""
  createInterface({ input: child.stdout }).on("line", (line) => {
    try {
      said.push(JSON.parse(line) as Said)
    } catch {
      // a line that the kill has cut off
    }
  })
  child.stderr.setEncoding("utf8").on("data", (text) => stderr += text)
  let closed = false
  return {
    pid: child.pid!,
    stdin: child.stdin,
    said,
    hasEnded: () => closed,
    ended: once(child, "close").then(([code, signal]) => {
      closed = true
      return { code, signal, said, stderr }
    }),
    signal: (signal) => void child.kill(signal)
  }
}

/** A process that makes journeys. */
export const travel = (task: Task, options?: Parameters<typeof start>[2]): Process =>
  start("traveller", [JSON.stringify(task)], options)

/** Makes the journeys to their end; whatever else happens is a failure of the test. */
export const travelOn = async (task: Task, options?: Parameters<typeof start>[2]): Promise<void> => {
  const ended = await travel(task, options).ended
  expect({ ...ended, said: ended.said.slice(-1) }, ended.stderr)
    .toEqual({ code: 0, signal: null, stderr: "", said: [{ said: "done" }] })
}

// -----------------------------------------------------------------------------
// stores
// -----------------------------------------------------------------------------

/** The stores, each with a way to make an empty one: what a program is told to find it. */
export const stores: Readonly<Record<"SQLite" | "PostgreSQL", (skip: Harm["skip"]) => Promise<StoreOptions>>> = {
  SQLite: async () => ({ file: Path.join(await temporary(), "store", "firebreak.db") }),
  PostgreSQL: async (skip) => {
    const { database, url } = await postgres(skip)
    return { url: url(await Effect.runPromise(database)) }
  }
}

/** One server for all tests of a file. */
export const postgres = async (skip: Harm["skip"]): Promise<Server.Postgres> => {
  if (Server.unavailable !== undefined) return skip(Server.unavailable)
  return server ??= await Effect.runPromise(Scope.extend(Server.make({ settings: { max_connections: "60" } }), scope))
}

let server: Server.Postgres | undefined
const scope = Effect.runSync(Scope.make())

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

// -----------------------------------------------------------------------------
// the ledger
// -----------------------------------------------------------------------------

export interface Ledger {
  readonly port: number
  readonly entries: () => Promise<ReadonlyArray<Entry>>
  /** How many those are. */
  readonly count: () => Promise<number>
  /** Holds back its answers once so many more effects have arrived. */
  readonly hold: (after: number) => Promise<void>
  /** How many answers are held. */
  readonly waiting: () => Promise<number>
  /** Answers what comes from now on. */
  readonly pass: () => Promise<void>
  /** Sends the answers that were held. */
  readonly release: () => Promise<void>
  /** Waits until all that others have sent is in it, those others having ended. */
  readonly settled: () => Promise<void>
  /** Expects that these journeys have ended, with nothing lost and nothing done twice. */
  readonly expectWhole: (runs: ReadonlyArray<string>) => Promise<void>
  /** The same of voyages, and that the user's table in the store has one row of each: that of its transaction. */
  readonly expectVoyages: (voyages: ReadonlyArray<string>, store: StoreOptions) => Promise<void>
}

export const startLedger = async (): Promise<Ledger> => {
  const child = start("ledger", [])
  await eventually(() => child.said.length > 0)
  const port = Number(child.said[0])
  const client = await Client.open(port)
  const entries = async () => await client.ask({ op: "entries" }) as ReadonlyArray<Arrived>
  return {
    port,
    entries,
    count: async () => await client.ask({ op: "count" }) as number,
    hold: async (after) => void await client.ask({ op: "hold", after }),
    waiting: async () => await client.ask({ op: "waiting" }) as number,
    pass: async () => void await client.ask({ op: "pass" }),
    release: async () => void await client.ask({ op: "release" }),
    settled: async () => {
      while (await client.ask({ op: "others" }) !== 0) await sleep(2)
    },
    expectWhole: async (runs) => expect(violations(await entries(), runs, journeySteps)).toEqual([]),
    expectVoyages: async (voyages, store) => {
      const all = await entries()
      expect(violations(all, voyages, voyageSteps)).toEqual([])
      const seen = new Map(
        all.flatMap((entry) => entry.op === "saw" && entry.step === "book" ? [[entry.run, entry.value]] : [])
      )
      const { said, stderr } = await start("bookings", [JSON.stringify(store)]).ended
      expect(stderr).toBe("")
      const booked = said.flatMap((line) => line.said === "booked" ? [[line.run, line.value]] : [])
      expect(booked.toSorted(), "rows of the user").toEqual(voyages.map((run) => [run, seen.get(run)]).toSorted())
    }
  }
}

// -----------------------------------------------------------------------------
// directories, time, chance
// -----------------------------------------------------------------------------

/** A directory of its own. */
export const temporary = async (): Promise<string> => {
  const directory = await Fs.mkdtemp(Path.join(tmpdir(), "firebreak-crash-"))
  cleanups.push(() => Fs.rm(directory, { recursive: true, force: true }))
  return directory
}

/** To be done after the test, the last one first, once its processes are gone. */
export const afterwards = (cleanup: () => Promise<unknown>): void => void cleanups.push(cleanup)

/** Waits in real time. */
export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Asks every 2 ms until it is so; fails after `millis`. */
export const eventually = async (isSo: () => boolean | Promise<boolean>, millis = 60_000): Promise<void> => {
  const deadline = performance.now() + millis
  while (!await isSo()) {
    if (performance.now() > deadline) throw new Error(`not so within ${millis} ms: ${isSo}`)
    await sleep(2)
  }
}

/** Names of runs. */
export const names = (count: number, prefix = "run"): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`)

/** In an order that chance fixes. */
export const shuffled = <A>(random: () => number, items: ReadonlyArray<A>): ReadonlyArray<A> =>
  items.map((item) => [random(), item] as const).toSorted(([a], [b]) => a - b).map(([, item]) => item)

/** Where a command is, if it is installed. */
export const which = (command: string): string | undefined =>
  (process.env["PATH"] ?? "").split(Path.delimiter).map((directory) => Path.join(directory, command)).find(existsSync)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const children: Array<ChildProcess> = []
const cleanups: Array<() => Promise<unknown>> = []

afterEach(async () => {
  await Promise.all(children.splice(0).map(end))
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const end = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, "exit")
  child.kill("SIGKILL")
  await exit
}

/** Numbers in [0, 1) that the seed and a name fix (mulberry32). */
const generator = (seed: number, name: string): () => number => {
  let state = seed >>> 0
  for (const char of name) state = (Math.imul(state, 31) + char.charCodeAt(0)) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
