/**
 * Who may have a key and what to do with a claimed action, pure: every decision of `Idempotency` and nothing else.
 *
 *     claimed ---------------> Running --succeeded, failed--> record
 *        | in doubt               |  ^
 *        | (probe)                |  | absent
 *        +------> Probing(before) ---+                        found: record
 *                                 |
 *                                 +--unknown--> Probing(after) found: record, absent: give back in doubt
 *
 * An action is in doubt when an attempt may have taken effect without anybody knowing. Only `retry` and a probe that
 * found nothing lead from doubt to another run.
 *
 * @since 0.1.0
 */

/**
 * What an error says about the action's effect: `failed` is an outcome like success, `unknown` may have happened,
 * `not-started` has certainly not.
 *
 * @since 0.1.0
 * @category models
 */
export type Classification = "failed" | "unknown" | "not-started"

/**
 * How an action in doubt is resolved.
 *
 * - `retry`: run it again; the downstream honours the same key
 * - `probe`: look whether it happened, run it only if not
 * - `escalate`: never run it again by itself
 *
 * @since 0.1.0
 * @category models
 */
export type Resolution = "retry" | "probe" | "escalate"

/**
 * `doubt` says whether an earlier attempt may have taken effect.
 *
 * @since 0.1.0
 * @category models
 */
export type State =
  | { readonly _tag: "Running"; readonly doubt: boolean }
  | { readonly _tag: "Probing"; readonly when: "before" | "after" }
  | { readonly _tag: "Settled" }

/**
 * What came of the last decision. `Broke`: the run or the probe ended in a defect or was interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export type Input =
  | { readonly _tag: "Succeeded" }
  | { readonly _tag: "Failed"; readonly classification: Classification }
  | { readonly _tag: "Broke" }
  | { readonly _tag: "Found" }
  | { readonly _tag: "Absent" }
  | { readonly _tag: "ProbeFailed" }

/**
 * What to do now.
 *
 * - `Run` the action, `Probe` for its effect
 * - `Record` the outcome, and answer with it
 * - `Release` the claim, `inDoubt` or as if nothing had been; answer with the `outcome` at hand, or that it is `unknown`
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Run" }
  | { readonly _tag: "Probe" }
  | { readonly _tag: "Record" }
  | { readonly _tag: "Release"; readonly inDoubt: boolean; readonly answer: "outcome" | "unknown" }

/**
 * What a store has of a key when it is claimed; `held` says whether the lease of a started one still lasts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Known {
  readonly fingerprint: string
  readonly state: "started" | "in-doubt" | "completed"
  readonly token: number
  readonly held: boolean
}

/**
 * The answer to a claim: `grant` the key anew, or to `takeOver` in doubt, both with a higher token than any before.
 *
 * @since 0.1.0
 * @category transitions
 */
export const claim = (
  known: Known | undefined,
  fingerprint: string
): "grant" | "takeOver" | "reused" | "completed" | "inProgress" => {
  if (known === undefined) return "grant"
  if (known.fingerprint !== fingerprint) return "reused"
  if (known.state === "completed") return "completed"
  return known.state === "started" && known.held ? "inProgress" : "takeOver"
}

/**
 * Whether who holds the token may still renew, complete or release: nobody has been given the key since, whatever became
 * of the lease.
 *
 * @since 0.1.0
 * @category transitions
 */
export const owns = (known: Pick<Known, "state" | "token"> | undefined, token: number): boolean =>
  known !== undefined && known.state === "started" && known.token === token

/**
 * The first decision after a claim.
 *
 * @since 0.1.0
 * @category transitions
 */
export const start = (resolution: Resolution, inDoubt: boolean): readonly [State, Decision] => {
  if (!inDoubt) return run(false)
  switch (resolution) {
    case "retry":
      return run(true)
    case "probe":
      return probe("before")
    case "escalate":
      return release(true, "unknown")
  }
}

/**
 * The next decision. An input that does not belong to the state gives the claim back in doubt.
 *
 * @since 0.1.0
 * @category transitions
 */
export const step = (resolution: Resolution, state: State, input: Input): readonly [State, Decision] => {
  if (state._tag === "Running") {
    if (input._tag === "Succeeded") return record
    if (input._tag === "Failed") return failed(resolution, state.doubt, input.classification)
  }
  if (state._tag === "Probing") {
    if (input._tag === "Found") return record
    if (input._tag === "Absent" && state.when === "before") return run(true)
  }
  // what a probe does not see after the run may still arrive: the doubt stays, and the next call looks again
  return release(true, "outcome")
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const record: readonly [State, Decision] = [{ _tag: "Settled" }, { _tag: "Record" }]

const run = (doubt: boolean): readonly [State, Decision] => [{ _tag: "Running", doubt }, { _tag: "Run" }]

const probe = (when: "before" | "after"): readonly [State, Decision] => [{ _tag: "Probing", when }, { _tag: "Probe" }]

const release = (inDoubt: boolean, answer: "outcome" | "unknown"): readonly [State, Decision] => [
  { _tag: "Settled" },
  { _tag: "Release", inDoubt, answer }
]

const failed = (
  resolution: Resolution,
  doubt: boolean,
  classification: Classification
): readonly [State, Decision] => {
  switch (classification) {
    case "failed":
      return record
    case "not-started":
      return release(doubt, "outcome")
    case "unknown":
      switch (resolution) {
        case "retry":
          return release(true, "outcome")
        case "probe":
          return probe("after")
        case "escalate":
          return release(true, "unknown")
      }
  }
}
