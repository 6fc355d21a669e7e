/**
 * The agent looks after itself: its memory, its event loop, the pages it could not send, the vendors it needs.
 *
 * @since 0.1.0
 */
import * as Escalation from "@firebreak/core/Escalation"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Effect from "effect/Effect"
import { Paging } from "./Paging.js"
import { Page } from "./vendors/PagerDuty.js"
import * as VendorParts from "./vendors/VendorParts.js"

/**
 * The chapter's figures: a look every 30 seconds, people after 5 bad ones in a row.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = Healing.layer({
  name: "incident-agent",
  every: "30 seconds",
  maxConsecutiveFailures: 5,
  checks: {
    memory: HealthCheck.heap({ below: 0.9 }),
    responsiveness: HealthCheck.eventLoopDelay({ below: "1 second" }),
    pages: HealthCheck.make(
      Effect.flatMap(
        Paging,
        (paging) =>
          Effect.flatMap(
            paging.spooled,
            (pages) => pages.length === 0 ? Effect.void : Effect.fail(`${pages.length} unsent`)
          )
      )
    ),
    paging: HealthCheck.make(
      Effect.flatMap(
        VendorParts.PagerDuty.breaker,
        (breaker) =>
          Effect.flatMap(
            breaker.stats,
            ({ state }) => state === "open" ? Effect.fail("its circuit is open") : Effect.void
          )
      )
    )
  },
  remedies: {
    pages: [
      Healing.remedy("send spooled pages", Effect.flatMap(Paging, (paging) => paging.deliver), {
        attempts: 10,
        cooldown: "30 seconds"
      })
    ]
  },
  // nothing heals after an escalation, so it also delivers what waits: it is not through before the spool is empty
  escalate: (escalation) =>
    Effect.flatMap(Paging, (paging) =>
      Effect.zipRight(
        paging.page(
          new Page({
            dedupKey: "incident-agent-health",
            severity: "error",
            source: "incident-agent",
            summary: Escalation.message(escalation),
            details: {}
          })
        ),
        paging.deliver
      ))
})
