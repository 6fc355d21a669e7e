// @ts-check
/**
 * The anchor: a file beside the database that tells how far it had come, so that an older one put in its place is seen.
 *
 * For each run it holds the number of records and the hash of the last, and for the store the last token. What was
 * committed is added soon after, without a flush: a database ahead of its anchor is normal, one behind it is damaged. What
 * is to be deleted is taken out before the commit, with a flush. Several processes append to one anchor; what may not be
 * split is one line, which carries its own digest, so that a torn one counts for nothing.
 */
import { createHash } from "node:crypto"
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from "node:fs"
import { dirname } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { Damage } from "./digest.js"

/**
 * @import { Damage as Found } from "@firebreak/core/CheckpointStore"
 * @import { RunTable } from "./runTable.js"
 * @typedef {readonly ["token", number]
 *   | readonly ["run", runId: string, count: number, head: string, token: number]
 *   | readonly ["gone", runId: string, token: number]} Entry
 * @typedef {{ isReadable: boolean, token: number, readonly runs: Map<string, { readonly count: number,
 *   readonly head: string, readonly token: number }>, readonly goneAt: Map<string, number> }} State `isReadable`: its
 *   first line, which was flushed before the file had its name, is whole; `goneAt`: the last token there was when a run
 *   was deleted, the last deleted last
 */

/** Bytes by which the file may grow before it is written anew, beside twice what it then had. */
const slack = 4_000_000

/** Deleted runs that an anchor written anew still names, for lines about them may come late. */
const lateDeletions = 10_000

/** @param {string} text */
const sum = (text) => createHash("sha256").update(text).digest("hex").slice(0, 16)

/**
 * A line with a line break before and after it: whatever is left of a torn one stays by itself. After a power cut it may
 * stand in the same block as one that was flushed, as zeros.
 *
 * @param {ReadonlyArray<Entry>} entries
 */
const line = (entries) => {
  const text = JSON.stringify(entries)
  return `\n${sum(text)} ${text}\n`
}

/** @param {string} hash */
const short = (hash) => hash.slice(0, 16)

/**
 * @param {string} runId
 * @param {number} count
 * @param {string} hash
 * @param {number} token of the owner
 * @returns {Entry}
 */
export const run = (runId, count, hash, token) => ["run", runId, count, short(hash), token]

/**
 * @param {string} path
 * @returns {State | undefined} undefined when there is no anchor
 */
export const read = (path) => {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined
  /** @type {State} */
  const state = { isReadable: false, token: 0, runs: new Map(), goneAt: new Map() }
  const lines = readFileSync(path, "utf8").split("\n")
  for (const [i, text] of lines.entries()) {
    const body = text.slice(17)
    if (text.slice(0, 16) !== sum(body)) continue
    if (i === 1 && lines[0] === "") state.isReadable = true
    for (const entry of /** @type {ReadonlyArray<Entry>} */ (JSON.parse(body))) {
      if (entry[0] === "token") state.token = Math.max(state.token, entry[1])
      else if (entry[0] === "gone") {
        state.runs.delete(entry[1])
        state.goneAt.delete(entry[1])
        state.goneAt.set(entry[1], entry[2])
      } else {
        const [, runId, count, head, token] = entry
        // lines come late: of an owner before, or of what was there before the run was deleted
        const there = state.runs.get(runId)
        const late = there !== undefined && (there.token > token || (there.token === token && there.count > count))
        if (!late && token > (state.goneAt.get(runId) ?? 0)) state.runs.set(runId, { count, head, token })
      }
    }
  }
  return state
}

/** Entries in one line of an anchor that is written anew: what is torn costs no more than these. */
const inLine = 1_000

/** Milliseconds by which it may be late, beside what the operating system has not written yet. */
const late = 20

/** How often a line is written until it is there as a whole. */
const attempts = 3

/**
 * Writes a line as a whole. On a disk nearly full `write` may take a part only: that stays behind as a torn line, and the
 * whole line comes again, for another process may have written meanwhile.
 *
 * @param {number} descriptor
 * @param {ReadonlyArray<Entry>} entries
 */
const writeLine = (descriptor, entries) => {
  const bytes = Buffer.from(line(entries))
  for (let i = 0; i < attempts; i++) {
    if (writeSync(descriptor, bytes) === bytes.length) return
  }
  throw Object.assign(new Error("a line of the anchor was written in part only"), { code: "ENOSPC" })
}

/**
 * Flushes the directory: a new name is only then sure to be there after a power cut.
 *
 * @param {string} path of a file in it
 */
const flushDirectory = (path) => {
  if (process.platform === "win32") return
  const descriptor = openSync(dirname(path), "r")
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/**
 * @param {string} path
 * @param {ReadonlyArray<Entry>} entries
 */
const replace = (path, entries) => {
  const descriptor = openSync(`${path}.new`, "w")
  try {
    // an empty anchor is one too
    for (let i = 0; i === 0 || i < entries.length; i += inLine) writeLine(descriptor, entries.slice(i, i + inLine))
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  renameSync(`${path}.new`, path)
  flushDirectory(path)
}

/** @param {string} filename */
export const pathOf = (filename) => `${filename}-anchor`

/**
 * What the database lacks of what the anchor has, and what is wrong with the named runs.
 *
 * @param {import("better-sqlite3").Database} db
 * @param {RunTable} table
 * @param {string} filename
 * @param {() => Iterable<string>} names runs that are looked at beside those of the anchor
 * @returns {ReadonlyArray<Found>}
 */
export const check = (db, table, filename, names) => {
  const path = pathOf(filename)
  /** @param {State | undefined} state */
  const compare = (state) => {
    /** @type {Array<Found>} */
    const damage = []
    if (state?.isReadable === false) {
      const detail = `the anchor ${path} cannot be read, so it is not known what the file once had`
      damage.push({ runId: null, detail })
    }
    const token = Number(db.prepare("SELECT value FROM firebreak_meta WHERE name = 'token'").pluck().get())
    if (state !== undefined && token < state.token) {
      const detail = `the file is older than it was: claim ${state.token} was recorded, and ${token} is the last in it`
      damage.push({ runId: null, detail })
    }
    const checked = new Set()
    for (const [runId, { count, head }] of state?.runs ?? []) {
      const detail = table.compare(runId, count, (hash) => short(hash) === head)
      if (detail === undefined) continue
      damage.push({ runId, detail })
      checked.add(runId)
    }
    for (const runId of names()) {
      const detail = checked.has(runId) ? undefined : table.check(runId)
      if (detail !== undefined) damage.push({ runId, detail })
    }
    return damage
  }
  if (db.readonly) {
    // no lock can be had; but what another process deleted meanwhile was out of the anchor before
    const before = read(path)
    const damage = db.transaction(() => compare(before))()
    const after = damage.length === 0 ? before : read(path)
    return damage.filter(({ runId }) =>
      runId === null || isDeepStrictEqual(before?.runs.get(runId), after?.runs.get(runId))
    )
  }
  const look = db.transaction(() => compare(read(path)))
  // what another process writes meanwhile looks like damage too; under its lock nothing is written
  return look().length === 0 ? [] : look.immediate()
}

/**
 * @param {string} filename
 * @param {ReadonlyArray<Found>} damage
 */
export const refusal = (filename, damage) => {
  const named = damage.slice(0, 3).map(({ detail }) => detail).join("; ")
  const more = damage.length > 3 ? `; and ${damage.length - 3} more` : ""
  return new Damage(
    `${named}${more}. Nothing runs on it. To go on with what is there, see "Repair" in docs/stores.md; the anchor is ${
      pathOf(filename)
    }`
  )
}

/**
 * Keeps the anchor of an open database.
 *
 * @param {string} filename
 */
export const make = (filename) => {
  const path = pathOf(filename)
  /** @type {number | undefined} */
  let descriptor
  /** Bytes from which on it is large. @type {number | undefined} */
  let limit

  /** Whether the file was written anew by another process, or deleted. @param {number} open */
  const isOld = (open) => {
    const found = statSync(path, { throwIfNoEntry: false })
    return found === undefined || found.ino !== fstatSync(open).ino
  }

  const opened = () => {
    if (descriptor !== undefined && isOld(descriptor)) {
      closeSync(descriptor)
      descriptor = undefined
    }
    descriptor ??= openSync(path, "a")
    return descriptor
  }

  /** @param {ReadonlyArray<Entry>} entries */
  const write = (entries) => {
    const open = opened()
    writeLine(open, entries)
    return open
  }

  /** What is to be written, the last of each run and of the token (under ""). @type {Map<string, Entry>} */
  const waiting = new Map()
  /** @type {NodeJS.Timeout | undefined} */
  let soon

  /** That it cannot be written is no harm: then the database is ahead. */
  const flush = () => {
    clearTimeout(soon)
    soon = undefined
    if (waiting.size === 0) return
    try {
      write([...waiting.values()])
    } catch {
      // the next commits tell more
    }
    waiting.clear()
  }

  return {
    /**
     * Where there is no anchor, what is in the database is taken for true.
     *
     * @param {import("better-sqlite3").Database} db
     * @param {RunTable} table
     */
    begin(db, table) {
      const missing = () => statSync(path, { throwIfNoEntry: false }) === undefined
      if (!missing()) return
      db.transaction(() => {
        if (!missing()) return
        const entries = table.everything().map(({ count, hash, runId, token }) => run(runId, count, hash, token))
        replace(path, entries)
      }).immediate()
    },

    /**
     * Takes out runs that are about to be deleted; the flush comes before their end. Called under the write lock.
     *
     * @param {ReadonlyArray<string>} runIds
     * @param {number} token the last there is
     */
    retract(runIds, token) {
      for (const runId of runIds) waiting.delete(runId)
      if (runIds.length > 0) fsyncSync(write(runIds.map((runId) => /** @type {const} */ (["gone", runId, token]))))
    },

    /** Whether it has so grown that it should be written anew. */
    isLarge() {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
      limit ??= 2 * size + slack
      return size > limit
    },

    /** Writes it anew, without what is out of date. Called under the write lock; it takes long. */
    compact() {
      limit = undefined
      const state = read(path)
      // what cannot be read is to be noticed when the file is opened again
      if (state?.isReadable !== true) return
      /** @type {Array<Entry>} */
      const entries = [["token", state.token]]
      for (const [runId, token] of [...state.goneAt].slice(-lateDeletions)) entries.push(["gone", runId, token])
      for (const [runId, { count, head, token }] of state.runs) entries.push(["run", runId, count, head, token])
      try {
        replace(path, entries)
      } catch {
        // the old one is as good, and the next try comes when it has grown as much again
      }
    },

    /**
     * Adds what was committed, within `late` milliseconds: a line makes the next flush of the database take half as long
     * again, so commits that follow each other share one.
     *
     * @param {Iterable<Entry>} entries
     */
    advance(entries) {
      for (const entry of entries) waiting.set(entry[0] === "run" ? entry[1] : "", entry)
      if (waiting.size > 0) soon ??= setTimeout(flush, late).unref()
    },

    close() {
      flush()
      if (descriptor !== undefined) closeSync(descriptor)
      descriptor = undefined
    }
  }
}
