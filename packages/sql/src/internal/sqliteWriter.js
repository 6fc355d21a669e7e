// @ts-check
/**
 * The writer thread: owns the one connection that writes, and commits in groups.
 *
 * SQLite waits for locks and flushes synchronously, so it waits here and never on the event loop. Whatever was asked
 * while a commit was under way goes into the next transaction, and nothing is answered before its COMMIT has returned.
 *
 * This file and those in `writer/` are JavaScript, with types checked from JSDoc: a worker thread of Node 20 cannot
 * load TypeScript, and they must run alike under tsx, under vitest and from dist.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import * as Anchor from "./writer/anchor.js"
import * as Committer from "./writer/committer.js"
import { describe, isBusy } from "./writer/failure.js"
import { open, openReadOnly } from "./writer/open.js"
import * as RunTable from "./writer/runTable.js"
import * as Session from "./writer/session.js"

/**
 * @import { Message, Name, Reply, Start } from "./protocol.js"
 * @typedef {{ readonly id: number, readonly name: Name, readonly request: unknown, readonly deadline: number }} Entry
 * @typedef {Extract<Reply, { readonly _tag: "Answers" }>["answers"][number]} Answer
 */

/** @type {ReadonlySet<Name>} */
const reads = new Set(
  /** @type {const} */ (["get", "list", "load", "listRuns", "received", "verifyRuns", "verifyActions"])
)

/** @type {import("./protocol.js").Failure} */
const gone = { reason: "io", detail: "the file is gone: it was deleted or replaced while it was open" }

/**
 * @param {import("./protocol.js").Sent} sent
 * @param {number} deadline
 * @returns {Entry}
 */
const entryOf = (sent, deadline) => {
  if (sent.length === 3) {
    const [id, name, request] = sent
    return { id, name, request, deadline }
  }
  const [id, token, wall, runId, seq, name, kind, branch, exit, startedAt, endedAt] = sent
  const step = { runId, seq, name, kind, branch, exit, startedAt, endedAt }
  return { id, name: "save", request: { token, wall, step }, deadline }
}

/**
 * @param {import("node:worker_threads").MessagePort} port
 * @param {ReturnType<typeof openAt>} opened
 * @param {Start} start
 */
const serve = (port, { db, used: { committer, table }, ...info }, { busyTimeout, readOnly, transactionTimeout }) => {
  const { handlers, isGone } = committer
  /** @type {Array<Entry>} */
  let queue = []
  /** @param {Entry} entry */
  const isRead = ({ name }) => readOnly || reads.has(name)
  let closing = false
  let transactions = 0

  const session = Session.make({
    begin: committer.beginWrite,
    commit() {
      committer.commit()
      transactions++
    },
    rollback: committer.rollback,
    inTransaction: committer.inTransaction,
    run: handlers.sqlRun,
    save: handlers.save,
    owns: ({ runId, token }) => table.owns(runId, token) !== undefined,
    timeout: transactionTimeout,
    over: () => pump()
  })

  const compactAnchor = () => {
    try {
      committer.transact("write", () => null)
      transactions++
    } catch {
      // another process holds the lock; the next time will do
    }
  }

  // outside any transaction; it waits for nobody
  const copyLog = () => {
    if (session.isOpen()) return null
    db.pragma("wal_checkpoint(PASSIVE)")
    // the main thread, which asks for this, does not write the anchor anew itself
    if (committer.isAnchorLarge()) compactAnchor()
    return null
  }

  /** @param {Reply} reply */
  const send = (reply) => port.postMessage(reply)
  /** @param {ReadonlyArray<Answer>} answers */
  const answer = (answers) => {
    if (answers.length === 0) return
    /** @type {Array<number>} */
    const yes = []
    const others = answers.filter((answer) => {
      if (answer[1] !== null || answer[2] !== true) return true
      yes.push(answer[0])
      return false
    })
    send({ _tag: "Answers", yes, answers: others, transactions, moves: committer.takeMoves() })
  }

  /**
   * @param {Readonly<Record<string, (request: never) => unknown>>} by
   * @param {Entry} entry
   */
  const handle = (by, { name, request }) => /** @type {(request: unknown) => unknown} */ (by[name])(request)

  /**
   * Answers what waits too long for another process's lock, and returns the rest.
   *
   * @param {ReadonlyArray<Entry>} entries
   */
  const stillWaiting = (entries) => {
    const now = performance.now()
    const failure = {
      reason: /** @type {const} */ ("busy"),
      detail: `another process held the lock for ${busyTimeout} ms`
    }
    answer(entries.filter(({ deadline }) => deadline <= now).map(({ id }) => [id, failure, null]))
    return entries.filter(({ deadline }) => deadline > now)
  }

  /**
   * Does the entries in one transaction: answers what is done or has failed, and returns those that another process's
   * lock keeps waiting.
   *
   * @param {"read" | "write"} mode
   * @param {ReadonlyArray<Entry>} entries
   * @returns {ReadonlyArray<Entry>}
   */
  const attempt = (mode, entries) => {
    if (entries.length === 0) return entries
    try {
      const answers = committer.transact(
        mode,
        () => entries.map((entry) => /** @type {Answer} */ ([entry.id, null, handle(handlers, entry)]))
      )
      if (mode === "write") transactions++
      // what was committed to a deleted file is on no disk
      answer(isGone() ? entries.map(({ id }) => [id, gone, null]) : answers)
      return []
    } catch (error) {
      if (isBusy(error)) return stillWaiting(entries)
      const [only] = entries
      if (only !== undefined && entries.length === 1) {
        answer([[only.id, describe(error), null]])
        return []
      }
      // one of them is at fault: each by itself, so that it fails alone
      return entries.flatMap((entry) => attempt(mode, [entry]))
    }
  }

  /**
   * One request of a session. Its beginning may have to wait for another process's lock.
   *
   * @param {Entry} entry
   * @returns {ReadonlyArray<Entry>}
   */
  const advance = (entry) => {
    try {
      const value = handle(session.handlers, entry)
      answer([[entry.id, entry.name === "sessionCommit" && isGone() ? gone : null, value]])
      return []
    } catch (error) {
      if (entry.name === "sessionBegin" && isBusy(error)) return stillWaiting([entry])
      answer([[entry.id, describe(error), null]])
      return []
    }
  }

  /** @param {Message} message */
  const accept = (message) => {
    if (message._tag === "Close") {
      closing = true
      return
    }
    committer.hear(message.moves)
    const deadline = performance.now() + busyTimeout
    for (const sent of message.requests) queue.push(entryOf(sent, deadline))
  }

  const drain = () => {
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
      accept(next.message)
    }
  }

  const pump = () => {
    drain()
    while (queue.length > 0) {
      const entries = queue
      queue = []
      const copies = entries.filter(({ name }) => name === "copyLog")
      if (copies.length > 0) answer(copies.map(({ id }) => [id, null, copyLog()]))
      const steps = entries.filter(({ name }) => Session.names.has(name))
      for (const entry of steps) advance(entry)
      const others = entries.filter(({ name }) => name !== "copyLog" && !Session.names.has(name))
      if (session.isOpen()) {
        queue = others
        drain()
        // the rest waits until the session is over
        if (!queue.some(({ name }) => Session.names.has(name))) break
        continue
      }
      const begins = others.filter(({ name }) => name === "sessionBegin")
      const grouped = others.filter(({ name }) => name !== "sessionBegin")
      const waiting = attempt("read", grouped.filter(isRead))
      queue = [...waiting, ...attempt("write", grouped.filter((entry) => !isRead(entry)))]
      const [first, ...later] = begins
      if (first !== undefined) queue = [...advance(first), ...later, ...queue]
      drain()
    }
    if (!closing) return
    session.close()
    if (queue.length > 0) return pump()
    committer.close()
    port.close()
  }

  port.on("message", (message) => {
    accept(message)
    pump()
  })
  send({ _tag: "Opened", ...info, isolated: table.isolated.size })
}

/**
 * Opens the file, and refuses one that is behind its anchor or damaged where runs are unfinished; or only isolates those
 * runs.
 *
 * @param {Start} start
 */
const openAt = (start) => {
  const { filename, onDamage, owner, readOnly } = start
  if (readOnly) {
    return openReadOnly(start, (db) => {
      const table = RunTable.make(db)
      return { committer: Committer.make(db, table, { filename, owner, compacts: false }), table }
    })
  }
  return open(start, (db) => {
    const table = RunTable.make(db)
    const damage = Anchor.check(db, table, filename, table.running)
    // a file that is older than it was also lacks keys, and no anchor knows which: they would be claimed anew
    const ofFile = damage.some(({ runId }) => runId === null)
    if (damage.length > 0 && (onDamage === "refuse" || ofFile)) throw Anchor.refusal(filename, damage)
    for (const { detail, runId } of damage) if (runId !== null) table.isolated.set(runId, detail)
    const committer = Committer.make(db, table, { filename, owner, compacts: true })
    committer.beginAnchor()
    return { committer, table }
  })
}

if (parentPort !== null) {
  /** @type {Start} */
  const start = workerData
  try {
    serve(parentPort, openAt(start), start)
  } catch (error) {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    parentPort.postMessage(/** @type {Reply} */ ({ _tag: "Failed", failure: describe(error) }))
  }
}
