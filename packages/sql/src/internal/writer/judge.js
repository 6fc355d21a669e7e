// @ts-check
/** What becomes of a run that is there already when somebody asks to begin it. */

/**
 * @import { RunRow } from "../protocol.js"
 * @typedef {Pick<RunRow, "status" | "payload" | "version" | "stalls"> & { readonly owner: string | null,
 *   readonly stalledAt: number }} Known
 * @typedef {{ readonly payload: string, readonly version: string, readonly accepts: ReadonlyArray<string>,
 *   readonly maxStalls: number }} Request
 * @typedef {{ readonly _tag: "Mismatch" | "Finished" | "OtherVersion" | "InProgress" }
 *   | { readonly _tag: "Take" | "Die", readonly stalls: number, readonly stalledAt: number }} Verdict
 */

/**
 * How often in a row the owner failed, if it fails now. A step saved since the last stall is progress.
 *
 * @param {Pick<Known, "stalls" | "stalledAt">} run
 * @param {number} steps
 */
export const stalled = ({ stalledAt, stalls }, steps) => ({
  stalls: steps > stalledAt ? 1 : stalls + 1,
  stalledAt: steps
})

/**
 * An owner that is still there, though its time is over, has died.
 *
 * @param {Known} run
 * @param {number} steps how many are saved
 * @param {Request} request
 * @param {number} heldFor how long a living owner still has it
 * @returns {Verdict}
 */
export const judge = (run, steps, { accepts, maxStalls, payload, version }, heldFor) => {
  if (run.payload !== payload) return { _tag: "Mismatch" }
  if (run.status !== "running") return { _tag: "Finished" }
  if (run.version !== version && !accepts.includes(run.version)) return { _tag: "OtherVersion" }
  if (heldFor > 0) return { _tag: "InProgress" }
  const { stalledAt, stalls } = run.owner === null ? run : stalled(run, steps)
  return { _tag: stalls > maxStalls ? "Die" : "Take", stalls, stalledAt }
}
