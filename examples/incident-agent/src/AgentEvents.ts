/**
 * The agent's own events, in the same stream as those of the patterns it is made of.
 *
 * @since 0.1.0
 */
import type * as Events from "@firebreak/core/Events"
import type { Attempt } from "./Actions.js"

declare module "@firebreak/core/Events" {
  interface Catalog {
    IncidentOpened: {
      readonly incident: string
      readonly service: string
      readonly severity: string
      readonly description: string
    }
    /** The incident had ended before; nothing was done now. */
    IncidentKnown: { readonly incident: string; readonly outcome: "resolved" | "escalated"; readonly detail: string }
    ContextGathered: {
      readonly level: string
      readonly sources: Readonly<Record<"metrics" | "logs" | "alerts", string | null>>
    }
    CauseFound: {
      readonly finding: string
      readonly evidence: ReadonlyArray<string>
      readonly actions: ReadonlyArray<string>
    }
    RemediationApplied: { readonly actions: ReadonlyArray<string> }
    RemediationRetried: {
      readonly failure: number
      readonly of: number
      readonly delayMillis: number
      readonly error: string
    }
    VerificationPending: {
      readonly errorRate: number | null
      readonly rolledOut: boolean
      readonly waitedMillis: number
    }
    IncidentResolved: { readonly incident: string; readonly actions: ReadonlyArray<string>; readonly errorRate: number }
    /** `reason` has a line for each part that failed. */
    IncidentEscalated: {
      readonly incident: string
      readonly reason: string
      readonly attempted: ReadonlyArray<Attempt>
    }
    PageSent: { readonly page: string; readonly late: boolean }
    PageDamaged: { readonly file: string; readonly error: string }
    PageSpooled: { readonly page: string; readonly file: string; readonly error: string }
  }
}

/**
 * Every event the agent's stream can hold.
 *
 * @since 0.1.0
 * @category models
 */
export type AgentEvent = Events.Published
