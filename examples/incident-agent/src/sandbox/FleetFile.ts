/**
 * Keeps the fleet in a file, so that a sandbox that is started again shows the world as it was left.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import type { Fleet } from "./Fleet.js"

/**
 * The file cannot be read, or holds no fleet.
 *
 * @since 0.1.0
 * @category errors
 */
export class StateUnavailable extends Data.TaggedError("StateUnavailable")<{
  readonly file: string
  readonly reason: string
}> {
  override get message() {
    return `State file "${this.file}" cannot be used: ${this.reason}; delete it to begin with a fresh fleet`
  }
}

/**
 * The fleet in the file, or `fresh` if there is no file yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (file: string, fresh: Fleet): Effect.Effect<Fleet, StateUnavailable> =>
  Effect.try({
    try: () => {
      if (!Fs.existsSync(file)) return fresh
      const fleet = JSON.parse(Fs.readFileSync(file, "utf8")) as Partial<Fleet>
      if (fleet.workloads === undefined || fleet.caches === undefined) throw new Error("it holds no fleet")
      return fleet as Fleet
    },
    catch: (error) => new StateUnavailable({ file, reason: error instanceof Error ? error.message : String(error) })
  })

/**
 * Replaces the file by the fleet, whole or not at all.
 *
 * @since 0.1.0
 * @category writing
 */
export const save = (file: string, fleet: Fleet): void => {
  Fs.writeFileSync(`${file}.tmp`, JSON.stringify(fleet))
  Fs.renameSync(`${file}.tmp`, file)
}
