/**
 * The main thread's own connection for writes: one write by itself is committed here, without the way to the writer
 * thread and back, which takes half as long again as the commit. Whatever is not done at once goes the other way: when
 * somebody holds the lock, when the disk is slow, when much is to be read. So the event loop is never held for longer
 * than one commit.
 */
import type BetterSqlite3 from "better-sqlite3"
import type { Failure, Moves, Name, Operations } from "./protocol.js"
import * as Committer from "./writer/committer.js"
import { describe } from "./writer/failure.js"
import * as RunTable from "./writer/runTable.js"

export interface Done<N extends Name> {
  readonly answer: Operations[N]["answer"]
}

/** What writes a row or two and reads as little. */
const short: ReadonlySet<Name> = new Set(
  [
    "claim",
    "renew",
    "complete",
    "release",
    "begin",
    "renewRun",
    "start",
    "save",
    "expire",
    "finish",
    "releaseRun",
    "send",
    "cancel"
  ] as const
)

/** Commits that take longer on the average, in milliseconds, say that the disk is slow. */
const slow = 3

/** What one commit counts in the average. */
const weight = 0.1

/** A disk that fails is left to the writer thread as a slow one is: each write would be tried twice. */
const failing: ReadonlySet<Failure["reason"]> = new Set(["full", "readonly", "io"] as const)

/** How long a slow disk is left to the writer thread, in milliseconds; doubled each time up to the longest. */
const shortestPause = 1_000
const longestPause = 60_000

/** Commits after which the write-ahead log is copied into the file, by the writer thread. */
const copyAfter = 500

export class MainWriter {
  private opened:
    | { readonly committer: ReturnType<typeof Committer.make>; readonly table: RunTable.RunTable }
    | undefined
  private pause = shortestPause
  private pausedUntil = 0
  private average = 0
  private commits = 0

  constructor(
    private readonly driver: typeof BetterSqlite3,
    private readonly options: { readonly filename: string; readonly owner: string }
  ) {}

  /** Does it, or leaves it to the writer thread, with nothing done. */
  attempt<N extends Name>(name: N, request: Operations[N]["request"]): Done<N> | undefined {
    if (!short.has(name)) return undefined
    const began = performance.now()
    if (began < this.pausedUntil) return undefined
    try {
      const { committer, table } = this.open()
      // a run that is there has a history to read
      if (name === "begin" && table.has((request as Operations["begin"]["request"]).runId)) return undefined
      const handler = committer.handlers[name as keyof typeof committer.handlers] as (
        request: Operations[N]["request"]
      ) => Operations[N]["answer"]
      const answer = committer.transact("write", () => handler(request))
      this.commits++
      if (committer.isGone()) return undefined
      this.look(performance.now() - began)
      return { answer }
    } catch (error) {
      // whatever it is, the writer thread meets it too, and can wait
      if (failing.has(describe(error).reason)) this.rest()
      return undefined
    }
  }

  /** Where the chains end that this thread has added to since it was last asked. */
  takeMoves(): Moves {
    return this.opened?.committer.takeMoves() ?? []
  }

  /** The same of the writer thread. */
  moved(moves: Moves): void {
    this.opened?.committer.hear(moves)
  }

  /** Whether the log has grown. */
  get isDue(): boolean {
    return this.commits >= copyAfter
  }

  copied(): void {
    this.commits = 0
  }

  close(): void {
    this.opened?.committer.close()
    this.opened = undefined
  }

  private open() {
    if (this.opened !== undefined) return this.opened
    const db = new this.driver(this.options.filename, { fileMustExist: true, timeout: 0 })
    db.pragma("synchronous = FULL")
    db.pragma("fullfsync = ON")
    // copying the log takes many flushes
    db.pragma("wal_autocheckpoint = 0")
    const table = RunTable.make(db)
    this.opened = { table, committer: Committer.make(db, table, { ...this.options, compacts: false }) }
    return this.opened
  }

  private look(took: number): void {
    this.average += weight * (took - this.average)
    if (this.average <= slow) {
      if (this.average <= slow / 2) this.pause = shortestPause
      return
    }
    this.rest()
  }

  private rest(): void {
    this.average = 0
    this.pausedUntil = performance.now() + this.pause
    this.pause = Math.min(2 * this.pause, longestPause)
  }
}
