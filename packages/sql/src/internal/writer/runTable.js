// @ts-check
/** The rows of runs: how they are read and checked, and how a step is added to a run's chain. */
import { run as runEntry } from "./anchor.js"
import * as Chain from "./chain.js"
import { Damage } from "./digest.js"
import { describe } from "./failure.js"

/**
 * @import { Signal, Step } from "@firebreak/core/CheckpointStore"
 * @import { Head, ProgressRow, RunRow, StartedRow } from "../protocol.js"
 * @typedef {Chain.HashedRun & { readonly id: number, readonly owner: string | null, readonly leaseClock: string | null,
 *   readonly leaseUntil: number | null, readonly token: number, readonly stalledAt: number }} StoredRun
 * @typedef {{ readonly runId: string, readonly count: number, readonly hash: string, readonly token: number }} Known
 * @typedef {ReturnType<typeof make>} RunTable
 */

/** The columns of a `RunRow`. */
export const columns = `run_id AS runId, workflow, version, key, payload, parent, status, exit, recoveries, stalls,
  deadline_at AS deadlineAt, cancelled, created_at AS createdAt,
  max(updated_at, coalesce((SELECT max(saved_at) FROM firebreak_step s WHERE s.run = r.id), 0)) AS updatedAt,
  completed_at AS completedAt`

/**
 * @param {Chain.HashedStep} step
 * @returns {Step}
 */
const toStep = ({ branch, endedAt, exit, kind, name, runId, seq, startedAt }) => ({
  runId,
  seq,
  name,
  kind,
  branch,
  exit,
  startedAt,
  endedAt
})

/**
 * @param {Chain.HashedStarted} row
 * @returns {StartedRow}
 */
const toStarted = ({ hash: _, ...row }) => row

/**
 * @param {Chain.HashedSignal} row
 * @returns {Signal}
 */
export const toSignal = ({ hash: _, ...row }) => row

/**
 * @param {StoredRun} row
 * @returns {RunRow}
 */
export const toRun = (row) => ({
  runId: row.runId,
  workflow: row.workflow,
  version: row.version,
  key: row.key,
  payload: row.payload,
  parent: row.parent,
  status: row.status,
  exit: row.exit,
  recoveries: row.recoveries,
  stalls: row.stalls,
  deadlineAt: row.deadlineAt,
  cancelled: row.cancelled,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
  completedAt: row.completedAt
})

/**
 * What a check finds; pages that SQLite cannot read are damage of the run that lies on them.
 *
 * @param {string} runId
 * @param {() => void} check
 * @returns {string | undefined}
 */
const wrong = (runId, check) => {
  try {
    check()
    return undefined
  } catch (error) {
    const { detail, reason } = describe(error)
    if (reason !== "corrupt") throw error
    return error instanceof Damage ? detail : `run "${runId}" cannot be read: ${detail}`
  }
}

/** @param {import("better-sqlite3").Database} db */
export const make = (db) => {
  const select = db.prepare(
    `SELECT ${columns}, id, token, owner, lease_clock AS leaseClock, lease_until AS leaseUntil, stalled_at AS stalledAt,
       hash, exit_hash AS exitHash, cancel_hash AS cancelHash
     FROM firebreak_run r WHERE run_id = ?`
  )
  const selectSteps = db.prepare(
    `SELECT seq, name, kind, branch, exit, started_at AS startedAt, ended_at AS endedAt, saved_at AS savedAt, hash
     FROM firebreak_step WHERE run = ? ORDER BY id`
  )
  const known = db.prepare("SELECT 1 FROM firebreak_run WHERE run_id = ?").pluck()
  const countSteps = db.prepare("SELECT count(*) FROM firebreak_step WHERE run = ?").pluck()
  const selectStarted = db.prepare(
    `SELECT name, kind, branch, started_at AS startedAt, wake_at AS wakeAt, hash
     FROM firebreak_started WHERE run = ? ORDER BY id`
  )
  const selectSignals = db.prepare(
    `SELECT run_id AS runId, name, payload, sent_at AS sentAt, hash
     FROM firebreak_signal WHERE run_id = ? ORDER BY sent_at, name`
  )
  const selectHead = db.prepare(
    `SELECT r.id AS run, coalesce(s.hash, r.hash) AS hash,
       (SELECT count(*) FROM firebreak_step c WHERE c.run = r.id) AS count,
       EXISTS (SELECT 1 FROM firebreak_started b WHERE b.run = r.id) AS begun
     FROM firebreak_run r LEFT JOIN firebreak_step s ON s.run = r.id
     WHERE r.run_id = ? ORDER BY s.id DESC LIMIT 1`
  )
  const owned = db.prepare("SELECT 1 FROM firebreak_run WHERE id = ? AND token = ? AND owner IS NOT NULL").pluck()
  const insertStep = db.prepare(
    `INSERT INTO firebreak_step (run, seq, name, kind, branch, exit, started_at, ended_at, saved_at, hash)
     SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM firebreak_run WHERE id = ? AND token = ? AND (owner IS NOT NULL OR ?)
     ON CONFLICT (run, seq) DO NOTHING`
  )
  const stepName = db.prepare("SELECT name FROM firebreak_step WHERE run = ? AND seq = ?").pluck()
  const removeStarted = db.prepare("DELETE FROM firebreak_started WHERE run = ? AND name = ?")
  const nthHash = db.prepare("SELECT hash FROM firebreak_step WHERE run = ? ORDER BY id LIMIT 1 OFFSET ?").pluck()
  const running = db.prepare(
    "SELECT run_id FROM firebreak_run WHERE status = 'running' OR exit_hash IS NULL ORDER BY id"
  ).pluck()
  const every = db.prepare(
    `SELECT run_id AS runId, token,
       (SELECT count(*) FROM firebreak_step s WHERE s.run = r.id) + (exit_hash IS NOT NULL) AS count,
       coalesce(exit_hash, (SELECT hash FROM firebreak_step s WHERE s.run = r.id ORDER BY s.id DESC LIMIT 1), hash) AS hash
     FROM firebreak_run r`
  )
  const removals = ["run WHERE id", "step WHERE run", "started WHERE run"].map((rows) =>
    db.prepare(`DELETE FROM firebreak_${rows} = ?`)
  )
  const removeSignals = db.prepare("DELETE FROM firebreak_signal WHERE run_id = ?")

  /**
   * Runs that were found damaged at the start, and why. They can only be cleared.
   *
   * @type {Map<string, string>}
   */
  const isolated = new Map()

  /** @param {string} runId */
  const findAny = (runId) => /** @type {StoredRun | undefined} */ (select.get(runId))

  /** @param {string} runId */
  const find = (runId) => {
    const damage = isolated.get(runId)
    if (damage !== undefined) throw new Damage(damage)
    return findAny(runId)
  }

  /**
   * @param {StoredRun} run
   * @returns {Chain.Records}
   */
  const recordsOf = (run) => {
    const { id, runId } = run
    const steps = /** @type {Array<Omit<Chain.HashedStep, "runId">>} */ (selectSteps.all(id))
    const started = /** @type {Array<Omit<Chain.HashedStarted, "runId">>} */ (selectStarted.all(id))
    return {
      run,
      steps: steps.map((step) => ({ runId, ...step })),
      started: started.map((row) => ({ runId, ...row })),
      signals: signalsOf(runId)
    }
  }

  /** @param {string} runId */
  const signalsOf = (runId) => /** @type {Array<Chain.HashedSignal>} */ (selectSignals.all(runId))

  /**
   * Heads of the runs this owner holds, so that a save need not look for the last step. Another owner can add to a run
   * only with a newer token, and then our next save is refused; when the run is ours again, its head is read anew, and
   * the other thread is told.
   *
   * @type {Map<string, Head>}
   */
  const heads = new Map()

  /**
   * What the open transaction changes: how far runs have come, those whose head is known anew or no more, and those that
   * go or lose their outcome.
   *
   * @type {{ readonly advanced: Map<string, import("./anchor.js").Entry>, readonly touched: Set<string>,
   *   readonly gone: Set<string> }}
   */
  const changes = { advanced: new Map(), touched: new Set(), gone: new Set() }

  /**
   * Notes where the chain ends of a run that was taken up, or in which a step begins.
   *
   * @param {string} runId
   * @param {Head} head
   */
  const keepHead = (runId, head) => {
    heads.set(runId, head)
    changes.touched.add(runId)
  }

  /**
   * The run may be added to by others from now on.
   *
   * @param {string} runId
   */
  const dropHead = (runId) => {
    heads.delete(runId)
    changes.touched.add(runId)
  }

  /**
   * @param {string} runId
   * @param {Head} head
   * @param {number} token of the owner
   */
  const moveTo = (runId, head, token) => {
    heads.set(runId, head)
    changes.advanced.set(runId, runEntry(runId, head.count, head.hash, token))
  }

  /** @param {string} runId */
  const headOf = (runId) => heads.get(runId) ?? findHead(runId)

  /**
   * @param {string} runId
   * @returns {Head | undefined}
   */
  const findHead = (runId) => {
    const found = /** @type {Omit<Head, "begun"> & { readonly begun: number } | undefined} */ (selectHead.get(runId))
    return found === undefined ? undefined : { ...found, begun: found.begun === 1 }
  }

  /**
   * Where the chain ends of a run that is owned by this token.
   *
   * @param {string} runId
   * @param {number} token
   */
  const owns = (runId, token) => {
    const head = headOf(runId)
    if (head !== undefined && owned.get(head.run, token) !== undefined) return head
    dropHead(runId)
    return undefined
  }

  return {
    find,
    findAny,
    /** @param {string} runId */
    has: (runId) => known.get(runId) !== undefined,
    isolated,
    heads,
    signalsOf,
    changes,
    moveTo,
    keepHead,
    dropHead,

    /**
     * The outcome is the last record of a run.
     *
     * @param {string} runId
     * @param {Head} head
     * @param {string} hash
     * @param {number} token
     */
    end(runId, head, hash, token) {
      heads.delete(runId)
      changes.advanced.set(runId, runEntry(runId, head.count + 1, hash, token))
    },

    /**
     * Takes the outcome back: the anchor knows of the run again when its next owner adds to it.
     *
     * @param {string} runId
     */
    reopen(runId) {
      changes.gone.add(runId)
    },

    /** Every run with how far it has come. */
    everything: () => /** @type {Array<Known>} */ (every.all()),

    /** The names of those that are running, or ended without an outcome. */
    running: () => /** @type {Array<string>} */ (running.all()),

    /**
     * What is wrong with a run that once had `count` records, the last of which `isLast` knows.
     *
     * @param {string} runId
     * @param {number} count
     * @param {(hash: string) => boolean} isLast
     * @returns {string | undefined}
     */
    compare: (runId, count, isLast) =>
      wrong(runId, () => {
        const run = findAny(runId)
        if (run === undefined) throw new Damage(`run "${runId}" is lost, with ${count} records after its beginning`)
        const steps = Number(countSteps.get(run.id))
        const total = run.exitHash === null ? steps : steps + 1
        const hash = count === 0 ? run.hash : count > steps ? run.exitHash : nthHash.get(run.id, count - 1)
        if (total >= count && isLast(String(hash))) return
        // where the chain itself is broken, it tells the record
        Chain.verify(recordsOf(run), true)
        throw new Damage(
          total < count
            ? `run "${runId}" had ${count} records after its beginning, and ${total} of them are left`
            : `the records of run "${runId}" are not those that were written`
        )
      }),

    /**
     * What is wrong with a run that is there.
     *
     * @param {string} runId
     */
    check: (runId) =>
      wrong(runId, () => {
        const run = findAny(runId)
        if (run === undefined) throw new Damage(`run "${runId}" is not found by its name`)
        Chain.verify(recordsOf(run), true)
      }),

    /** @param {number} run */
    countSteps: (run) => Number(countSteps.get(run)),

    /**
     * All that is known of a run, checked.
     *
     * @param {StoredRun} run
     * @returns {{ readonly progress: ProgressRow, readonly head: Head }}
     */
    read(run) {
      const records = recordsOf(run)
      const hash = Chain.verify(records, true)
      const steps = records.steps.map(toStep).toSorted((a, b) => a.seq - b.seq)
      const signals = records.signals.map(toSignal)
      return {
        progress: { run: toRun(run), steps, started: records.started.map(toStarted), signals },
        head: { run: run.id, hash, count: steps.length, begun: records.started.length > 0 }
      }
    },

    headOf,

    owns,

    /**
     * Adds the step to the chain, unless it is there already. False when the run has another token, or has no owner where
     * it needs one; another step in its place is an error.
     *
     * @param {Step} step
     * @param {number} wall
     * @param {number} token of the owner
     * @param {"owned" | "free"} state
     */
    append(step, wall, token, state = "owned") {
      const { branch, endedAt, exit, kind, name, runId, seq, startedAt } = step
      const head = headOf(runId)
      if (head === undefined) return false
      const { begun, count, run } = head
      const hash = Chain.hashOfStep(head.hash, step, wall)
      const added = insertStep.run(
        seq,
        name,
        kind,
        branch,
        exit,
        startedAt,
        endedAt,
        wall,
        hash,
        run,
        token,
        state === "free" ? 1 : 0
      )
      if (added.changes > 0) {
        moveTo(runId, { run, hash, count: count + 1, begun }, token)
        if (begun) removeStarted.run(run, name)
        return true
      }
      if (owns(runId, token) === undefined) return false
      const there = stepName.get(run, seq)
      if (there !== name) throw new Error(`run "${runId}" has step "${there}" at seq ${seq}, not "${name}"`)
      return true
    },

    /**
     * @param {number} run
     * @param {string} name
     */
    forgetStarted: (run, name) => {
      removeStarted.run(run, name)
    },

    /** @param {{ readonly id: number, readonly runId: string }} run */
    remove({ id, runId }) {
      for (const removal of removals) removal.run(id)
      removeSignals.run(runId)
      heads.delete(runId)
      changes.advanced.delete(runId)
      changes.gone.add(runId)
    },

    /**
     * Gives up a damaged run that is lost.
     *
     * @param {string} runId
     */
    giveUp(runId) {
      if (!isolated.has(runId)) return false
      changes.gone.add(runId)
      return true
    }
  }
}
