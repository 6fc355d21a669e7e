/**
 * The main thread's side of the writer: requests go to the worker in batches, and each fiber is resumed when the commit
 * that holds its write has returned. Only a write that is alone is committed here, if that can be done at once.
 *
 * An interrupted caller stops waiting; what it asked for may still be written.
 */
import { StoreError } from "@firebreak/core/StoreError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scope from "effect/Scope"
import { existsSync, realpathSync } from "node:fs"
import { Worker } from "node:worker_threads"
import { MainWriter } from "./MainWriter.js"
import type { Failure, Message, Moment, Name, Operations, Reply, Sent, Start } from "./protocol.js"
import * as Owner from "./writer/owner.js"

export interface Stats {
  /** Requests answered by the writer thread. */
  readonly requests: number
  /** Write transactions committed by the writer thread. */
  readonly transactions: number
}

export interface SqliteClient {
  readonly filename: string
  /** What the writer's connection reported after opening. */
  readonly connection: { readonly journalMode: string; readonly synchronous: number; readonly schema: number }
  readonly stats: () => Stats
  /**
   * Asks the writer. When the caller is interrupted before the answer, `abandoned` is given the answer once it is
   * there: it takes back what nobody else knows of.
   */
  readonly request: <N extends Name>(
    name: N,
    request: Operations[N]["request"],
    abandoned?: (answer: Operations[N]["answer"]) => void
  ) => Effect.Effect<Operations[N]["answer"], StoreError>
  /** Asks without waiting; nobody hears whether it failed. */
  readonly tell: <N extends Name>(name: N, request: Operations[N]["request"]) => void
}

/** Times in milliseconds. */
export interface Options {
  readonly filename: string
  readonly busyTimeout: number
  readonly transactionTimeout: number
  readonly onDamage: "refuse" | "isolate"
  /** Nothing is made or written; only `verify` can be asked. Default false. */
  readonly readOnly?: boolean | undefined
}

/** Opens the file in a new writer thread, which ends with the scope after all that was asked has been committed. */
export const make = (
  options: Options
): Effect.Effect<SqliteClient, StoreError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(open(options), (writer) => writer.close),
    (writer): SqliteClient => ({
      filename: options.filename,
      connection: writer.connection,
      stats: () => ({ requests: writer.requests, transactions: writer.transactions }),
      tell: (name, request) => writer.send(name, request, () => {}),
      request: <N extends Name>(
        name: N,
        request: Operations[N]["request"],
        abandoned?: (answer: Operations[N]["answer"]) => void
      ) =>
        abandoned === undefined
          ? Effect.async((resume) => writer.send(name, request, resume as Pending["settle"]))
          : Effect.withFiberRuntime((_, { runtimeFlags }) => {
            let interrupted = false
            const answer = (resume: (exit: Exit.Exit<Operations[N]["answer"], StoreError>) => void) =>
              writer.send(name, request, (settled) => {
                // the protocol pairs each name with its answer
                const exit = settled as Exit.Exit<Operations[N]["answer"], StoreError>
                if (!interrupted) resume(exit)
                else if (Exit.isSuccess(exit)) abandoned(exit.value)
              })
            if (!RuntimeFlags.interruptible(runtimeFlags)) return Effect.async(answer)
            return Effect.async((resume) => {
              answer(resume)
              return Effect.sync(() => {
                interrupted = true
              })
            })
          })
    })
  )

/** The moment of a request: see `moment`. */
export const currentMoment: Effect.Effect<Moment> = Effect.clockWith((clock) => Effect.sync(() => moment(clock)))

/**
 * What a clock shows. Leases of several processes are compared, so under the live Clock they are measured on the
 * machine's monotonic clock, which all processes of one boot share: the Clock's own nanoseconds are anchored to the
 * wall time at which its process began. Any other Clock, such as the TestClock, is used as it is.
 */
export const moment = (clock: Clock.Clock): Moment => {
  const live = clock === liveClock
  const nanos = live ? process.hrtime.bigint() : clock.unsafeCurrentTimeNanos()
  return { now: Number(nanos / 1_000n), clock: live ? Owner.boot : "clock", wall: clock.unsafeCurrentTimeMillis() }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const liveClock: Clock.Clock = Context.get(DefaultServices.liveServices, Clock.Clock)

/** How long commits on this thread may follow each other, in milliseconds. */
const longestTurn = 5

/** So many requests go out before the turn is over: the writer thread commits them while others come. */
const early = 16

type Requested = readonly [id: number, name: Name, request: unknown]

const sent = (requested: Requested): Sent => {
  const [id, name] = requested
  if (name !== "save") return requested
  const { step, token, wall } = requested[2] as Operations["save"]["request"]
  const { branch, endedAt, exit, kind, name: called, runId, seq, startedAt } = step
  return [id, token, wall, runId, seq, called, kind, branch, exit, startedAt, endedAt]
}

const yes = Exit.succeed(true)

interface Pending {
  readonly operation: Name
  readonly settle: (exit: Exit.Exit<unknown, StoreError>) => void
}

/** The worker, what it still owes us, and what it is not yet told. */
class Writer {
  requests = 0
  transactions = 0
  /** Of the transactions, how many the writer thread has told of. */
  private reported = 0
  private readonly pending = new Map<number, Pending>()
  private outbox: Array<Requested> = []
  private nextId = 0
  private ended: Failure | undefined
  /** When the event loop last had its turn, as far as is known. */
  private turn: number | undefined

  constructor(
    private readonly filename: string,
    private readonly worker: Worker,
    readonly connection: SqliteClient["connection"],
    private readonly main: MainWriter | undefined
  ) {
    // an idle writer does not keep the process alive; one that owes an answer does
    worker.unref()
    worker.on("message", (reply: Reply) => this.receive(reply))
    worker.on("error", (error) => this.end({ reason: "io", detail: `the writer thread failed: ${error.message}` }))
    worker.on("exit", () => this.end({ reason: "io", detail: "the writer thread has ended" }))
  }

  send(operation: Name, request: unknown, settle: Pending["settle"]): void {
    if (this.ended !== undefined) return settle(Exit.fail(this.error(operation, this.ended)))
    const id = this.nextId++
    this.pending.set(id, { operation, settle })
    this.outbox.push([id, operation, request])
    // what all fibers ask for within one turn goes out together, but that it need not wait for many of them
    if (this.outbox.length === 1) queueMicrotask(() => this.flush())
    else if (this.outbox.length === early) this.flush()
  }

  readonly close: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.ended !== undefined) return resume(Effect.void)
    this.flush()
    this.main?.close()
    this.ended = { reason: "closed", detail: "its scope has ended" }
    this.worker.ref()
    this.worker.on("exit", () => resume(Effect.void))
    this.post({ _tag: "Close" })
  })

  private flush(): void {
    const requests = this.outbox
    const [first] = requests
    if (first === undefined) return
    this.outbox = []
    // alone: the way to the writer thread and back is not worth it
    if (this.pending.size === 1 && this.main !== undefined && this.commitHere(this.main, first)) return
    this.worker.ref()
    this.post({ _tag: "Requests", requests: requests.map(sent), moves: this.main?.takeMoves() ?? [] })
  }

  /** Whether it was done on this thread. */
  private commitHere(main: MainWriter, [id, name, request]: Requested): boolean {
    // the protocol pairs each name with its request
    const done = main.attempt(name, request as Operations[typeof name]["request"])
    if (done === undefined) return false
    this.transactions++
    const now = performance.now()
    if (this.turn === undefined) {
      this.turn = now
      setImmediate(() => {
        this.turn = undefined
      })
    }
    // fibers go on without giving way to the event loop: after some commits in a row it has its turn
    if (now - this.turn < longestTurn) this.answer(id, Exit.succeed(done.answer))
    else setImmediate(() => this.answer(id, Exit.succeed(done.answer)))
    if (main.isDue) {
      main.copied()
      this.send("copyLog", null, () => {})
    }
    return true
  }

  private answer(id: number, exit: Exit.Exit<unknown, StoreError>): void {
    const pending = this.pending.get(id)
    if (pending === undefined) return
    this.pending.delete(id)
    this.requests++
    pending.settle(exit)
  }

  private post(message: Message): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.worker.postMessage(message)
  }

  private receive(reply: Reply): void {
    if (reply._tag !== "Answers") return
    this.transactions += reply.transactions - this.reported
    this.reported = reply.transactions
    this.main?.moved(reply.moves)
    for (const id of reply.yes) this.answer(id, yes)
    for (const [id, failure, answer] of reply.answers) {
      const name = this.pending.get(id)?.operation
      if (name === undefined) continue
      this.answer(id, failure === null ? Exit.succeed(answer) : Exit.fail(this.error(name, failure)))
    }
    if (this.pending.size === 0 && this.ended === undefined) this.worker.unref()
  }

  private end(failure: Failure): void {
    this.ended ??= failure
    const owed = [...this.pending.values()]
    this.pending.clear()
    for (const { operation, settle } of owed) settle(Exit.fail(this.error(operation, this.ended)))
  }

  private error(operation: Name, failure: Failure): StoreError {
    return new StoreError({ store: this.filename, operation: said[operation] ?? operation, ...failure })
  }
}

/** Operations whose name on the wire is not the port's. */
const said: Partial<Record<Name, string>> = {
  renewRun: "renew",
  releaseRun: "release",
  listRuns: "list",
  pruneRuns: "prune",
  sqlRun: "run a statement",
  sessionBegin: "begin a transaction",
  sessionRun: "run a statement",
  sessionCommit: "commit a transaction",
  sessionRollback: "roll a transaction back",
  verifyFile: "verify",
  verifyRuns: "verify",
  verifyActions: "verify"
}

const open = (options: Options) =>
  Effect.async<Writer, StoreError>((resume) => {
    const script = new URL("./sqliteWriter.js", import.meta.url)
    const { readOnly = false } = options
    // whatever links lead to it, a file has one anchor
    const filename = existsSync(options.filename) ? realpathSync(options.filename) : options.filename
    const owner = Owner.make()
    const workerData: Start = { ...options, filename, owner, readOnly }
    // without the parent's flags: a loader such as tsx would only slow the start
    const worker = new Worker(script, { workerData, execArgv: [] })
    // while the writer starts
    const loading = import("better-sqlite3")
    const settle = (effect: Effect.Effect<Writer, StoreError>) => {
      worker.off("error", onError).off("exit", onExit).off("message", onMessage)
      resume(effect)
    }
    const fail = (failure: Failure) =>
      settle(Effect.fail(new StoreError({ store: filename, operation: "open", ...failure })))
    const onError = (error: Error) => fail({ reason: "io", detail: `the writer thread failed: ${error.message}` })
    const onExit = () => fail({ reason: "io", detail: "the writer thread has ended" })
    const onMessage = (reply: Reply) => {
      if (reply._tag === "Failed") return fail(reply.failure)
      if (reply._tag !== "Opened") return
      const { _tag: _, isolated, ...connection } = reply
      void loading.then(({ default: driver }) => {
        // what is damaged only the writer thread knows
        const main = isolated === 0 && !readOnly ? new MainWriter(driver, { filename, owner }) : undefined
        settle(Effect.succeed(new Writer(filename, worker, connection, main)))
      })
    }
    worker.on("error", onError).on("exit", onExit).on("message", onMessage)
  })
