// @ts-check
/**
 * The hashes of a run's records, which form a chain: the run's covers what it was begun with, a step's covers the record
 * before it, the outcome's the last step. So a record that was altered, or that is missing before the last one, is
 * found when the run is begun or loaded, and nothing runs on altered history. What is not part of the history, such as
 * signals, has a hash of its own.
 */
import { Damage, digest } from "./digest.js"

/**
 * @import { Signal, Step } from "@firebreak/core/CheckpointStore"
 * @import { RunRow, StartedRow } from "../protocol.js"
 * @typedef {RunRow & { readonly hash: string, readonly exitHash: string | null, readonly cancelHash: string | null }} HashedRun
 * @typedef {Step & { readonly savedAt: number | null, readonly hash: string }} HashedStep the time is null where it is not covered
 * @typedef {StartedRow & { readonly hash: string }} HashedStarted
 * @typedef {Signal & { readonly hash: string }} HashedSignal
 * @typedef {{ readonly run: HashedRun, readonly steps: ReadonlyArray<HashedStep>,
 *   readonly started: ReadonlyArray<HashedStarted>, readonly signals: ReadonlyArray<HashedSignal> }} Records steps in
 *   the order in which they were saved
 */

/**
 * What later schemas added is covered where it is not what every older record has, so that older hashes still hold.
 *
 * @param {Pick<RunRow, "runId" | "workflow" | "version" | "key" | "payload" | "parent"> &
 *   { readonly deadlineAt: number | null, readonly createdAt: number | null }} run
 */
export const hashOfRun = ({ createdAt, deadlineAt, key, parent, payload, runId, version, workflow }) => {
  const added = version === "1" && parent === null && deadlineAt === null ? [] : [version, parent, deadlineAt]
  return digest([runId, workflow, key, payload, createdAt, ...added])
}

/**
 * @param {string} before the hash of the record before this one
 * @param {Step} step
 * @param {number | null} savedAt
 */
export const hashOfStep = (before, { branch, endedAt, exit, kind, name, runId, seq, startedAt }, savedAt) => {
  const added = kind === "step" && branch === "main" ? [] : [kind, branch]
  return digest([before, runId, seq, name, exit, startedAt, endedAt, savedAt, ...added])
}

/**
 * @param {string} before
 * @param {string} status
 * @param {string | null} exit
 * @param {number | null} completedAt
 */
export const hashOfExit = (before, status, exit, completedAt) => digest([before, status, exit, completedAt])

/** @param {StartedRow} started */
export const hashOfStarted = ({ branch, kind, name, runId, startedAt, wakeAt }) =>
  digest([runId, name, kind, branch, startedAt, wakeAt])

/** @param {Pick<Signal, "runId" | "name" | "payload"> & { readonly sentAt: number | null }} signal */
export const hashOfSignal = ({ name, payload, runId, sentAt }) => digest([runId, name, payload, sentAt])

/**
 * @param {string} runId
 * @param {string} reason
 */
export const hashOfCancel = (runId, reason) => digest([runId, reason])

/**
 * Checks all that is known of a run, and returns the hash of its last record before the outcome. `timed` tells whether
 * the hashes cover the store's own times.
 *
 * @param {Records} records
 * @param {boolean} timed
 */
export const verify = ({ run, signals, started, steps }, timed) => {
  const own = timed ? run : { ...run, createdAt: null, deadlineAt: null }
  if (run.hash !== hashOfRun(own)) throw new Damage(`the record of run "${run.runId}" does not match its hash`)
  let hash = run.hash
  for (const step of steps) {
    if (step.hash !== hashOfStep(hash, step, step.savedAt)) {
      throw new Damage(
        `step "${step.name}" (seq ${step.seq}) of run "${run.runId}" was altered, or a step before it was lost`
      )
    }
    hash = step.hash
  }
  const completedAt = timed ? run.completedAt : null
  if (run.exitHash !== (run.status === "running" ? null : hashOfExit(hash, run.status, run.exit, completedAt))) {
    throw new Damage(`the outcome of run "${run.runId}" was altered, or its last step was lost`)
  }
  if (run.cancelHash !== (run.cancelled === null ? null : hashOfCancel(run.runId, run.cancelled))) {
    throw new Damage(`the request to cancel run "${run.runId}" was altered`)
  }
  for (const row of started) {
    if (row.hash !== hashOfStarted(timed ? row : { ...row, wakeAt: null })) {
      throw new Damage(`the beginning of step "${row.name}" of run "${run.runId}" was altered`)
    }
  }
  checkSignals(signals, timed)
  return hash
}

/**
 * @param {ReadonlyArray<HashedSignal>} signals
 * @param {boolean} timed
 */
export const checkSignals = (signals, timed) => {
  for (const signal of signals) {
    if (signal.hash !== hashOfSignal(timed ? signal : { ...signal, sentAt: null })) {
      throw new Damage(`signal "${signal.name}" of run "${signal.runId}" was altered`)
    }
  }
}
