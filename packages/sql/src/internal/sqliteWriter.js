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
import * as Actions from "./writer/actions.js"
import * as Anchor from "./writer/anchor.js"
import { describe, isBusy } from "./writer/failure.js"
import { open, watch } from "./writer/open.js"
import * as RunAdmin from "./writer/runAdmin.js"
import * as Runs from "./writer/runs.js"
import * as RunTable from "./writer/runTable.js"
import * as Session from "./writer/session.js"
import * as Sql from "./writer/sql.js"
import * as Verify from "./writer/verify.js"

/**
 * @import { Grouped, Handlers, Message, Name, Reply, Start } from "./protocol.js"
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
 * @param {import("node:worker_threads").MessagePort} port
 * @param {ReturnType<typeof openAt>} opened
 * @param {Start} start
 */
const serve = (
  port,
  { db, used: { anchor, table }, ...info },
  { busyTimeout, filename, owner, transactionTimeout }
) => {
  const isGone = watch(filename)
  const token = db.prepare("UPDATE firebreak_meta SET value = value + 1 WHERE name = 'token' RETURNING value").pluck()
  let lastToken = 0
  const context = { owner, nextToken: () => (lastToken = Number(token.get())) }
  const runs = Runs.make(db, context, table)
  const sqlRun = Sql.make(db)
  /** @type {Handlers<Grouped>} */
  const handlers = {
    ...Actions.make(db, context),
    ...runs,
    ...RunAdmin.make(db, context, table),
    ...Verify.make(db, table, filename),
    sqlRun
  }

  const beginRead = db.prepare("BEGIN")
  const beginWrite = db.prepare("BEGIN IMMEDIATE")
  const commitNow = db.prepare("COMMIT")

  /** @type {Array<Entry>} */
  let queue = []
  let closing = false
  let transactions = 0

  /** What the last commit tells the anchor. @type {Array<Anchor.Entry>} */
  let news = []

  const commit = () => {
    const { advanced, gone } = table.changes
    anchor.retract([...gone])
    commitNow.run()
    transactions++
    for (const [runId, { count, hash }] of advanced) news.push(Anchor.run(runId, count, hash))
    for (const runId of gone) table.isolated.delete(runId)
    if (lastToken > 0) news.push(["token", lastToken])
    forget()
  }
  const forget = () => {
    lastToken = 0
    table.changes.advanced.clear()
    table.changes.gone.clear()
  }
  const rollback = () => {
    // a full disk or a failed write may have ended the transaction already
    if (db.inTransaction) db.exec("ROLLBACK")
    // a step may have been chained to one that is not there now
    table.heads.clear()
    forget()
  }
  const session = Session.make({
    begin: () => beginWrite.run(),
    commit,
    rollback,
    run: sqlRun,
    save: runs.save,
    owns: ({ runId, token }) => table.owns(runId, token) !== undefined,
    timeout: transactionTimeout,
    over: () => pump()
  })

  /** @param {Reply} reply */
  const send = (reply) => port.postMessage(reply)
  /** @param {ReadonlyArray<Answer>} answers */
  const answer = (answers) => {
    if (answers.length > 0) send({ _tag: "Answers", answers, transactions })
    // after the answer, for nobody need wait for it
    anchor.advance(news)
    news = []
  }

  /**
   * @param {Readonly<Record<string, (request: never) => unknown>>} by
   * @param {Entry} entry
   */
  const handle = (by, { name, request }) => /** @type {(request: unknown) => unknown} */ (by[name])(request)

  /**
   * Runs the entries in one transaction; throws, with nothing changed, if one of them fails.
   *
   * @param {import("better-sqlite3").Statement} begin
   * @param {ReadonlyArray<Entry>} entries
   * @returns {ReadonlyArray<Answer>}
   */
  const transact = (begin, entries) => {
    begin.run()
    try {
      /** @type {Array<Answer>} */
      const answers = entries.map((entry) => [entry.id, null, handle(handlers, entry)])
      if (begin === beginWrite) commit()
      else commitNow.run()
      return answers
    } catch (error) {
      rollback()
      throw error
    }
  }

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
   * Answers what is done or has failed, and returns the entries that another process's lock keeps waiting.
   *
   * @param {import("better-sqlite3").Statement} begin
   * @param {ReadonlyArray<Entry>} entries
   * @returns {ReadonlyArray<Entry>}
   */
  const attempt = (begin, entries) => {
    if (entries.length === 0) return entries
    try {
      const answers = transact(begin, entries)
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
      return entries.flatMap((entry) => attempt(begin, [entry]))
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
    const deadline = performance.now() + busyTimeout
    for (const [id, name, request] of message.requests) queue.push({ id, name, request, deadline })
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
      const steps = entries.filter(({ name }) => Session.names.has(name))
      for (const entry of steps) advance(entry)
      const others = entries.filter(({ name }) => !Session.names.has(name))
      if (session.isOpen()) {
        queue = others
        drain()
        // the rest waits until the session is over
        if (!queue.some(({ name }) => Session.names.has(name))) break
        continue
      }
      const begins = others.filter(({ name }) => name === "sessionBegin")
      const grouped = others.filter(({ name }) => name !== "sessionBegin")
      const waiting = attempt(beginRead, grouped.filter(({ name }) => reads.has(name)))
      queue = [...waiting, ...attempt(beginWrite, grouped.filter(({ name }) => !reads.has(name)))]
      const [first, ...later] = begins
      if (first !== undefined) queue = [...advance(first), ...later, ...queue]
      drain()
    }
    if (!closing) return
    session.close()
    if (queue.length > 0) return pump()
    anchor.close()
    db.close()
    port.close()
  }

  port.on("message", (message) => {
    accept(message)
    pump()
  })
  send({ _tag: "Opened", ...info })
}

/**
 * Opens the file, and refuses one that is behind its anchor or damaged where runs are unfinished.
 *
 * @param {Start} start
 */
const openAt = (start) =>
  open(start, (db) => {
    const { filename, onDamage } = start
    const table = RunTable.make(db)
    const damage = Anchor.check(db, table, filename, table.running)
    if (damage.length > 0 && onDamage === "refuse") throw Anchor.refusal(filename, damage)
    for (const { detail, runId } of damage) if (runId !== null) table.isolated.set(runId, detail)
    const anchor = Anchor.make(filename)
    anchor.begin(db, table)
    return { table, anchor }
  })

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
