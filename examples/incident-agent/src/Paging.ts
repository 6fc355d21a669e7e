/**
 * Pages a human, whatever it takes: a page that PagerDuty does not take now is spooled and sent later.
 *
 * @since 0.1.0
 */
import type { HttpClient } from "@effect/platform/HttpClient"
import * as Events from "@firebreak/core/Events"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Entry, Spool, SpoolError } from "./Spool.js"
import type { VendorError } from "./VendorError.js"
import * as PagerDuty from "./vendors/PagerDuty.js"
import type { VendorConfig } from "./vendors/VendorConfig.js"
import type { Parts } from "./vendors/VendorParts.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Sends the page, or spools it. Fails only if neither was possible. */
  readonly page: (page: PagerDuty.Page) => Effect.Effect<"sent" | "spooled", SpoolError>
  /** What waits to be sent, and what is damaged. */
  readonly spooled: Effect.Effect<ReadonlyArray<Entry>, SpoolError>
  /**
   * Sends what waits in order of the names; stops at the first that is not taken. Returns how many were sent. A damaged
   * file is named in an event, stays where it is and holds up nobody; so does a page that is spooled meanwhile.
   */
  readonly deliver: Effect.Effect<number, SpoolError | VendorError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Paging extends Context.Tag("incident-agent/Paging")<Paging, Service>() {}

/**
 * Pages through PagerDuty.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (spool: Spool): Layer.Layer<Paging, never, HttpClient | VendorConfig | Parts<"pagerduty">> =>
  Layer.effect(
    Paging,
    Effect.gen(function*() {
      const context = yield* Effect.context<HttpClient | VendorConfig | Parts<"pagerduty">>()
      // a start and the health loop may both deliver: the second must not send what the first is sending
      const oneAtATime = (yield* Effect.makeSemaphore(1)).withPermits(1)
      const send = (page: PagerDuty.Page, late: boolean) =>
        Effect.zipRight(
          Effect.provide(PagerDuty.trigger(page), context),
          Events.publish({ _tag: "PageSent", page: page.dedupKey, late })
        )
      return {
        spooled: spool.entries,
        page: (page) =>
          Effect.matchEffect(send(page, false), {
            onSuccess: () => Effect.succeed("sent" as const),
            onFailure: ({ message }) =>
              Effect.flatMap(spool.put(page), (file) =>
                Effect.as(
                  Events.publish({ _tag: "PageSpooled", page: page.dedupKey, file, error: message }),
                  "spooled" as const
                ))
          }),
        deliver: oneAtATime(Effect.gen(function*() {
          const entries = yield* spool.entries
          for (const entry of entries) {
            if (entry._tag === "Damaged") {
              yield* Events.publish({ _tag: "PageDamaged", file: entry.file, error: entry.detail })
            }
          }
          let sent = 0
          for (const entry of entries) {
            if (entry._tag === "Damaged") continue
            yield* send(entry.page, true)
            yield* spool.remove(entry)
            sent++
          }
          return sent
        }))
      }
    })
  )
